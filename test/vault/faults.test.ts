/**
 * Every call that a put, a removal, an undelete and a sweep make of catalog and buckets fails once, in every way that calls fail;
 * and those that folders are put, restored and pruned with.
 * Whatever happens: what was acknowledged can be read, what is listed can be read, a repeat succeeds, and sweeps leave nothing
 * behind.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isVaultError, VaultError } from '../../src/errors.ts';
import type { ErrorCode } from '../../src/errors.ts';
import { restoreSelected } from '../../src/vault/folders/restore-selected.ts';
import { callStride, DATABASE, THOROUGH } from '../support/catalog-place.ts';
import { seededRandom } from '../support/seeded-random.ts';
import type { Around } from '../support/steps.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import type { TemporaryFolder } from '../support/temporary-folder.ts';
import { factsOf } from './folders/tree.ts';
import { all, CHUNK_SIZE, discrepancies, getBytes, putBytes, snapshotOf, testVault } from './harness.ts';
import type { Handle, Snapshot, TestVault, VaultCopy } from './harness.ts';

/** How a call fails: with a code, having done nothing or everything; alone, or as the first of all that follow. */
interface Failure {
  readonly title: string;
  readonly code: ErrorCode;
  readonly when: 'before' | 'after';
  readonly lasts: boolean;
}

const ENDING: Failure = {
  title: 'is where the process ends',
  code: 'unavailable',
  when: 'before',
  lasts: true,
};
const FULL: Failure = {
  title: 'finds the storage full',
  code: 'storage-full',
  when: 'before',
  lasts: false,
};
const LOST: Failure = { title: 'loses its answer', code: 'unavailable', when: 'after', lasts: false };
/** Buckets fail alike whatever the database is. */
const FAILURES: readonly Failure[] =
  DATABASE === 'postgres' && !THOROUGH
    ? [ENDING, LOST]
    : [
        ENDING,
        { title: 'is unavailable', code: 'unavailable', when: 'before', lasts: false },
        LOST,
        { title: 'is denied', code: 'denied', when: 'before', lasts: false },
        FULL,
        { title: 'is the last that the process makes', code: 'unavailable', when: 'after', lasts: true },
      ];

/** Lets one call fail; `fired` tells whether it came to that. */
function failAt(nth: number, failure: Failure): { readonly around: Around; readonly fired: () => boolean } {
  let fired = false;
  return {
    fired: () => fired,
    async around(step, proceed) {
      const hit = step.nth === nth || (failure.lasts && step.nth > nth);
      fired ||= hit;
      if (hit && (failure.when === 'before' || step.nth > nth)) throw error(step.call, failure);
      await proceed();
      if (hit) throw error(step.call, failure);
    },
  };
}

function error(call: string, { code, title }: Failure): VaultError {
  return new VaultError(code, `The test says that ${call} ${title}.`);
}

const HOUR_MS = 3_600_000;
const random = seededRandom(7);
const shared = random.bytes(2 * CHUNK_SIZE);
const CONTENTS = new Map<string, Uint8Array>([
  ['kept', Buffer.concat([shared, random.bytes(1000)])],
  ['removed', Buffer.concat([shared.subarray(0, CHUNK_SIZE), random.bytes(CHUNK_SIZE + 5)])],
  ['hidden', Buffer.concat([shared.subarray(0, CHUNK_SIZE), random.bytes(700)])],
  ['expired', random.bytes(300)],
  ['new', Buffer.concat([shared.subarray(CHUNK_SIZE), random.bytes(CHUNK_SIZE + 77)])],
]);
const EXPIRY = 1_000;
/** So many small ones at once are sealed and stored together. */
const SMALL = Array.from({ length: 9 }, (_, i) => `small ${i}`);
for (const name of SMALL) CONTENTS.set(name, random.bytes(200));
/** So many that are removed at once have their records stored together. */
const GOING = Array.from({ length: 8 }, (_, i) => `going ${i}`);
for (const name of GOING) CONTENTS.set(name, random.bytes(20));

function contentOf(name: string): Uint8Array {
  const content = CONTENTS.get(name);
  if (content === undefined) throw new RangeError(name);
  return content;
}

/** Everything that is listed comes back exactly; its names. */
async function readAll({ vault }: Handle): Promise<Set<string>> {
  const names = new Set<string>();
  for (const { name, hash } of await all(vault.list({ all: true }))) {
    const exact = (await getBytes(vault, hash)).equals(contentOf(name));
    expect({ name, exact }).toEqual({ name, exact: true });
    names.add(name);
  }
  return names;
}

/** The code of the error that the work ends with; null if it succeeds. */
async function settledCode(work: Promise<unknown>): Promise<ErrorCode | null> {
  try {
    await work;
    return null;
  } catch (caught) {
    if (!isVaultError(caught)) throw caught;
    return caught.code;
  }
}

