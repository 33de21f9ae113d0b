/**
 * Signed objects: the keyring, deletion records and sweep lists. FORMAT.md, "Signed objects".
 */
import { hash as digest, sign, verify, type KeyObject } from 'node:crypto';
import { invalidInput, isVaultError, VaultError } from '../errors.ts';
import { decodeKeyring, encodeKeyring, placeOfNewer, type Keyring } from '../format/keyring.ts';
import { MAX_KEYRING_SIZE } from '../format/limits.ts';
import {
  decodeDeletion,
  decodeSweepList,
  encodeDeletion,
  encodeSweepList,
  MAX_DELETION_SIZE,
  MAX_SWEEP_SIZE,
} from '../format/removal.ts';
import type { DeletionRecord, SweepList } from '../format/removal.ts';
import { decodeSigned, encodeSigned, type SignedObject } from '../format/signed.ts';
import { publicKey, requireFull, type VaultKeys } from './keys.ts';
import { verificationOf, type VerifyingKeys } from './roots.ts';

export type { VerifyingKeys } from './roots.ts';

type Kind = 'keyring' | 'deleted' | 'sweep';

/** Lower-case hex SHA-256 of an object's bytes. */
export function objectDigest(bytes: Uint8Array): string {
  return digest('sha256', bytes, 'hex');
}

/**
 * The object of a keyring.
 *
 * @throws `invalid-input` if the keys are a put keyslot's, or the keyring is not one that readers accept
 */
export function signKeyring(keys: VaultKeys, keyring: Keyring): Buffer {
  const object = signObject(keys, 'keyring', encodeKeyring(keyring));
  return proven(object, 'keyring', () => verifyKeyring(keys, object));
}

/**
 * The keyring in an object.
 *
 * @param epoch that the object's name gives; absent where the object has no name, as in the catalog
 * @throws `damaged` if it is none, is not signed with the vault's key, or is another vault's; `unsupported` if it is of another
 *   version of the format, or requires what this one does not know
 */
export function verifyKeyring(keys: VerifyingKeys, bytes: Uint8Array, epoch?: number): Keyring {
  const object = decodeSigned(bytes, WHAT.keyring, MAX_KEYRING_SIZE);
  const isOwn = isSigned(keys, 'keyring', object);
  if (!isOwn) requireSignature({ verification: laterKey(keys, bytes) }, 'keyring', object);
  const { keyring } = decodeKeyring(bytes);
  requireVault(keys, keyring.vaultId, 'keyring');
  if (isOwn && keyring.root !== keys.rootNumber) {
    throw new VaultError('damaged', 'A keyring is signed with the key of another root than its own.');
  }
  if (epoch !== undefined && keyring.epoch !== epoch) {
    throw new VaultError('damaged', 'A keyring lies under another name.');
  }
  return keyring;
}

/** The object of a deletion record. @throws `invalid-input` as `signKeyring` */
export function signDeletion(keys: VaultKeys, record: DeletionRecord): Buffer {
  const object = signObject(keys, 'deleted', encodeDeletion(keys.vaultId, record));
  return proven(object, 'deleted', () => openDeletion(keys, object, record.hash));
}

/**
 * The deletion record in an object.
 *
 * @param hash that the object's name gives, 64 hex digits
 * @throws `damaged` if it is none of this vault and hash, or not signed with the vault's key; `unsupported` for another
 *   version of the format
 */
export function openDeletion(keys: VerifyingKeys, bytes: Uint8Array, hash: string): DeletionRecord {
  const object = decodeSigned(bytes, WHAT.deleted, MAX_DELETION_SIZE);
  requireSignature(keys, 'deleted', object);
  const { vaultId, record } = decodeDeletion(object.signed);
  requireVault(keys, vaultId, 'deleted');
  if (record.hash !== hash) throw new VaultError('damaged', 'A deletion record lies under another name.');
  return record;
}

