/** Objects that cannot be removed before their time: what a put locks, and how everything else gets on with that. */
import { describe, expect, test } from 'vitest';
import type { Bucket, RetentionPolicy } from '../../src/buckets/bucket.ts';
import { VaultError } from '../../src/errors.ts';
import { MARKER_NAME } from '../../src/format/marker.ts';
import type { Warning } from '../../src/vault/call.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { CHEAP_KDF, CHUNK_SIZE, discrepancies, getBytes, PASSWORD, putBytes, testVault } from './harness.ts';
import type { TestVault, TestVaultOptions } from './harness.ts';
import { failing } from './scene.ts';

const random = seededRandom(77);
const BODY = random.bytes(2 * CHUNK_SIZE + 7);
const OTHER = Buffer.concat([BODY.subarray(0, CHUNK_SIZE), random.bytes(CHUNK_SIZE)]);
const DAY_MS = 86_400_000;
const LOCKS: Partial<RetentionPolicy> = { lock: 'governance', versioning: true };
/** In whole seconds: locks are. */
const START_MS = 1_800_000_000_000;

/** A vault whose clock, and its buckets', can be put ahead. */
async function lockingVault(
  policies: readonly Partial<RetentionPolicy>[],
  options: TestVaultOptions = {},
): Promise<TestVault & { pass(days: number): void; readonly now: () => number }> {
  let nowMs = START_MS;
  const now = (): number => nowMs;
  const made = await testVault({ ...options, buckets: policies.length, policies, now });
  const pass = (days: number): void => {
    nowMs += days * DAY_MS;
  };
  return Object.assign(made, { pass, now });
}

/** Until when objects are locked, in days from the start, by `url name`; those that are not are left out. */
function locks({ buckets }: TestVault, prefix = ''): Record<string, number> {
  return Object.fromEntries(
    buckets.flatMap(({ url, storage, locks: kept }) =>
      [...(kept?.until ?? [])]
        .filter(([name]) => storage.has(name) && name.startsWith(prefix))
        .map(([name, untilMs]) => [`${url} ${name}`, (untilMs - START_MS) / DAY_MS]),
    ),
  );
}

const denied = (): Promise<never> => Promise.reject(new VaultError('denied', 'The test forbids it.'));
/** The bucket, without the right to do that. */
function forbid(what: 'policy' | 'until' | 'extend') {
  return (bucket: Bucket): Bucket => ({
    ...bucket,
    retention: bucket.retention && { ...bucket.retention, [what]: denied },
  });
}

const inDays = (days: number): number => START_MS + days * DAY_MS;
const sweepNow = ({ vault }: TestVault): ReturnType<TestVault['vault']['sweep']> =>
  vault.sweep({ waitMs: 0 });

