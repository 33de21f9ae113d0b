/**
 * The keys of a vault: what the root secret gives, what a keyslot wraps, and the password that unwraps it. FORMAT.md, "Keys".
 */
import { createPrivateKey, createPublicKey, createSecretKey, hkdfSync, randomBytes } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { Gate } from '../concurrency/semaphore.ts';
import { invalidInput, VaultError } from '../errors.ts';
import { encodeStrictJson, parseStrictJson, type Fields, type JsonObject } from '../format/json.ts';
import { COMMITMENT_SIZE, kdfWork, SALT_SIZE } from '../format/keyring.ts';
import type { KdfCost, Keyslot, Role } from '../format/keyring.ts';
import { KDF_LIMITS, MAX_KDF_WORK } from '../format/limits.ts';
import { canonicalPassword } from './asked-password.ts';
import { isCommitment, openOnce, sealOnce } from './sealing.ts';
import { sealLabel } from './texts.ts';

export { kdfWork } from '../format/keyring.ts';
export { MAX_UNLOCK_WORK } from '../format/limits.ts';
export type { KdfCost, Keyslot } from '../format/keyring.ts';

/** Bytes of the root secret and of every key. */
export const KEY_SIZE = 32;

/** Argon2id costs of new keyslots and locks: RFC 9106's second choice doubled in memory; about an eighth of a second. */
export const DEFAULT_KDF_COST: KdfCost = { memoryKib: 128 * 1024, passes: 3, lanes: 4 };

/** The least that readers accept: enough for a secret that nobody can guess. */
const LEAST_KDF_COST: KdfCost = {
  memoryKib: KDF_LIMITS.memoryKib.least,
  passes: KDF_LIMITS.passes.least,
  lanes: KDF_LIMITS.lanes.least,
};

/** The purposes of a writer's keys, each the name of its field. */
const WRITER_PURPOSES = ['psk', 'content', 'table', 'index', 'names', 'catalog', 'markers', 'cut'] as const;

/** What one holder of a keyslot has for itself, 32 bytes each. */
export interface WriterKeys extends Readonly<Record<(typeof WRITER_PURPOSES)[number], Buffer>> {
  /** 32 hex digits. */
  readonly id: string;
}

/** What an opened keyslot gives. */
export interface VaultKeys {
  /** 32 hex digits. */
  readonly vaultId: string;
  readonly rootNumber: number;
  readonly role: Role;
  /** The holder of the keyslot. */
  readonly writer: WriterKeys;
  /** The X25519 key that manifests are sealed to, 32 bytes. */
  readonly readPublic: Buffer;
  /** The Ed25519 key that the keyring and removals are verified with, 32 bytes. */
  readonly verification: Buffer;
  /** Seals bucket URLs and labels, 32 bytes. */
  readonly urls: Buffer;
  /** Null for `put` keyslots. */
  readonly full: FullKeys | null;
}

/** What opens, signs and derives everything. */
export interface FullKeys {
  /** 32 bytes. */
  readonly root: Buffer;
  /** X25519. */
  readonly readPrivate: KeyObject;
  /** Ed25519. */
  readonly signing: KeyObject;
  /** Proves what the catalog says of files, also of those of other writers, 32 bytes. */
  readonly catalog: Buffer;
  /** The keys of the roots before, the last one first. */
  readonly earlier: readonly VaultKeys[];
  /** The number of the root that a writer's keys follow from. */
  readonly rootOf: (writer: string) => number;
  /** Any writer's keys, by its id of 32 hex digits; remembered. */
  writer(id: string): WriterKeys;
}

/** A new root secret: 32 random bytes. */
export function drawRoot(): Buffer {
  return randomBytes(KEY_SIZE);
}

/** A new identity of a vault, bucket, writer or sweep: 32 hex digits. */
export function drawId(): string {
  return randomBytes(16).toString('hex');
}

/** A new key for a key file: a password of 256 random bits, which those who search for leaked secrets know by its beginning. */
export function drawKeyText(): string {
  return `vault_key_${randomBytes(KEY_SIZE).toString('base64url')}`;
}

