import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCatalog } from '../../src/catalog/open.ts';
import { recoverCatalog } from '../../src/vault/recover/recover.ts';
import { catalogPlace } from '../support/catalog-place.ts';
import { temporaryFolder, type TemporaryFolder } from '../support/temporary-folder.ts';
import { CHUNK_SIZE, getBytes, parts, putBytes, snapshotOf, testVault } from './harness.ts';
import type { Handle, Snapshot, TestVault } from './harness.ts';

const BODY = randomBytes(5 * CHUNK_SIZE);
let made: TestVault;
let place: TemporaryFolder;
let snapshot: Snapshot;

beforeAll(async () => {
  made = await testVault();
  place = await temporaryFolder();
  await mkdir(place.at('docs'));
  for (const name of ['one', 'two']) await writeFile(place.at('docs', name), randomBytes(2 * CHUNK_SIZE));
  for (const name of ['a', 'b']) await putBytes(made.vault, BODY.subarray(name.charCodeAt(0)), { name });
  await putBytes(made.vault, randomBytes(100), { name: 'small' });
  await putBytes(made.vault, randomBytes(CHUNK_SIZE), { name: 'gone' });
  await made.vault.put({ root: place.at('docs') }, { name: 'docs' });
  await made.vault.remove(['gone']);
  await made.session.guard.end();
  snapshot = await snapshotOf(made);
});
afterAll(async () => {
  await made[Symbol.asyncDispose]();
  await place[Symbol.asyncDispose]();
});

type Verb = (vault: Handle['vault'], session: Handle['session']) => Promise<unknown>;

/** As on a machine that has no catalog. */
async function recover({ opener }: Handle['session']): Promise<void> {
  await using where = await catalogPlace();
  const catalog = await openCatalog(where.location, { create: true });
  const { password, limits, host } = parts(catalog, opener);
  const urls = made.buckets.map(({ url }) => url);
  await recoverCatalog({ catalog, urls, opener, password, parts: { limits, host } });
  await catalog.close();
}

const remove = async (vault: Handle['vault'], names: readonly string[]): Promise<void> => {
  await vault.removalDenied();
  await vault.remove(names, { graceMs: 0 });
};

const VERBS: Readonly<Record<string, Verb>> = {
  put: (vault) => putBytes(vault, randomBytes(5 * CHUNK_SIZE), { name: 'new' }),
  'put, small': (vault) => putBytes(vault, randomBytes(100), { name: 'new' }),
  'put, unchanged': (vault) => putBytes(vault, BODY.subarray(97), { name: 'a' }),
  'put, of several': (vault) =>
    Promise.all(['c', 'd', 'e'].map((name) => putBytes(vault, randomBytes(CHUNK_SIZE), { name }))),
  'put, a folder': (vault) => vault.put({ root: place.at('docs') }, { name: 'other' }),
  get: (vault) => getBytes(vault, 'a'),
  'get, a folder': async (vault) => {
    const found = await vault.find('docs');
    if (found.kind === 'folder') return Array.fromAsync(found.folder.list());
    throw new Error('No folder');
  },
  ls: (vault) => Array.fromAsync(vault.list()),
  info: (vault) => vault.inspect('a'),
  rm: (vault) => remove(vault, ['a']),
  'rm, of many': (vault) => remove(vault, ['a', 'b', 'small', 'docs']),
  'rm --now': async (vault) => {
    await remove(vault, ['a']);
    await vault.sweep({ follows: true, waitMs: 0 });
  },
  undelete: (vault) => vault.undelete(['gone']),
  prune: (vault) => Array.fromAsync(vault.planPrune({ last: 1 })),
  verify: (vault) => vault.verify({ depth: 'listing' }),
  'verify, of data': (vault) => vault.verify({ depth: 'data' }),
  'verify, of a file': (vault) => vault.verify({ depth: 'data', references: ['a'] }),
  repair: (vault) => vault.repair(),
  'repair, of data': (vault) => vault.repair({ depth: 'data' }),
  'repair, of a file': (vault) => vault.repair({ references: ['a'] }),
  'repair, dry': (vault) => vault.repair({ dryRun: true }),
  status: (vault) => Promise.all([vault.status(), vault.bucketReport()]),
  report: (vault) => vault.outlook(),
  recover: (_, session) => recover(session),
  sync: (vault) => vault.sync(),
  drill: (vault) => vault.drill({ files: 5 }),
  sweep: (vault) => vault.sweep({ waitMs: 0 }),
  'sweep, of all that is removed': (vault) => vault.sweep({ waitMs: 0, ignoreGrace: true }),
  'sweep, dry': (vault) => vault.sweep({ dryRun: true }),
  shares: (vault) => vault.shares(),
  'bucket ls': (vault) => vault.bucketReport(),
  'key ls': (vault) => vault.keys(),
  config: (vault) => vault.changeDefaults({ compression: 3 }),
};

/** Answers take a while, so that what is asked for at once is asked for before they come. */
async function around(_: unknown, proceed: () => Promise<void>): Promise<void> {
  await nextTurn();
  await proceed();
  await nextTurn();
}

describe('The marker of a bucket is read once a command at most:', () => {
  test.each(Object.keys(VERBS))('%s', async (name) => {
    await using copy = await snapshot.copy();
    const handle = await copy.open({ around });
    await VERBS[name]?.(handle.vault, handle.session);
    await handle.session.guard.end();
    const reads = new Map(copy.buckets.map(({ url }) => [url, 0]));
    for (const { call, where, name: object } of handle.steps.log)
      if (call === 'get' && object === 'vault.json') reads.set(where, (reads.get(where) ?? 0) + 1);
    expect([...reads].filter(([, count]) => count > 1)).toEqual([]);
  });
});
