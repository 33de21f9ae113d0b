/**
 * Everything that can be wrong with what buckets hold or answer, in up to m buckets and in more: exact bytes and a
 * warning that names what was wrong, or a clear error, and never wrong bytes.
 */
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Bucket } from '../../src/buckets/bucket.ts';
import { VaultError } from '../../src/errors.ts';
import type { ErrorCode } from '../../src/errors.ts';
import {
  parseRedundancy,
  parseShardObjectName,
  sealingOf,
  SHARD_HEADER_SIZE,
  finishShardObject,
  shardObjectName,
} from '../../src/format/shard.ts';
import type { Redundancy } from '../../src/format/shard.ts';
import type { Warning } from '../../src/vault/call.ts';
import type { Vault } from '../../src/vault/vault.ts';
import type { Condition, VerifyResult } from '../../src/vault/verify/condition.ts';
import { changeCatalog, sampled } from '../support/catalog-place.ts';
import { always, faulty } from '../support/faulty-bucket.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { CHUNK_SIZE, getBytes, putBytes, testVault } from './harness.ts';
import { forged, present } from './scene.ts';
import type { TestBucket, TestVault } from './harness.ts';

/** One shard object of the file, and where it lies. */
interface Shard {
  readonly bucket: TestBucket;
  readonly name: string;
  readonly chunkId: string;
  readonly index: number;
  readonly bytes: Uint8Array;
}

/** Does something to an object; null removes it. `others` are all shards of the file. */
type Treatment = (shard: Shard, others: readonly Shard[]) => Uint8Array | null;

const flipAt =
  (at: number): Treatment =>
  ({ bytes }) =>
    flipped(bytes, at < 0 ? bytes.length + at : at);

const ALL_TREATMENTS: readonly (readonly [string, Treatment])[] = [
  ['a flipped bit in the magic', flipAt(3)],
  ['a flipped bit in k', flipAt(8)],
  ['a flipped bit in m', flipAt(9)],
  ['a flipped bit in the index', flipAt(10)],
  ['a flipped bit in the byte that is zero', flipAt(11)],
  ['a flipped bit in the size', flipAt(15)],
  ['a flipped bit in the nonce', flipAt(20)],
  ['a flipped bit in the first byte of the shard', flipAt(32)],
  ['a flipped bit in the middle', ({ bytes }) => flipped(bytes, bytes.length >> 1)],
  // Not the very end: up to k - 1 bytes of the last data shard are padding, which nobody reads.
  ['a flipped bit near the end', flipAt(-5)],
  ['a byte cut off', ({ bytes }) => bytes.slice(0, -1)],
  ['nothing but a header', ({ bytes }) => bytes.slice(0, 32)],
  ['half a header', ({ bytes }) => bytes.slice(0, 20)],
  ['no bytes', () => new Uint8Array(0)],
  ['a byte too many', ({ bytes }) => new Uint8Array([...bytes, 0])],
  ['ten times its size', ({ bytes }) => new Uint8Array(bytes.length * 10)],
  ['no object', () => null],
  [
    'the same shard of another chunk',
    ({ chunkId, index }, others) =>
      find(others, (other) => other.chunkId !== chunkId && other.index === index),
  ],
  [
    'another shard of the same chunk',
    ({ chunkId, index }, others) =>
      find(others, (other) => other.chunkId === chunkId && other.index !== index),
  ],
  ['a forgery with a right checksum', ({ name, bytes }) => forged(name, bytes)],
];
/** What is done to objects concerns the catalog little. */
const TREATMENTS = sampled(ALL_TREATMENTS);

const forge: Treatment = ({ name, bytes }) => forged(name, bytes);

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[at] = (copy[at] ?? 0) ^ 0x10;
  return copy;
}

function find(shards: readonly Shard[], wanted: (shard: Shard) => boolean): Uint8Array {
  const found = shards.find(wanted);
  if (found === undefined) throw new RangeError('There is no such shard.');
  return found.bytes;
}

