/**
 * A bucket's marker: what makes a place a bucket of a vault. FORMAT.md, "Bucket marker".
 */
import { encodeStrictJson, FORMAT, readStrictJson } from './json.ts';

/** The marker's object name. */
export const MARKER_NAME = 'vault.json';
/** Bytes of a vault's, a bucket's or a writer's id; in text 32 hex digits. */
export const ID_SIZE = 16;

export interface Marker {
  /** 32 hex digits. */
  readonly vaultId: string;
  /** 32 hex digits. */
  readonly bucketId: string;
}

export function encodeMarker(marker: Marker): Buffer {
  return encodeStrictJson({ format: FORMAT, vault: marker.vaultId, bucket: marker.bucketId });
}

/** @throws `damaged` if the bytes are not a marker; `unsupported` for another version of the format */
export function decodeMarker(bytes: Uint8Array): Marker {
  return readStrictJson(bytes, `A bucket's ${MARKER_NAME}`, (fields) => ({
    vaultId: fields.hex('vault', ID_SIZE),
    bucketId: fields.hex('bucket', ID_SIZE),
  }));
}