describe('a put that retains', () => {
  test('locks the manifest, every shard and what opens the vault, and nothing else', async () => {
    await using made = await lockingVault([LOCKS, LOCKS, LOCKS]);
    const result = await putBytes(made.vault, BODY, { name: 'a', retainUntilMs: inDays(30) });
    expect(result).toMatchObject({ retainedUntilMs: inDays(30), unretained: 0, retainedEnough: true });
    // The marker stands still, and goes.
    expect(made.objects('puts/').length).toBe(3);
    const kept = [...made.objects('chunks/'), ...made.objects('manifests/'), ...made.objects('keyring/')];
    expect(locks(made)).toEqual(
      Object.fromEntries([...kept, ...made.objects(MARKER_NAME)].map((object) => [object, 30])),
    );
    await made.session.guard.end();
    expect(made.objects('puts/')).toEqual([]);
  });

  test('makes longer what ends earlier of what is there, and never shorter', async () => {
    await using made = await lockingVault([LOCKS, LOCKS, LOCKS]);
    await putBytes(made.vault, BODY, { name: 'a' });
    await putBytes(made.vault, BODY, { name: 'a', retainUntilMs: inDays(30), dryRun: true });
    expect(locks(made)).toEqual({});
    const free = new Set(made.objects('chunks/'));
    await putBytes(made.vault, OTHER, { name: 'b', retainUntilMs: inDays(30) });
    const first = locks(made, 'chunks/');
    // The chunk that both share, and those of the second one.
    expect(Object.keys(first).filter((object) => free.has(object)).length).toBe(3);
    expect(Object.keys(first).length).toBe(2 * 3);
    await expect(putBytes(made.vault, BODY, { name: 'a', retainUntilMs: inDays(10) })).resolves.toMatchObject(
      { unchanged: true, retainedUntilMs: inDays(10) },
    );
    expect(Object.values(locks(made, 'chunks/')).toSorted((a, b) => a - b)).toEqual([
      ...Array.from({ length: 6 }, () => 10),
      ...Array.from({ length: 6 }, () => 30),
    ]);
    expect(new Set(Object.values(locks(made, 'manifests/')))).toEqual(new Set([10, 30]));
    expect(new Set(Object.values(locks(made, 'keyring/')))).toEqual(new Set([30]));
  });

  test('until a time that is over is refused, and stores nothing', async () => {
    await using made = await lockingVault([LOCKS]);
    for (const retainUntilMs of [made.now() - DAY_MS, made.now()])
      await expect(putBytes(made.vault, BODY, { name: 'a', retainUntilMs })).rejects.toMatchObject({
        code: 'invalid-input',
        message: 'What is stored cannot be locked until a time that is over.',
      });
    expect(made.objects('chunks/')).toEqual([]);
  });

  test('of a file that lies in its manifest locks that', async () => {
    await using made = await lockingVault([LOCKS]);
    const { hash } = await putBytes(made.vault, Buffer.from('small'), {
      name: 'small',
      retainUntilMs: inDays(1),
    });
    expect(locks(made)[`memory:1 manifests/${hash}`]).toBe(1);
  });

  test('is refused where no bucket can lock, before anything is stored', async () => {
    await using made = await lockingVault([{ versioning: true }, { everyMs: DAY_MS }]);
    const before = made.objects();
    const refusal = await putBytes(made.vault, BODY, { name: 'a', retainUntilMs: inDays(30) }).catch(
      (error: unknown) => error,
    );
    expect(refusal).toMatchObject({ code: 'invalid-input' });
    expect(String(refusal)).toMatch(/memory:1, memory:2 cannot lock objects.*docs\/retention\.md/);
    expect(made.objects()).toEqual(before);
    await expect(putBytes(made.vault, BODY, { name: 'a', retainUntilMs: made.now() })).rejects.toMatchObject({
      code: 'invalid-input',
    });
  });

  test.each([
    [[LOCKS, LOCKS, {}], true],
    [[LOCKS, {}, {}], false],
  ])('warns of buckets that cannot lock, and says whether the others suffice', async (policies, enough) => {
    await using made = await lockingVault(policies);
    const warnings: Warning[] = [];
    const onWarning = (warning: Warning): void => void warnings.push(warning);
    const result = await putBytes(made.vault, BODY, { name: 'a', retainUntilMs: inDays(30), onWarning });
    expect(result.retainedEnough).toBe(enough);
    expect(warnings.map(({ kind }) => kind)).toEqual(['not-retained']);
    expect(warnings[0]?.message).toContain('memory:3');
    expect(locks(made, 'manifests/')).toEqual({
      [`memory:1 manifests/${result.hash}`]: 30,
      ...(enough && { [`memory:2 manifests/${result.hash}`]: 30 }),
    });
  });

  test('leaves the keyring alone where it could not be hidden any more, and says so', async () => {
    await using made = await lockingVault([{ lock: 'compliance', versioning: false }]);
    const warnings: string[] = [];
    await putBytes(made.vault, BODY, {
      name: 'a',
      retainUntilMs: inDays(30),
      onWarning: ({ message }) => warnings.push(message),
    });
    expect(warnings.join(' ')).toMatch(/memory:1 keeps no older versions, so its keyring is not locked/);
    expect(locks(made, 'keyring/')).toEqual({});
  });

  test('stores all the same what it may not lock any longer, and tells', async () => {
    await using made = await lockingVault([LOCKS, LOCKS, LOCKS]);
    await putBytes(made.vault, BODY, { name: 'a' });
    const [first] = made.buckets;
    if (first === undefined) throw new Error('None.');
    first.wrap = forbid('extend');
    const warnings: Warning[] = [];
    const result = await putBytes(made.vault, OTHER, {
      name: 'b',
      retainUntilMs: inDays(30),
      onWarning: (warning) => void warnings.push(warning),
    });
    // One shard of the chunk that is shared, keyring and marker of the bucket.
    expect(result.unretained).toBe(3);
    expect(warnings.map(({ kind, bucket }) => [kind, bucket])).toEqual([['not-retained', 'memory:1']]);
    expect(await getBytes(made.vault, 'b')).toEqual(Buffer.from(OTHER));
  });

  test('keeps the longer time where a bucket has one of its own', async () => {
    await using made = await lockingVault([{ ...LOCKS, everyMs: 90 * DAY_MS }]);
    await putBytes(made.vault, BODY, { name: 'a', retainUntilMs: inDays(30) });
    expect(new Set(Object.values(locks(made, 'chunks/')))).toEqual(new Set([90]));
  });
});