/** Works, and then ends as a process does that ends well. */
async function used<T>(handle: Handle, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } finally {
    await handle.session.guard.end();
  }
}

/** What every scenario starts with: files, one expired, one removed, and a put that died half-way. */
async function startingState(made: TestVault): Promise<Snapshot> {
  for (const name of ['kept', 'removed', 'hidden', ...GOING])
    await putBytes(made.vault, contentOf(name), { name });
  await putBytes(made.vault, contentOf('expired'), { name: 'expired', expiresAtMs: EXPIRY });
  await made.vault.remove(['hidden'], { graceMs: 0 });
  await made.session.guard.end();
  await using copy = await (await snapshotOf(made)).copy();
  const dying = await copy.open({ around: failAt(8 * made.buckets.length + 4, ENDING).around });
  await expect(
    putBytes(dying.vault, seededRandom(8).bytes(9 * CHUNK_SIZE), { name: 'dead' }),
  ).rejects.toThrow('the process ends');
  const names = copy.buckets.flatMap(({ storage }) => [...storage.keys()]);
  expect(names.filter((name) => name.startsWith('puts/')).length).toBeGreaterThan(0);
  expect(names.length).toBeGreaterThan(made.objects().length + made.buckets.length);
  return await snapshotOf({ ...copy, session: made.session });
}

/** After whatever happened: repeats the put, and sweeps over the days that markers and lists stay; then nothing is left over. */
async function repeatAndSweep(copy: VaultCopy): Promise<void> {
  let nowMs = Date.now();
  const later = await copy.open({ now: () => nowMs });
  const { hash } = await used(later, putBytes(later.vault, contentOf('new'), { name: 'new' }));
  for (let days = 0; days < 15; days += 4) {
    nowMs += 97 * HOUR_MS;
    await later.vault.sweep({ waitMs: 0 });
  }
  expect(await discrepancies(later.session, copy.buckets)).toEqual([]);
  expect((await getBytes(later.vault, hash)).equals(contentOf('new'))).toBe(true);
}

