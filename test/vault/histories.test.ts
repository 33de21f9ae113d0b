/**
 * Random histories of several machines: two share a catalog, a third has its own; processes end well or are killed, clocks move, a
 * bucket is away, comes or goes, everything is coded anew, a catalog is put back to what it said some time ago, or at first, is made
 * anew from the buckets, or is another machine's. After each step everything that was acknowledged can be
 * read; in the end nothing is left that no file needs. What fails is shrunk by fast-check, which says the seed.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { isVaultError } from '../../src/errors.ts';
import { SWEEP_PREFIX } from '../../src/format/removal.ts';
import { CHUNK_PREFIX } from '../../src/format/shard.ts';
import type { Redundancy } from '../../src/format/shard.ts';
import type { Bucket, ListedObject } from '../../src/buckets/bucket.ts';
import { gathering } from '../../src/buckets/layers/gathering.ts';
import { refreshKeyring } from '../../src/vault/keys/keyring-store.ts';
import { openSession } from '../../src/vault/open.ts';
import type { OpenVaultParts } from '../../src/vault/open.ts';
import { MarkerGuard } from '../../src/vault/protocol/put-guard.ts';
import { recoverCatalog } from '../../src/vault/recover/recover.ts';
import type { Session } from '../../src/vault/session.ts';
import { Vault } from '../../src/vault/vault.ts';
import { always, faulty } from '../support/faulty-bucket.ts';
import { THOROUGH } from '../support/catalog-place.ts';
import { MemoryCatalog } from '../support/memory-catalog.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { behind, CHUNK_SIZE, discrepancies, getBytes, parts, putBytes, testVault } from './harness.ts';
import type { TestBucket, TestVault } from './harness.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const GRACE_MS = 7 * DAY_MS;

const random = seededRandom(41);
const part = random.bytes(CHUNK_SIZE);
/** Small ones, and larger ones that share chunks. */
const CONTENTS = [
  random.bytes(300),
  Buffer.concat([part, random.bytes(100)]),
  Buffer.concat([part, random.bytes(CHUNK_SIZE)]),
  random.bytes(20_000),
] as const;
const NAMES = ['a', 'b'] as const;
/** So many at once are sealed and stored together. */
const TOGETHER = 8;
const MACHINES = [0, 1, 2] as const;

let made: TestVault;
beforeAll(async () => {
  made = await testVault({ buckets: 3, redundancy: { k: 2, m: 1 } });
});
afterAll(async () => {
  await made[Symbol.asyncDispose]();
});

/** What has become of a file, as far as anybody was told. */
interface Told {
  readonly bytes: Uint8Array;
  readonly expiresAtMs: number | null;
  /** Null: it must be readable. A time: until then it can be brought back. */
  removedUntilMs: number | null;
}

/** What runs on a machine. */
interface Process {
  readonly session: Session;
  readonly vault: Vault;
}

/** Where the protocol is broken on purpose, to see that a history shows it. */
type Broken = 'nowhere' | 'puts believe what was there once';

/** A bucket as somebody would know it who believed rows: with every shard that was ever there, and no list of removal. */
function believing(plain: Bucket, shown: Map<string, ListedObject>): Bucket {
  return {
    ...plain,
    put: async (name, bytes, call) => {
      if (name.startsWith(CHUNK_PREFIX)) shown.set(name, { name, size: bytes.length });
      return plain.put(name, bytes, call);
    },
    list: async function* (prefix, call) {
      if (prefix.startsWith(SWEEP_PREFIX)) return;
      if (!prefix.startsWith(CHUNK_PREFIX)) return yield* plain.list(prefix, call);
      for await (const object of plain.list(CHUNK_PREFIX)) shown.set(object.name, object);
      const { after = '' } = call ?? {};
      const objects = [...shown.values()].filter(({ name: each }) => each.startsWith(prefix) && each > after);
      yield* objects.toSorted((one, other) => (one.name < other.name ? -1 : 1));
    },
  };
}

class Histories {
  nowMs = Date.UTC(2030, 0, 1);
  readonly buckets: readonly TestBucket[];
  /** What each machine uses: the first two the same. */
  readonly #catalogs: [MemoryCatalog, MemoryCatalog];
  #saved: readonly MemoryCatalog[] = [];
  readonly files = new Map<string, Told>();
  /** The bucket that is away; -1 for none. */
  away = -1;
  readonly #broken: Broken;
  /** Every shard that puts have stored or been shown, of each bucket. */
  readonly #shown: readonly Map<string, ListedObject>[];

