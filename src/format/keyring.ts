/**
 * The keyring: all keyslots, buckets and settings of a vault at one epoch. FORMAT.md, "Keyring".
 */
import { isVaultError, VaultError } from '../errors.ts';
import { encodeStrictJson, Fields, FORMAT, readStrictJson, type JsonObject } from './json.ts';
import {
  KDF_LIMITS,
  MAX_CHUNK_SIZE,
  MAX_EPOCH,
  MAX_KDF_WORK,
  MAX_KEYRING_SIZE,
  MAX_KEYSLOTS,
  MAX_ROOT_NUMBER,
  MAX_TIME_MS,
  SEAL_OVERHEAD,
  MIN_CHUNK_SIZE,
} from './limits.ts';
import { ID_SIZE } from './marker.ts';
import { formatRedundancy, parseRedundancy, type Redundancy } from './shard.ts';
import { decodeSigned, SIGNATURE_SIZE } from './signed.ts';

/** Where keyrings are. */
export const KEYRING_PREFIX = 'keyring/';
/** Buckets of a keyring: those that a vault writes to, and those it is leaving. */
export const MAX_BUCKETS = 1024;
/** Writers of a keyring whose keyslots were removed. */
export const MAX_FORMER_WRITERS = 1024;
/** Bytes of a keyslot's or lock's salt, and of a commitment to a key. */
export const SALT_SIZE = 32;
export const COMMITMENT_SIZE = 32;
/** Bytes of wrapped secrets, tag included; those of a `put` keyslot are about 900. */
const MAX_WRAPPED_SIZE = 4096;
const MIN_WRAPPED_SIZE = 17;
/** Bytes of a sealed label: nonce, a padded payload of at least 256 bytes, tag. */
const MAX_SEALED_LABEL_SIZE = 2048;
const MIN_SEALED_LABEL_SIZE = 12 + 256 + 16;
/** Bytes of a sealed URL, likewise. */
const MAX_SEALED_URL_SIZE = 5120;
const MIN_SEALED_URL_SIZE = MIN_SEALED_LABEL_SIZE;

/** Argon2id's costs (RFC 9106). */
export interface KdfCost {
  readonly memoryKib: number;
  readonly passes: number;
  readonly lanes: number;
}

/** What a keyslot lets its holder do: everything, or only store. */
export type Role = 'full' | 'put';

/** Secrets of a vault, wrapped under one password. */
export interface Keyslot {
  /** 32 hex digits: the holder. */
  readonly writer: string;
  readonly role: Role;
  readonly createdAtMs: number;
  /** 32 hex digits: the writer who made it; itself in a new vault. */
  readonly by: string;
  readonly cost: KdfCost;
  /** 32 bytes. */
  readonly salt: Buffer;
  /** 32 bytes. */
  readonly commitment: Buffer;
  /** Ciphertext and tag. */
  readonly wrapped: Buffer;
  /** What people call it, sealed: see `openLabel`. */
  readonly label: Buffer;
}

/** A writer whose keyslot was removed: what it has stored stays, under its names. */
export interface FormerWriter extends Pick<Keyslot, 'writer' | 'role' | 'label'> {
  /** The number of the root that its keys follow from. */
  readonly root: number;
  /** 32 hex digits: the writer who goes on with its names; null for none. */
  readonly next: string | null;
}

/** The step from one root to the next. */
export interface RootStep {
  /** The Ed25519 key of the next root, 32 bytes. */
  readonly key: Buffer;
  /** By the key of the root before, 64 bytes. */
  readonly signature: Buffer;
  /** The root before, sealed under the next: 48 bytes. */
  readonly before: Buffer;
}

/** How chunks are compressed: tried out, never, or at a zstd level of 1 to 19. */
export type Compression = 'auto' | 'off' | number;

export interface KeyringBucket {
  /** 32 hex digits. */
  readonly id: string;
  /** `draining`: takes nothing new, and goes once nothing is left in it. */
  readonly state: 'active' | 'draining';
  /** Where it is, sealed: see `openBucketUrl`. */
  readonly url: Buffer;
}

export interface Keyring {
  /** 32 hex digits. */
  readonly vaultId: string;
  /** 1 for the first; each change makes the next. */
  readonly epoch: number;
  /** SHA-256 of the whole object of the epoch before, 64 hex digits; null for a vault's first. */
  readonly previous: string | null;
  /** The number of the root secret that the keyslots lead to, 1 or more. */
  readonly root: number;
  /** How each root but the first came after the one before, in order. */
  readonly roots: readonly RootStep[];
  readonly redundancy: Redundancy;
  /** Bytes. */
  readonly chunkSize: number;
  readonly compression: Compression;
  readonly buckets: readonly KeyringBucket[];
  readonly slots: readonly Keyslot[];
  readonly former: readonly FormerWriter[];
}

