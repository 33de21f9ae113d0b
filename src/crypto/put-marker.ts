/**
 * The marker of a running put: sealed by its writer, opened by whoever sweeps. FORMAT.md, "Put markers".
 */
import { randomBytes } from 'node:crypto';
import { invalidInput, isVaultError, VaultError } from '../errors.ts';
import { padBody, unpadBody } from '../format/chunk.ts';
import { SALT_SIZE } from '../format/keyring.ts';
import {
  decodePutMarker,
  decodePutMarkerObject,
  encodePutMarker,
  encodePutMarkerHeader,
} from '../format/removal.ts';
import { keysUnder, requireFull, type VaultKeys, type WriterKeys } from './keys.ts';
import { committedKey, isCommitment, openOnce, sealOnce, type CommittedKey } from './sealing.ts';

/**
 * The object of a put's marker.
 *
 * @param ids chunk ids that the put uses so far, 64 hex digits each, at most 100,000
 * @param fixed salt of 32 bytes, for test vectors only; drawn when absent
 * @throws `invalid-input` if there are too many ids, or one is none
 */
export function sealPutMarker(
  keys: VaultKeys,
  ids: readonly string[],
  fixed?: { readonly salt: Buffer },
): Buffer {
  const json = encodePutMarker(keys.vaultId, ids);
  try {
    decodePutMarker(json);
  } catch (cause) {
    if (!isVaultError(cause)) throw cause;
    throw invalidInput(`A put's marker cannot be written so: ${cause.message}`, cause);
  }
  const salt = fixed?.salt ?? randomBytes(SALT_SIZE);
  const key = markerKey(keys.writer, salt);
  const header = encodePutMarkerHeader({
    rootNumber: keys.rootNumber,
    writer: keys.writer.id,
    salt,
    commitment: key.commitment,
  });
  return Buffer.concat([header, sealOnce(key.key, header, padBody(json))]);
}

/**
 * What a put's marker says.
 *
 * @param keys of a full keyslot
 * @throws `damaged` if it is none of this vault, or was changed; `unsupported` for another version of the format or a root that
 *   is not known; `invalid-input` if the keys are a put keyslot's
 */
export function openPutMarker(
  keys: VaultKeys,
  bytes: Uint8Array,
): { readonly writer: string; readonly ids: readonly string[] } {
  const full = requireFull(keys, 'reading the markers of running puts');
  const object = decodePutMarkerObject(bytes);
  if (keysUnder(keys, object.rootNumber) === null) {
    throw new VaultError('unsupported', `A put's marker is sealed under root ${object.rootNumber}.`);
  }
  const key = markerKey(full.writer(object.writer), object.salt);
  if (object.rootNumber !== full.rootOf(object.writer)) {
    throw new VaultError('damaged', "A put's marker is sealed under another root than its writer has.");
  }
  if (!isCommitment(object.commitment, key.commitment)) {
    throw new VaultError('damaged', "A put's marker was sealed with another key.");
  }
  const payload = openOnce(key.key, object.header, object.sealed);
  if (payload === null) throw new VaultError('damaged', "A put's marker does not open with its key.");
  const { vaultId, ids } = decodePutMarker(unpadBody(payload));
  if (vaultId !== keys.vaultId) throw new VaultError('damaged', "A put's marker is another vault's.");
  return { writer: object.writer, ids };
}

function markerKey(writer: Pick<WriterKeys, 'markers'>, salt: Uint8Array): CommittedKey {
  return committedKey(writer.markers, salt, 'vault/2 put marker');
}
