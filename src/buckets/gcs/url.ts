import { VaultError } from '../../errors.ts';
import { cloudUrl, parseCloudUrl } from '../cloud-url.ts';
import type { CloudPlace } from '../cloud-url.ts';

export interface GcsLocation extends Pick<CloudPlace, 'bucket' | 'prefix' | 'endpoint' | 'sendCredentials'> {
  readonly kind: 'gcs';
  readonly url: string;
}

/** `gs://name/prefix?endpoint=&credentials=send`. @throws `invalid-input` */
export function parseGcsUrl(text: string): GcsLocation {
  const parsed = parseCloudUrl('gs', text);
  const { bucket, prefix, endpoint, sendCredentials, place } = parsed;
  checkBucketName(bucket, place);
  return { kind: 'gcs', url: cloudUrl(parsed), bucket, prefix, endpoint, sendCredentials };
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