/** The object name of a keyring: `keyring/<epoch in ten digits>`. */
export function keyringObjectName(epoch: number): string {
  return `${KEYRING_PREFIX}${String(epoch).padStart(10, '0')}`;
}

/** The epoch in a keyring's object name; null if it is not one. */
export function parseKeyringObjectName(name: string): number | null {
  const digits = /^keyring\/([0-9]{10})$/.exec(name)?.[1];
  return digits === undefined || Number(digits) === 0 ? null : Number(digits);
}

/** Orders keyrings: that of a later root counts for more, whatever its epoch; whoever has kept an old root makes any epoch. */
export function keyringRank({ root, epoch }: Pick<Keyring, 'root' | 'epoch'>): number {
  return (root - 1) * 2 ** 34 + epoch;
}

/** The work of a keyslot's or lock's key derivation: KiB of memory times passes. */
export function kdfWork(cost: KdfCost): number {
  return cost.memoryKib * cost.passes;
}

/** The JSON of a keyring, to be signed. */
export function encodeKeyring(keyring: Keyring): Buffer {
  return encodeStrictJson({
    format: FORMAT,
    vault: keyring.vaultId,
    epoch: keyring.epoch,
    previous: keyring.previous,
    root: keyring.root,
    roots: keyring.roots.map(({ key, signature, before }) => ({
      key: key.toString('hex'),
      signature: signature.toString('hex'),
      before: before.toString('hex'),
    })),
    requires: [],
    redundancy: formatRedundancy(keyring.redundancy),
    chunkSize: keyring.chunkSize,
    compression: String(keyring.compression),
    buckets: keyring.buckets.map(({ id, state, url }) => ({ id, state, url: url.toString('hex') })),
    slots: keyring.slots.map((slot) => ({
      writer: slot.writer,
      role: slot.role,
      created: slot.createdAtMs,
      by: slot.by,
      kdf: kdfJson(slot),
      commitment: slot.commitment.toString('hex'),
      wrapped: slot.wrapped.toString('hex'),
      label: slot.label.toString('hex'),
    })),
    former: keyring.former.map(({ label, writer, root, role, next }) => ({
      writer,
      root,
      role,
      label: label.toString('hex'),
      next,
    })),
  });
}

/**
 * A keyring from its object, with what a signature must fit. Nothing in it may be used before `verifyKeyring`, but for the
 * keyslots, to find the one that a password opens.
 *
 * @throws `damaged` if the bytes are not a keyring; `unsupported` for another format, or if it requires what this version
 *   does not know
 */
export function decodeKeyring(bytes: Uint8Array): {
  readonly keyring: Keyring;
  readonly signed: Uint8Array;
  readonly signature: Buffer;
} {
  const { signed, signature } = decodeSigned(bytes, WHAT, MAX_KEYRING_SIZE);
  return { keyring: readStrictJson(signed, WHAT, readKeyring, MAX_KEYRING_SIZE), signed, signature };
}

/**
 * Where a keyring that this version cannot read stands among others; null if it does not say that as this version does. Not to be believed
 * before its signature.
 */
export function placeOfNewer(bytes: Uint8Array): Pick<Keyring, 'epoch' | 'root' | 'roots'> | null {
  try {
    const { signed } = decodeSigned(bytes, WHAT, MAX_KEYRING_SIZE);
    const value: unknown = JSON.parse(Buffer.from(signed).toString());
    if (typeof value !== 'object' || value === null) return null;
    const fields = new Fields(value, WHAT);
    const root = fields.integer('root', 1, MAX_ROOT_NUMBER);
    const roots = fields.list('roots', { least: root - 1, most: root - 1 }, readStep);
    return { epoch: fields.integer('epoch', 1, MAX_EPOCH), root, roots };
  } catch (error) {
    if (!isVaultError(error, 'damaged')) throw error;
    return null;
  }
}

function readKeyring(fields: Fields): Keyring {
  refuseRequirements(fields);
  const keyring: Keyring = {
    vaultId: fields.hex('vault', ID_SIZE),
    epoch: fields.integer('epoch', 1, MAX_EPOCH),
    previous: fields.nullable('previous', (at, key) => at.hex(key, 32)),
    root: fields.integer('root', 1, MAX_ROOT_NUMBER),
    roots: fields.list('roots', { least: 0, most: MAX_ROOT_NUMBER - 1 }, readStep),
    redundancy: readRedundancy(fields, 'redundancy'),
    chunkSize: fields.integer('chunkSize', MIN_CHUNK_SIZE, MAX_CHUNK_SIZE),
    compression: readCompression(fields),
    buckets: fields.list('buckets', { least: 1, most: MAX_BUCKETS }, readBucket),
    slots: fields.list('slots', { least: 1, most: MAX_KEYSLOTS }, readSlot),
    former: fields.list('former', { least: 0, most: MAX_FORMER_WRITERS }, readFormer),
  };
  if ((keyring.previous === null) !== (keyring.epoch === 1)) throw fields.impossible('previous');
  if (keyring.roots.length !== keyring.root - 1) throw fields.impossible('roots');
  refuseRepeats(
    fields,
    'buckets',
    keyring.buckets.map(({ id }) => id),
  );
  refuseRepeats(
    fields,
    'slots',
    [...keyring.slots, ...keyring.former].map(({ writer }) => writer),
  );
  // Nobody could ever read such a vault or change its keyring.
  if (!keyring.slots.some(({ role }) => role === 'full')) throw fields.impossible('slots');
  return keyring;
}

