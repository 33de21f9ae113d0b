/**
 * Sealing and opening of manifests. FORMAT.md, "Manifest".
 *
 * A process agrees once on a session secret with whoever reads, by HPKE, and seals all its manifests under that: so
 * writers cannot open manifests, not even their own of yesterday, and readers do the costly part once a session.
 */
import { hash, randomBytes, type KeyObject } from 'node:crypto';
import { invalidInput, isVaultError, VaultError } from '../errors.ts';
import { padBody, unpadBody } from '../format/chunk.ts';
import { SALT_SIZE, type KdfCost } from '../format/keyring.ts';
import { decodeManifestObject, encodeManifestHeader, encodePart } from '../format/manifest-object.ts';
import type { ManifestHeader, ManifestObject, SealedPart } from '../format/manifest-object.ts';
import {
  decodeContentPart,
  decodeVaultPart,
  encodeContentPart,
  encodeVaultPart,
  type ContentAccess,
  type ContentPart,
  type ContentTable,
  type FolderPart,
  type IdsTable,
  type LockStanza,
  type ManifestHead,
  type VaultPart,
} from '../format/manifest.ts';
import { requireAgreement } from './agreement.ts';
import { setupReceiver, setupSender, type Exporter } from './hpke.ts';
import { DEFAULT_KDF_COST, deriveKey, keysUnder, passwordKeys, requireFull } from './keys.ts';
import type { FullKeys, VaultKeys, WriterKeys } from './keys.ts';
import { committedKey, isCommitment, openOnce, sealOnce } from './sealing.ts';

export { idEntry } from './agreement.ts';

/** A file's or folder's content, opened. */
export interface OpenedContent extends ContentPart {
  /** The content key, 32 bytes. */
  readonly key: Buffer;
}

export interface OpenedManifest {
  /** 64 hex digits. */
  readonly hash: string;
  readonly head: ManifestHead;
  /** Who stored the file, 32 hex digits. */
  readonly writer: string;
  readonly ids: IdsTable;
  /** What leads to the content: its key, or the lock around it. */
  readonly access: ContentAccess;
  /** Null when the file is locked. */
  readonly content: OpenedContent | null;
  /**
   * The content of a locked file, or of one that is not.
   *
   * @returns null if this is not the lock's password
   * @throws `damaged` if it is, but the content part does not open or differs from the vault part; `unavailable` if there is no
   *   memory for the derivation
   */
  unlock(password: string): Promise<OpenedContent | null>;
}

/** A file's hash: lower-case hex SHA-256 of its manifest's object. */
export function manifestHash(bytes: Uint8Array): string {
  return hash('sha256', bytes, 'hex');
}

// --- locks --------------------------------------------------------------------------------------------

/**
 * Wraps a content key under a password of the file's own.
 *
 * @param contentKey 32 bytes
 * @param password as the user gave it; normalised to NFC here
 * @param p `fixed`: salt of 32 bytes, for test vectors only; drawn when absent
 * @throws `invalid-input` for costs out of bounds
 */
export async function lockContentKey(
  contentKey: Buffer,
  password: string,
  p: {
    readonly vaultId: string;
    readonly cost?: KdfCost | undefined;
    readonly fixed?: { readonly salt: Buffer } | undefined;
  },
): Promise<LockStanza> {
  const cost = p.cost ?? DEFAULT_KDF_COST;
  const salt = p.fixed?.salt ?? randomBytes(SALT_SIZE);
  const { kek, commitment } = await passwordKeys(password, { cost, salt });
  return { cost, salt, commitment, wrapped: sealOnce(kek, lockAad(p.vaultId), contentKey) };
}

/** @returns null if this is not the lock's password */
async function unlockContentKey(lock: LockStanza, password: string, vaultId: string): Promise<Buffer | null> {
  const { kek, commitment } = await passwordKeys(password, lock);
  if (!isCommitment(lock.commitment, commitment)) return null;
  const key = openOnce(kek, lockAad(vaultId), lock.wrapped);
  if (key === null) throw new VaultError('damaged', "A file's lock is not what its password wrapped.");
  return key;
}

