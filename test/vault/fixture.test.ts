/**
 * A vault in format 2, written with `test/fixtures/make-vault-v2.ts`: every later version rebuilds its catalog, lists, reads and
 * checks it.
 */
import { createHash } from 'node:crypto';
import { cp, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { openVault, recoverVault } from '../../src/compose.ts';
import { formatRedundancy } from '../../src/format/shard.ts';
import type { Vault } from '../../src/vault/vault.ts';
import { catalogPlace, sampled } from '../support/catalog-place.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import type { TemporaryFolder } from '../support/temporary-folder.ts';
import { all, bytesSource, getBytes } from './harness.ts';

interface ExpectedFile {
  readonly name: string;
  readonly hash: string;
  readonly size: number;
  readonly sha256: string;
  readonly version: number;
  readonly createdAtMs: number;
  readonly expiresAtMs: number | null;
  readonly locked: boolean;
  readonly removed: boolean;
}

const FIXTURE = fileURLToPath(new URL('../fixtures/vault-v2/', import.meta.url));
const expected: {
  readonly password: string;
  readonly lockPassword: string;
  readonly vaultId: string;
  readonly redundancy: string;
  readonly files: readonly ExpectedFile[];
} = JSON.parse(await readFile(`${FIXTURE}expected.json`, 'utf8'));
const BUCKETS = ['bucket-1', 'bucket-2', 'bucket-3'];
const newestFirst = expected.files.toReversed();
const visible = newestFirst.filter(({ removed }) => !removed);

const lockPassword = (): Promise<string> => Promise.resolve(expected.lockPassword);

interface Recovered extends AsyncDisposable {
  readonly vault: Vault;
  readonly result: Awaited<ReturnType<typeof recoverVault>>;
}

/** A copy of the vault with a catalog made from those of its buckets, and opened. */
async function recovered(buckets: readonly string[]): Promise<Recovered> {
  await using stack = new AsyncDisposableStack();
  const folder: TemporaryFolder = stack.use(await temporaryFolder());
  for (const bucket of buckets) await cp(`${FIXTURE}${bucket}`, folder.at(bucket), { recursive: true });
  const place = stack.use(await catalogPlace());
  const at = {
    db: place.location,
    baseFolder: folder.path,
    password: () => Promise.resolve(expected.password),
  };
  const result = await recoverVault({ ...at, buckets: buckets.map((bucket) => folder.at(bucket)) });
  const vault = stack.use(await openVault(at));
  const disposal = stack.move();
  return { vault, result, [Symbol.asyncDispose]: () => disposal.disposeAsync() };
}

async function digestOf(
  vault: Vault,
  hash: string,
): Promise<{ readonly sha256: string; readonly size: number }> {
  const digest = createHash('sha256');
  const file = await vault.get(hash, { lockPassword });
  let size = 0;
  for await (const run of file.content({
    onWarning: ({ message }) => {
      throw new Error(message);
    },
  })) {
    digest.update(run);
    size += run.length;
  }
  return { sha256: digest.digest('hex'), size };
}

/** What a vault lists and what the files hold, in the form of what is expected. Removed ones are brought back for that. */
async function contents(vault: Vault): Promise<ExpectedFile[]> {
  const removed = new Set((await all(vault.list({ all: true, deleted: true }))).map(({ hash }) => hash));
  await vault.undelete([...removed]);
  const files: ExpectedFile[] = [];
  for (const file of await all(vault.list({ all: true }))) {
    const { hash, name, version, createdAtMs, expiresAtMs, locked } = file;
    const { sha256, size } = await digestOf(vault, hash);
    expect(file.size).toBe(locked ? null : size);
    const times = { createdAtMs, expiresAtMs };
    files.push({ name, hash, size, sha256, version, ...times, locked, removed: removed.has(hash) });
  }
  return files.toSorted((a, b) => b.createdAtMs - a.createdAtMs);
}

test('is rebuilt, listed and read with its buckets and the password alone', async () => {
  await using copy = await recovered(BUCKETS);
  const { vault, result } = copy;
  expect(result).toMatchObject({
    vaultId: expected.vaultId,
    learned: expected.files.length,
    hidden: 1,
    unreadableManifests: [],
    missing: [],
    unknown: [],
    unusable: [],
  });
  expect(vault.id).toBe(expected.vaultId);
  expect(formatRedundancy(vault.redundancy)).toBe(expected.redundancy);
  expect(await contents(vault)).toEqual(newestFirst);
});

test.each(sampled(BUCKETS))('is rebuilt and read without %s', async (missing) => {
  await using copy = await recovered(BUCKETS.filter((bucket) => bucket !== missing));
  expect(copy.result).toMatchObject({ unreadableManifests: [], missing: [], unusable: [{}] });
  for (const { hash, sha256, size } of visible.filter((file) => file.size < 1_000_000)) {
    expect(await digestOf(copy.vault, hash)).toEqual({ sha256, size });
  }
});

test('is found by name, the newest version, and by the beginning of a hash', async () => {
  await using copy = await recovered(BUCKETS);
  for (const { name, hash } of visible) {
    const newest = visible.find((file) => file.name === name);
    expect(await copy.vault.get(name, { lockPassword })).toMatchObject({ hash: newest?.hash });
    expect(await copy.vault.get(hash.slice(0, 12), { lockPassword })).toMatchObject({ hash });
  }
});

test('is whole when everything is read, and nothing in it is of use to nobody', async () => {
  await using copy = await recovered(BUCKETS);
  expect(await copy.vault.repair({ depth: 'data', dryRun: true })).toMatchObject({
    outcome: 'whole',
    chunksNotOpened: 1,
    shardsStored: 0,
    manifestsStored: 0,
    keyringsStored: 0,
    objectsReplaced: 0,
  });
  expect(await copy.vault.sweep({ dryRun: true })).toMatchObject({
    objectsRemoved: 0,
    foreignObjects: 0,
    blockedBy: null,
  });
});

test('takes new files, shares its chunks with them, brings back what was removed, and gives up its own', async () => {
  await using copy = await recovered(BUCKETS);
  const { vault } = copy;
  const content = await getBytes(vault, 'several chunks');
  const again = await vault.put(bytesSource(content), { name: 'a copy' });
  expect(again).toMatchObject({ chunksStored: 0, unchanged: false });
  const same = visible.find(({ name }) => name === 'several chunks');
  expect(await vault.put(bytesSource(content), { name: 'several chunks' })).toMatchObject({
    hash: same?.hash,
    unchanged: true,
  });
  await vault.undelete(['removed']);
  expect((await all(vault.list())).map(({ name }) => name)).toContain('removed');
  await vault.remove(
    newestFirst.map(({ hash }) => hash),
    { graceMs: 0 },
  );
  expect(await vault.sweep({ ignoreGrace: true })).toMatchObject({ filesRemoved: newestFirst.length });
  expect(await getBytes(vault, 'a copy')).toEqual(content);
  expect(await vault.repair({ depth: 'data' })).toMatchObject({ outcome: 'whole', shardsStored: 0 });
});