  constructor(catalog: MemoryCatalog, broken: Broken = 'nowhere') {
    this.#broken = broken;
    this.#catalogs = [catalog.copy(), catalog.copy()];
    this.save();
    this.buckets = [...made.buckets, { url: 'memory:4', storage: new Map() }].map(({ url, storage }) => ({
      url,
      storage: new Map(storage),
      wrap: (bucket) => bucket,
    }));
    this.#shown = this.buckets.map(() => new Map());
  }

  /** A process of a machine. */
  process(machine: number, verb: Step['kind'] | null = null): Promise<Process> {
    for (const [i, bucket] of this.buckets.entries()) {
      bucket.wrap = (plain) => {
        if (i === this.away) return faulty(plain, always('unavailable'));
        if (verb === 'put' && this.#broken === 'puts believe what was there once')
          return believing(plain, this.#shown[i] ?? new Map());
        return plain;
      };
    }
    return this.#open(this.#catalogOf(machine));
  }

  /** It knows which buckets there are by its catalog. */
  async #open(catalog: MemoryCatalog): Promise<Process> {
    const { keys, keyring, workers } = made.session;
    const opened = await openSession({ ...this.#parts(catalog), unlocked: { keys, ...keyring } });
    const guard = new MarkerGuard();
    const session: Session = { ...opened, workers, guard };
    guard.attach(session);
    return { session, vault: new Vault(session) };
  }

  #parts(catalog: MemoryCatalog): OpenVaultParts {
    const opener = async (url: string): Promise<Bucket> => {
      const bucket = this.buckets.find((one) => one.url === url);
      if (bucket === undefined) throw new Error(url);
      return gathering(behind(bucket));
    };
    return parts(catalog, opener, { now: () => this.nowMs });
  }

  /** Its catalog is lost, and made anew. */
  async recover(machine: number): Promise<void> {
    const catalog = new MemoryCatalog();
    const { opener, password, ...rest } = this.#parts(catalog);
    await this.process(machine);
    const urls = this.buckets.map(({ url }) => url);
    await recoverCatalog({ catalog, urls, opener, password, parts: rest });
    this.#catalogs[machine === 2 ? 1 : 0] = catalog;
  }

  /** It takes over the other's catalog. */
  copyCatalog(machine: number): void {
    const [first, second] = this.#catalogs;
    if (machine === 2) this.#catalogs[1] = first.copy();
    else this.#catalogs[0] = second.copy();
  }

  #catalogOf(machine: number): MemoryCatalog {
    return this.#catalogs[machine === 2 ? 1 : 0];
  }

  save(): void {
    this.#saved = this.#catalogs.map((catalog) => catalog.copy());
  }

  putBack(machine: number): void {
    const at = machine === 2 ? 1 : 0;
    const saved = this.#saved[at];
    if (saved !== undefined) this.#catalogs[at] = saved.copy();
  }

  /** Everything that was acknowledged and not removed comes back from the buckets, with whichever catalog. */
  async check(): Promise<void> {
    const { away } = this;
    this.away = -1;
    const { vault, session } = await this.process(2);
    for (const [hash, { bytes, removedUntilMs }] of this.files) {
      if (removedUntilMs !== null) continue;
      const found = await getBytes(vault, hash).catch(async () => {
        // Its catalog may be from before a bucket came.
        await refreshKeyring(session);
        return getBytes(vault, hash).catch((error: unknown) => String(error));
      });
      if (!Buffer.from(bytes).equals(Buffer.from(found)))
        throw new Error(`${hash} is lost: ${found.toString().slice(0, 300)}`);
    }
    this.away = away;
  }

  /** What expires now may be removed by any sweep, and can be brought back for its grace from then on. */
  expire(): void {
    for (const file of this.files.values()) {
      const { expiresAtMs, removedUntilMs } = file;
      if (expiresAtMs !== null && expiresAtMs <= this.nowMs && removedUntilMs === null) {
        file.removedUntilMs = this.nowMs + GRACE_MS;
      }
    }
  }
}

/** One step. What further commands there will be join here. */
type Step =
  | {
      readonly kind: 'put';
      readonly machine: number;
      readonly name: string;
      readonly content: number;
      readonly expires: boolean;
      readonly killed: boolean;
    }
  | { readonly kind: 'put many'; readonly machine: number; readonly killed: boolean }
  | { readonly kind: 'rm'; readonly machine: number; readonly name: string; readonly now: boolean }
  | { readonly kind: 'undelete'; readonly machine: number; readonly which: number; readonly killed: boolean }
  | { readonly kind: 'sweep'; readonly machine: number }
  | { readonly kind: 'repair'; readonly machine: number; readonly redundancy: Redundancy | undefined }
  | { readonly kind: 'verify'; readonly machine: number }
  | { readonly kind: 'bucket add'; readonly machine: number }
  | { readonly kind: 'bucket rm'; readonly machine: number; readonly bucket: number }
  | { readonly kind: 'recover'; readonly machine: number }
  | { readonly kind: 'catalog copy'; readonly machine: number }
  | { readonly kind: 'clock'; readonly hours: number }
  | { readonly kind: 'away'; readonly bucket: number }
  | { readonly kind: 'save' }
  | { readonly kind: 'put back'; readonly machine: number };

const machine = fc.constantFrom(...MACHINES);
const name = fc.constantFrom(...NAMES);
const rarely = fc.integer({ min: 0, max: 4 }).map((drawn) => drawn === 4);
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('put' as const),
      machine,
      name,
      content: fc.nat({ max: CONTENTS.length - 1 }),
      expires: rarely,
      killed: rarely,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('put many' as const), machine, killed: rarely }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('rm' as const), machine, name, now: fc.boolean() }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('undelete' as const),
      machine,
      which: fc.nat({ max: 5 }),
      killed: rarely,
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('sweep' as const), machine }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('repair' as const),
      machine,
      redundancy: fc.constantFrom(undefined, undefined, { k: 1, m: 2 }, { k: 2, m: 1 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('verify' as const), machine }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('clock' as const),
      hours: fc.constantFrom(1, 5, 13, 25, 80, 200),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('away' as const), bucket: fc.integer({ min: -1, max: 3 }) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('bucket add' as const), machine }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('bucket rm' as const),
      machine,
      bucket: fc.integer({ min: 0, max: 3 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('recover' as const), machine }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('catalog copy' as const), machine }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'save' as const }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('put back' as const), machine }) },
);