describe('what is locked', () => {
  test('is kept and counted by a sweep, and goes once its time is over', async () => {
    await using made = await lockingVault([LOCKS, LOCKS, LOCKS]);
    await putBytes(made.vault, BODY, { name: 'locked', retainUntilMs: inDays(30) });
    await putBytes(made.vault, OTHER, { name: 'free' });
    await made.session.guard.end();
    await made.vault.remove(['locked', 'free'], { graceMs: 0 });
    const before = made.objects('chunks/').length;
    const first = await sweepNow(made);
    // Three chunks of three shards, and a manifest; one chunk of three shards and a manifest have gone.
    expect(first).toMatchObject({
      objectsRetained: 3 * 3 + 1,
      retainedUntilMs: inDays(30),
      objectsRemoved: 3 + 1,
      filesRemoved: 1,
      blockedBy: null,
    });
    expect(made.objects('chunks/').length).toBe(before - 3);
    // Its list is done, and names them for three days; then they are found again.
    made.pass(1);
    await expect(sweepNow(made)).resolves.toMatchObject({ objectsRetained: 0, objectsRemoved: 0 });
    made.pass(3);
    await sweepNow(made);
    await expect(sweepNow(made)).resolves.toMatchObject({ objectsRetained: 10, objectsRemoved: 0 });
    made.pass(30);
    await sweepNow(made);
    await expect(sweepNow(made)).resolves.toMatchObject({ objectsRetained: 0, objectsRemoved: 10 });
    expect([...made.objects('chunks/'), ...made.objects('manifests/')]).toEqual([]);
    made.pass(4);
    await sweepNow(made);
    await sweepNow(made);
    expect(await discrepancies(made.session, made.buckets)).toEqual([]);
  });

  test('of live files is what a put relies on, also when a list has named it', async () => {
    await using made = await lockingVault([LOCKS, LOCKS, LOCKS]);
    await putBytes(made.vault, BODY, { name: 'a', retainUntilMs: inDays(30) });
    await made.session.guard.end();
    await made.vault.remove(['a'], { graceMs: 0 });
    await sweepNow(made);
    // What the list names counts as absent.
    const again = await putBytes(made.vault, BODY, { name: 'b' });
    expect(again.chunksStored).toBe(3);
    await made.session.guard.end();
    for (let days = 0; days < 60; days += 4) {
      await sweepNow(made);
      made.pass(4);
    }
    expect(await getBytes(made.vault, 'b')).toEqual(Buffer.from(BODY));
    expect(await discrepancies(made.session, made.buckets)).toEqual([]);
  });

  test('stays in a bucket that is taken out, and is told; the same again removes it then', async () => {
    await using made = await lockingVault([LOCKS, LOCKS, LOCKS], { redundancy: { k: 1, m: 1 } });
    await putBytes(made.vault, BODY, { name: 'a', retainUntilMs: inDays(30) });
    const [first] = made.buckets;
    const held = Object.keys(locks(made)).filter((object) => object.startsWith('memory:1 ')).length - 1;
    const result = await made.vault.removeBucket('memory:1', { waitMs: 0 });
    // All but its marker, which it stays known by.
    expect(result).toMatchObject({ removed: true, objectsRetained: held, retainedUntilMs: inDays(30) });
    expect(first?.storage.has(MARKER_NAME)).toBe(true);
    expect(await getBytes(made.vault, 'a')).toEqual(Buffer.from(BODY));
    made.pass(31);
    await expect(made.vault.removeBucket('memory:1')).resolves.toMatchObject({ objectsRetained: 0 });
    expect([...(first?.storage.keys() ?? [])]).toEqual([]);
  });

  test('lets the password be changed, and the old one opens nothing', async () => {
    await using made = await lockingVault([LOCKS, LOCKS]);
    await putBytes(made.vault, BODY, { name: 'a', retainUntilMs: inDays(30) });
    const { epoch } = made.session.keyring.keyring;
    await made.vault.changePassword({ current: PASSWORD, next: 'another password', kdfCost: CHEAP_KDF });
    // In memory nothing can be hidden: both stand, and the newer one counts.
    expect(made.objects('keyring/').length).toBe(4);
    expect(made.session.keyring.keyring.epoch).toBe(epoch + 1);
    await expect(made.reopen()).rejects.toMatchObject({ code: 'wrong-password' });
  });
});

