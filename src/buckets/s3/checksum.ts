import { createHash } from 'node:crypto';
import { crc32c } from '@node-rs/crc32';
import type { S3Checksum } from './url.ts';

export interface SentChecksum {
  readonly kind: Exclude<S3Checksum, 'auto'>;
  /** As its header has it: base64, but hex for SHA-256. */
  readonly value: string;
}

/** The parts of a service's answer to an upload that depend on the bytes. */
export interface Acknowledgement {
  readonly ChecksumCRC32C?: string | undefined;
  readonly ETag?: string | undefined;
  readonly ServerSideEncryption?: string | undefined;
  readonly SSECustomerAlgorithm?: string | undefined;
}

/** CRC-32C as S3 writes it: base64 of four bytes, the highest first. */
export function crc32cBase64(bytes: Uint8Array): string {
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32BE(crc32c(bytes));
  return checksum.toString('base64');
}

function md5(bytes: Uint8Array): Buffer {
  return createHash('md5').update(bytes).digest();
}

export function sha256Hex(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

export function checksumOf(body: Uint8Array, kind: SentChecksum['kind']): SentChecksum {
  switch (kind) {
    case 'crc32c':
      return { kind, value: crc32cBase64(body) };
    case 'md5':
      return { kind, value: md5(body).toString('base64') };
    case 'sha256':
      return { kind, value: sha256Hex(body) };
  }
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
  if (sent.kind === 'sha256') return 'same-bytes';
  if (sent.kind === 'crc32c' && answer.ChecksumCRC32C !== undefined) {
    return answer.ChecksumCRC32C === sent.value ? 'same-bytes' : 'other-bytes';
  }
  const etag = answer.ETag?.replaceAll('"', '').toLowerCase() ?? '';
  // API reference, "Common response headers": the ETag is the MD5 of the bytes, unless the object is encrypted
  // with keys of KMS or of the customer.
  const isMd5 =
    /^[0-9a-f]{32}$/.test(etag) &&
    !(answer.ServerSideEncryption ?? '').startsWith('aws:kms') &&
    answer.SSECustomerAlgorithm === undefined;
  if (sent.kind === 'crc32c') {
    return isMd5 && etag === md5(body).toString('hex') ? 'same-bytes-by-etag' : 'nothing';
  }
  // Without a comparable ETag: a service that has other bytes than Content-MD5 says must answer BadDigest.
  const isEqual = etag === Buffer.from(sent.value, 'base64').toString('hex');
  return isEqual || !isMd5 ? 'same-bytes' : 'other-bytes';
}