describe.each([
  { buckets: 3, failures: FAILURES },
  // A bucket to spare: what fails goes there.
  { buckets: 4, failures: FAILURES.filter(({ lasts, code }) => !lasts && (THOROUGH || code !== 'denied')) },
])('With 2+1 over $buckets buckets, whichever call', ({ buckets, failures }) => {
  let made: TestVault;
  let start: Snapshot;

  beforeAll(async () => {
    made = await testVault({ buckets, redundancy: { k: 2, m: 1 } });
    start = await startingState(made);
  });
  afterAll(async () => {
    await made[Symbol.asyncDispose]();
  });

  /** Runs an operation once for every call that it makes, with that call failing; how many there are. */
  async function eachCall(
    failure: Failure,
    ways: readonly Failure[],
    operation: (handle: Handle) => Promise<unknown>,
    listed: (outcome: ErrorCode | null, copy: VaultCopy) => readonly string[],
  ): Promise<number> {
    // With a bucket to spare half of the calls are left out.
    const stride = callStride(buckets > 3 ? 2 * ways.length : ways.length);
    for (let nth = 1 + (ways.indexOf(failure) % stride); ; nth += stride) {
      await using copy = await start.copy();
      const { around, fired } = failAt(nth, failure);
      const failing = await copy.open({ around });
      const outcome = await settledCode(used(failing, operation(failing)));
      if (!fired()) return failing.steps.log.length;
      const step = failing.steps.log[nth - 1];
      try {
        expect([null, failure.code, 'unavailable']).toContain(outcome);
        const fresh = await copy.open();
        const names = await readAll(fresh);
        expect([...names]).toEqual(expect.arrayContaining([...listed(outcome, copy)]));
        await repeatAndSweep(copy);
      } catch (cause) {
        throw new Error(`Call ${nth}, ${step?.where} ${step?.call} ${step?.name}, ${failure.title}`, {
          cause,
        });
      }
    }
  }

  test.for(failures)('of a put $title', async (failure) => {
    const calls = await eachCall(
      failure,
      failures,
      ({ vault }) => putBytes(vault, contentOf('new'), { name: 'new' }),
      (outcome) => ['kept', 'removed', 'expired', ...(outcome === null ? ['new'] : [])],
    );
    // Bucket's marker, keyring, the put's marker, lists, look, shards, manifest and marker's end in every bucket; and the row.
    expect(calls).toBeGreaterThanOrEqual(8 * buckets + 1);
  });

  test.for(failures)('of small files put at once $title', async (failure) => {
    let stored: readonly { readonly name: string; readonly hash: string; readonly manifestCopies: number }[];
    const putEach = async ({ vault }: Handle): Promise<void> => {
      const puts = SMALL.map((name) => putBytes(vault, contentOf(name), { name }));
      const settled = await Promise.allSettled(puts);
      stored = settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
      await Promise.all(puts);
    };
    const calls = await eachCall(failure, failures, putEach, (_, copy) => {
      // As many copies as was said; or more, where an answer was lost.
      for (const { hash, manifestCopies } of stored) {
        const holders = copy.buckets.filter(({ storage }) => storage.has(`manifests/${hash}`));
        expect(holders.length).toBeGreaterThanOrEqual(manifestCopies);
      }
      return ['kept', 'removed', 'expired', ...stored.map(({ name }) => name)];
    });
    // Of each a look-up, its manifest in every bucket, and its row; in every bucket its marker, the keyring, and all of them together.
    expect(calls).toBeGreaterThanOrEqual(SMALL.length * (buckets + 1) + 3 * buckets);
  });

  // Both treat every refusal of a bucket alike.
  const some = buckets === 3 ? failures.filter(({ code }) => code === 'unavailable') : [];

  test.for(some)('of a removal $title', async (failure) => {
    const calls = await eachCall(
      failure,
      some,
      ({ vault }) => vault.remove(['removed']),
      () => ['kept', 'expired'],
    );
    // Look-up, and in every bucket its marker and the record that is there, and the new one; and the row.
    expect(calls).toBeGreaterThanOrEqual(3 * buckets + 2);
  });

  test.for(some)('of a removal of many $title', async (failure) => {
    let result: Awaited<ReturnType<Handle['vault']['remove']>> | null = null;
    const calls = await eachCall(
      failure,
      some,
      async ({ vault }) => {
        result = null;
        result = await vault.remove(GOING);
      },
      (_, copy) => {
        const told = copy.buckets.filter(({ url }) => result?.unreachable.includes(url) === false);
        const untold = (result?.removed ?? []).filter(
          ({ hash }) => !told.every(({ storage }) => storage.has(`deleted/${hash}`)),
        );
        expect(untold).toEqual([]);
        return ['kept', 'removed', 'expired'];
      },
    );
    // Of each a look-up, the record that is there and the new one in every bucket, and the row; in every bucket its marker, and all together.
    expect(calls).toBeGreaterThanOrEqual(GOING.length * (2 * buckets + 2) + 2 * buckets);
  });

  test.for(some)('of an undelete $title', async (failure) => {
    const calls = await eachCall(
      failure,
      some,
      ({ vault }) => vault.undelete(['hidden']),
      (outcome) => ['kept', 'removed', 'expired', ...(outcome === null ? ['hidden'] : [])],
    );
    expect(calls).toBeGreaterThanOrEqual(7 * buckets);
  });

  test.for(some)('of a sweep $title', async (failure) => {
    const calls = await eachCall(
      failure,
      some,
      ({ vault }) => vault.sweep({ waitMs: 0 }),
      () => ['kept', 'removed'],
    );
    expect(calls).toBeGreaterThanOrEqual(30);
  });
});

test('A put that has failed has nothing under way any more', async () => {
  await using made = await testVault();
  await using copy = await (await snapshotOf(made)).copy();
  let underWay = 0;
  const handle = await copy.open({
    around: async (step, proceed) => {
      underWay += 1;
      try {
        if (step.call === 'put' && step.name.startsWith('chunks/') && step.where === 'memory:1')
          throw error('put', FULL);
        // The others take their time, and do not give up when they are asked to.
        await new Promise((resolve) => setTimeout(resolve, 20));
        await proceed();
      } finally {
        underWay -= 1;
      }
    },
  });
  const outcome = await settledCode(putBytes(handle.vault, contentOf('new'), { name: 'new' }));
  expect({ outcome, underWay }).toEqual({ outcome: 'storage-full', underWay: 0 });
});

async function prune({ vault }: Handle): Promise<void> {
  const names = await all(vault.planPrune({ last: 1 }));
  const gone = names.flat().filter(({ reasons }) => reasons.length === 0);
  if (gone.length > 0) await vault.remove(gone.map(({ version }) => version.hash));
}