/** Whether a password looks like a drawn key. */
export function isKeyText(password: string): boolean {
  return /^vault_key_[\w-]{43}$/.test(password);
}

/** The random end of an object's name: 16 hex digits. */
export function drawUpload(): string {
  return randomBytes(8).toString('hex');
}

/**
 * All keys of a vault.
 *
 * @param root 32 bytes
 * @param p `writer`: the holder, 32 hex digits. `earlier`: of the roots before, the last one first. `formerRoots`: of writers whose keys
 *   follow from one of those
 */
export function keysOfRoot(
  root: Uint8Array,
  p: {
    readonly vaultId: string;
    readonly rootNumber: number;
    readonly writer: string;
    readonly earlier?: readonly VaultKeys[] | undefined;
    readonly formerRoots?: ReadonlyMap<string, number> | undefined;
  },
): VaultKeys {
  const { earlier = [] } = p;
  const salt = Buffer.from(p.vaultId, 'hex');
  const derive = (purpose: string): Buffer => deriveKey(root, salt, `vault/2 ${purpose}`);
  const readPrivate = privateKey('x25519', derive('read'));
  const signing = privateKey('ed25519', derive('sign'));
  const rootOf = (id: string): number => p.formerRoots?.get(id) ?? p.rootNumber;
  const writer = rememberWriters((id) => {
    const before = earlier.find(({ rootNumber }) => rootNumber === rootOf(id));
    if (before?.full) return before.full.writer(id);
    const key = (purpose: string): Buffer => derive(`writer ${id} ${purpose}`);
    return writerKeys(id, key);
  });
  return {
    vaultId: p.vaultId,
    rootNumber: p.rootNumber,
    role: 'full',
    writer: writer(p.writer),
    readPublic: publicBytes(readPrivate),
    verification: publicBytes(signing),
    urls: derive('urls'),
    full: {
      root: Buffer.from(root),
      readPrivate,
      signing,
      catalog: derive('catalog'),
      earlier,
      rootOf,
      writer,
    },
  };
}

/** HKDF-SHA256 (RFC 5869) to 32 bytes. */
export function deriveKey(ikm: Uint8Array, salt: Uint8Array, info: string): Buffer {
  return Buffer.from(hkdfSync('sha256', createSecretKey(ikm), salt, info, KEY_SIZE));
}

/** The keys of a root by its number; null for one that these do not lead to. */
export function keysUnder(keys: VaultKeys, rootNumber: number): VaultKeys | null {
  const all = [keys, ...(keys.full?.earlier ?? [])];
  return all.find((one) => one.rootNumber === rootNumber) ?? null;
}

/** The keys that only full keyslots give. @throws `denied` if these are a put keyslot's */
export function requireFull(keys: VaultKeys, what: string): FullKeys {
  if (keys.full !== null) return keys.full;
  throw onlyStores(what);
}

/** The refusal of what a put keyslot does not give. @param what is asked for */
export function onlyStores(what: string): VaultError {
  return new VaultError('denied', `This key can only store; ${what} needs a full one.`);
}

/** Writers met are few, but objects can name any: what is remembered is bounded. */
const MOST_WRITERS = 1024;

function rememberWriters(derive: (id: string) => WriterKeys): (id: string) => WriterKeys {
  const known = new Map<string, WriterKeys>();
  return (id) => {
    const found = known.get(id);
    if (found !== undefined) return found;
    const keys = derive(id);
    if (known.size >= MOST_WRITERS) known.clear();
    known.set(id, keys);
    return keys;
  };
}

function writerKeys(id: string, key: (purpose: string) => Buffer): WriterKeys {
  return {
    id,
    psk: key('psk'),
    content: key('content'),
    table: key('table'),
    index: key('index'),
    names: key('names'),
    catalog: key('catalog'),
    markers: key('markers'),
    cut: key('cut'),
  };
}

// --- keys as bytes ------------------------------------------------------------------------------------

