import type { Clock, Environment } from '../host.ts';
import type { Bucket } from './bucket.ts';
import { invalid } from './cloud-url.ts';
import { openFolderBucket } from './folder/driver.ts';
import { parseFileUrl, parseFolderPath } from './folder/url.ts';
import type { FolderLocation } from './folder/url.ts';
import { parseGcsUrl } from './gcs/url.ts';
import type { GcsLocation } from './gcs/url.ts';
import { limited } from './layers/limits.ts';
import type { Limits } from './layers/limits.ts';
import { DEFAULT_DEADLINE_MS, retrying } from './layers/retry.ts';
import type { RetryingOptions } from './layers/retry.ts';
import { DEFAULT_TIMEOUT_MS, timed } from './layers/timeout.ts';
import { parseS3Url } from './s3/url.ts';
import type { S3Location } from './s3/url.ts';

/** Where a bucket is. `url` is the normalised form: the same place written otherwise gives the same `url`. */
export type BucketLocation = FolderLocation | GcsLocation | S3Location;

/** Options of `openBucket`. */
export interface OpenBucketOptions {
  /** Shared by all buckets that are opened with them; without, nothing is limited. */
  readonly limits?: Limits | undefined;
  /** Milliseconds that one attempt may take, see `TimedOptions`; bounds first contact as well if given. */
  readonly timeoutMs?: number | undefined;
  /** Milliseconds for which a bucket that does not answer is tried again, also at first contact if given. */
  readonly maxWaitMs?: number | undefined;
  /** This machine's. */
  readonly clock?: Clock | undefined;
  readonly environment?: Environment | undefined;
  readonly fileThreads?: number | undefined;
  /** See `RetryingOptions`. */
  readonly onWaiting?: RetryingOptions['onWaiting'];
}

/**
 * Opens a bucket, ready for use: every attempt ends, waits for its turn, and is repeated while that makes sense.
 * Only the driver that is needed is loaded. Nothing is connected before the first operation.
 *
 * @param url as `parseBucketUrl` takes it, except for relative paths
 * @throws `invalid-input`, see `parseBucketUrl`
 */
export async function openBucket(url: string, options: OpenBucketOptions = {}): Promise<Bucket> {
  const { limits, maxWaitMs, onWaiting, clock } = options;
  // Nobody who waits for a bucket only so long waits longer for an attempt, unless told to.
  const timeoutMs =
    options.timeoutMs ?? (maxWaitMs === undefined ? undefined : Math.min(maxWaitMs, DEFAULT_TIMEOUT_MS));
  const driver = await openDriver(parseBucketUrl(url), options);
  const attempts = timed(driver, { timeoutMs, clock });
  const turns = limits === undefined ? attempts : limited(attempts, limits);
  // Whoever allows an attempt more time wants it to be repeated all the same.
  const deadlineMs = maxWaitMs ?? Math.max(DEFAULT_DEADLINE_MS, 2 * (timeoutMs ?? DEFAULT_TIMEOUT_MS));
  const bucket = retrying(turns, { deadlineMs, contactMs: maxWaitMs, onWaiting, clock });
  // Which asks nobody for anything.
  const presign = driver.presign?.bind(driver);
  return presign === undefined ? bucket : Object.assign(bucket, { presign });
}

async function openDriver(
  location: BucketLocation,
  { clock, environment, fileThreads }: OpenBucketOptions,
): Promise<Bucket> {
  switch (location.kind) {
    case 'folder':
      return openFolderBucket(location.path, { label: location.url, clock, fileThreads });
    case 'gcs': {
      const { openGcsBucket } = await import('./gcs/driver.ts');
      return await openGcsBucket({ ...location, label: location.url, clock, environment });
    }
    case 's3': {
      const { openS3Bucket } = await import('./s3/driver.ts');
      return await openS3Bucket({ ...location, label: location.url, clock });
    }
  }
}

/**
 * Understands how people write a bucket: `gs://name/prefix?endpoint=&credentials=send`,
 * `s3://name/prefix?region=&endpoint=&credentials=send&profile=&forcePathStyle=&checksum=`, `file:///path`, or a path.
 *
 * @param options `base`: absolute path of the folder that relative paths start from; without it they are refused
 * @throws `invalid-input` if it is none of these, or names a bucket that cannot exist; the message never repeats
 *   what could be a credential
 */
export function parseBucketUrl(text: string, options: { readonly base?: string } = {}): BucketLocation {
  const scheme = /^([A-Za-z][A-Za-z0-9+.-]*):\/\//.exec(text)?.[1]?.toLowerCase() ?? null;
  switch (scheme) {
    case 'gs':
      return parseGcsUrl(text);
    case 's3':
      return parseS3Url(text);
    case 'file':
      return parseFileUrl(text);
    case null:
      return parseFolderPath(text, options.base ?? null);
    default:
      throw invalid(
        `${scheme}:// is not a kind of bucket. Write gs://name/folder, s3://name/folder, file:///path, or a path.`,
      );
  }
}
