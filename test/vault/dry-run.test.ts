/** What only tells: of all that a verb asks of buckets and catalog when it shall only tell, nothing writes. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Catalog } from '../../src/catalog/catalog.ts';
import { openScratch } from '../../src/catalog/open.ts';
import type { PlannedStep } from '../../src/vault/call.ts';
import { recoverCatalog } from '../../src/vault/recover/recover.ts';
import type { RecoverResult } from '../../src/vault/recover/recover.ts';
import type { Vault } from '../../src/vault/vault.ts';
import { always, faulty } from '../support/faulty-bucket.ts';
import { all, CHUNK_SIZE, PASSWORD, putBytes } from './harness.ts';
import { flip, loseShard, present, putWidely, rowsOf, shardOf, stage, wipe } from './scene.ts';
import type { Scene, SceneHandle, Stage } from './scene.ts';

/** Every call that only looks. */
const LOOKS =
  /^(get|list|setup\.(vault|note|buckets)|files\.(by\w+|list|walk|expired|counts)|chunks\.(locate|walk|count))$/;

const ONE = randomBytes(20_000);

let ready: Stage;
beforeAll(async () => {
  ready = await stage({ buckets: 5, redundancy: { k: 2, m: 1 } }, (made) =>
    putWidely(made, { big: randomBytes(2 * CHUNK_SIZE), one: ONE }),
  );
});
afterAll(() => ready[Symbol.asyncDispose]());

type Prepare = (scene: Scene, handle: SceneHandle) => Promise<void>;

/** Something of every kind to repair, also what only reading finds. */
const ruined: Prepare = async (scene, { vault, catalog, session }) => {
  await putBytes(vault, randomBytes(10), { name: 'gone' });
  await vault.remove(['gone']);
  await session.guard.end();
  const [first, second] = await rowsOf(catalog);
  loseShard(scene, present(first), 0);
  const rotten = shardOf(scene, present(second), 1);
  flip(rotten.bucket, rotten.name, -1);
  wipe(scene.bucket(0), 'manifests/');
  wipe(scene.bucket(1), 'keyring/');
  wipe(scene.bucket(2), 'deleted/');
  scene.bucket(3).storage.delete('vault.json');
  await catalog.files.forget([(await vault.get('one')).hash]);
  await catalog.chunks.forget([present(second).id]);
};

const removed: Prepare = async (_scene, { vault, session }) => {
  await vault.remove(['one'], { graceMs: 0 });
  await putBytes(vault, randomBytes(10), { name: 'old', expiresAtMs: Date.now() - 1 });
  await session.guard.end();
};

const lost: Prepare = (scene) => {
  scene.bucket(0).wrap = (plain) => faulty(plain, always('unavailable'));
  return Promise.resolve();
};

const nothing: Prepare = () => Promise.resolve();

interface How {
  readonly dryRun: boolean;
  readonly onPlanned: (step: PlannedStep) => void;
}

test.each<[string, Prepare, (vault: Vault, how: How) => Promise<unknown>]>([
  ['put', nothing, (vault, { dryRun }) => putBytes(vault, randomBytes(CHUNK_SIZE), { name: 'new', dryRun })],
  ['rm', nothing, (vault, how) => vault.remove(['one'], how)],
  ['sweep', removed, (vault, how) => vault.sweep({ ...how, ignoreGrace: true })],
  ['repair', ruined, (vault, how) => vault.repair(how)],
  ['repair of a file', ruined, (vault, how) => vault.repair({ ...how, references: ['big'] })],
  ['repair that reads', ruined, (vault, how) => vault.repair({ ...how, depth: 'data' })],
  ['repair of redundancy', ruined, (vault, how) => vault.repair({ ...how, redundancy: { k: 3, m: 2 } })],
  ['bucket rm', nothing, (vault, how) => vault.removeBucket('memory:1', how)],
  ['bucket rm of a lost one', lost, (vault, how) => vault.removeBucket('memory:1', { ...how, gone: true })],
])('%s only looks when it shall only tell', async (verb, prepare, run) => {
  await using scene = await ready.scene();
  const before = await scene.open();
  await prepare(scene, before);
  const { vault, steps } = await scene.open();
  const callsOf = async (dryRun: boolean): Promise<{ all: string[]; writing: string[]; told: number }> => {
    const from = steps.log.length;
    let told = 0;
    const onPlanned = (): void => void (told += 1);
    await run(vault, { dryRun, onPlanned });
    const made = steps.log.slice(from);
    const writing = made.filter(({ call }) => !LOOKS.test(call)).map(({ where, call }) => `${where} ${call}`);
    return { all: made.map(({ call, name }) => `${call} ${name}`), writing, told };
  };
  const planned = await callsOf(true);
  expect(planned.writing).toEqual([]);
  expect(planned.told > 0).toBe(/^(sweep|repair|bucket)/.test(verb));
  // Nor does it read what only reading in earnest needs.
  expect(planned.all.some((call) => call.startsWith('get chunks/'))).toBe(verb.includes('reads'));
  const done = await callsOf(false);
  expect(done.told).toBe(0);
  expect(done.writing).not.toEqual([]);
});

test.each([true, false])(
  'recover only looks when it shall only tell, where there is a catalog: %s',
  async (isThere) => {
    await using scene = await ready.scene();
    const { vault, session, catalog: own, steps } = await scene.open();
    await vault.remove(['big']);
    await session.guard.end();
    await own.files.forget([(await vault.get('one')).hash]);
    await own.chunks.forget((await rowsOf(own)).map(({ id }) => id));
    const fresh = await openScratch();
    const catalog = isThere ? own : steps.catalog(fresh);
    const { opener, limits, clock } = session;
    const recover = (scratch?: Catalog): Promise<RecoverResult> =>
      recoverCatalog({
        catalog,
        scratch,
        opener,
        parts: { limits, host: { clock, threads: 1 } },
        urls: scene.buckets.map(({ url }) => url),
        password: () => Promise.resolve(PASSWORD),
      });
    const from = steps.log.length;
    const scratch = await openScratch();
    const told = await recover(scratch);
    expect(steps.log.slice(from).filter(({ call }) => !LOOKS.test(call))).toEqual([]);
    expect(told).toMatchObject({ learned: isThere ? 1 : 2, known: isThere ? 1 : 0, hidden: 1 });
    // What describes the vault, and nothing of what is in it.
    expect([await all(scratch.files.walk()), await rowsOf(scratch)]).toEqual([[], []]);
    expect(await recover()).toEqual(told);
    expect(await catalog.files.counts()).toEqual({ files: 1, hidden: 1 });
    expect(await rowsOf(catalog)).not.toEqual([]);
    await Promise.all([fresh.close(), scratch.close()]);
  },
);
