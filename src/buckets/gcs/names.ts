import { Buffer } from 'node:buffer';
import { VaultError } from '../../errors.ts';

// The service allows names of 1,024 bytes, of which what callers call a name takes up to 255.
const MAX_PREFIX_SIZE = 769;

/** An object's full name as one segment of a path; the API wants more escaped than encodeURIComponent escapes. */
export function encodeName(name: string): string {
  return encodeURIComponent(name).replaceAll(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/** https://cloud.google.com/storage/docs/buckets#naming, as far as it can be told without asking. */
export function checkBucketName(bucket: string, label: string): void {
  const parts = bucket.split('.');
  if (
    /^[a-z0-9][a-z0-9._-]*[a-z0-9]$/.test(bucket) &&
    bucket.length >= 3 &&
    bucket.length <= (parts.length === 1 ? 63 : 222) &&
    parts.every((part) => part.length >= 1 && part.length <= 63) &&
    !/^\d+\.\d+\.\d+\.\d+$/.test(bucket) &&
    !bucket.startsWith('goog')
  ) {
    return;
  }
  throw new VaultError(
    'invalid-input',
    `${label}: ${JSON.stringify(bucket)} cannot be the name of a Google Cloud Storage bucket. Those have 3 to 63 of ` +
      'a-z, 0-9, "-", "_" and ".", begin and end with a letter or digit, and do not begin with "goog".',
  );
}

/** What the names of all objects in a folder start with. */
export function objectPrefix(folder: string, label: string): string {
  const trimmed = folder.replaceAll(/^\/+|\/+$/g, '');
  if (trimmed === '') return '';
  const prefix = `${trimmed}/`;
  if (/\p{Cc}|\p{Cs}/u.test(prefix) || Buffer.byteLength(prefix) > MAX_PREFIX_SIZE) {
    throw new VaultError(
      'invalid-input',
      `${label}: the folder in the bucket must be at most ${MAX_PREFIX_SIZE - 1} bytes without control characters.`,
    );
  }
  return prefix;
}

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
    `${label}: the endpoint must be a URL such as https://storage.example.com, without credentials or a query.`,
  );
}
