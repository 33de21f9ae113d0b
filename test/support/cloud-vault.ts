import { createVault } from '../../src/compose.ts';
import type { Vault } from '../../src/vault/vault.ts';
import { streamSource } from '../../src/vault/write/source.ts';
import { startGcsServer } from './gcs-server.ts';
import type { GcsServer } from './gcs-server.ts';
import { stubAwsEnvironment } from './s3-bucket.ts';
import { startS3Server } from './s3-server.ts';
import type { S3Server } from './s3-server.ts';
import { writeServiceAccount } from './service-account.ts';
import { temporaryFolder } from './temporary-folder.ts';
import type { TemporaryFolder } from './temporary-folder.ts';

/** A vault with a bucket of each cloud and a folder, which any two of give everything back. */
export interface CloudVault extends AsyncDisposable {
  readonly vault: Vault;
  readonly gcs: GcsServer;
  readonly s3: S3Server;
  /** URLs of the buckets. */
  readonly buckets: { readonly gcs: string; readonly s3: string; readonly folder: string };
  readonly folder: TemporaryFolder;
  readonly db: string;
  readonly password: string;
  /** Stores a file. */
  put(name: string, bytes: Uint8Array): Promise<string>;
}

/** Credentials of AWS are stubbed: `vi.unstubAllEnvs` undoes that. */
export async function cloudVault(): Promise<CloudVault> {
  stubAwsEnvironment();
  const [gcs, s3, folder] = await Promise.all([startGcsServer(), startS3Server(), temporaryFolder()]);
  const key = await writeServiceAccount(folder.at('key.json'));
  const urls = {
    gcs: `gs://bucket/vault?endpoint=${gcs.url}&credentialsFile=${key}`,
    s3: `s3://bucket/vault?endpoint=${s3.url}`,
    folder: folder.at('bucket'),
  };
  const password = 'correct horse battery staple';
  const location = {
    db: folder.at('catalog.db'),
    password: () => Promise.resolve(password),
    baseFolder: folder.path,
  };
  const vault = await createVault({
    ...location,
    buckets: Object.values(urls),
    redundancy: null,
    chunkSize: 64 * 1024,
  });
  const [first, second, third] = vault.buckets.map(({ url }) => url);
  return {
    vault,
    gcs,
    s3,
    buckets: { gcs: first ?? '', s3: second ?? '', folder: third ?? '' },
    folder,
    db: location.db,
    password,
    async put(name, bytes) {
      const source = streamSource(ReadableStream.from([bytes]), name);
      return (await vault.put(source, { name })).hash;
    },
    async [Symbol.asyncDispose]() {
      await vault.close();
      await Promise.all([gcs.close(), s3.close()]);
      await folder[Symbol.asyncDispose]();
    },
  };
}
