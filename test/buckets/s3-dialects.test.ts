import { afterAll, beforeAll, vi } from 'vitest';
import { freshS3, stubAwsEnvironment } from '../support/s3-bucket.ts';
import type { S3Dialect } from '../support/s3-objects.ts';
import { bucketConformance } from './conformance.ts';

beforeAll(stubAwsEnvironment);
afterAll(() => {
  vi.unstubAllEnvs();
});

function conformance(name: string, dialect: Partial<S3Dialect>, overwrites?: string): void {
  bucketConformance(name, async () => freshS3({ dialect }), {
    manyNames: 1001,
    ...(overwrites !== undefined && { overwrites }),
  });
}

// Each is put together from what services that speak S3's protocol have been seen to lack.
conformance('s3 that refuses checksum headers and aws-chunked bodies, and ignores start-after', {
  checksums: 'rejected',
  awsChunked: 'rejected',
  ignoredInLists: ['start-after'],
});
conformance(
  's3 that refuses checksum headers and conditional puts',
  { checksums: 'rejected', conditionalPuts: 'rejected' },
  'the service has no conditional put',
);
conformance(
  's3 that ignores checksums and conditional puts, encrypts with KMS, and does not encode listed names',
  { checksums: 'ignored', conditionalPuts: 'ignored', etags: 'kms', ignoredInLists: ['encoding-type'] },
  'the service has no conditional put',
);