/** What stands before the 32 bytes in PKCS #8 and in SubjectPublicKeyInfo (RFC 8410). */
const DER = {
  x25519: { private: '302e020100300506032b656e04220420', public: '302a300506032b656e032100' },
  ed25519: { private: '302e020100300506032b657004220420', public: '302a300506032b6570032100' },
} as const;
export type Curve = keyof typeof DER;

export function privateKey(curve: Curve, bytes: Uint8Array): KeyObject {
  const key = Buffer.concat([Buffer.from(DER[curve].private, 'hex'), bytes]);
  return createPrivateKey({ key, format: 'der', type: 'pkcs8' });
}

export function publicKey(curve: Curve, bytes: Uint8Array): KeyObject {
  const key = Buffer.concat([Buffer.from(DER[curve].public, 'hex'), bytes]);
  return createPublicKey({ key, format: 'der', type: 'spki' });
}

/** The 32 bytes of a private or public key's public part. */
export function publicBytes(key: KeyObject): Buffer {
  const spki = (key.type === 'private' ? createPublicKey(key) : key).export({ format: 'der', type: 'spki' });
  return spki.subarray(spki.length - KEY_SIZE);
}

// --- keyslots -----------------------------------------------------------------------------------------

/**
 * Wraps keys under a password in a new keyslot of their writer.
 *
 * @param password as the user gave it; normalised to NFC here
 * @param o `role`: what the keyslot will give. `label`: what people call it, at most 1,024 bytes of UTF-8. `fixed`: salt of
 *   32 bytes and nonce of 12, for test vectors only; drawn when absent. `by`: the writer who makes it, if that is another. `cost`:
 *   of Argon2id; unless given, the least for a drawn key
 * @throws `invalid-input` for a full keyslot of keys that are none, a label that is too long, or costs out of bounds
 */
export async function wrapKeys(
  keys: VaultKeys,
  password: string,
  o: {
    readonly role: Role;
    readonly createdAtMs: number;
    readonly by?: string | undefined;
    readonly label: string;
    readonly cost?: KdfCost | undefined;
    readonly fixed?: { readonly salt: Buffer; readonly nonce?: Buffer | undefined } | undefined;
  },
): Promise<Keyslot> {
  const cost = o.cost ?? (isKeyText(password) ? LEAST_KDF_COST : DEFAULT_KDF_COST);
  const salt = o.fixed?.salt ?? randomBytes(SALT_SIZE);
  const secrets = o.role === 'full' ? fullSecrets(keys) : putSecrets(keys);
  const slot = { writer: keys.writer.id, role: o.role };
  const { kek, commitment } = await passwordKeys(password, { cost, salt });
  return {
    ...slot,
    createdAtMs: o.createdAtMs,
    by: o.by ?? keys.writer.id,
    cost,
    salt,
    commitment,
    wrapped: sealOnce(kek, keyslotAad(slot, keys), encodeStrictJson(secrets)),
    label: sealLabel(keys, slot.writer, o.label, o.fixed?.nonce),
  };
}

/**
 * The keys out of a keyslot.
 *
 * @param p of the keyring that the keyslot is from
 * @returns null if this password is not the keyslot's
 * @throws `damaged` if it is, but what it wraps is not what was wrapped for this vault, writer, role and root; `unavailable`
 *   if there is no memory for the derivation
 */
export async function unwrapKeys(
  slot: Keyslot,
  password: string,
  p: { readonly vaultId: string; readonly rootNumber: number },
): Promise<VaultKeys | null> {
  const { kek, commitment } = await passwordKeys(password, slot);
  if (!isCommitment(slot.commitment, commitment)) return null;
  const secrets = openOnce(kek, keyslotAad(slot, p), slot.wrapped);
  if (secrets === null) throw new VaultError('damaged', 'A keyslot is not what its password wrapped.');
  return parseStrictJson(secrets, 'What a keyslot wraps').whole((fields) =>
    slot.role === 'full'
      ? keysOfRoot(fields.bytes('root', KEY_SIZE), { ...p, writer: slot.writer })
      : readPutSecrets(fields, slot.writer, p),
  );
}

