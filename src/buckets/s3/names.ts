import { VaultError } from '../../errors.ts';

/**
 * How an upload's bytes are proved to have arrived.
 *
 * - `auto`    starts with `crc32c`; a service that refuses the header or does not acknowledge it gets `md5`
 * - `crc32c`  `x-amz-checksum-crc32c`, stored with the object and acknowledged
 * - `md5`     `Content-MD5`, and the acknowledged ETag compared; every service knows it, but MD5 is slow
 * - `sha256`  only the body's SHA-256 in the signature; for a service whose ETag is no MD5 either
 */
export type S3Checksum = 'auto' | 'crc32c' | 'md5' | 'sha256';

/** All values of `S3Checksum`, for whoever parses one. */
export const S3_CHECKSUMS: readonly S3Checksum[] = ['auto', 'crc32c', 'md5', 'sha256'];

// S3 allows keys of 1,024 bytes, of which what callers call a name takes up to 255.
const MAX_ROOT_SIZE = 769;

/**
 * Refuses a bucket name that cannot be, as far as it can be told without asking.
 *
 * @param endpoint null: Amazon's rules for general purpose buckets (user guide, "Bucket naming rules"). Elsewhere
 *   older and laxer rules are in use, so that only what could not be part of a URL is refused
 * @throws `invalid-input`
 */
export function checkBucketName(bucket: string, endpoint: string | null, label: string): void {
  const isAllowed =
    endpoint === null
      ? /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket) &&
        !bucket.includes('..') &&
        !/^\d+\.\d+\.\d+\.\d+$/.test(bucket)
      : /^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$/.test(bucket) && !bucket.includes('..');
  if (!isAllowed) {
    throw new VaultError(
      'invalid-input',
      `${label}: ${JSON.stringify(bucket)} cannot be the name of an S3 bucket. Those have 3 to 63 of a-z, 0-9, "-" ` +
        'and ".", and begin and end with a letter or digit.',
    );
  }
  if (bucket.endsWith('--x-s3')) {
    throw new VaultError(
      'invalid-input',
      `${label}: directory buckets list their objects in no order. Use a general purpose bucket.`,
    );
  }
}

/**
 * Refuses an endpoint that is not the URL of a server.
 *
 * @throws `invalid-input`
 */
export function checkEndpoint(endpoint: string, label: string): void {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : null;
  if (
    url !== null &&
    (url.protocol === 'https:' || url.protocol === 'http:') &&
    url.username + url.password + url.search + url.hash === ''
  ) {
    return;
  }
  throw new VaultError(
    'invalid-input',
    `${label}: the endpoint must be a URL such as https://s3.example.com, without credentials or a query.`,
  );
}

/**
 * What the keys of all objects in a folder of the bucket start with.
 *
 * @throws `invalid-input` if no room is left for names
 */
export function keyRoot(folder: string, label: string): string {
  const trimmed = folder.replaceAll(/^\/+|\/+$/g, '');
  if (trimmed === '') return '';
  const root = `${trimmed}/`;
  if (/\p{Cc}|\p{Cs}/u.test(root) || Buffer.byteLength(root) > MAX_ROOT_SIZE) {
    throw new VaultError(
      'invalid-input',
      `${label}: the folder in the bucket must be at most ${MAX_ROOT_SIZE - 1} bytes without control characters.`,
    );
  }
  return root;
}
