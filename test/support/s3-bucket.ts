import { vi } from 'vitest';
import type { Bucket } from '../../src/buckets/bucket.ts';
import { openS3Bucket } from '../../src/buckets/s3/driver.ts';
import type { S3BucketOptions } from '../../src/buckets/s3/options.ts';
import { systemClock } from '../../src/host.ts';
import type { BucketUnderTest } from '../buckets/conformance.ts';
import { EXAMPLE_CREDENTIALS, startS3Server } from './s3-server.ts';
import type { S3Server } from './s3-server.ts';

/**
 * Makes the environment one in which the AWS tools find the credentials of the test server, and nothing of the
 * machine's own. Undone by `vi.unstubAllEnvs`.
 */
export function stubAwsEnvironment(): void {
  const variables: Readonly<Record<string, string | undefined>> = {
    AWS_ACCESS_KEY_ID: EXAMPLE_CREDENTIALS.accessKeyId,
    AWS_SECRET_ACCESS_KEY: EXAMPLE_CREDENTIALS.secretAccessKey,
    AWS_SESSION_TOKEN: undefined,
    AWS_PROFILE: undefined,
    AWS_REGION: undefined,
    AWS_DEFAULT_REGION: undefined,
    AWS_ENDPOINT_URL: undefined,
    AWS_ENDPOINT_URL_S3: undefined,
    AWS_CONFIG_FILE: '/nonexistent',
    AWS_SHARED_CREDENTIALS_FILE: '/nonexistent',
    AWS_EC2_METADATA_DISABLED: 'true',
    // None of these may make the driver try again, or send other checksums.
    AWS_MAX_ATTEMPTS: '5',
    AWS_RETRY_MODE: 'adaptive',
    AWS_REQUEST_CHECKSUM_CALCULATION: 'WHEN_SUPPORTED',
    AWS_RESPONSE_CHECKSUM_VALIDATION: 'WHEN_SUPPORTED',
  };
  for (const [name, value] of Object.entries(variables)) vi.stubEnv(name, value);
}

/** Opens the bucket `bucket` of a test server. */
export async function openTestBucket(
  server: S3Server,
  options: Partial<S3BucketOptions> = {},
): Promise<Bucket> {
  return await openS3Bucket({
    bucket: 'bucket',
    prefix: 'backups/vault',
    region: null,
    endpoint: server.url,
    sendCredentials: false,
    profile: null,
    forcePathStyle: null,
    label: 's3://bucket/backups/vault',
    ...options,
  });
}

/** The same with Object Lock. */
export async function freshLockingS3(): Promise<BucketUnderTest> {
  const server = await startS3Server({ settings: { objectLock: true } });
  const clock = { ...systemClock, now: () => Date.now() + server.locksAheadMs };
  return {
    bucket: await openTestBucket(server, { clock }),
    reopen: async () => await openTestBucket(server, { clock }),
    openMissing: null,
    passTime: (ms) => {
      server.locksAheadMs = ms;
    },
    cleanUp: async () => {
      await server.close();
    },
  };
}

/** A bucket on a test server of its own, for the suite of the contract. */
export async function freshS3(options?: Parameters<typeof startS3Server>[0]): Promise<BucketUnderTest> {
  const server = await startS3Server(options);
  return {
    bucket: await openTestBucket(server),
    reopen: async () => await openTestBucket(server),
    openMissing: async () => await openTestBucket(server, { bucket: 'missing' }),
    passTime: (ms) => {
      server.clockOffsetMs = ms;
    },
    cleanUp: async () => {
      await server.close();
    },
  };
}
