import { invalidInput } from '../../errors.ts';
import { CLOUD_OPTIONS, cloudOptionsOf, cloudUrl, parseCloudUrl } from '../cloud-url.ts';
import type { CloudOptions, CloudPlace } from '../cloud-url.ts';

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

export interface S3Location
  extends Pick<CloudPlace, 'bucket' | 'prefix' | 'endpoint' | 'sendCredentials'>, CloudOptions {
  readonly kind: 's3';
  readonly url: string;
  readonly region: string | null;
  /** Section of the AWS configuration that has the credentials; null: those of the environment. */
  readonly profile: string | null;
  /** Whether the bucket is named in the path of requests; null: as the kind of server suggests. */
  readonly forcePathStyle: boolean | null;
  readonly checksum: S3Checksum;
  /** Whether the owner of the credentials pays for the requests, and not the bucket's. */
  readonly requesterPays: boolean;
}

const OPTIONS = ['region', 'profile', 'forcePathStyle', 'checksum', 'requesterPays', ...CLOUD_OPTIONS];

/** The canned ACLs that show nothing to the public, nor to everybody with an account. */
const ACLS = ['private', 'bucket-owner-read', 'bucket-owner-full-control', 'aws-exec-read'];

/** Classes whose objects must be restored before they can be read. */
const FROZEN = new Set(['GLACIER', 'DEEP_ARCHIVE']);

/**
 * `s3://name/prefix?endpoint=&credentials=send` and `OPTIONS`.
 *
 * @throws `invalid-input`
 */
export function parseS3Url(text: string): S3Location {
  const parsed = parseCloudUrl('s3', text, OPTIONS);
  const { bucket, prefix, endpoint, sendCredentials, place, parameters } = parsed;
  checkBucketName(bucket, endpoint, place);
  const region = parameters.get('region') ?? null;
  if (region !== null && !/^[A-Za-z0-9-]{1,63}$/.test(region)) {
    throw invalidInput(
      `${place}: ${JSON.stringify(region)} cannot be a region. They are written like eu-central-1.`,
    );
  }
  const profile = parameters.get('profile') ?? null;
  if (profile !== null && !/^[\w.@:+=,/-]{1,128}$/.test(profile)) {
    throw invalidInput(
      `${place}: ${JSON.stringify(profile)} cannot be a profile. It is the name of a section in ~/.aws/credentials or ~/.aws/config.`,
    );
  }
  const pathStyle = parameters.get('forcePathStyle') ?? null;
  if (pathStyle !== null && pathStyle !== 'true' && pathStyle !== 'false') {
    throw invalidInput(`${place}: forcePathStyle is either true or false.`);
  }
  const wanted = parameters.get('checksum') ?? 'auto';
  const checksum = S3_CHECKSUMS.find((known) => known === wanted);
  if (checksum === undefined) throw invalidInput(`${place}: checksum is one of ${S3_CHECKSUMS.join(', ')}.`);
  const pays = parameters.get('requesterPays') ?? null;
  if (pays !== null && pays !== 'true') throw invalidInput(`${place}: requesterPays is true, or left out.`);
  const options = cloudOptionsOf(parsed, {
    kmsKey: /^[\w:/+=,.@-]{1,2048}$/,
    kmsExample: 'arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab',
    acls: ACLS,
  });
  if (options.storageClass !== null && FROZEN.has(options.storageClass)) {
    throw invalidInput(
      `${place}: what is in ${options.storageClass} cannot be read at once. GLACIER_IR can.`,
    );
  }
  return {
    kind: 's3',
    url: cloudUrl(parsed, {
      region,
      profile,
      forcePathStyle: pathStyle,
      checksum: checksum === 'auto' ? null : checksum,
      requesterPays: pays,
      ...options,
    }),
    ...options,
    requesterPays: pays === 'true',
    bucket,
    prefix,
    region,
    endpoint,
    sendCredentials,
    profile,
    forcePathStyle: pathStyle === null ? null : pathStyle === 'true',
    checksum,
  };
}

/**
 * Refuses a bucket name that cannot be, as far as it can be told without asking.
 *
 * @param endpoint null: Amazon's rules for general purpose buckets (user guide, "Bucket naming rules"). Elsewhere
 *   older and laxer rules are in use, so that only what could not be part of a URL is refused
 * @throws `invalid-input`
 */
function checkBucketName(bucket: string, endpoint: string | null, label: string): void {
  const isAllowed =
    endpoint === null
      ? /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket) &&
        !bucket.includes('..') &&
        !/^\d+\.\d+\.\d+\.\d+$/.test(bucket)
      : /^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$/.test(bucket) && !bucket.includes('..');
  if (!isAllowed) {
    throw invalidInput(
      `${label}: ${JSON.stringify(bucket)} cannot be the name of an S3 bucket. Those have 3 to 63 of a-z, 0-9, "-" ` +
        'and ".", and begin and end with a letter or digit.',
    );
  }
  if (bucket.endsWith('--x-s3')) {
    throw invalidInput(
      `${label}: directory buckets list their objects in no order. Use a general purpose bucket.`,
    );
  }
}
