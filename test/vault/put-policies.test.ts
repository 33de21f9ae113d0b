/** The rights that the README tells people to give to a machine that can only store: they suffice, and for nothing else. */
import { mkdir, writeFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { openBucket } from '../../src/buckets/open.ts';
import { createVault, openVault, recoverVault } from '../../src/compose.ts';
import { drawKeyText } from '../../src/crypto/keys.ts';
import type { Vault } from '../../src/vault/vault.ts';
import { startGcsServer } from '../support/gcs-server.ts';
import type { GcsServer } from '../support/gcs-server.ts';
import { blocksOf, gcsPolicy, s3Policy } from '../support/policies.ts';
import { stubAwsEnvironment } from '../support/s3-bucket.ts';
import { EXAMPLE_CREDENTIALS, startS3Server } from '../support/s3-server.ts';
import type { S3Server } from '../support/s3-server.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import type { TemporaryFolder } from '../support/temporary-folder.ts';
import { all, getBytes, putBytes } from './harness.ts';

const BODY = seededRandom(18).bytes(300_000);
const WEB = { accessKeyId: 'AKIAIOSFODNN7WEBMACHI', secretAccessKey: 'of the machine alone' };
const PASSWORD = 'correct horse battery staple';

let folder: TemporaryFolder;
let gcs: GcsServer;
let s3: S3Server;
let full: Vault;
/** What the machine was refused. */
const refused: string[] = [];

function note(call: string, allowed: boolean): boolean {
  if (!allowed) refused.push(call);
  return allowed;
}

/** URLs as they are for the full key, and as they are for the machine: the test servers know it by its profile and its project. */
function urlsFor(who: 'full' | 'web'): string[] {
  const project = who === 'web' ? '&userProject=web-machine' : '';
  return [`gs://acme-1?endpoint=${gcs.url}${project}`, `s3://acme-2?endpoint=${s3.url}&profile=${who}`];
}

beforeAll(async () => {
  folder = await temporaryFolder();
  const mayAtGcs = await gcsPolicy();
  const mayAtS3 = s3Policy((await blocksOf('json'))[0] ?? '');
  gcs = await startGcsServer({
    buckets: ['acme-1'],
    may: (permission, resource, { url }) =>
      url.searchParams.get('userProject') !== 'web-machine' ||
      note(`${permission} ${resource}`, mayAtGcs(permission, resource)),
  });
  s3 = await startS3Server({
    buckets: ['acme-2'],
    users: [{ credentials: WEB, may: (request) => note(`${request.kind} ${request.key}`, mayAtS3(request)) }],
  });
  const profiles = { full: EXAMPLE_CREDENTIALS, web: WEB };
  await writeFile(
    folder.at('credentials'),
    Object.entries(profiles)
      .map(
        ([name, { accessKeyId, secretAccessKey }]) =>
          `[${name}]\naws_access_key_id = ${accessKeyId}\naws_secret_access_key = ${secretAccessKey}\n`,
      )
      .join('\n'),
  );
  stub();
  full = await createVault({
    db: folder.at('full.db'),
    password: () => Promise.resolve(PASSWORD),
    baseFolder: folder.path,
    buckets: urlsFor('full'),
    redundancy: { k: 1, m: 1 },
    chunkSize: 64 * 1024,
  });
});

function stub(): void {
  stubAwsEnvironment();
  vi.stubEnv('AWS_ACCESS_KEY_ID', undefined);
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', undefined);
  vi.stubEnv('AWS_SHARED_CREDENTIALS_FILE', folder.at('credentials'));
}

afterEach(() => {
  refused.length = 0;
});

afterAll(async () => {
  await full.close();
  vi.unstubAllEnvs();
  await Promise.all([gcs.close(), s3.close()]);
  await folder[Symbol.asyncDispose]();
});

test('suffice for every put, and a full key sees, reads, keeps and removes what was stored', async () => {
  const secret = drawKeyText();
  await full.addKey({ secret, role: 'put', label: 'web' });
  const { hash: theirs } = await putBytes(full, BODY, { name: 'theirs' });
  const place = {
    db: folder.at('web.db'),
    password: () => Promise.resolve(secret),
    baseFolder: folder.path,
  };
  await recoverVault({ ...place, buckets: urlsFor('web') });
  const vault = await openVault(place);
  await putBytes(vault, Buffer.from('small'), { name: 'small' });
  const large = await putBytes(vault, BODY.subarray(1), { name: 'large' });
  expect(large.degraded).toBe(false);
  const again = await putBytes(vault, BODY.subarray(1), { name: 'large' });
  expect(again).toMatchObject({ hash: large.hash, unchanged: true });
  await mkdir(folder.at('data'));
  await writeFile(folder.at('data/a'), BODY.subarray(2));
  await vault.put({ root: folder.at('data') }, { name: 'data' });
  await vault.close();
  // It would take its marker away.
  expect(refused.filter((call) => !/^(delete|storage\.objects\.delete .*\/objects\/)/.test(call))).toEqual(
    [],
  );
  expect(refused.every((call) => call.includes('puts/'))).toBe(true);
  expect(await full.sync()).toMatchObject({ learned: 3 });
  expect((await getBytes(full, 'web:large')).equals(BODY.subarray(1))).toBe(true);
  expect((await getBytes(full, theirs)).equals(BODY)).toBe(true);
  expect((await full.verify({ depth: 'data' })).outcome).toBe('whole');
  await full.remove(['web:large'], { graceMs: 0 });
  await full.sweep({ waitMs: 0 });
  expect((await all(full.list())).map(({ name }) => name).toSorted((a, b) => a.localeCompare(b))).toEqual([
    'data',
    'small',
    'theirs',
  ]);
});

test('allow nothing else: not to read what is stored, to replace or remove it, or to plant what only full keys make', async () => {
  // It takes away a marker that it has kept for its next put.
  await full.close();
  const names = [...gcs.objects('acme-1').keys(), ...s3.objects('acme-2').keys()];
  const stored = names.filter((name) => /^(chunks|manifests)\//.test(name));
  expect(stored.length).toBeGreaterThan(10);
  const before = [new Map(gcs.objects('acme-1')), new Map(s3.objects('acme-2'))];
  for (const url of urlsFor('web')) {
    const bucket = await openBucket(url);
    const here = (await all(bucket.list(''))).map(({ name }) => name);
    for (const name of here.filter((one) => stored.includes(one)))
      await expect(bucket.get(name)).rejects.toMatchObject({ code: 'denied' });
    for (const name of here) {
      await expect(bucket.remove(name)).rejects.toMatchObject({ code: 'denied' });
      await expect(bucket.put(name, Buffer.from('other'), { replace: true })).rejects.toMatchObject({
        code: 'denied',
      });
      await expect(bucket.put(name, Buffer.from('other'))).rejects.toBeInstanceOf(Error);
    }
    const hash = 'ab'.repeat(32);
    const made = ['keyring/9999999999', `deleted/${hash}`, `sweep/${hash.slice(32)}`, 'clock'];
    for (const name of [...made, `shares/00000000000000.${hash.slice(32)}.page`]) {
      await expect(bucket.put(name, Buffer.from('forged'))).rejects.toMatchObject({ code: 'denied' });
    }
    await bucket.close();
  }
  expect([gcs.objects('acme-1'), s3.objects('acme-2')]).toEqual(before);
});
