import { invalidInput } from '../../errors.ts';
import { CLOUD_OPTIONS, cloudOptionsOf, cloudUrl, fileOption, parseCloudUrl } from '../cloud-url.ts';
import type { CloudOptions, CloudPlace } from '../cloud-url.ts';

/** The options of a `gs://` URL beside those of every cloud's; null for what is not given. */
export interface GcsOptions extends CloudOptions {
  /** The project that is billed for the requests, where the bucket's owner does not pay for them. */
  readonly userProject: string | null;
  /** Key file that alone gives the credentials; null: those of the environment. */
  readonly credentialsFile: string | null;
}

export interface GcsLocation
  extends Pick<CloudPlace, 'bucket' | 'prefix' | 'endpoint' | 'sendCredentials'>, GcsOptions {
  readonly kind: 'gcs';
  readonly url: string;
}

const OPTIONS = ['userProject', 'credentialsFile', ...CLOUD_OPTIONS];

/** Those of `predefinedAcl` that show nothing to the public, nor to everybody with an account. */
const ACLS = ['private', 'projectPrivate', 'bucketOwnerRead', 'bucketOwnerFullControl'];

/** `gs://name/prefix?endpoint=&credentials=send` and `OPTIONS`. @throws `invalid-input` */
export function parseGcsUrl(text: string): GcsLocation {
  const parsed = parseCloudUrl('gs', text, OPTIONS);
  const { bucket, prefix, endpoint, sendCredentials, place, parameters } = parsed;
  checkBucketName(bucket, place);
  const userProject = parameters.get('userProject') ?? null;
  if (userProject !== null && !/^[a-z0-9.:-]{4,63}$/.test(userProject)) {
    throw invalidInput(`${place}: userProject is the ID of a project, like acme-backups.`);
  }
  const options: GcsOptions = {
    ...cloudOptionsOf(parsed, {
      kmsKey: /^projects\/[\w.:-]+\/locations\/[\w-]+\/keyRings\/[\w-]+\/cryptoKeys\/[\w-]+$/,
      kmsExample: 'projects/P/locations/L/keyRings/R/cryptoKeys/K',
      acls: ACLS,
    }),
    userProject,
    credentialsFile: fileOption(parameters, 'credentialsFile', place),
  };
  const url = cloudUrl(parsed, { ...options });
  return { kind: 'gcs', url, bucket, prefix, endpoint, sendCredentials, ...options };
}

/** https://cloud.google.com/storage/docs/buckets#naming, as far as it can be told without asking. */
function checkBucketName(bucket: string, label: string): void {
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
  throw invalidInput(
    `${label}: ${JSON.stringify(bucket)} cannot be the name of a Google Cloud Storage bucket. Those have 3 to 63 of ` +
      'a-z, 0-9, "-", "_" and ".", begin and end with a letter or digit, and do not begin with "goog".',
  );
}