const anyHistory = fc.array(anyStep, { minLength: 4, maxLength: 30 });

/** Null for an error that says why. */
async function told<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work;
  } catch (error) {
    if (isVaultError(error, 'file-not-found', 'unavailable', 'invalid-input', 'already-exists')) return null;
    throw error;
  }
}

async function take(history: Histories, step: Step): Promise<void> {
  switch (step.kind) {
    case 'put': {
      const bytes = CONTENTS[step.content] ?? CONTENTS[0];
      const expiresAtMs = step.expires ? history.nowMs + 10 * HOUR_MS : null;
      const { vault, session } = await history.process(step.machine, 'put');
      const result = await told(putBytes(vault, bytes, { name: step.name, expiresAtMs }));
      if (result !== null) history.files.set(result.hash, { bytes, expiresAtMs, removedUntilMs: null });
      if (!step.killed) await session.guard.end();
      return;
    }
    case 'put many': {
      const { vault, session } = await history.process(step.machine, 'put');
      // The name of others, too: removals meet them.
      const puts = Array.from({ length: TOGETHER }, async (_, i) => {
        const bytes = random.bytes(50);
        const result = await told(putBytes(vault, bytes, { name: i === 0 ? NAMES[0] : `small ${i}` }));
        if (result !== null)
          history.files.set(result.hash, { bytes, expiresAtMs: null, removedUntilMs: null });
      });
      await Promise.all(puts);
      if (!step.killed) await session.guard.end();
      return;
    }
    case 'rm':
      return remove(history, (await history.process(step.machine)).vault, step);
    case 'undelete':
      return undelete(history, step);
    case 'sweep': {
      history.expire();
      await told((await history.process(step.machine)).vault.sweep({ waitMs: 0 }));
      return;
    }
    case 'repair': {
      const { vault, session } = await history.process(step.machine);
      await told(vault.repair({ redundancy: step.redundancy }));
      await session.guard.end();
      return;
    }
    case 'bucket add':
    case 'bucket rm':
      return changeBuckets(history, step);
    case 'recover':
      await told(history.recover(step.machine));
      return;
    case 'catalog copy':
      history.copyCatalog(step.machine);
      return;
    case 'verify':
      await told((await history.process(step.machine)).vault.verify({ depth: 'listing' }));
      return;
    case 'clock':
      history.nowMs += step.hours * HOUR_MS;
      return;
    case 'away':
      history.away = step.bucket;
      return;
    case 'save':
      history.save();
      return;
    case 'put back':
      history.putBack(step.machine);
  }
}