const CONTENT = seededRandom(3).bytes(2 * CHUNK_SIZE + 3000);
/** Of the bytes of a shard object, one in its checksum. */
const CHECKSUM_AT = 28;

/** A vault with one file of three chunks, to be damaged again and again. */
interface Scene {
  readonly redundancy: Redundancy;
  readonly hash: string;
  readonly vault: Vault;
  readonly buckets: readonly TestBucket[];
  /** The file's shards, chunk by chunk, by index. */
  readonly chunks: readonly (readonly Shard[])[];
  readonly shards: readonly Shard[];
}

/** One vault for each redundancy, and what its buckets held at first. */
const vaults = new Map<
  string,
  { made: TestVault; hash: string; objects: readonly [string, Uint8Array][][] }
>();
afterAll(async () => {
  for (const { made } of vaults.values()) await made[Symbol.asyncDispose]();
});

/** The file in its vault, with nothing wrong. */
async function scene(text: string): Promise<Scene> {
  const redundancy = parseRedundancy(text);
  if (redundancy === null) throw new RangeError(text);
  let known = vaults.get(text);
  if (known === undefined) {
    const made = await testVault({ redundancy, buckets: redundancy.k + redundancy.m });
    const { hash } = await putBytes(made.vault, CONTENT, { name: 'file' });
    known = { made, hash, objects: made.buckets.map(({ storage }) => Array.from(storage)) };
    vaults.set(text, known);
  }
  const {
    hash,
    objects,
    made: { vault, buckets },
  } = known;
  for (const [i, bucket] of buckets.entries()) {
    bucket.wrap = (plain) => plain;
    bucket.storage.clear();
    for (const [name, bytes] of objects[i] ?? []) bucket.storage.set(name, bytes);
  }
  const shards = buckets.flatMap((bucket) =>
    [...bucket.storage].flatMap(([name, bytes]): Shard[] => {
      const parsed = parseShardObjectName(name);
      return parsed === null ? [] : [{ bucket, name, chunkId: parsed.chunkId, index: parsed.index, bytes }];
    }),
  );
  const { placement } = await vault.inspect(hash);
  const chunks = placement.map(({ chunkId }) =>
    shards.filter((shard) => shard.chunkId === chunkId).toSorted((a, b) => a.index - b.index),
  );
  return { redundancy, hash, vault, buckets, chunks, shards };
}

/** Treats shards as long as the work lasts. */
async function treated<T>(
  shards: readonly Shard[],
  { treatment, all }: { readonly treatment: Treatment; readonly all: readonly Shard[] },
  work: () => Promise<T>,
): Promise<T> {
  for (const shard of shards) {
    const bytes = treatment(shard, all);
    if (bytes === null) shard.bucket.storage.delete(shard.name);
    else shard.bucket.storage.set(shard.name, bytes);
  }
  try {
    return await work();
  } finally {
    for (const { bucket, name, bytes } of shards) bucket.storage.set(name, bytes);
  }
}

/** The file is read exactly; the warnings that came with it. */
async function readExactly({ vault, hash }: Pick<Scene, 'vault' | 'hash'>): Promise<readonly Warning[]> {
  const warnings: Warning[] = [];
  const bytes = await getBytes(vault, hash, (warning) => warnings.push(warning));
  expect(bytes.equals(CONTENT)).toBe(true);
  return warnings;
}

/** The file cannot be read, and what came of it was right; the error. */
async function readInVain({ vault, hash }: Pick<Scene, 'vault' | 'hash'>): Promise<VaultError> {
  const runs: Buffer[] = [];
  try {
    const file = await vault.get(hash);
    for await (const run of file.content()) runs.push(Buffer.from(run));
  } catch (error) {
    if (!(error instanceof VaultError)) throw error;
    const bytes = Buffer.concat(runs);
    if (!bytes.equals(CONTENT.subarray(0, bytes.length)))
      throw new Error('Wrong bytes came out.', { cause: error });
    return error;
  }
  throw new Error('The file was read.');
}

function bucketsOf(warnings: readonly Warning[]): string[] {
  return warnings.map(({ bucket }) => bucket ?? '').toSorted();
}

