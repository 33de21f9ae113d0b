/** Locks in clouds, by the command: what a thief can take away, and how it comes back by what docs/retention.md says. */
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import {
  DeleteObjectCommand,
  ListObjectVersionsCommand,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { startGcsServer } from '../support/gcs-server.ts';
import type { GcsServer } from '../support/gcs-server.ts';
import { stubAwsEnvironment } from '../support/s3-bucket.ts';
import { EXAMPLE_CREDENTIALS, startS3Server } from '../support/s3-server.ts';
import type { S3Server } from '../support/s3-server.ts';
import { sandbox } from './run.ts';
import type { Ended, Sandbox } from './run.ts';

const AWS = {
  AWS_ACCESS_KEY_ID: EXAMPLE_CREDENTIALS.accessKeyId,
  AWS_SECRET_ACCESS_KEY: EXAMPLE_CREDENTIALS.secretAccessKey,
  AWS_EC2_METADATA_DISABLED: 'true',
  AWS_REGION: 'us-east-1',
};
const BYTES = randomBytes(150_000);
const DAY_MS = 86_400_000;

beforeAll(stubAwsEnvironment);
afterAll(() => {
  vi.unstubAllEnvs();
});

/** `aws s3api`, as far as it is needed. */
function s3Tool({ url }: S3Server, bucket: string) {
  const client = new S3Client({ endpoint: url, forcePathStyle: true, region: 'us-east-1', maxAttempts: 1 });
  const list = async () => client.send(new ListObjectVersionsCommand({ Bucket: bucket }));
  return {
    list,
    /** @returns whether it was done */
    remove: async (key: string | undefined, version?: string): Promise<boolean> => {
      const command = new DeleteObjectCommand({ Bucket: bucket, Key: key ?? '', VersionId: version });
      return client.send(command).then(
        () => true,
        (error: unknown) => {
          expect(error).toMatchObject({ name: 'AccessDenied' });
          return false;
        },
      );
    },
    put: async (key: string, body: Buffer) =>
      client.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: body })),
    close: () => client.destroy(),
  };
}

describe('with S3 Object Lock', () => {
  let box: Sandbox;
  let server: S3Server;
  const run = (...args: readonly string[]): Promise<Ended> => box.run(args, { env: AWS });
  const urlOf = (bucket: string): string => `s3://${bucket}?region=us-east-1&endpoint=${server.url}`;

  beforeAll(async () => {
    [box, server] = await Promise.all([
      sandbox(),
      startS3Server({ buckets: ['one', 'two'], settings: { objectLock: true } }),
    ]);
    await box.makeVault({ urls: [urlOf('one'), urlOf('two')] });
    await writeFile(box.at('a'), BYTES);
    await writeFile(box.at('b'), randomBytes(100_000));
  });
  afterAll(async () => {
    await box[Symbol.asyncDispose]();
    await server.close();
  });

  test('put, verify, rm and sweep say what is locked, and until when', async () => {
    const put = await run('put', 'a', '--retain', '30d', '--json');
    expect(put.exit).toBe(0);
    const { retainedUntil }: { retainedUntil: string } = JSON.parse(put.stdout);
    expect(Math.abs(Date.parse(retainedUntil) - Date.now() - 30 * DAY_MS)).toBeLessThan(60_000);
    await run('put', 'b');
    const verified = await run('verify', '--locks', '--json');
    expect(JSON.parse(verified.stdout)).toMatchObject({
      outcome: 'whole',
      // Of both files a shard and a manifest, of all keyring and marker; only the one file's are locked.
      buckets: [1, 2].map(() => ({
        retention: {
          lock: 'governance',
          versioning: true,
          everySeconds: null,
          objects: 6,
          locked: 4,
          firstLockEnds: retainedUntil,
        },
      })),
    });
    expect((await run('verify', 'a', '--locks')).stdout).toMatch(
      /s3:\/\/one\S* can lock objects \(governance\), keeps older versions; of 4 objects that files need, 4 locked, the first until 20\d\d-/,
    );
    const removed = await run('rm', 'a', '--now', '--json');
    expect(removed.exit).toBe(3);
    expect(removed.stderr).toMatch(/Not all of it is gone\. 3 objects are locked until 20\d\d-/);
    // They can be seen still: nothing was hidden.
    expect([...server.objects('one').keys()].filter((key) => key.startsWith('chunks/')).length).toBe(2);
    const repaired = await run('repair', '--retain', '60d', '--json');
    expect(JSON.parse(repaired.stdout)).toMatchObject({
      retention: { extended: 8, failed: 0, enough: true },
    });
  });

  test('a thief hides everything and destroys what is not locked; older versions bring the rest back', async () => {
    await run('put', 'a', '--name', 'again', '--retain', '30d');
    for (const bucket of ['one', 'two']) {
      const tool = s3Tool(server, bucket);
      const { Versions = [] } = await tool.list();
      const destroyed = await Promise.all(Versions.map(({ Key, VersionId }) => tool.remove(Key, VersionId)));
      expect(new Set(destroyed)).toEqual(new Set([true, false]));
      for (const key of server.objects(bucket).keys()) {
        if (key.startsWith('manifests/')) await tool.put(key, Buffer.from('nothing of yours'));
        expect(await tool.remove(key)).toBe(true);
      }
      expect(server.objects(bucket).size).toBe(0);
      tool.close();
    }
    expect((await run('recover', '--db', box.at('none.db'), '--bucket', urlOf('one'))).exit).toBe(10);
    for (const bucket of ['one', 'two']) {
      const tool = s3Tool(server, bucket);
      const { DeleteMarkers = [] } = await tool.list();
      for (const { Key, VersionId } of DeleteMarkers) await tool.remove(Key, VersionId);
      // Of what is written only once the oldest version is the right one; the newest of each come first.
      const { Versions = [] } = await tool.list();
      for (const versions of Map.groupBy(Versions, ({ Key }) => Key).values())
        for (const { Key, VersionId } of versions.slice(0, -1)) await tool.remove(Key, VersionId);
      tool.close();
    }
    const db = box.at('new.db');
    expect((await run('recover', '--db', db, '--bucket', urlOf('one'), '--bucket', urlOf('two'))).exit).toBe(
      0,
    );
    await run('get', 'again', '--db', db, '-o', 'out');
    expect((await readFile(box.at('out'))).equals(BYTES)).toBe(true);
  });
});

