import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';

/**
 * How an upload's bytes are proved to have arrived.
 *
 * - `auto`    starts with `crc32`; a service that refuses the header or does not acknowledge it gets `md5`
 * - `crc32`   `x-amz-checksum-crc32`, stored with the object and acknowledged
 * - `md5`     `Content-MD5`, and the acknowledged ETag compared; every service knows it, but MD5 is slow
 * - `sha256`  only the body's SHA-256 in the signature; for a service whose ETag is no MD5 either
 */
export type S3Checksum = 'auto' | 'crc32' | 'md5' | 'sha256';

/** All values of `S3Checksum`, for whoever parses one. */
export const S3_CHECKSUMS: readonly S3Checksum[] = ['auto', 'crc32', 'md5', 'sha256'];

/** What one upload carries. */
export type SentChecksum = Exclude<S3Checksum, 'auto'>;

/** The parts of a service's answer to an upload that depend on the bytes. */
export interface Acknowledgement {
  readonly ChecksumCRC32?: string | undefined;
  readonly ETag?: string | undefined;
  readonly ServerSideEncryption?: string | undefined;
  readonly SSECustomerAlgorithm?: string | undefined;
}

/** CRC-32 as S3 writes it: base64 of four bytes, the highest first. */
export function crc32Base64(bytes: Uint8Array): string {
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32BE(crc32(bytes));
  return checksum.toString('base64');
}

export function md5(bytes: Uint8Array): Buffer {
  return createHash('md5').update(bytes).digest();
}

export function sha256Hex(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/**
 * What a service's success says about the bytes that it has.
 *
 * @param answer to an upload of `body` that carried `sent`
 * @returns `same-bytes`; `other-bytes`; `same-bytes-by-etag`: so says the ETag, while the checksum that was sent was
 *   not acknowledged; `nothing`: the answer would be the same for any bytes
 */
export function acknowledgedBytes(
  answer: Acknowledgement,
  body: Uint8Array,
  sent: SentChecksum,
): 'same-bytes' | 'same-bytes-by-etag' | 'other-bytes' | 'nothing' {
  // The hash is part of the signed request: a service that has other bytes must refuse it.
  if (sent === 'sha256') return 'same-bytes';
  if (sent === 'crc32' && answer.ChecksumCRC32 !== undefined) {
    return answer.ChecksumCRC32 === crc32Base64(body) ? 'same-bytes' : 'other-bytes';
  }
  const etag = answer.ETag?.replaceAll('"', '').toLowerCase() ?? '';
  // API reference, "Common response headers": the ETag is the MD5 of the bytes, unless the object is encrypted
  // with keys of KMS or of the customer.
  const isMd5 =
    /^[0-9a-f]{32}$/.test(etag) &&
    !(answer.ServerSideEncryption ?? '').startsWith('aws:kms') &&
    answer.SSECustomerAlgorithm === undefined;
  const isEqual = isMd5 && etag === md5(body).toString('hex');
  if (sent === 'crc32') return isEqual ? 'same-bytes-by-etag' : 'nothing';
  // Without a comparable ETag: a service that has other bytes than Content-MD5 says must answer BadDigest.
  return isEqual || !isMd5 ? 'same-bytes' : 'other-bytes';
}