function urlsOf(shards: readonly Shard[]): string[] {
  return [...new Set(shards.map(({ bucket }) => bucket.url))].toSorted();
}

describe.each(['1+1', '2+1', '3+2', '1+2'])('Of a file stored %s', (text) => {
  test('any one object may be damaged in any way', async () => {
    const it = await scene(text);
    const { k } = it.redundancy;
    for (const [title, treatment] of TREATMENTS) {
      for (const shard of it.shards) {
        const warnings = await treated([shard], { treatment, all: it.shards }, () => readExactly(it));
        // Parity shards are not looked at as long as the data shards serve; one of several copies may not be either.
        const mustBeSeen = k > 1 && shard.index < k;
        const seen = mustBeSeen || warnings.length > 0;
        const kind = title === 'no object' ? 'shard-missing' : 'shard-damaged';
        expect({ title, warnings }).toMatchObject({
          title,
          warnings: seen ? [{ kind, bucket: shard.bucket.url }] : [],
        });
      }
    }
  });

  test('m shards of every chunk may be damaged in any way', async () => {
    const it = await scene(text);
    const { k, m } = it.redundancy;
    const random = seededRandom(5);
    for (const [title, treatment] of TREATMENTS) {
      for (let round = 0; round < 3; round += 1) {
        const shards = it.chunks.flatMap((chunk) => random.shuffle(chunk).slice(0, m));
        const warnings = await treated(shards, { treatment, all: it.shards }, () => readExactly(it));
        const warned = bucketsOf(warnings);
        const once = [...new Set(warned)];
        expect({ title, warned }).toEqual({ title, warned: once });
        expect({ title, treated: urlsOf(shards) }).toEqual({ title, treated: expect.arrayContaining(once) });
        const mustBeSeen = urlsOf(shards.filter(({ index }) => k > 1 && index < k));
        expect({ title, warned }).toEqual({ title, warned: expect.arrayContaining(mustBeSeen) });
      }
    }
  });

  test('more than m damaged shards of a chunk are a clear error', async () => {
    const it = await scene(text);
    const random = seededRandom(6);
    for (const [title, treatment] of TREATMENTS) {
      const shards = random.shuffle(it.chunks[1] ?? []).slice(0, it.redundancy.m + 1);
      const error = await treated(shards, { treatment, all: it.shards }, () => readInVain(it));
      expect({ title, code: error.code }).toEqual({ title, code: 'damaged' });
      for (const { bucket, index } of shards) {
        const what = title === 'no object' ? 'lacks' : 'has damaged';
        expect(error.message).toContain(`${bucket.url} ${what} shard ${index}.`);
      }
    }
  });

  test('every shard of a chunk may be a forgery, and nothing of it comes out', async () => {
    const it = await scene(text);
    const error = await treated(it.chunks[1] ?? [], { treatment: forge, all: it.shards }, () =>
      readInVain(it),
    );
    expect(error.code).toBe('damaged');
  });
});

test('A shard whose checksum alone is wrong is still a shard', async () => {
  const it = await scene('2+1');
  // Readers believe the seal; the checksum is for those who have no key.
  const warnings = await treated(it.shards, { treatment: flipAt(CHECKSUM_AT), all: it.shards }, () =>
    readExactly(it),
  );
  expect(warnings).toEqual([]);
});

test('Of a file stored 1+0 any damaged shard is a clear error', async () => {
  const it = await scene('1+0');
  for (const [title, treatment] of TREATMENTS) {
    // It has no other shard of the same chunk.
    if (title === 'another shard of the same chunk') continue;
    for (const shard of it.shards) {
      const error = await treated([shard], { treatment, all: it.shards }, () => readInVain(it));
      expect({ title, code: error.code }).toEqual({ title, code: 'damaged' });
      expect(error.message).toContain(shard.bucket.url);
    }
  }
});

/** The same objects under the names that another upload has given them, as another machine leaves them that stores a chunk anew. */
function storeAnew(shards: readonly Shard[]): void {
  for (const { bucket, name, bytes } of shards) {
    bucket.storage.delete(name);
    const upload = name.endsWith('0') ? '1' : '0';
    bucket.storage.set(`${name.slice(0, -1)}${upload}`, bytes);
  }
}