function lockAad(vaultId: string): Buffer {
  return Buffer.from(`vault/2 lock\n${vaultId}`, 'ascii');
}

/**
 * The keys of a locked file or folder: only who opens the lock can tell what is in its chunks, or where its content was cut. 32
 * bytes each.
 */
export function lockedDedupKeys(contentKey: Buffer): Pick<WriterKeys, 'content' | 'table' | 'index' | 'cut'> {
  const derive = (purpose: string): Buffer =>
    deriveKey(contentKey, Buffer.alloc(0), `vault/2 locked ${purpose}`);
  return { content: derive('content'), table: derive('table'), index: derive('index'), cut: derive('cut') };
}

// --- sealing ------------------------------------------------------------------------------------------

/** What is sealed as a manifest. */
export interface NewManifest {
  readonly head: ManifestHead;
  readonly ids: IdsTable;
  readonly content: ContentTable;
  /** Of a folder. */
  readonly folder?: FolderPart | undefined;
  /** 32 bytes, drawn for this manifest. */
  readonly contentKey: Buffer;
  /** Of that key, for a locked file; its head has no size. */
  readonly lock: LockStanza | null;
  /** Salt of 32 bytes, for test vectors only; drawn when absent. */
  readonly fixed?: { readonly salt: Buffer } | undefined;
}

/** What a process has agreed on with whoever reads, and who it is. */
export interface SealingSession {
  readonly rootNumber: number;
  readonly writer: string;
  readonly enc: Buffer;
  readonly secret: Buffer;
}

/**
 * The object of a manifest.
 *
 * @throws `invalid-input` if readers would refuse it: a name, time, mode, table, ... that the format does not allow
 */
export function sealManifest({ secret, ...session }: SealingSession, m: NewManifest): Buffer {
  const salt = m.fixed?.salt ?? randomBytes(SALT_SIZE);
  const access = m.lock === null ? { content: m.contentKey } : { lock: m.lock };
  if (m.head.locked !== (m.lock !== null)) {
    throw invalidInput('The file cannot be stored: it must have a lock if it is locked.');
  }
  try {
    const vaultPart = { head: m.head, ids: m.ids, access };
    const content = { table: m.content, folder: m.folder ?? null };
    const object = sealParts({ ...session, salt }, secret, { vaultPart, content, contentKey: m.contentKey });
    prove(object, secret, m.contentKey);
    return object;
  } catch (cause) {
    if (!isVaultError(cause)) throw cause;
    throw invalidInput(`The file cannot be stored: ${cause.message}`, cause);
  }
}

/** Seals the manifests of one process and writer. */
export class ManifestSealer {
  readonly #keys: VaultKeys;
  readonly #ephemeral: KeyObject | undefined;
  #session: { readonly enc: Buffer; readonly secret: Buffer } | null = null;

  /** @param fixed X25519 private key, for test vectors only; drawn when absent */
  constructor(keys: VaultKeys, fixed?: { readonly ephemeral: KeyObject }) {
    this.#keys = keys;
    this.#ephemeral = fixed?.ephemeral;
  }

  /** See `sealManifest`. */
  seal(manifest: NewManifest): Buffer {
    return sealManifest(this.session, manifest);
  }