async function changeBuckets(
  history: Histories,
  step: Step & { kind: 'bucket add' | 'bucket rm' },
): Promise<void> {
  const { vault, session } = await history.process(step.machine);
  await refreshKeyring(session);
  const urls = new Set(session.buckets.all.map(({ url }) => url));
  const url =
    step.kind === 'bucket add'
      ? history.buckets.find((bucket) => !urls.has(bucket.url))?.url
      : history.buckets[step.bucket]?.url;
  if (url === undefined) return;
  await told<unknown>(
    step.kind === 'bucket add' ? vault.addBucket(url) : vault.removeBucket(url, { waitMs: 0 }),
  );
  await session.guard.end();
}

async function remove(history: Histories, vault: Vault, step: Step & { kind: 'rm' }): Promise<void> {
  const graceMs = step.now ? 0 : GRACE_MS;
  // What is about to be removed is nobody's promise any more, also if it fails half-way.
  const planned = await told(vault.remove([step.name], { dryRun: true }));
  for (const { hash } of planned?.removed ?? []) {
    const file = history.files.get(hash);
    if (file !== undefined) file.removedUntilMs = history.nowMs + graceMs;
  }
  await told(vault.remove([step.name], { graceMs }));
}

async function undelete(history: Histories, step: Step & { kind: 'undelete' }): Promise<void> {
  const removed = [...history.files].filter(([, { removedUntilMs }]) => removedUntilMs !== null);
  const [hash, file] = removed[step.which % Math.max(1, removed.length)] ?? [];
  if (hash === undefined || file === undefined) return;
  const { vault, session } = await history.process(step.machine);
  const result = await told(vault.undelete([hash]));
  // What is brought back after its time stays; before it, it still has its time.
  const expiresAtMs = (file.expiresAtMs ?? 0) > history.nowMs ? file.expiresAtMs : null;
  if (result !== null) history.files.set(hash, { ...file, expiresAtMs, removedUntilMs: null });
  if (!step.killed) await session.guard.end();
}

/** Everybody is there again; what can be brought back is, and what nobody needs goes. */
async function end(history: Histories): Promise<void> {
  history.away = -1;
  const { vault, session } = await history.process(0);
  for (const wait of [26 * HOUR_MS, 97 * HOUR_MS, 97 * HOUR_MS, 10 * DAY_MS, 97 * HOUR_MS, 97 * HOUR_MS]) {
    history.nowMs += wait;
    history.expire();
    const { blockedBy, filesMissing } = await vault.sweep({ waitMs: 0, ignoreGrace: true });
    expect({
      blockedBy,
      filesMissing: filesMissing.filter((hash) => history.files.get(hash)?.removedUntilMs === null),
    }).toEqual({
      blockedBy: null,
      filesMissing: [],
    });
    await history.check();
  }
  const inVault = history.buckets.filter(({ url }) => session.buckets.all.some((one) => one.url === url));
  const found = await discrepancies(session, inVault);
  // Where shards lie is only a hint in a catalog that is one of several.
  expect(found.filter((line) => /nothing explains|left over|not whole|manifests/.test(line))).toEqual([]);
}

async function live(catalog: MemoryCatalog, steps: readonly Step[], broken?: Broken): Promise<void> {
  const histories = new Histories(catalog, broken);
  for (const step of steps) {
    await take(histories, step);
    await histories.check();
  }
  await end(histories);
}

test('nothing that was acknowledged is lost, and nothing is left over', { timeout: 300_000 }, async () => {
  const catalog = await MemoryCatalog.of(made.catalog);
  const tried = fc.assert(
    fc.asyncProperty(anyHistory, (history) => live(catalog, history)),
    { numRuns: Number(process.env['HISTORIES'] ?? (THOROUGH ? 40 : 18)) },
  );
  await expect(tried).resolves.toBeUndefined();
});

/** Those in which it matters what a put believes. */
const putsAndRemovals = fc.array(
  anyStep.filter(({ kind }) => ['put', 'rm', 'sweep', 'clock'].includes(kind)),
  { minLength: 4, maxLength: 30 },
);

test('a history shows it if puts believe what was there once', { timeout: 300_000 }, async () => {
  const catalog = await MemoryCatalog.of(made.catalog);
  const tried = fc.assert(
    fc.asyncProperty(putsAndRemovals, (history) =>
      live(catalog, history, 'puts believe what was there once'),
    ),
    // Found after a few histories with this seed, and after a hundred with others.
    { numRuns: 300, seed: 3, endOnFailure: true },
  );
  await expect(tried).rejects.toMatchObject({ cause: { message: expect.stringContaining(' is lost: ') } });
});
