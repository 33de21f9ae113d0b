import type { Clock } from '../../host.ts';
import type { CloudOptions } from '../cloud-url.ts';
import type { S3Checksum } from './url.ts';

/** What `openS3Bucket` is to open, and how. */
export interface S3BucketOptions extends Partial<CloudOptions> {
  readonly bucket: string;
  /** Folder inside the bucket, slashes at its ends or not; '' for the whole bucket. */
  readonly prefix: string;
  /** Null: as the AWS tools find it (`AWS_REGION`, the profile); behind an endpoint of one's own, us-east-1 in the end. */
  readonly region: string | null;
  /** URL of a service other than Amazon's; null: Amazon's, or what `AWS_ENDPOINT_URL` says. */
  readonly endpoint: string | null;
  /**
   * Section of the AWS configuration files that alone gives the credentials, and the region if nothing else does; null: what
   * the environment gives. So one vault can have buckets with several owners.
   */
  readonly profile: string | null;
  /** Whether an endpoint may have every credential that is found; see `openS3Client` for those that it gets otherwise. */
  readonly sendCredentials: boolean;
  /**
   * Whether the bucket is named in the path rather than in the host. Null: yes exactly if an endpoint is given,
   * since most services elsewhere have neither the DNS records nor the certificate for a host per bucket.
   */
  readonly forcePathStyle: boolean | null;
  /** What to call the bucket in messages: its URL. */
  readonly label: string;
  readonly checksum?: S3Checksum;
  /** This machine's. */
  readonly clock?: Clock | undefined;
  readonly requesterPays?: boolean;
  /** Connections at most; requests beyond it wait. Default 64. */
  readonly maxSockets?: number;
}