/** The object of a sweep list. @throws `invalid-input` as `signKeyring` */
export function signSweepList(keys: VaultKeys, list: SweepList): Buffer {
  const object = signObject(keys, 'sweep', encodeSweepList(keys.vaultId, list));
  return proven(object, 'sweep', () => openSweepList(keys, object, list.id));
}

/**
 * The sweep list in an object.
 *
 * @param id that the object's name gives, 32 hex digits
 * @throws as `openDeletion`
 */
export function openSweepList(keys: VerifyingKeys, bytes: Uint8Array, id: string): SweepList {
  const object = decodeSigned(bytes, WHAT.sweep, MAX_SWEEP_SIZE);
  requireSignature(keys, 'sweep', object);
  const { vaultId, list } = decodeSweepList(object.signed);
  requireVault(keys, vaultId, 'sweep');
  if (list.id !== id) throw new VaultError('damaged', 'A sweep list lies under another name.');
  return list;
}

/** What an object says, and the number of the root whose keys have made it. */
export type SignedUnder<T> = T & { readonly root: number };

/**
 * Opens an object that the keys of any of the roots may have made, the last one first.
 *
 * @throws as `open`
 */
export function underAnyRoot<T extends object>(
  keys: VaultKeys,
  open: (keys: VaultKeys) => T,
): SignedUnder<T> {
  let failure: unknown;
  for (const one of [keys, ...(keys.full?.earlier ?? [])]) {
    try {
      return { ...open(one), root: one.rootNumber };
    } catch (error) {
      if (!isVaultError(error, 'damaged')) throw error;
      failure = error;
    }
  }
  throw failure;
}

const WHAT: Readonly<Record<Kind, string>> = {
  keyring: 'A keyring',
  deleted: 'A deletion record',
  sweep: 'A sweep list',
};

function message(kind: Kind, json: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(`vault/2 ${kind}\n`, 'ascii'), json]);
}

function signObject(keys: VaultKeys, kind: Kind, json: Uint8Array): Buffer {
  const { signing } = requireFull(keys, 'this change');
  return encodeSigned({ signed: json, signature: sign(null, message(kind, json), signing) });
}

type Verification = Pick<VerifyingKeys, 'verification'>;

function isSigned({ verification }: Verification, kind: Kind, { signed, signature }: SignedObject): boolean {
  let key = verifiers.get(verification);
  if (key === undefined) verifiers.set(verification, (key = publicKey('ed25519', verification)));
  return verify(null, message(kind, signed), key, signature);
}

/** To make one from its bytes takes as long as to verify with it, and of deletion records there are many. */
const verifiers = new WeakMap<Uint8Array, KeyObject>();

/** The key of a later root, which the reader's signs for by way of those between. @throws `damaged` for what is no keyring of one */
function laterKey(keys: VerifyingKeys, bytes: Uint8Array): Buffer {
  let place: Pick<Keyring, 'root' | 'roots'> | null;
  try {
    place = decodeKeyring(bytes).keyring;
  } catch (cause) {
    if (!isVaultError(cause, 'unsupported')) throw cause;
    place = placeOfNewer(bytes);
    if (place === null)
      throw new VaultError('damaged', "A keyring is not signed with the vault's key.", { cause });
  }
  return verificationOf(keys, place);
}

/** Comes first: whoever can create objects can say of one that it is of a newer version, and stop those who believe it. */
function requireSignature(keys: Verification, kind: Kind, object: SignedObject): void {
  if (!isSigned(keys, kind, object)) {
    throw new VaultError('damaged', `${WHAT[kind]} is not signed with the vault's key.`);
  }
}

function requireVault(keys: VerifyingKeys, vaultId: string, kind: Kind): void {
  if (vaultId !== keys.vaultId) throw new VaultError('damaged', `${WHAT[kind]} is another vault's.`);
}

/** What readers would refuse must not be stored: they are asked first. */
function proven(object: Buffer, kind: Kind, read: () => unknown): Buffer {
  try {
    read();
    return object;
  } catch (cause) {
    if (!isVaultError(cause)) throw cause;
    throw invalidInput(`${WHAT[kind]} cannot be written so: ${cause.message}`, cause);
  }
}