describe('a bucket that keeps everything for a time', () => {
  const POLICY: Partial<RetentionPolicy> = { everyMs: 10 * DAY_MS };

  test.each([
    ['every bucket', [POLICY, POLICY, POLICY]],
    ['one bucket', [POLICY, {}, {}]],
  ])('is in nobody’s way: %s', async (_, policies) => {
    await using made = await lockingVault(policies);
    await putBytes(made.vault, BODY, { name: 'a' });
    await putBytes(made.vault, OTHER, { name: 'b' });
    await made.session.guard.end();
    const young = made.objects('puts/').length;
    expect(young > 0).toBe(true);
    await made.vault.remove(['a'], { graceMs: 0 });
    // Its marker stays for a day, as that of a put that was killed.
    await expect(sweepNow(made)).resolves.toMatchObject({ blockedBy: null, unreachable: [] });
    let retained = 0;
    for (let day = 0; day < 12; day += 1) {
      made.pass(1);
      const result = await sweepNow(made);
      expect(result).toMatchObject({ blockedBy: null, unreachable: [], filesMissing: [] });
      retained = Math.max(retained, result.objectsRetained);
      expect(await getBytes(made.vault, 'b')).toEqual(Buffer.from(OTHER));
    }
    expect(retained).toBeGreaterThan(0);
    // Lists are kept as everything else, each time that they are written.
    for (let day = 0; day < 60; day += 4) {
      made.pass(4);
      await sweepNow(made);
    }
    expect(await discrepancies(made.session, made.buckets)).toEqual([]);
    expect(made.objects('manifests/').length).toBe(3);
  });

  test('refuses what would replace an object, and says until when', async () => {
    await using made = await lockingVault([POLICY]);
    await putBytes(made.vault, BODY, { name: 'a' });
    await made.vault.remove(['a']);
    const refusal = await made.vault.undelete(['a']).catch((error: unknown) => error);
    expect(refusal).toMatchObject({ code: 'retained' });
    expect(String(refusal)).toContain('locked until 2027-01-25 08:00:00Z');
  });
});

