/**
 * Processes that go on with what they knew: a sweep that has slept, a put that cannot ask for the keyring, a bucket that shows what
 * it had earlier. What is acknowledged meanwhile stays.
 */
import { expect, test } from 'vitest';
import type { Around } from '../support/steps.ts';
import { always, faulty, storageError } from '../support/faulty-bucket.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { getBytes, putBytes, snapshotOf, testVault, twoMachines } from './harness.ts';
import type { TestBucket, VaultCopy } from './harness.ts';

const random = seededRandom(47);
const BODY = random.bytes(30_000);
const SMALL = random.bytes(300);
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** A place in a run at which it waits until it is let on. */
class Gate {
  readonly reached: Promise<void>;
  readonly #opened: Promise<void>;
  #reach: () => void = () => undefined;
  open: () => void = () => undefined;

  constructor() {
    this.reached = new Promise((resolve) => (this.#reach = resolve));
    this.#opened = new Promise((resolve) => (this.open = resolve));
  }

  async pass(): Promise<void> {
    this.#reach();
    await this.#opened;
  }
}

/** Holds every call that begins so up at a gate. */
function heldAt(gate: Gate, call: string, prefix: string, from = 1): Around {
  let seen = 0;
  return async (step, proceed) => {
    if (step.call === call && step.name.startsWith(prefix)) {
      seen += 1;
      if (seen >= from) await gate.pass();
    }
    await proceed();
  };
}

/** A bucket that is in neither vault yet. */
function oneMore(...machines: readonly VaultCopy[]): string {
  const url = 'memory:new';
  const storage = new Map<string, Uint8Array>();
  for (const { buckets } of machines) {
    if (Array.isArray(buckets)) buckets.push({ url, storage, wrap: (bucket) => bucket } satisfies TestBucket);
  }
  return url;
}

function down(bucket: TestBucket | undefined): void {
  if (bucket !== undefined) bucket.wrap = (plain) => faulty(plain, always('unavailable'));
}

function up(bucket: TestBucket | undefined): void {
  if (bucket !== undefined) bucket.wrap = (plain) => plain;
}

test('a sweep that slept after it had waited for puts goes by no list that others have done and taken away', async () => {
  await using made = await testVault({ buckets: 1, redundancy: { k: 1, m: 0 } });
  await putBytes(made.vault, BODY, { name: 'a' });
  await made.session.guard.end();
  await using copy = await (await snapshotOf(made)).copy();
  let nowMs = Date.now();
  const now = (): number => nowMs;
  const atManifest = new Gate();
  const putting = await copy.open({ now, around: heldAt(atManifest, 'put', 'manifests/') });
  const put = putBytes(putting.vault, BODY, { name: 'b' });
  await atManifest.reached;
  const other = await copy.open({ now });
  await other.vault.remove(['a'], { graceMs: 0 });
  const asleep = new Gate();
  // The list stands, with the marker of the put that it waits for.
  const sleeper = await copy.open({ now, around: heldAt(asleep, 'list', 'puts/', 2) });
  const slept = sleeper.vault.sweep({ waitMs: 0 });
  await asleep.reached;
  atManifest.open();
  const { hash } = await put;
  await putting.session.guard.end();
  await other.vault.sweep({ waitMs: 0 });
  nowMs += 4 * DAY_MS;
  await other.vault.sweep({ waitMs: 0 });
  expect([...(copy.buckets[0]?.storage.keys() ?? [])].filter((name) => name.startsWith('sweep/'))).toEqual(
    [],
  );
  asleep.open();
  await slept.catch(() => undefined);
  expect((await getBytes(other.vault, hash)).equals(BODY)).toBe(true);
});

test('a sweep that began before a bucket was added sees what is stored there', async () => {
  await using made = await testVault({ buckets: 1, redundancy: { k: 1, m: 0 } });
  await putBytes(made.vault, BODY, { name: 'a' });
  await made.vault.remove(['a'], { graceMs: 0 });
  const { here, there } = await twoMachines(made);
  const url = oneMore(here, there);
  const begun = new Gate();
  const sweeper = await here.open({ around: heldAt(begun, 'list', 'manifests/') });
  const swept = sweeper.vault.sweep({ waitMs: 5_000 });
  await begun.reached;
  await (await there.open()).vault.addBucket(url);
  const atManifest = new Gate();
  const held = heldAt(atManifest, 'put', 'manifests/');
  const putting = await there.open({
    around: async (step, proceed) => {
      await held(step, () => Promise.resolve()).catch(() => undefined);
      if (step.where === 'memory:1' && step.call === 'put' && step.name.startsWith('manifests/'))
        throw storageError();
      await proceed();
    },
  });
  const put = putBytes(putting.vault, BODY, { name: 'b' });
  await atManifest.reached;
  begun.open();
  // Until its list stands and it waits.
  await new Promise((resolve) => setTimeout(resolve, 300));
  atManifest.open();
  const { hash } = await put;
  await putting.session.guard.end();
  await swept.catch(() => undefined);
  expect((await getBytes(putting.vault, hash)).equals(BODY)).toBe(true);
});

test.each(['memory:1', 'memory:2'])(
  'a sweep that began before %s was taken out leaves what it was emptied into',
  async (url) => {
    await using made = await testVault({ buckets: 2, redundancy: { k: 1, m: 0 } });
    await putBytes(made.vault, BODY, { name: 'a' });
    await made.session.guard.end();
    const [one, two] = made.buckets;
    if (one === undefined || two === undefined) throw new RangeError('There are two.');
    // Its chunk lies whole in both.
    for (const [from, to] of [
      [one, two],
      [two, one],
    ] as const) {
      for (const [name, bytes] of from.storage) {
        if (name.startsWith('chunks/') && !name.endsWith('f'.repeat(16)))
          to.storage.set(name.replace(/[0-9a-f]{16}$/, 'f'.repeat(16)), bytes);
      }
    }
    await using copy = await (await snapshotOf(made)).copy();
    const aboutToList = new Gate();
    const aboutToDrop = new Gate();
    const sweeper = await copy.open({ around: heldAt(aboutToList, 'put', 'sweep/') });
    const swept = sweeper.vault.sweep({ waitMs: 0 });
    await aboutToList.reached;
    const remover = await copy.open({ around: heldAt(aboutToDrop, 'put', 'keyring/0000000003') });
    const removed = remover.vault.removeBucket(url, { waitMs: 0 });
    await aboutToDrop.reached;
    aboutToList.open();
    await swept.catch(() => undefined);
    aboutToDrop.open();
    expect(await removed).toMatchObject({ removed: true });
    expect((await getBytes((await copy.open()).vault, 'a')).equals(BODY)).toBe(true);
  },
);

test('a put that cannot ask whether a bucket is being taken out stores nothing there alone', async () => {
  await using made = await testVault({ buckets: 2, redundancy: { k: 1, m: 0 } });
  await using copy = await (await snapshotOf(made)).copy();
  const aboutToMark = new Gate();
  const aboutToDrop = new Gate();
  let marked = false;
  const putting = await copy.open({
    around: async (step, proceed) => {
      if (step.call === 'put' && step.name.startsWith('puts/')) {
        await aboutToMark.pass();
        marked = true;
      }
      if (marked && step.call === 'list' && step.name === 'keyring/') throw storageError();
      await proceed();
    },
  });
  const bodies = Array.from({ length: 6 }, () => random.bytes(20_000));
  const puts = Promise.all(
    bodies.map(async (body, i) => ({
      body,
      hash: await putBytes(putting.vault, body, { name: `${i}` }).then(
        ({ hash }) => hash,
        () => null,
      ),
    })),
  );
  await aboutToMark.reached;
  const remover = await copy.open({ around: heldAt(aboutToDrop, 'put', 'keyring/0000000003') });
  const removed = remover.vault.removeBucket('memory:1', { waitMs: 0 });
  await aboutToDrop.reached;
  aboutToMark.open();
  const acknowledged = (await puts).flatMap(({ body, hash }) => (hash === null ? [] : [{ body, hash }]));
  await putting.session.guard.end();
  aboutToDrop.open();
  await removed;
  const { vault } = await copy.open();
  for (const { body, hash } of acknowledged) expect((await getBytes(vault, hash)).equals(body)).toBe(true);
});

test('a small put that cannot ask whether its only bucket is being taken out is not acknowledged', async () => {
  await using made = await testVault({ buckets: 2, redundancy: { k: 1, m: 0 } });
  await using copy = await (await snapshotOf(made)).copy();
  const putting = await copy.open({
    around: async (step, proceed) => {
      if (step.where === 'memory:2' && step.call === 'put' && step.name.startsWith('manifests/'))
        throw storageError();
      if (step.call === 'list' && step.name === 'keyring/') throw storageError();
      await proceed();
    },
  });
  const aboutToDrop = new Gate();
  const remover = await copy.open({ around: heldAt(aboutToDrop, 'put', 'keyring/0000000003') });
  const removed = remover.vault.removeBucket('memory:1', { waitMs: 0 });
  await aboutToDrop.reached;
  const hash = await putBytes(putting.vault, SMALL, { name: 'a' }).then(
    (result) => result.hash,
    () => null,
  );
  aboutToDrop.open();
  await removed;
  expect(hash).toBeNull();
});

test('a sweep that cannot ask for the keyring removes nothing', async () => {
  await using made = await testVault({ buckets: 1, redundancy: { k: 1, m: 0 } });
  await putBytes(made.vault, BODY, { name: 'a' });
  const { here, there } = await twoMachines(made);
  const url = oneMore(here, there);
  const other = await there.open();
  await other.vault.addBucket(url);
  const putting = await there.open({
    around: async (step, proceed) => {
      if (step.where === 'memory:1' && step.call === 'put' && step.name.startsWith('manifests/'))
        throw storageError();
      await proceed();
    },
  });
  const { hash } = await putBytes(putting.vault, BODY, { name: 'b' });
  await putting.session.guard.end();
  const sweeper = await here.open({
    around: async (step, proceed) => {
      if (step.call === 'list' && step.name === 'keyring/') throw storageError();
      await proceed();
    },
  });
  await sweeper.vault.remove(['a'], { graceMs: 0 });
  await sweeper.vault.sweep({ waitMs: 0 }).catch(() => undefined);
  expect((await getBytes(putting.vault, hash)).equals(BODY)).toBe(true);
});

test('a bucket that shows a list from earlier makes no sweep go by it before running puts have ended', async () => {
  await using made = await testVault({ buckets: 2, redundancy: { k: 1, m: 1 } });
  await putBytes(made.vault, BODY, { name: 'a' });
  await made.session.guard.end();
  await using copy = await (await snapshotOf(made)).copy();
  let nowMs = Date.now();
  const now = (): number => nowMs;
  const first = new Gate();
  const earlier = await copy.open({ now, around: heldAt(first, 'put', 'manifests/') });
  const before = putBytes(earlier.vault, BODY, { name: 'b' });
  await first.reached;
  const other = await copy.open({ now });
  await other.vault.remove(['a'], { graceMs: 0 });
  await other.vault.sweep({ waitMs: 0 });
  const shown = copy.buckets[0]?.storage ?? new Map<string, Uint8Array>();
  const lists = [...shown].filter(([name]) => name.startsWith('sweep/'));
  expect(lists).toHaveLength(1);
  first.open();
  await before;
  await earlier.session.guard.end();
  await other.vault.sweep({ waitMs: 0 });
  nowMs += 4 * DAY_MS;
  await other.vault.sweep({ waitMs: 0 });
  await other.vault.remove(['b'], { graceMs: 0 });
  const second = new Gate();
  const later = await copy.open({ now, around: heldAt(second, 'put', 'manifests/') });
  const put = putBytes(later.vault, BODY, { name: 'c' });
  await second.reached;
  for (const [name, bytes] of lists) shown.set(name, bytes);
  await other.vault.sweep({ waitMs: 0 });
  second.open();
  const { hash } = await put;
  expect((await getBytes(other.vault, hash)).equals(BODY)).toBe(true);
});

test('an undelete outlives the sweep, though the machine that removed the file has a clock that is fast', async () => {
  await using made = await testVault({ buckets: 2, redundancy: { k: 1, m: 1 } });
  const { hash } = await putBytes(made.vault, BODY, { name: 'a' });
  await made.session.guard.end();
  await using copy = await (await snapshotOf(made)).copy();
  let nowMs = Date.now();
  down(copy.buckets[1]);
  await (await copy.open({ now: () => nowMs + 8 * HOUR_MS })).vault.remove(['a']);
  up(copy.buckets[1]);
  down(copy.buckets[0]);
  nowMs += HOUR_MS;
  await (await copy.open({ now: () => nowMs })).vault.undelete(['a']);
  up(copy.buckets[0]);
  nowMs += 9 * DAY_MS;
  const { vault } = await copy.open({ now: () => nowMs });
  await vault.sweep({ waitMs: 0 });
  expect((await getBytes(vault, hash)).equals(BODY)).toBe(true);
});

test('a put of what another machine has removed stores it, though its removal is forgotten while the put looks', async () => {
  await using made = await testVault({ buckets: 1, redundancy: { k: 1, m: 0 } });
  await putBytes(made.vault, SMALL, { name: 'a' });
  const { here, there } = await twoMachines(made);
  const other = await there.open();
  await other.vault.remove(['a'], { graceMs: 0 });
  let swept = false;
  const { vault } = await here.open({
    around: async (step, proceed) => {
      if (step.call === 'get' && step.name.startsWith('deleted/') && !swept) {
        swept = true;
        for (let i = 0; i < 2; i += 1) await other.vault.sweep({ waitMs: 0 });
      }
      await proceed();
    },
  });
  const { hash } = await putBytes(vault, SMALL, { name: 'a' });
  expect(swept).toBe(true);
  expect((await getBytes(vault, hash)).equals(SMALL)).toBe(true);
});

test('an undelete that only a bucket knows of that is being taken out is not acknowledged', async () => {
  await using made = await testVault({ buckets: 2, redundancy: { k: 1, m: 0 } });
  await putBytes(made.vault, BODY, { name: 'a' });
  await made.session.guard.end();
  const leaving = made.objects('chunks/')[0]?.split(' ')[0] ?? '';
  await using copy = await (await snapshotOf(made)).copy();
  let nowMs = Date.now();
  const now = (): number => nowMs;
  await (await copy.open({ now })).vault.remove(['a'], { graceMs: HOUR_MS });
  const aboutToDrop = new Gate();
  const remover = await copy.open({ now, around: heldAt(aboutToDrop, 'put', 'keyring/0000000003') });
  const removed = remover.vault.removeBucket(leaving, { waitMs: 0 });
  await aboutToDrop.reached;
  // The other one is away for a moment.
  const aboutToTell = new Gate();
  let isAway = true;
  const held = heldAt(aboutToTell, 'put', 'deleted/');
  const undeleting = await copy.open({
    now,
    around: async (step, proceed) => {
      if (isAway && step.where.startsWith('memory') && step.where !== leaving && step.name !== '')
        throw storageError();
      await held(step, proceed);
    },
  });
  const outcome = undeleting.vault.undelete(['a']).then(
    () => 'brought back',
    (error: unknown) => String(error),
  );
  await Promise.race([aboutToTell.reached, outcome]);
  aboutToDrop.open();
  expect(await removed).toMatchObject({ removed: true });
  nowMs += 2 * HOUR_MS;
  const { vault } = await copy.open({ now });
  await vault.sweep({ waitMs: 0 });
  isAway = false;
  aboutToTell.open();
  expect(await outcome).toContain('No bucket that stays in the vault can be used');
});

test('a file that was brought back after its time stays, though a sweep had seen it before', async () => {
  await using made = await testVault({ buckets: 1, redundancy: { k: 1, m: 0 } });
  await using copy = await (await snapshotOf(made)).copy();
  let nowMs = Date.now();
  const now = (): number => nowMs;
  const other = await copy.open({ now });
  await putBytes(other.vault, SMALL, { name: 'a', expiresAtMs: nowMs + HOUR_MS });
  nowMs += DAY_MS;
  const late = await copy.open({ now });
  // It has seen the file, and has not removed it yet.
  const plan = new Gate();
  const seen = await copy.open({ now, around: heldAt(plan, 'get', 'deleted/') });
  const swept = seen.vault.sweep({ waitMs: 0 });
  await plan.reached;
  await late.vault.sweep({ waitMs: 0 });
  nowMs += HOUR_MS;
  await late.vault.undelete(['a']);
  nowMs += HOUR_MS;
  plan.open();
  await swept;
  nowMs += 30 * DAY_MS;
  await late.vault.sweep({ waitMs: 0 });
  expect((await getBytes(late.vault, 'a')).equals(SMALL)).toBe(true);
});