  /** What all manifests of the process are sealed with. */
  get session(): SealingSession {
    const { rootNumber, writer } = this.#keys;
    this.#session ??= this.#startSession();
    return { ...this.#session, rootNumber, writer: writer.id };
  }

  /**
   * The object of a manifest under these keys, of whose content nothing is known: its content part stays as it is.
   *
   * @param bytes the object that it is made of. @param m what its vault part shall say
   * @throws `invalid-input` as `seal`
   */
  reseal(bytes: Uint8Array, { head, ids, access }: VaultPart): Buffer {
    const { salt, content } = decodeManifestObject(bytes);
    // The content part is bound to its salt, which whoever made it has chosen: with a secret of this manifest's own no key is used twice.
    const { enc, secret } = this.#startSession();
    const header = { rootNumber: this.#keys.rootNumber, writer: this.#keys.writer.id, enc, salt };
    const object = sealVaultPart(header, secret, {
      vaultPart: { head, ids, access },
      content: content.bytes,
    });
    openVaultPart(decodeManifestObject(object), secret);
    return object;
  }

  #startSession(): { readonly enc: Buffer; readonly secret: Buffer } {
    const { readPublic, vaultId, writer } = this.#keys;
    const setup = { ...sessionSetup(vaultId, writer), publicKey: readPublic, ephemeral: this.#ephemeral };
    const { enc, exportSecret } = setupSender(setup);
    return { enc, secret: sessionSecret(exportSecret) };
  }
}

/** A file that can be stored and never read must be impossible: what was sealed is read as readers will. */
function prove(bytes: Buffer, secret: Buffer, contentKey: Buffer): void {
  const object = decodeManifestObject(bytes);
  const { head, ids } = openVaultPart(object, secret);
  openContent(object, contentKey, { head, ids });
}

function sealParts(
  header: ManifestHeader,
  secret: Buffer,
  m: { readonly vaultPart: VaultPart; readonly content: ContentPart; readonly contentKey: Buffer },
): Buffer {
  const contentKey = committedKey(m.contentKey, header.salt, CONTENT_PART);
  const content = encodePart(
    contentKey.commitment,
    sealOnce(contentKey.key, CONTENT_AAD, padBody(encodeContentPart(m.content))),
  );
  return sealVaultPart(header, secret, { vaultPart: m.vaultPart, content });
}

function sealVaultPart(
  header: ManifestHeader,
  secret: Buffer,
  { vaultPart, content }: { readonly vaultPart: VaultPart; readonly content: Buffer },
): Buffer {
  const headerBytes = encodeManifestHeader(header);
  const vaultKey = committedKey(secret, header.salt, VAULT_PART);
  const vault = encodePart(
    vaultKey.commitment,
    sealOnce(vaultKey.key, vaultAad(headerBytes, content), padBody(encodeVaultPart(vaultPart))),
  );
  return Buffer.concat([headerBytes, vault, content]);
}

// --- opening ------------------------------------------------------------------------------------------

/** Session secrets that are remembered: a few megabytes of what costs a key agreement each. */
const MOST_SESSIONS = 16_384;

/** Opens the manifests of any writer of a vault. */
export class ManifestOpener {
  readonly #keys: VaultKeys;
  readonly #full: FullKeys;
  /** By root number, writer and `enc`; the one that was used last is the last. Only of manifests that did open. */
  readonly #sessions = new Map<string, Buffer>();

  /** @throws `denied` if the keys are a put keyslot's */
  constructor(keys: VaultKeys) {
    this.#keys = keys;
    this.#full = requireFull(keys, 'reading manifests');
  }

  /**
   * Opens a manifest.
   *
   * @param bytes the object
   * @param fileHash the hash it goes by
   * @throws `damaged` if the bytes do not have that hash, were not sealed by a writer of this vault, or contradict themselves;
   *   `unsupported` if they need a newer version or another root
   */
  open(bytes: Uint8Array, fileHash: string): OpenedManifest {
    if (manifestHash(bytes) !== fileHash) {
      throw new VaultError('damaged', 'A manifest does not have the hash it goes by.');
    }
    const object = decodeManifestObject(bytes);
    if (keysUnder(this.#keys, object.rootNumber) === null) {
      throw new VaultError(
        'unsupported',
        `A manifest is sealed under root ${object.rootNumber}, which this password does not lead to.`,
      );
    }
    // Whoever has kept an old root makes manifests of any writer under that: only those of its own writers count.
    if (object.rootNumber !== this.#full.rootOf(object.writer)) {
      throw new VaultError('damaged', 'A manifest is sealed under another root than its writer has.');
    }
    const { vaultId } = this.#keys;
    const { head, ids, access } = this.#openVaultPart(object);
    const opened = 'lock' in access ? null : openContent(object, access.content, { head, ids });
    return {
      hash: fileHash,
      head,
      writer: object.writer,
      ids,
      access,
      content: opened,
      async unlock(password) {
        if (!('lock' in access)) return opened;
        const key = await unlockContentKey(access.lock, password, vaultId);
        return key === null ? null : openContent(object, key, { head, ids });
      },
    };
  }

  #openVaultPart(object: ManifestObject): VaultPart {
    const id = `${object.rootNumber}.${object.writer}.${object.enc.toString('base64')}`;
    const known = this.#sessions.get(id);
    const secret = known ?? this.#agree(object);
    const part = openVaultPart(object, secret);
    if (known !== undefined) this.#sessions.delete(id);
    this.#sessions.set(id, secret);
    if (this.#sessions.size > MOST_SESSIONS) {
      const [oldest] = this.#sessions.keys();
      if (oldest !== undefined) this.#sessions.delete(oldest);
    }
    return part;
  }

  #agree({ rootNumber, writer, enc }: ManifestObject): Buffer {
    const setup = sessionSetup(this.#keys.vaultId, this.#full.writer(writer));
    const privateKey = keysUnder(this.#keys, rootNumber)?.full?.readPrivate ?? this.#full.readPrivate;
    return sessionSecret(setupReceiver({ ...setup, privateKey, enc }));
  }
}

const VAULT_PART = 'vault/2 vault part';
const CONTENT_PART = 'vault/2 content part';
const CONTENT_AAD = Buffer.from(CONTENT_PART, 'ascii');

function sessionSetup(
  vaultId: string,
  writer: WriterKeys,
): { readonly info: Buffer; readonly preShared: { readonly psk: Buffer; readonly pskId: Buffer } } {
  return {
    info: Buffer.from(`vault/2 manifest\n${vaultId}`, 'ascii'),
    preShared: { psk: writer.psk, pskId: Buffer.from(writer.id, 'hex') },
  };
}

function sessionSecret(exportSecret: Exporter): Buffer {
  return exportSecret(Buffer.from('vault/2 manifest', 'ascii'), 32);
}

/** Binds the vault part to its header and to the one content part that it belongs to. */
function vaultAad(header: Buffer, content: Buffer): Buffer {
  return Buffer.concat([header, hash('sha256', content, 'buffer')]);
}

function openVaultPart(object: ManifestObject, secret: Buffer): VaultPart {
  const aad = vaultAad(object.header, object.content.bytes);
  return decodeVaultPart(openPart(object.vault, { ikm: secret, salt: object.salt, info: VAULT_PART, aad }));
}

function openContent(
  object: ManifestObject,
  key: Buffer,
  expected: { readonly head: ManifestHead; readonly ids: IdsTable },
): OpenedContent {
  const content = openContentPart(object, key);
  requireAgreement(expected, content);
  return { ...content, key };
}

/** The content part of a manifest alone, as whoever has only its content key reads it. @throws `damaged` | `unsupported` */
export function openContentPart(
  { content, salt }: Pick<ManifestObject, 'content' | 'salt'>,
  contentKey: Buffer,
): ContentPart {
  return decodeContentPart(
    openPart(content, { ikm: contentKey, salt, info: CONTENT_PART, aad: CONTENT_AAD }),
  );
}

function openPart(
  part: SealedPart,
  {
    ikm,
    salt,
    info,
    aad,
  }: { readonly ikm: Buffer; readonly salt: Buffer; readonly info: string; readonly aad: Buffer },
): Uint8Array {
  const { key, commitment } = committedKey(ikm, salt, info);
  if (!isCommitment(part.commitment, commitment)) {
    throw new VaultError('damaged', 'A manifest was sealed with the key of another vault or writer.');
  }
  const payload = openOnce(key, aad, part.sealed);
  if (payload === null) throw new VaultError('damaged', 'A manifest does not open with its key.');
  return unpadBody(payload);
}