describe('repair', () => {
  test('makes the locks of all that live files need longer, of no removed ones', async () => {
    await using made = await lockingVault([LOCKS, LOCKS, {}]);
    await putBytes(made.vault, BODY, { name: 'a' });
    const { hash } = await putBytes(made.vault, random.bytes(CHUNK_SIZE), { name: 'removed' });
    await made.session.guard.end();
    const other = made.objects('chunks/').length;
    await made.vault.remove(['removed']);
    const result = await made.vault.repair({ retainUntilMs: inDays(20) });
    // Of two buckets: shards of three chunks, manifest, keyring and marker.
    expect(result.retention).toEqual({
      untilMs: inDays(20),
      objects: 2 * 3 + 2 + 4,
      extended: 2 * 3 + 2 + 4,
      failed: 0,
      filesUnknown: 0,
      enough: true,
    });
    expect(Object.keys(locks(made)).length).toBe(12);
    expect(Object.keys(locks(made)).some((object) => object.includes(hash))).toBe(false);
    expect(made.objects('chunks/').length).toBe(other);
    await expect(made.vault.repair({ retainUntilMs: inDays(10) })).resolves.toMatchObject({
      retention: { objects: 12, extended: 0 },
    });
    await putBytes(made.vault, random.bytes(10), { name: 'c' });
    await expect(made.vault.repair({ references: ['c'], retainUntilMs: inDays(25) })).resolves.toMatchObject({
      retention: { objects: 2 + 4, extended: 2 + 4 },
    });
  });

  test('says that what is locked is not enough where a bucket cannot lock, or cannot be asked', async () => {
    await using few = await lockingVault([LOCKS, {}, {}]);
    await putBytes(few.vault, BODY, { name: 'a' });
    const locked = await few.vault.repair({ retainUntilMs: inDays(20) });
    expect(locked.retention?.enough).toBe(false);
    await using made = await lockingVault([LOCKS, LOCKS, LOCKS]);
    await putBytes(made.vault, BODY, { name: 'a' });
    const warnings: Warning[] = [];
    let calls = 0;
    const list = (prefix: string): boolean => prefix.startsWith('chunks/') && (calls += 1) > 1;
    const [, mute] = made.buckets;
    if (mute === undefined) throw new RangeError('There are three.');
    failing(mute, ({ operation, name }) => operation === 'list' && list(name));
    const result = await made.vault.repair({
      retainUntilMs: inDays(20),
      onWarning: (warning) => void warnings.push(warning),
    });
    expect(warnings.map(({ kind, bucket }) => [kind, bucket])).toContainEqual(['bucket-down', 'memory:2']);
    expect(result.retention?.enough).toBe(false);
  });

  test('is refused where nothing can lock, and locks nothing beforehand', async () => {
    await using made = await lockingVault([{}]);
    await expect(made.vault.repair({ retainUntilMs: inDays(20) })).rejects.toMatchObject({
      code: 'invalid-input',
    });
    await using locking = await lockingVault([LOCKS]);
    await expect(locking.vault.repair({ retainUntilMs: inDays(20), dryRun: true })).rejects.toMatchObject({
      code: 'invalid-input',
    });
  });
});

describe('verify', () => {
  test('tells what buckets have, and of how much that files need', async () => {
    await using made = await lockingVault([LOCKS, { softDeleteMs: 7 * DAY_MS }, {}]);
    await putBytes(made.vault, BODY, { name: 'a', retainUntilMs: inDays(30) });
    await putBytes(made.vault, random.bytes(10), { name: 'b' });
    await made.session.guard.end();
    const plain = await made.vault.verify({ depth: 'listing' });
    expect(plain.outcome).toBe('whole');
    expect(plain.buckets.map(({ retention }) => retention)).toEqual([
      { lock: 'governance', everyMs: null, versioning: true, softDeleteMs: null, locks: null },
      { lock: null, everyMs: null, versioning: false, softDeleteMs: 7 * DAY_MS, locks: null },
      { lock: null, everyMs: null, versioning: false, softDeleteMs: null, locks: null },
    ]);
    const { buckets } = await made.vault.verify({ depth: 'listing', locks: true });
    // Three shards, two manifests, keyring and marker: all but one manifest.
    expect(buckets[0]?.retention?.locks).toEqual({ objects: 7, kept: 6, firstEndMs: inDays(30) });
    made.pass(31);
    const later = await made.vault.verify({ depth: 'listing', locks: true });
    expect(later.buckets[0]?.retention?.locks).toEqual({ objects: 7, kept: 0, firstEndMs: null });
  });

  test('of a bucket that may not be asked says nothing, and is none the worse', async () => {
    await using made = await lockingVault([LOCKS]);
    await putBytes(made.vault, BODY, { name: 'a' });
    const [first] = made.buckets;
    if (first === undefined) throw new Error('None.');
    first.wrap = forbid('policy');
    const verified = await made.vault.verify({ depth: 'listing', locks: true });
    expect(verified.outcome).toBe('whole');
    expect(verified.buckets[0]?.retention).toBeNull();
    await expect(putBytes(made.vault, OTHER, { name: 'b', retainUntilMs: inDays(1) })).rejects.toMatchObject({
      code: 'denied',
    });
    first.wrap = forbid('until');
    const warnings: Warning[] = [];
    const again = await made.vault.verify({
      depth: 'listing',
      locks: true,
      onWarning: (warning) => void warnings.push(warning),
    });
    expect(again.outcome).toBe('whole');
    expect(again.buckets[0]?.retention).toMatchObject({ lock: 'governance', locks: null });
    expect(warnings.map(({ kind }) => kind)).toEqual(['not-retained']);
  });
});