describe('With 2+1 over 3 buckets, whichever call of a folder', () => {
  /** Both versions of it: one file is another, and one more. */
  const VERSIONS = ['before', 'after'] as const;
  const failures = FAILURES.filter(({ code, lasts }) => code === 'unavailable' && !lasts);
  let made: TestVault;
  let place: TemporaryFolder;
  let start: Snapshot;
  let facts: readonly unknown[];
  let targets = 0;

  beforeAll(async () => {
    place = await temporaryFolder();
    made = await testVault({ buckets: 3, redundancy: { k: 2, m: 1 } });
    for (const version of VERSIONS) {
      await mkdir(place.at(version, 'sub'), { recursive: true });
      await writeFile(place.at(version, 'small'), version);
      await writeFile(place.at(version, 'sub', 'large'), seededRandom(9).bytes(300_000));
    }
    await writeFile(place.at('after', 'new'), seededRandom(10).bytes(40_000));
    facts = await Promise.all(VERSIONS.map(async (version) => factsOf(place.at(version))));
    await made.vault.put({ root: place.at('before') }, { name: 'tree' });
    await made.session.guard.end();
    start = await snapshotOf(made);
  });
  afterAll(async () => {
    await made[Symbol.asyncDispose]();
    await place[Symbol.asyncDispose]();
  });

  /** Restores a version to a new target; what is there then, whether or not it came to an end, is whole. */
  async function restored({ vault }: Handle, reference: string): Promise<unknown> {
    const target = place.at(`out-${(targets += 1)}`);
    try {
      const found = await vault.find(reference);
      if (found.kind === 'file') throw new Error(`${reference} is no folder`);
      const selected = await found.folder.select(null);
      // Now and then in a thread, which takes a while to start.
      const threadFrom = targets % 8 === 0 ? 0 : Infinity;
      await restoreSelected(selected, target, { force: false, owners: false, threadFrom });
      return await factsOf(target);
    } catch (cause) {
      const whole = new Set(filesOf(facts.flat()));
      const found = filesOf(await factsOf(target).catch(() => []));
      if (!found.every((file) => whole.has(file))) throw new Error(`In part: ${found.join()}`, { cause });
      throw cause;
    } finally {
      await rm(target, { recursive: true, force: true });
    }
  }

  async function eachCall(
    failure: Failure,
    ways: readonly Failure[],
    operation: (handle: Handle) => Promise<unknown>,
    check: (fresh: Handle, outcome: ErrorCode | null) => Promise<void>,
  ): Promise<number> {
    const stride = callStride(ways.length);
    for (let nth = 1 + (ways.indexOf(failure) % stride); ; nth += stride) {
      await using copy = await start.copy();
      const { around, fired } = failAt(nth, failure);
      const failing = await copy.open({ around });
      const outcome = await settledCode(used(failing, operation(failing)));
      if (!fired()) return failing.steps.log.length;
      const step = failing.steps.log[nth - 1];
      try {
        expect([null, failure.code]).toContain(outcome);
        await check(await copy.open(), outcome);
      } catch (cause) {
        throw new Error(`Call ${nth}, ${step?.where} ${step?.call} ${step?.name}, ${failure.title}`, {
          cause,
        });
      }
    }
  }

  const put = ({ vault }: Handle): Promise<unknown> =>
    vault.put({ root: place.at('after') }, { name: 'tree' });

  test.for(failures)('put $title', async (failure) => {
    const calls = await eachCall(failure, failures, put, async (fresh, outcome) => {
      const listed = await all(fresh.vault.list({ all: true }));
      expect(listed.length).toBeGreaterThanOrEqual(outcome === null ? 2 : 1);
      expect(await restored(fresh, 'tree')).toEqual(facts[listed.length - 1]);
      await used(fresh, put(fresh));
      expect(await restored(fresh, 'tree')).toEqual(facts[1]);
    });
    expect(calls).toBeGreaterThanOrEqual(8 * 3 + 1);
  });

  test.for(failures)('restored $title', async (failure) => {
    const calls = await eachCall(
      failure,
      failures,
      (handle) => restored(handle, 'tree'),
      async (fresh) => {
        expect(await restored(fresh, 'tree')).toEqual(facts[0]);
      },
    );
    // Its row, its manifest, its chunks' places and shards.
    expect(calls).toBeGreaterThanOrEqual(4);
  });

  test.for(failures)('pruned $title', async (failure) => {
    await made.vault.put({ root: place.at('after') }, { name: 'tree' });
    await made.session.guard.end();
    start = await snapshotOf(made);
    const calls = await eachCall(failure, failures, prune, async (fresh) => {
      await used(fresh, prune(fresh));
      expect(await all(fresh.vault.list({ all: true }))).toHaveLength(1);
      expect(await restored(fresh, 'tree')).toEqual(facts[1]);
    });
    expect(calls).toBeGreaterThanOrEqual(3 * 2 + 2);
  });
});

/** Of what `factsOf` gives, the files: folders have their permissions and times at the end. */
function filesOf(facts: readonly unknown[]): string[] {
  return facts.map((fact) => JSON.stringify(fact)).filter((fact) => fact.includes('"kind":"file"'));
}