describe.each(['1+1', '2+1', '3+2'])(
  'Of a file stored %s, of whose being stored anew the catalog has not heard',
  (text) => {
    test('nothing is said to be missing', async () => {
      const it = await scene(text);
      storeAnew(it.shards);
      expect(await readExactly(it)).toEqual([]);
      const again = await scene(text);
      storeAnew(again.chunks[1] ?? []);
      expect(await readExactly(again)).toEqual([]);
    });

    test('what is missing besides is', async () => {
      const it = await scene(text);
      const chunk = it.chunks[1] ?? [];
      storeAnew(chunk.slice(1));
      const lost = present(chunk[0]);
      lost.bucket.storage.delete(lost.name);
      // Of copies any one may be asked for.
      const warnings = [];
      for (let times = 0; times < 20; times += 1) warnings.push(...(await readExactly(it)));
      expect(new Set(warnings.map(({ kind }) => kind))).toEqual(new Set(['shard-missing']));
      expect(warnings.map(({ bucket }) => bucket)).toContain(lost.bucket.url);
    });
  },
);

/** What a whole bucket can do, and the warning that tells of it. */
const BUCKETS: readonly {
  readonly title: string;
  readonly wrap: TestBucket['wrap'];
  /** Null: it may go unnoticed. */
  readonly kind: Warning['kind'] | null;
}[] = [
  { title: 'is gone', wrap: (bucket) => faulty(bucket, always('bucket-missing')), kind: 'bucket-down' },
  { title: 'is down', wrap: (bucket) => faulty(bucket, always('unavailable')), kind: 'bucket-down' },
  {
    title: 'refuses the credentials',
    wrap: (bucket) => faulty(bucket, always('denied')),
    kind: 'bucket-down',
  },
  {
    title: 'has lost everything',
    wrap: (bucket) => faulty(bucket, always('object-missing')),
    kind: 'shard-missing',
  },
  { title: 'gives one object for all', wrap: oneForAll, kind: 'shard-damaged' },
  { title: 'gives far more than it is asked for', wrap: oversize, kind: 'shard-damaged' },
  { title: 'gives bytes of its own', wrap: noise, kind: 'shard-damaged' },
  { title: 'lists without end', wrap: endlessListing, kind: null },
];

function oneForAll(bucket: Bucket): Bucket {
  let first: Uint8Array | null = null;
  return { ...bucket, get: async (name, call) => Uint8Array.from((first ??= await bucket.get(name, call))) };
}

function oversize(bucket: Bucket): Bucket {
  return { ...bucket, get: () => Promise.resolve(new Uint8Array(8 * 1024 * 1024)) };
}

function noise(bucket: Bucket): Bucket {
  const random = seededRandom(9);
  return { ...bucket, get: async (name) => random.bytes((await bucket.get(name)).length) };
}