const WHAT = 'A keyring';
const MAX_REQUIREMENTS = 64;

/** Before all else: what is required may change what the other fields look like. */
function refuseRequirements(fields: Fields): void {
  const requires = fields.list('requires', { least: 0, most: MAX_REQUIREMENTS }, (items, index) =>
    items.string(index),
  );
  if (requires.length > 0) {
    throw new VaultError(
      'unsupported',
      'The vault uses features that this version does not know. Use a newer version.',
    );
  }
}

function readCompression(fields: Fields): Compression {
  const text = fields.match('compression', /^(?:auto|off|[1-9]|1[0-9])$/);
  return text === 'auto' || text === 'off' ? text : Number(text);
}

/** `2+1` in a field. */
export function readRedundancy(fields: Fields, key: string): Redundancy {
  const redundancy = parseRedundancy(fields.string(key));
  if (redundancy === null) throw fields.impossible(key);
  return redundancy;
}

function readBucket(buckets: Fields, index: string): KeyringBucket {
  return buckets.object(index, (fields) => ({
    id: fields.hex('id', ID_SIZE),
    state: fields.oneOf('state', ['active', 'draining']),
    url: fields.bytes('url', MIN_SEALED_URL_SIZE, MAX_SEALED_URL_SIZE),
  }));
}

function readSlot(slots: Fields, index: string): Keyslot {
  return slots.object(index, (fields) => ({
    writer: fields.hex('writer', ID_SIZE),
    role: readRole(fields),
    createdAtMs: fields.integer('created', -MAX_TIME_MS, MAX_TIME_MS),
    by: fields.hex('by', ID_SIZE),
    ...readKdf(fields),
    commitment: fields.bytes('commitment', COMMITMENT_SIZE),
    wrapped: fields.bytes('wrapped', MIN_WRAPPED_SIZE, MAX_WRAPPED_SIZE),
    label: readLabel(fields),
  }));
}

function readFormer(writers: Fields, index: string): FormerWriter {
  return writers.object(index, (fields) => ({
    writer: fields.hex('writer', ID_SIZE),
    root: fields.integer('root', 1, MAX_ROOT_NUMBER),
    role: readRole(fields),
    label: readLabel(fields),
    next: fields.nullable('next', (at, key) => at.hex(key, ID_SIZE)),
  }));
}

function readStep(steps: Fields, index: string): RootStep {
  return steps.object(index, (fields) => ({
    key: fields.bytes('key', 32),
    signature: fields.bytes('signature', SIGNATURE_SIZE),
    before: fields.bytes('before', 32 + SEAL_OVERHEAD),
  }));
}

function readRole(fields: Fields): Role {
  return fields.oneOf('role', ['full', 'put']);
}

function readLabel(fields: Fields): Buffer {
  return fields.bytes('label', MIN_SEALED_LABEL_SIZE, MAX_SEALED_LABEL_SIZE);
}

/** The `kdf` of a keyslot or lock. */
export function kdfJson({ cost, salt }: Pick<Keyslot, 'cost' | 'salt'>): JsonObject {
  return {
    memory: cost.memoryKib,
    passes: cost.passes,
    lanes: cost.lanes,
    salt: salt.toString('hex'),
  };
}

/** The `kdf` of a keyslot or lock, its costs within bounds. */
export function readKdf(outer: Fields): Pick<Keyslot, 'cost' | 'salt'> {
  return outer.object('kdf', (fields) => {
    const { memoryKib, passes, lanes } = KDF_LIMITS;
    const cost = {
      memoryKib: fields.integer('memory', memoryKib.least, memoryKib.most),
      passes: fields.integer('passes', passes.least, passes.most),
      lanes: fields.integer('lanes', lanes.least, lanes.most),
    };
    if (kdfWork(cost) > MAX_KDF_WORK) throw fields.impossible('passes');
    return { cost, salt: fields.bytes('salt', SALT_SIZE) };
  });
}

function refuseRepeats(fields: Fields, key: string, ids: readonly string[]): void {
  if (new Set(ids).size !== ids.length) throw fields.impossible(key);
}