describe('with Google Cloud Storage', () => {
  let box: Sandbox;
  let server: GcsServer;
  const run = (...args: readonly string[]): Promise<Ended> => box.run(args);
  const url = (): string => `gs://bucket?endpoint=${server.url}`;
  const api = async (path: string, method = 'GET'): Promise<Record<string, unknown>> => {
    const answer = await fetch(`${server.url}/storage/v1/b/bucket/o${path}`, { method });
    const text = await answer.text();
    return text === '' ? {} : JSON.parse(text);
  };

  beforeAll(async () => {
    [box, server] = await Promise.all([sandbox(), startGcsServer({ settings: { softDelete: 604_800 } })]);
    await box.makeVault({ urls: [url()] });
    await writeFile(box.at('a'), BYTES);
  });
  afterAll(async () => {
    await box[Symbol.asyncDispose]();
    await server.close();
  });

  test('a lock that no bucket can make is refused, and nothing is stored', async () => {
    const before = server.objects('bucket').size;
    const { exit, stderr } = await run('put', 'a', '--retain', '30d');
    expect(exit).toBe(2);
    expect(stderr).toMatch(
      /Nothing was stored or locked, since no bucket can keep objects from being removed\. gs:\/\/bucket\S* cannot lock/,
    );
    expect(server.objects('bucket').size).toBe(before);
  });

  test('what a thief removed is restored from soft delete', async () => {
    await run('put', 'a');
    for (const name of server.objects('bucket').keys()) await api(`/${encodeURIComponent(name)}`, 'DELETE');
    expect(server.objects('bucket').size).toBe(0);
    const { items } = await api('?softDeleted=true');
    for (const item of Array.isArray(items) ? items : []) {
      const { name, generation }: { name: string; generation: string } = item;
      await api(`/${encodeURIComponent(name)}/restore?generation=${generation}`, 'POST');
    }
    const db = box.at('new.db');
    expect((await run('recover', '--db', db, '--bucket', url())).exit).toBe(0);
    await run('get', 'a', '--db', db, '-o', 'out');
    expect((await readFile(box.at('out'))).equals(BYTES)).toBe(true);
  });
});