function keyslotAad(
  slot: Pick<Keyslot, 'writer' | 'role'>,
  p: { readonly vaultId: string; readonly rootNumber: number },
): Buffer {
  return Buffer.from(`vault/2 keyslot\n${p.vaultId}\n${slot.writer}\n${slot.role}\n${p.rootNumber}`, 'ascii');
}

function fullSecrets(keys: VaultKeys): JsonObject {
  return { root: requireFull(keys, 'a keyslot with all rights').root.toString('hex') };
}

function putSecrets(keys: VaultKeys): JsonObject {
  const own = WRITER_PURPOSES.map((purpose) => [purpose, keys.writer[purpose].toString('hex')] as const);
  return {
    readKey: keys.readPublic.toString('hex'),
    verifyKey: keys.verification.toString('hex'),
    urls: keys.urls.toString('hex'),
    ...Object.fromEntries(own),
  };
}

function readPutSecrets(
  fields: Fields,
  writer: string,
  p: { readonly vaultId: string; readonly rootNumber: number },
): VaultKeys {
  return {
    vaultId: p.vaultId,
    rootNumber: p.rootNumber,
    role: 'put',
    readPublic: fields.bytes('readKey', KEY_SIZE),
    verification: fields.bytes('verifyKey', KEY_SIZE),
    urls: fields.bytes('urls', KEY_SIZE),
    writer: writerKeys(writer, (purpose) => fields.bytes(purpose, KEY_SIZE)),
    full: null,
  };
}

// --- passwords ----------------------------------------------------------------------------------------

/**
 * What a password gives: the key that wraps, and the commitment that tells whether it is the password.
 *
 * @throws `invalid-input` if the costs are beyond what the format allows, or the password is not valid Unicode
 */
export async function passwordKeys(
  password: string,
  { cost, salt }: { readonly cost: KdfCost; readonly salt: Uint8Array },
): Promise<{ readonly kek: Buffer; readonly commitment: Buffer }> {
  if (!isAllowed(cost)) {
    throw invalidInput('The costs of the password are beyond what the format allows.');
  }
  const both = await argon2id(canonicalPassword(password), salt, cost, KEY_SIZE + COMMITMENT_SIZE);
  return { kek: both.subarray(0, KEY_SIZE), commitment: both.subarray(KEY_SIZE) };
}

function isAllowed(cost: KdfCost): boolean {
  const inside = (key: keyof KdfCost): boolean =>
    Number.isInteger(cost[key]) && cost[key] >= KDF_LIMITS[key].least && cost[key] <= KDF_LIMITS[key].most;
  return inside('memoryKib') && inside('passes') && inside('lanes') && kdfWork(cost) <= MAX_KDF_WORK;
}

/**
 * Argon2id, RFC 9106, version 0x13. Its package is loaded only here: most of a command's start-up is loading.
 *
 * @param size bytes of the answer
 * @throws `unavailable` if there is no memory for it
 */
export async function argon2id(
  password: string,
  salt: Uint8Array,
  cost: KdfCost,
  size: number,
): Promise<Buffer> {
  const { hashRaw } = await import('@node-rs/argon2');
  // Algorithm and version are the package's defaults, Argon2id and 0x13; a published vector in the tests holds it to that.
  const options = {
    memoryCost: cost.memoryKib,
    timeCost: cost.passes,
    parallelism: cost.lanes,
    salt,
    outputLen: size,
  };
  try {
    return await derivations.pass(undefined, () => hashRaw(password, options));
  } catch (cause) {
    throw new VaultError(
      'unavailable',
      `The password could not be checked: deriving its key needs ${cost.memoryKib / 1024} MiB of memory. Free some and try again.`,
      { cause },
    );
  }
}

/** One at a time: each takes all cores and 128 MiB, and a server is asked for many at once. */
const derivations = new Gate(1);