function endlessListing(bucket: Bucket): Bucket {
  return {
    ...bucket,
    get: () => Promise.resolve(new Uint8Array(10)),
    async *list(prefix, call = {}) {
      for (let i = 0; call.signal?.aborted !== true; i += 1) {
        yield { name: `${prefix}0of2+1.${i.toString(16).padStart(16, '0')}`, size: 10 };
        if (i % 1000 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
    },
  };
}

describe.each(['1+1', '2+1', '3+2'])('Of the buckets of a file stored %s', (text) => {
  test.each(BUCKETS)('any m may be such that each $title', async ({ wrap, kind }) => {
    const it = await scene(text);
    const random = seededRandom(10);
    for (let round = 0; round < 4; round += 1) {
      const bad = random.shuffle(it.buckets).slice(0, it.redundancy.m);
      for (const bucket of bad) bucket.wrap = wrapOnce(wrap);
      const warnings = await readExactly(it);
      for (const bucket of bad) bucket.wrap = (plain) => plain;
      const ofShards = warnings.filter((warning) => warning.kind !== 'manifest-damaged');
      for (const warning of ofShards) {
        expect(bad.map(({ url }) => url)).toContain(warning.bucket);
        expect([kind, 'bucket-down', 'shard-damaged']).toContain(warning.kind);
      }
    }
  });

  test.each([
    { first: 'unavailable', others: 'unavailable', code: 'unavailable' },
    { first: 'denied', others: 'unavailable', code: text.endsWith('+0') ? 'denied' : 'unavailable' },
    { first: 'denied', others: 'denied', code: 'denied' },
  ] as const)('more than m, $first and $others, are worth another try', async (bad) => {
    const it = await scene(text);
    const down = it.buckets.slice(0, it.redundancy.m + 1);
    // Only for shards: the manifest is in all of them.
    for (const bucket of down) {
      const code = bucket === down[0] ? bad.first : bad.others;
      bucket.wrap = (plain) =>
        faulty(plain, (call) => (call.name.startsWith('chunks/') ? always(code)(call) : null));
    }
    const error = await readInVain(it);
    expect(error.code).toBe(bad.code);
    expect(error.message).toContain(
      `Try again ${bad.code === 'denied' ? 'with credentials that may read it' : 'when the bucket is back'}.`,
    );
    expect(down.some(({ url }) => error.message.includes(url))).toBe(true);
  });
});

/** One wrapper for all calls, so that it may remember. */
function wrapOnce(wrap: TestBucket['wrap']): TestBucket['wrap'] {
  let wrapped: Bucket | null = null;
  return (bucket) => (wrapped ??= wrap(bucket));
}

function hang(bucket: Bucket): Bucket {
  return faulty(bucket, () => ({ kind: 'hang', heedsSignal: true }));
}

/** One kind of thing that was done, and what verify makes of it. */
interface Verdict {
  readonly result: VerifyResult;
  /** What `get` makes of it: `exact`, or the code of its error. */
  readonly got: string;
}

async function bothWays(it: Scene): Promise<Verdict> {
  const result = await it.vault.verify({ depth: 'data', references: [it.hash] });
  try {
    await readExactly(it);
    return { result, got: 'exact' };
  } catch (error) {
    if (!(error instanceof VaultError)) throw error;
    return { result, got: error.code };
  }
}

function conditionIn({ affected }: VerifyResult): Condition {
  return affected[0]?.condition ?? 'whole';
}

describe.each(['1+0', '1+1', '2+1', '3+2', '1+2'])('Of a file stored %s, verify', (text) => {
  test('finds any one object that is damaged, and names its bucket', async () => {
    const it = await scene(text);
    const { m } = it.redundancy;
    for (const [title, treatment] of TREATMENTS) {
      if (title === 'another shard of the same chunk' && it.redundancy.k + m === 1) continue;
      // One of each index.
      for (const shard of it.chunks[1] ?? []) {
        const { result, got } = await treated([shard], { treatment, all: it.shards }, () => bothWays(it));
        const condition = m === 0 ? 'lost' : 'degraded';
        const problem = title === 'no object' ? 'missing' : 'damaged';
        expect({ title, got, condition: conditionIn(result) }).toEqual({
          title,
          got: m === 0 ? 'damaged' : 'exact',
          condition,
        });
        expect({ title, problems: result.affected[0]?.problems }).toEqual({
          title,
          problems: [{ what: 'shards', problem, bucket: shard.bucket.url }],
        });
      }
    }
  });

  test('says what get does, whatever is done to however many objects of one chunk', async () => {
    const it = await scene(text);
    const random = seededRandom(21);
    const { k, m } = it.redundancy;
    for (const [title, treatment] of TREATMENTS) {
      if (title === 'another shard of the same chunk' && k + m === 1) continue;
      for (let count = 1; count <= k + m; count += 1) {
        const shards = random.shuffle(it.chunks[2] ?? []).slice(0, count);
        const { result, got } = await treated(shards, { treatment, all: it.shards }, () => bothWays(it));
        const condition = conditionIn(result);
        expect({ title, count, condition }).toEqual({
          title,
          count,
          condition: got === 'exact' ? 'degraded' : 'lost',
        });
        expect(['exact', 'damaged']).toContain(got);
      }
    }
  });

  test('calls nothing lost or damaged as long as a bucket is down, and get says to try again', async () => {
    const it = await scene(text);
    const random = seededRandom(22);
    for (let count = 1; count < it.buckets.length; count += 1) {
      const down = random.shuffle(it.buckets).slice(0, count);
      for (const bucket of down) bucket.wrap = (plain) => faulty(plain, always('unavailable'));
      const { result, got } = await bothWays(it);
      for (const bucket of down) bucket.wrap = (plain) => plain;
      expect({ count, condition: conditionIn(result) }).toEqual({ count, condition: 'unknown' });
      expect({ count, got }).toEqual({ count, got: count <= it.redundancy.m ? 'exact' : 'unavailable' });
    }
  });
});

test('A bucket that shows a set of its own making gets nobody to remove or leave out the others’ shards', async () => {
  await using made = await testVault();
  const { hash } = await putBytes(made.vault, CONTENT, { name: 'file' });
  await made.session.guard.end();
  const [liar, ...others] = made.buckets;
  const { storage } = present(liar);
  const objects = Array.from(storage);
  for (const [name, { length }] of objects) {
    const parsed = parseShardObjectName(name);
    if (parsed === null) continue;
    storage.delete(name);
    const alone = shardObjectName({ ...parsed, index: 0, k: 1, m: 0, sealing: '00000000' });
    storage.set(alone, new Uint8Array(length + 100));
  }
  await made.vault.sweep({ ignoreGrace: true, waitMs: 0 });
  await readExactly({ vault: made.vault, hash });
  // Nor is it enough for a put.
  for (const bucket of others) {
    for (const name of bucket.storage.keys()) if (name.startsWith('chunks/')) bucket.storage.delete(name);
  }
  const again = await putBytes(await made.reopen(), CONTENT, { name: 'again' });
  await readExactly({ vault: made.vault, hash: again.hash });
  expect(again.chunksStored).toBe(3);
});

test('Shards whose sealings have the same digits and are of other sizes are not taken for one chunk', async () => {
  await using made = await testVault();
  const { hash } = await putBytes(made.vault, CONTENT, { name: 'file' });
  const { chunkId } = present((await made.vault.inspect(hash)).placement[0]);
  // Of 32 bits, two that are alike are soon found.
  const random = seededRandom(23);
  const found = new Map<string, Buffer>();
  let pair: { readonly sealing: string; readonly nonces: readonly [Buffer, Buffer] } | null = null;
  while (pair === null) {
    const nonce = Buffer.from(random.bytes(12));
    found.set(sealingOf(nonce, 1_000), nonce);
    const other = Buffer.from(random.bytes(12));
    const first = found.get(sealingOf(other, 2_000));
    if (first !== undefined) pair = { sealing: sealingOf(other, 2_000), nonces: [first, other] };
  }
  const upload = '0123456789abcdef';
  for (const [index, sealedSize] of [1_000, 2_000].entries()) {
    const name = { chunkId, sealing: pair.sealing, index, k: 2, m: 1, upload };
    const object = new Uint8Array(SHARD_HEADER_SIZE + sealedSize / 2);
    const nonce = present(pair.nonces[index]);
    finishShardObject(object, chunkId, { k: 2, m: 1, index, sealedSize, nonce });
    present(made.buckets[index]).storage.set(shardObjectName(name), object);
  }
  const [one, two] = await made.catalog.setup.buckets();
  await made.catalog.chunks.put([
    {
      id: chunkId,
      k: 2,
      m: 1,
      sealing: pair.sealing,
      sealedSize: 1_000,
      shards: [{ bucket: present(one).number, upload }, { bucket: present(two).number, upload }, null],
    },
  ]);
  await readExactly({ vault: made.vault, hash });
  expect(await made.vault.verify({ depth: 'data' })).toMatchObject({ files: { lost: 0 } });
});

test('A listing without end does not keep a chunk from being found elsewhere', async () => {
  const it = await scene('2+1');
  // The catalog is wrong about every place, so that buckets are asked what they have.
  for (const shard of it.shards) {
    shard.bucket.storage.delete(shard.name);
    shard.bucket.storage.set(`${shard.name.slice(0, -16)}0123456789abcdef`, shard.bytes);
  }
  for (const bucket of it.buckets) {
    bucket.wrap = endlessListing;
    await readExactly(it);
    bucket.wrap = (plain) => plain;
  }
  // All of it is there.
  expect(await readExactly(it)).toEqual([]);
});

describe('A bucket that never answers', () => {
  let ticking: NodeJS.Timeout | null = null;
  /** How much time passes at once: one wait, or all that there can be. */
  let passingMs = 3_000;
  beforeEach(() => {
    passingMs = 3_000;
    // The waits before another bucket is asked pass at once; everything else takes the time it takes.
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const tick = (): void => {
      vi.advanceTimersByTime(passingMs);
      ticking = setTimeout(tick, 10);
    };
    tick();
  });
  afterEach(() => {
    if (ticking !== null) clearTimeout(ticking);
    vi.useRealTimers();
  });

  for (const text of ['1+1', '2+1', '3+2', '1+2']) {
    test(`is got round, and so are m of them (${text})`, async () => {
      const it = await scene(text);
      const random = seededRandom(12);
      for (let round = 0; round < 3; round += 1) {
        const bad = random.shuffle(it.buckets).slice(0, it.redundancy.m);
        for (const bucket of bad) bucket.wrap = hang;
        const warned = bucketsOf(await readExactly(it));
        expect(bad.map(({ url }) => url)).toEqual(expect.arrayContaining(warned));
        for (const bucket of bad) bucket.wrap = (plain) => plain;
      }
    });
  }

  for (const [title, treatment] of TREATMENTS) {
    test(`is got round where another one has ${title}`, async () => {
      const it = await scene('3+2');
      for (const index of [0, 1, 4, 0, 1, 4]) {
        passingMs = 15_000 - passingMs;
        const shards = it.shards.filter((shard) => shard.index === index);
        const hanging = it.chunks[0]?.find((shard) => shard.index === 2)?.bucket;
        if (hanging === undefined) throw new RangeError('The first chunk has a third shard.');
        const others = shards.filter(({ bucket }) => bucket !== hanging);
        hanging.wrap = hang;
        const warnings = await treated(others, { treatment, all: it.shards }, () => readExactly(it));
        const concerned = [hanging.url, ...urlsOf(others)];
        expect(concerned).toEqual(expect.arrayContaining(bucketsOf(warnings)));
        hanging.wrap = (plain) => plain;
      }
    });
  }

  test('is got round where the catalog does not know the chunks', async () => {
    await using made = await testVault({ redundancy: { k: 3, m: 2 }, buckets: 5 });
    const { hash } = await putBytes(made.vault, CONTENT, { name: 'file' });
    await changeCatalog(made.db, 'delete from chunks');
    for (const bucket of made.buckets.slice(0, 2)) bucket.wrap = hang;
    expect(await readExactly({ vault: made.vault, hash })).toEqual([]);
    for (const bucket of made.buckets) bucket.wrap = (plain) => plain;
  });

  test('does not hold up every chunk anew', async () => {
    await using made = await testVault();
    const content = seededRandom(13).bytes(60 * CHUNK_SIZE);
    const { hash } = await putBytes(made.vault, content, { name: 'long' });
    const [bucket] = made.buckets;
    if (bucket === undefined) throw new RangeError('There are three buckets.');
    let asked = 0;
    bucket.wrap = (plain) =>
      faulty(plain, ({ name }) => {
        if (name.startsWith('chunks/')) asked += 1;
        return { kind: 'hang', heedsSignal: true };
      });
    expect((await getBytes(made.vault, hash)).equals(content)).toBe(true);
    // Those that were in flight when it first turned out to be slow.
    expect(asked).toBeLessThan(12);
    bucket.wrap = (plain) => plain;
  });
});

function manifestName({ hash }: Scene): string {
  return `manifests/${hash}`;
}

function put({ storage }: TestBucket, name: string, bytes: Uint8Array | null): void {
  if (bytes === null) storage.delete(name);
  else storage.set(name, bytes);
}

describe('A manifest', () => {
  const MANIFEST_TREATMENTS: readonly (readonly [string, (bytes: Uint8Array) => Uint8Array | null])[] = [
    ...[0, 8, 50, 72, 200, -1].map(
      (at) =>
        [
          `with a flipped bit at ${at}`,
          (bytes: Uint8Array) => flipped(bytes, at < 0 ? bytes.length + at : at),
        ] as const,
    ),
    ['that is cut off', (bytes) => bytes.slice(0, -1)],
    ['that is empty', () => new Uint8Array(0)],
    ['with a byte too many', (bytes) => new Uint8Array([...bytes, 0])],
    ['larger than any', () => new Uint8Array(80 * 1024 * 1024)],
    ['that is gone', () => null],
  ];

  test.each(MANIFEST_TREATMENTS)('%s in all buckets but one is got round', async (what, treatment) => {
    const it = await scene('2+1');
    const name = manifestName(it);
    for (const [i, good] of it.buckets.entries()) {
      const bytes = good.storage.get(name) ?? new Uint8Array(0);
      for (const bucket of it.buckets) put(bucket, name, bucket === good ? bytes : treatment(bytes));
      for (const warning of await readExactly(it)) {
        // A bucket that was never given it is nothing to warn of.
        expect(what).not.toBe('that is gone');
        expect(warning).toMatchObject({ kind: 'manifest-damaged' });
        expect(warning.bucket).not.toBe(it.buckets[i]?.url);
      }
      for (const bucket of it.buckets) bucket.storage.set(name, bytes);
    }
  });

  test.each(MANIFEST_TREATMENTS)('%s in all buckets is a clear error', async (_, treatment) => {
    const it = await scene('2+1');
    const name = manifestName(it);
    for (const bucket of it.buckets) {
      put(bucket, name, treatment(bucket.storage.get(name) ?? new Uint8Array(0)));
    }
    const error = await readInVain(it);
    expect(error.code).toBe('damaged');
    // Those that have one are named.
    const holding = it.buckets.filter(({ storage }) => storage.has(name));
    for (const { url } of holding) expect(error.message).toContain(url);
    expect(error.message).toMatch(/^No bucket has /);
  });

  test.each([
    ['unavailable', 'unavailable'],
    ['bucket-missing', 'unavailable'],
    ['denied', 'denied'],
  ] as const)('that may be in a bucket that is %s is no loss', async (code, expected) => {
    const it = await scene('2+1');
    const name = manifestName(it);
    const [first, ...others] = it.buckets;
    if (first === undefined) throw new RangeError('There are three buckets.');
    first.wrap = (bucket) => faulty(bucket, always(code));
    for (const bucket of others) bucket.storage.delete(name);
    const error = await readInVain(it);
    expect(error.code).toBe(expected satisfies ErrorCode);
    expect(error.message).toContain(first.url);
  });

  test('under the hash of another file is not taken for it', async () => {
    const it = await scene('2+1');
    const other = await putBytes(it.vault, seededRandom(14).bytes(100), { name: 'other' });
    for (const { storage } of it.buckets) {
      storage.set(manifestName(it), storage.get(`manifests/${other.hash}`) ?? new Uint8Array(0));
    }
    expect((await readInVain(it)).code).toBe('damaged');
  });

  test('of another vault is not taken for one of this', async () => {
    await using other = await testVault();
    const { hash } = await putBytes(other.vault, seededRandom(15).bytes(100), { name: 'file' });
    const it = await scene('2+1');
    for (const { storage } of it.buckets) {
      storage.set(manifestName(it), other.buckets[0]?.storage.get(`manifests/${hash}`) ?? new Uint8Array(0));
    }
    expect((await readInVain(it)).code).toBe('damaged');
  });
});
