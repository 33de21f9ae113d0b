import { Buffer } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { MOST_REMOVED, NO_RETENTION } from '../../src/buckets/bucket.ts';
import type { Bucket, BucketCall, ListedObject, PresignCall, Retention } from '../../src/buckets/bucket.ts';
import { createLimits, limited } from '../../src/buckets/layers/limits.ts';
import { retrying } from '../../src/buckets/layers/retry.ts';
import { timed } from '../../src/buckets/layers/timeout.ts';
import { VaultError } from '../../src/errors.ts';
import type { ErrorCode } from '../../src/errors.ts';

/** One bucket to be tested, empty and nobody else's. */
export interface BucketUnderTest {
  readonly bucket: Bucket;
  /** A second, independent handle on the same storage. */
  reopen(): Promise<Bucket>;
  /** A handle on a bucket that does not exist; null if the kind has no such thing. */
  readonly openMissing: (() => Promise<Bucket>) | null;
  /** For a kind that gives links: puts the storage's clock ahead. */
  readonly passTime?: ((ms: number) => void) | undefined;
  /** Removes the storage. The suite has closed the handles. */
  cleanUp(): Promise<void>;
}

/** Names that the contract forbids, each for another reason. */
export const INVALID_NAMES = [
  '',
  '/',
  '/a',
  'a/',
  'a//b',
  '.',
  '..',
  'a/./b',
  '../a',
  'a/../b',
  'a b',
  'a\\b',
  'a\0b',
  'a\n',
  'a?b',
  'a#b',
  'a%2Fb',
  'a*',
  'ä',
  'a'.repeat(256),
] as const;

/** How an operation ended: its error's code, or `success`. An error that is no VaultError is thrown on. */
export async function codeOf(operation: Promise<unknown>): Promise<ErrorCode | 'success'> {
  try {
    await operation;
    return 'success';
  } catch (error) {
    if (!(error instanceof VaultError)) throw error;
    const isSentence = /^\S.*\S[.?]$/s.test(error.message);
    if (!isSentence) throw new Error(`This says nothing: ${error.message}`, { cause: error });
    return error.code;
  }
}

/** How an operation ended whose signal was aborted right after its start. */
async function codeWhenAborted(
  start: (signal: AbortSignal) => Promise<unknown>,
): Promise<ErrorCode | 'success'> {
  const controller = new AbortController();
  const ending = codeOf(start(controller.signal));
  controller.abort();
  return await ending;
}

/** A whole listing. */
export async function listAll(
  bucket: Bucket,
  prefix: string,
  call?: BucketCall & { readonly after?: string },
): Promise<ListedObject[]> {
  return await Array.fromAsync(bucket.list(prefix, call));
}

async function listNames(bucket: Bucket, prefix: string, after?: string): Promise<string[]> {
  const objects = await listAll(bucket, prefix, after === undefined ? {} : { after });
  return objects.map((object) => object.name);
}

async function putMany(bucket: Bucket, names: readonly string[], width: number): Promise<void> {
  const queue = names.values();
  const worker = async (): Promise<void> => {
    for (const name of queue) await bucket.put(name, Buffer.from(name));
  };
  await Promise.all(Array.from({ length: width }, worker));
}

async function statusOf(url: string): Promise<number> {
  const answer = await fetch(url);
  await answer.arrayBuffer();
  return answer.status;
}

function sameBytes(actual: Uint8Array, expected: Uint8Array): boolean {
  // Buffer.compare and not toEqual, which takes seconds for megabytes.
  return Buffer.compare(actual, expected) === 0;
}

/**
 * The contract of `Bucket`, one sentence a test. A driver joins by saying how to open it.
 *
 * @param name what to call the driver in the test report
 * @param openFresh opens an empty bucket that no other test uses
 * @param options `manyNames`: how many objects the long listing has; more than one page of the service.
 *   `openLocking`: opens one that can lock objects, whose `passTime` is the locks', for a kind that has such buckets. `overwrites`: why other bytes under a taken name go unnoticed, for a service without conditional puts
 */
export function bucketConformance(
  name: string,
  openFresh: () => Promise<BucketUnderTest>,
  options: {
    readonly manyNames?: number;
    readonly overwrites?: string;
    readonly openLocking?: () => Promise<BucketUnderTest>;
  } = {},
): void {
  const manyNames = options.manyNames ?? 1100;
  const { overwrites } = options;

  describe(`${name} keeps the contract of a bucket`, () => {
    let storage: BucketUnderTest;
    let bucket: Bucket;
    let opened: Bucket[] = [];
    let missing = true;

    const closing = (handle: Bucket): Bucket => {
      opened.push(handle);
      return handle;
    };
    const closeAll = async (): Promise<void> => {
      const handles = opened;
      opened = [];
      for (const handle of handles) await handle.close();
      await storage.cleanUp();
    };

    describe('with objects', () => {
      beforeEach(async () => {
        storage = await openFresh();
        bucket = closing(storage.bucket);
      });
      afterEach(closeAll);

      test('the label tells what it is, without a secret', () => {
        expect(bucket.label).not.toBe('');
        expect(bucket.label).not.toMatch(/\/\/[^/]*@/);
      });

      test.each([0, 1, 255, 65_536, 1_048_576, 8_388_608])('put and get give back %i bytes', async (size) => {
        const bytes = randomBytes(size);
        await bucket.put('chunks/object', bytes);
        const found = await bucket.get('chunks/object');
        expect(found).toBeInstanceOf(Uint8Array);
        expect(found.length).toBe(size);
        expect(sameBytes(found, bytes)).toBe(true);
      });

      test('another handle sees what was stored', async () => {
        await bucket.put('chunks/object', Buffer.from('content'));
        const other = closing(await storage.reopen());
        expect(Buffer.from(await other.get('chunks/object')).toString()).toBe('content');
        expect(await listNames(other, '')).toEqual(['chunks/object']);
        await other.remove('chunks/object');
        expect(await codeOf(bucket.get('chunks/object'))).toBe('object-missing');
      });

      test.each([
        'a',
        'vault.json',
        '-dash',
        '.hidden',
        '...',
        'a..b/c...',
        'a+b/c+d',
        'UPPER/lower/0123456789',
        'some.partial',
        'a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p',
        `manifests/${'0123456789abcdef'.repeat(4)}`,
        'n'.repeat(255),
        `${'n'.repeat(127)}/${'m'.repeat(127)}`,
      ])('the name %s works in every operation', async (object) => {
        await bucket.put(object, Buffer.from('content'));
        expect(Buffer.from(await bucket.get(object)).toString()).toBe('content');
        expect(await listAll(bucket, object)).toEqual([{ name: object, size: 7 }]);
        expect(await listNames(bucket, '')).toEqual([object]);
        await bucket.put(object, Buffer.from('next'), { replace: true });
        expect(Buffer.from(await bucket.get(object)).toString()).toBe('next');
        await bucket.remove(object);
        expect(await codeOf(bucket.get(object))).toBe('object-missing');
        expect(await listNames(bucket, '')).toEqual([]);
      });

      test('names that differ in case only from another segment do not meet', async () => {
        await bucket.put('x/ab', Buffer.from('lower'));
        await bucket.put('x/abc', Buffer.from('longer'));
        expect(Buffer.from(await bucket.get('x/ab')).toString()).toBe('lower');
        expect(Buffer.from(await bucket.get('x/abc')).toString()).toBe('longer');
      });

      test.each(['', 'taken'])('put tells what time it is there, and not here', async (before) => {
        const startMs = Date.now();
        if (before !== '') await bucket.put('object', Buffer.from(before));
        // Less than what S3 refuses.
        for (const minutes of [10, -10]) {
          const dates: number[] = [];
          const here = vi.spyOn(Date, 'now').mockImplementation(() => startMs + minutes * 60_000);
          try {
            const call = { replace: true, onDate: (dateMs: number) => dates.push(dateMs) };
            await bucket.put('object', Buffer.from('content'), call);
            await bucket.put('object', Buffer.from('content'), { onDate: (dateMs) => dates.push(dateMs) });
          } finally {
            here.mockRestore();
          }
          expect(dates.length).toBeGreaterThanOrEqual(2);
          // Dates of HTTP have no fractions of seconds.
          expect(Math.min(...dates)).toBeGreaterThan(startMs - 2_000);
          expect(Math.max(...dates)).toBeLessThanOrEqual(Date.now() + 1_000);
        }
      });

      test('put of the same bytes again succeeds and changes nothing', async () => {
        const bytes = randomBytes(100_000);
        await bucket.put('chunks/object', bytes);
        await bucket.put('chunks/object', bytes);
        expect(sameBytes(await bucket.get('chunks/object'), bytes)).toBe(true);
        expect(await listAll(bucket, '')).toEqual([{ name: 'chunks/object', size: 100_000 }]);
      });

      test.skipIf(overwrites !== undefined).each([
        ['of the same size', 'content', 'CONTENT'],
        ['that are longer', 'content', 'content and more'],
        ['that are shorter', 'content', 'cont'],
        ['that are none', 'content', ''],
        ['where none were', '', 'content'],
      ])('put of other bytes %s under a taken name is already-exists', async (_, before, after) => {
        await bucket.put('chunks/object', Buffer.from(before));
        expect(await codeOf(bucket.put('chunks/object', Buffer.from(after)))).toBe('already-exists');
        expect(Buffer.from(await bucket.get('chunks/object')).toString()).toBe(before);
      });

      test.each([
        ['longer', 'content and more'],
        ['shorter', 'con'],
        ['empty', ''],
        ['equal', 'content'],
      ])('put with replace puts %s bytes in the place of the old ones', async (_, after) => {
        await bucket.put('vault.json', Buffer.from('content'), { replace: true });
        await bucket.put('vault.json', Buffer.from(after), { replace: true });
        expect(Buffer.from(await bucket.get('vault.json')).toString()).toBe(after);
        expect(await listAll(bucket, '')).toEqual([{ name: 'vault.json', size: after.length }]);
      });

      test('a name that was removed can be stored again with other bytes', async () => {
        await bucket.put('chunks/object', Buffer.from('before'));
        await bucket.remove('chunks/object');
        await bucket.put('chunks/object', Buffer.from('after'));
        expect(Buffer.from(await bucket.get('chunks/object')).toString()).toBe('after');
      });

      test('the caller may reuse the bytes once put has settled', async () => {
        const bytes = randomBytes(300_000);
        const copy = Buffer.from(bytes);
        await bucket.put('chunks/object', bytes);
        bytes.fill(0);
        expect(sameBytes(await bucket.get('chunks/object'), copy)).toBe(true);
      });

      test('what get returned is the caller’s own', async () => {
        await bucket.put('chunks/object', Buffer.from('content'));
        (await bucket.get('chunks/object')).fill(0);
        expect(Buffer.from(await bucket.get('chunks/object')).toString()).toBe('content');
      });

      test('put takes a view into a larger buffer', async () => {
        const whole = randomBytes(200_000);
        await bucket.put('chunks/object', whole.subarray(1_001, 150_003));
        expect(sameBytes(await bucket.get('chunks/object'), whole.subarray(1_001, 150_003))).toBe(true);
      });

      test('put takes a view of shared memory', async () => {
        const shared = new Uint8Array(new SharedArrayBuffer(300_000), 17, 200_000);
        shared.set(randomBytes(200_000));
        await bucket.put('chunks/object', shared);
        expect(sameBytes(await bucket.get('chunks/object'), shared)).toBe(true);
        await bucket.put('chunks/object', shared);
        await bucket.put('vault.json', shared, { replace: true });
        expect(sameBytes(await bucket.get('vault.json'), shared)).toBe(true);
      });

      test('get of a name that was never stored is object-missing', async () => {
        expect(await codeOf(bucket.get('never'))).toBe('object-missing');
        await bucket.put('chunks/object', Buffer.from('content'));
        expect(await codeOf(bucket.get('chunks/objec'))).toBe('object-missing');
        expect(await codeOf(bucket.get('chunks/object2'))).toBe('object-missing');
        expect(await codeOf(bucket.get('chunks/other/object'))).toBe('object-missing');
        expect(await codeOf(bucket.get('chunks'))).toBe('object-missing');
      });

      test('get tells of the bytes as they arrive, of all of them', async () => {
        const content = randomBytes(9 * 1024 * 1024);
        await bucket.put('chunks/large', content);
        const told: number[] = [];
        const got = await bucket.get('chunks/large', { onBytes: (count) => told.push(count) });
        expect(Buffer.from(got).equals(content)).toBe(true);
        expect(told.reduce((sum, count) => sum + count, 0)).toBe(content.length);
      });

      test('get of an object larger than maxSize is damaged, and of one as large succeeds', async () => {
        await bucket.put('chunks/object', randomBytes(100_000));
        expect(await codeOf(bucket.get('chunks/object', { maxSize: 99_999 }))).toBe('damaged');
        expect(await codeOf(bucket.get('chunks/object', { maxSize: 0 }))).toBe('damaged');
        expect((await bucket.get('chunks/object', { maxSize: 100_000 })).length).toBe(100_000);
      });

      test('remove takes one object away and leaves the others', async () => {
        await putMany(bucket, ['chunks/a', 'chunks/ab', 'chunks/b'], 3);
        await bucket.remove('chunks/a');
        expect(await codeOf(bucket.get('chunks/a'))).toBe('object-missing');
        expect(await listNames(bucket, '')).toEqual(['chunks/ab', 'chunks/b']);
      });

      test('removeAll says only of what has gone that it is gone, and of all if nothing is in the way', async () => {
        if (bucket.removeAll === undefined) return;
        const names = Array.from({ length: MOST_REMOVED }, (_, i) => `chunks/a+${i}`);
        await putMany(bucket, [...names, 'chunks/b'], 3);
        expect(await bucket.removeAll(names, { unlessRetained: true })).toEqual(new Set(names));
        expect(await listNames(bucket, '')).toEqual(['chunks/b']);
        const gone = await bucket.removeAll(['chunks/b', 'chunks/absent', ...INVALID_NAMES]);
        expect(gone).toContain('chunks/b');
        expect(INVALID_NAMES.filter((invalid) => gone.has(invalid))).toEqual([]);
        expect(await bucket.removeAll(INVALID_NAMES)).toEqual(new Set());
        await bucket.put('chunks/b', Buffer.from('again'));
        expect(await bucket.removeAll(['chunks/b'])).toEqual(new Set(['chunks/b']));
        expect(await listNames(bucket, '')).toEqual([]);
        const signal = AbortSignal.abort();
        expect(await codeOf(bucket.removeAll(['chunks/b'], { signal }))).toBe('interrupted');
      });

      test('remove of an absent object succeeds', async () => {
        await bucket.remove('never');
        await bucket.remove('never/seen');
        await bucket.put('chunks/object', Buffer.from('content'));
        await bucket.remove('chunks/object');
        await bucket.remove('chunks/object');
        expect(await listNames(bucket, '')).toEqual([]);
      });

      test('a listing of nothing is empty', async () => {
        expect(await listNames(bucket, '')).toEqual([]);
        expect(await listNames(bucket, 'chunks/')).toEqual([]);
        await bucket.put('chunks/object', Buffer.from('content'));
        expect(await listNames(bucket, 'manifests/')).toEqual([]);
        expect(await listNames(bucket, 'chunks/z')).toEqual([]);
        expect(await listNames(bucket, 'chunks/object/')).toEqual([]);
      });

      test('a listing gives names in byte order, across the slash as well, with their sizes', async () => {
        const names = [
          'Z',
          'a+b',
          'a-b',
          'a.b',
          'a/b',
          'a/b-c',
          'a/c/d',
          'a/c-',
          'a0',
          'aB',
          'ac/x',
          'b_',
          'ba',
        ];
        await putMany(bucket, names.toReversed(), 4);
        const ordered = names.toSorted((one, other) => (one < other ? -1 : 1));
        expect(await listAll(bucket, '')).toEqual(ordered.map((item) => ({ name: item, size: item.length })));
        for (const prefix of ['a', 'a/', 'a/b', 'a/c', 'b', 'A', 'ac/x']) {
          expect(await listNames(bucket, prefix)).toEqual(ordered.filter((item) => item.startsWith(prefix)));
        }
        for (const after of ['', 'Z', 'a', 'a/', 'a/b', 'a/b-c', 'a/c', 'a/c/d', 'a/c0', 'b', 'ba', 'c']) {
          for (const prefix of ['', 'a', 'a/', 'b']) {
            expect(await listNames(bucket, prefix, after)).toEqual(
              ordered.filter((item) => item.startsWith(prefix) && item > after),
            );
          }
        }
      });

      test('a listing may be left early', async () => {
        await putMany(bucket, ['a', 'b', 'c'], 3);
        const seen: string[] = [];
        for await (const object of bucket.list('')) {
          seen.push(object.name);
          if (seen.length === 2) break;
        }
        expect(seen).toEqual(['a', 'b']);
      });

      test.each(INVALID_NAMES.map((invalid) => [invalid]))(
        'the name %j is invalid-input in every operation',
        async (invalid) => {
          expect(await codeOf(bucket.put(invalid, Buffer.from('content')))).toBe('invalid-input');
          expect(await codeOf(bucket.put(invalid, Buffer.from('content'), { replace: true }))).toBe(
            'invalid-input',
          );
          expect(await codeOf(bucket.get(invalid))).toBe('invalid-input');
          expect(await codeOf(bucket.remove(invalid))).toBe('invalid-input');
        },
      );

      test.each(['/', '/a', '../', 'a/../', 'a/./', 'a//', 'a b', 'a\0', 'a*', 'ä', 'a'.repeat(256)])(
        'the prefix %j, which starts no name, is invalid-input',
        async (prefix) => {
          expect(await codeOf(listAll(bucket, prefix))).toBe('invalid-input');
        },
      );

      test('an operation whose signal is aborted beforehand is interrupted and does nothing', async () => {
        await bucket.put('chunks/object', Buffer.from('content'));
        const signal = AbortSignal.abort();
        expect(await codeOf(bucket.put('chunks/new', Buffer.from('content'), { signal }))).toBe(
          'interrupted',
        );
        expect(await codeOf(bucket.get('chunks/object', { signal }))).toBe('interrupted');
        expect(await codeOf(bucket.remove('chunks/object', { signal }))).toBe('interrupted');
        expect(await codeOf(listAll(bucket, '', { signal }))).toBe('interrupted');
        expect(await listNames(bucket, '')).toEqual(['chunks/object']);
      });

      test('an operation whose signal is aborted meanwhile is interrupted', async () => {
        const bytes = randomBytes(8_388_608);
        await bucket.put('chunks/object', bytes);
        expect(await codeWhenAborted((signal) => bucket.put('chunks/new', bytes, { signal }))).toBe(
          'interrupted',
        );
        expect(await codeWhenAborted((signal) => bucket.get('chunks/object', { signal }))).toBe(
          'interrupted',
        );
        expect(await codeWhenAborted((signal) => bucket.remove('chunks/none', { signal }))).toBe(
          'interrupted',
        );
        expect(await codeWhenAborted((signal) => listAll(bucket, '', { signal }))).toBe('interrupted');
      });

      test('an interrupted put leaves a whole object or none, and can be repeated', async () => {
        const bytes = randomBytes(4_000_000);
        for (let turns = 0; turns < 6; turns += 1) {
          const object = `chunks/${turns}`;
          const controller = new AbortController();
          const ending = codeOf(bucket.put(object, bytes, { signal: controller.signal }));
          for (let turn = 0; turn < turns; turn += 1) await nextTurn();
          controller.abort();
          expect(['success', 'interrupted']).toContain(await ending);
          const listed = await listAll(bucket, object);
          expect([[], [{ name: object, size: bytes.length }]]).toContainEqual(listed);
          await bucket.put(object, bytes);
          expect(sameBytes(await bucket.get(object), bytes)).toBe(true);
        }
      });

      test('a listing whose signal is aborted between two objects is interrupted', async () => {
        await putMany(bucket, ['a', 'b', 'c'], 3);
        const controller = new AbortController();
        const seen: string[] = [];
        const reading = (async () => {
          for await (const object of bucket.list('', { signal: controller.signal })) {
            seen.push(object.name);
            controller.abort();
          }
        })();
        expect(await codeOf(reading)).toBe('interrupted');
        expect(seen).toEqual(['a']);
      });

      test('a signal aborted after an operation has settled changes nothing', async () => {
        const controller = new AbortController();
        const { signal } = controller;
        await bucket.put('chunks/object', Buffer.from('content'), { signal });
        await bucket.get('chunks/object', { signal });
        await listAll(bucket, '', { signal });
        controller.abort();
        expect(Buffer.from(await bucket.get('chunks/object')).toString()).toBe('content');
      });

      test('operations on many names run at once', async () => {
        const names = Array.from({ length: 40 }, (_, index) => `chunks/${index}`);
        const bodies = new Map(names.map((item, index) => [item, randomBytes(index * 5_000)]));
        await Promise.all(Array.from(bodies, async ([item, body]) => await bucket.put(item, body)));
        const found = await Promise.all(names.map(async (item) => await bucket.get(item)));
        for (const [index, item] of names.entries()) {
          expect(sameBytes(found[index] ?? new Uint8Array(1), bodies.get(item) ?? new Uint8Array())).toBe(
            true,
          );
        }
        await Promise.all(names.map(async (item) => await bucket.remove(item)));
        expect(await listNames(bucket, '')).toEqual([]);
      });

      test('puts of the same bytes under one name at once all succeed', async () => {
        const bytes = randomBytes(300_000);
        const other = closing(await storage.reopen());
        await Promise.all(
          Array.from({ length: 8 }, async (_, index) => {
            await (index % 2 === 0 ? bucket : other).put('chunks/object', bytes);
          }),
        );
        expect(sameBytes(await bucket.get('chunks/object'), bytes)).toBe(true);
        expect(await listAll(bucket, '')).toEqual([{ name: 'chunks/object', size: 300_000 }]);
      });

      test('of puts of different bytes under one name at once, one wins and the others are already-exists', async ({
        skip,
      }) => {
        skip(overwrites !== undefined, overwrites);
        const other = closing(await storage.reopen());
        const bodies = Array.from({ length: 6 }, () => randomBytes(200_000));
        const endings = await Promise.all(
          bodies.map(
            async (body, index) =>
              await codeOf((index % 2 === 0 ? bucket : other).put('chunks/object', body)),
          ),
        );
        expect(endings.toSorted()).toEqual([...Array.from({ length: 5 }, () => 'already-exists'), 'success']);
        const winner = bodies[endings.indexOf('success')] ?? new Uint8Array();
        expect(sameBytes(await bucket.get('chunks/object'), winner)).toBe(true);
      });

      test('of replacing puts at once one stays, whole, and no reader sees anything else', async () => {
        const other = closing(await storage.reopen());
        const bodies = Array.from({ length: 6 }, (_, index) => randomBytes(100_000 + index));
        await bucket.put('vault.json', bodies[0] ?? new Uint8Array(), { replace: true });
        const writing = Promise.all(
          bodies.map(async (body, index) => {
            await (index % 2 === 0 ? bucket : other).put('vault.json', body, { replace: true });
          }),
        );
        for (let read = 0; read < 6; read += 1) {
          const seen = await other.get('vault.json');
          expect(bodies.some((body) => sameBytes(seen, body))).toBe(true);
        }
        await writing;
        const last = await bucket.get('vault.json');
        expect(bodies.some((body) => sameBytes(last, body))).toBe(true);
      });
    });

    describe('with more names than a page', () => {
      const names = Array.from(
        { length: manyNames },
        (_, index) => `chunks/${index.toString(16).padStart(5, '0')}`,
      );

      beforeAll(async () => {
        storage = await openFresh();
        bucket = closing(storage.bucket);
        await putMany(bucket, [...names.toReversed(), 'chunks0', 'keyslots/one', 'vault.json'], 32);
      });
      afterAll(closeAll);

      test('a listing gives every object exactly once, in order', async () => {
        const listed = await listAll(bucket, 'chunks/');
        expect(listed).toEqual(names.map((item) => ({ name: item, size: item.length })));
        expect(await listNames(bucket, '')).toEqual([...names, 'chunks0', 'keyslots/one', 'vault.json']);
      });

      test('a prefix need not end at a slash', async () => {
        const wanted = names.filter((item) => item.startsWith('chunks/0001'));
        expect(wanted).toHaveLength(16);
        expect(await listNames(bucket, 'chunks/0001')).toEqual(wanted);
      });

      test('a listing resumes after a name, whether that exists or not', async () => {
        const middle = names[manyNames >> 1] ?? '';
        expect(await listNames(bucket, 'chunks/', middle)).toEqual(names.slice((manyNames >> 1) + 1));
        expect(await listNames(bucket, 'chunks/', `${middle}-`)).toEqual(names.slice((manyNames >> 1) + 1));
        expect(await listNames(bucket, 'chunks/', names.at(-1))).toEqual([]);
        expect(await listNames(bucket, 'chunks/', 'a')).toEqual(names);
        expect(await listNames(bucket, 'chunks/', 'z')).toEqual([]);
      });

      test('two listings at once do not disturb each other', async () => {
        const [one, other] = await Promise.all([listNames(bucket, 'chunks/'), listNames(bucket, 'chunks/')]);
        expect(one).toEqual(names);
        expect(other).toEqual(names);
      });

      test('a listing tolerates removal of what it has given', async () => {
        const seen: string[] = [];
        for await (const object of bucket.list('chunks/')) {
          seen.push(object.name);
          if (seen.length <= 20) await bucket.remove(object.name);
        }
        expect(seen).toEqual(names);
        expect(await listNames(bucket, 'chunks/')).toEqual(names.slice(20));
      });
    });

    retentionConformance({ openFresh, openLocking: options.openLocking });

    describe('links', () => {
      const CALL = { seconds: 60, contentType: 'text/html; charset=utf-8', fileName: null };
      const link = (to: string, call: Partial<PresignCall> = {}): Promise<string> =>
        bucket.presign?.(to, { nowMs: Date.now(), ...CALL, ...call }) ?? Promise.reject(new Error('None.'));
      let givesLinks = false;

      beforeEach(async ({ skip }) => {
        storage = await openFresh();
        bucket = closing(storage.bucket);
        givesLinks = storage.passTime !== undefined;
        expect(bucket.presign !== undefined).toBe(givesLinks);
        skip(!givesLinks, 'this kind has none');
        await bucket.put('shares/a+b', Buffer.from('content'));
      });
      afterEach(closeAll);

      test('give the bytes to anybody, said to be what was asked for', async () => {
        const answer = await fetch(await link('shares/a+b'));
        expect(answer.status).toBe(200);
        expect(answer.headers.get('content-type')).toBe('text/html; charset=utf-8');
        expect(answer.headers.get('content-disposition')).toBe('inline');
        expect(await answer.text()).toBe('content');
        const saved = await fetch(await link('shares/a+b', { contentType: 'a/b', fileName: 'x.age' }));
        expect(saved.headers.get('content-type')).toBe('a/b');
        expect(saved.headers.get('content-disposition')).toBe('attachment; filename="x.age"');
      });

      test('end when they are to, and not before', async () => {
        const [short, week] = [await link('shares/a+b'), await link('shares/a+b', { seconds: 7 * 86_400 })];
        storage.passTime?.(50_000);
        expect(await statusOf(short)).toBe(200);
        storage.passTime?.(62_000);
        expect(await statusOf(short)).toBe(403);
        storage.passTime?.(7 * 86_400_000 - 10_000);
        expect(await statusOf(week)).toBe(200);
        storage.passTime?.(7 * 86_400_000 + 2_000);
        expect(await statusOf(week)).toBe(403);
      });

      test('are good for nothing else', async () => {
        await bucket.put('shares/other', Buffer.from('secret'));
        const url = await link('shares/a+b');
        expect(await statusOf(url.replace(/a(\+|%2B)b/, 'other'))).toBe(403);
        expect(await statusOf(url.replace('Expires=60', 'Expires=600'))).toBe(403);
        expect(await statusOf(url.replace('text%2Fhtml', 'text%2Fplain'))).toBe(403);
        const forged = url.replace(/(?<=Signature=)./, (digit) => (digit === '0' ? '1' : '0'));
        expect(await statusOf(forged)).toBe(403);
        const removal = await fetch(url, { method: 'DELETE' });
        expect(removal.ok).toBe(false);
        expect(await listNames(bucket, '')).toEqual(['shares/a+b', 'shares/other']);
      });

      test('may be to what is not there yet', async () => {
        const url = await link('shares/later');
        expect(await statusOf(url)).toBe(404);
        await bucket.put('shares/later', Buffer.from('content'));
        expect(await statusOf(url)).toBe(200);
      });

      test.each([0, -1, 0.5, Number.NaN, 7 * 86_400 + 1])('do not last for %d seconds', async (seconds) => {
        expect(await codeOf(link('shares/a+b', { seconds }))).toBe('invalid-input');
      });

      test('are to names that objects can have', async () => {
        for (const bad of INVALID_NAMES) expect(await codeOf(link(bad))).toBe('invalid-input');
      });
    });

    describe('when the bucket does not exist', () => {
      let absent: Bucket;

      beforeAll(async () => {
        storage = await openFresh();
        closing(storage.bucket);
        missing = storage.openMissing !== null;
        if (storage.openMissing !== null) absent = closing(await storage.openMissing());
      });
      afterAll(closeAll);

      test('put is bucket-missing', async ({ skip }) => {
        skip(!missing, 'this kind is never missing');
        expect(await codeOf(absent.put('chunks/object', Buffer.from('content')))).toBe('bucket-missing');
        expect(await codeOf(absent.put('vault.json', Buffer.from('content'), { replace: true }))).toBe(
          'bucket-missing',
        );
      });

      test('get is bucket-missing, not object-missing', async ({ skip }) => {
        skip(!missing, 'this kind is never missing');
        expect(await codeOf(absent.get('chunks/object'))).toBe('bucket-missing');
      });

      test('list is bucket-missing, not empty', async ({ skip }) => {
        skip(!missing, 'this kind is never missing');
        expect(await codeOf(listAll(absent, ''))).toBe('bucket-missing');
        expect(await codeOf(listAll(absent, 'chunks/'))).toBe('bucket-missing');
      });

      test('remove is bucket-missing or a success', async ({ skip }) => {
        skip(!missing, 'this kind is never missing');
        expect(['success', 'bucket-missing']).toContain(await codeOf(absent.remove('chunks/object')));
      });
    });
  });
}

const CONTENT = Buffer.from('content');
const HOUR_MS = 3_600_000;

/** In whole seconds, as locks are. */
function inHours(hours: number): number {
  return Math.ceil(Date.now() / 1000) * 1000 + hours * HOUR_MS;
}

/** What is answered where there is nobody to ask. */
function refused(): Promise<never> {
  return Promise.reject(new VaultError('invalid-input', 'It has no such thing.'));
}

/** What a kind of bucket has against removal: at least it says so. */
export function retentionConformance({
  openFresh,
  openLocking,
}: {
  readonly openFresh: () => Promise<BucketUnderTest>;
  readonly openLocking: (() => Promise<BucketUnderTest>) | undefined;
}): void {
  test('a bucket that locks nothing says so, or that it may not be asked', async () => {
    const fresh = await openFresh();
    const { retention } = fresh.bucket;
    await fresh.bucket.put('object', CONTENT);
    const policy = await retention?.policy().catch((error: unknown) => error);
    expect(policy ?? NO_RETENTION).toMatchObject(
      policy instanceof VaultError ? { code: 'denied' } : { lock: null },
    );
    expect((await retention?.until('object')) ?? null).toBeNull();
    const extended = await codeOf(retention?.extend('object', inHours(1)) ?? refused());
    expect(extended).toBe(policy instanceof VaultError ? 'denied' : 'invalid-input');
    // Nothing keeps it.
    await fresh.bucket.remove('object', { unlessRetained: true });
    expect(await listAll(fresh.bucket, '')).toEqual([]);
    await fresh.bucket.close();
    await fresh.cleanUp();
  });

  if (openLocking === undefined) return;

  describe('locks', () => {
    let locking: BucketUnderTest;
    let bucket: Bucket;
    const retention = (): Retention => {
      if (bucket.retention === undefined) throw new Error('It has none.');
      return bucket.retention;
    };
    beforeEach(async () => {
      locking = await openLocking();
      ({ bucket } = locking);
    });
    afterEach(async () => {
      await bucket.close();
      await locking.cleanUp();
    });

    test('a bucket says that it can lock, and how', async () => {
      expect(await retention().policy()).toMatchObject({ lock: 'governance' });
    });

    test('an object that was stored with a lock tells until when, to others, too', async () => {
      const untilMs = inHours(1);
      await bucket.put('a/locked', CONTENT, { retainUntilMs: untilMs, drawn: true });
      await bucket.put('a/free', CONTENT);
      const other = await locking.reopen();
      expect(await other.retention?.until('a/locked')).toBe(untilMs);
      expect(await other.retention?.until('a/free')).toBeNull();
      const told = (await listAll(other, 'a/')).map(({ name, retainedUntilMs: ms }) => [name, ms]);
      // Where listings do not tell, they say so.
      const tells = told.some(([, ms]) => ms !== undefined);
      expect(told).toEqual([
        ['a/free', undefined],
        ['a/locked', tells ? untilMs : undefined],
      ]);
      await other.close();
    });

    test('a locked object stays where it was asked to, and says until when', async () => {
      const untilMs = inHours(1);
      await bucket.put('locked', CONTENT, { retainUntilMs: untilMs });
      const refusal = await bucket
        .remove('locked', { unlessRetained: true })
        .catch((error: unknown) => error);
      expect(refusal).toMatchObject({ code: 'retained', retainedUntilMs: untilMs });
      expect(String(refusal)).toContain(`locked until ${new Date(untilMs).toISOString().slice(0, 10)}`);
      expect(sameBytes(await bucket.get('locked'), CONTENT)).toBe(true);
    });

    test('removeAll hides nothing that is locked, where it was asked not to', async () => {
      if (bucket.removeAll === undefined) return;
      await bucket.put('locked', CONTENT, { retainUntilMs: inHours(1) });
      await bucket.put('free', CONTENT);
      expect(await bucket.removeAll(['locked', 'free'], { unlessRetained: true })).not.toContain('locked');
      expect((await listAll(bucket, '')).map(({ name }) => name)).toContain('locked');
    });

    test('what is locked is there or hidden after a removal, and never gone', async () => {
      await bucket.put('locked', CONTENT, { retainUntilMs: inHours(1) });
      const { versioning } = await retention().policy();
      expect(await codeOf(bucket.remove('locked'))).toBe(versioning === true ? 'success' : 'retained');
      expect((await listAll(bucket, '')).length).toBe(versioning === true ? 0 : 1);
    });

    test('an object can be removed once its lock is over', async () => {
      await bucket.put('locked', CONTENT, { retainUntilMs: inHours(1) });
      locking.passTime?.(2 * HOUR_MS);
      await bucket.remove('locked', { unlessRetained: true });
      expect(await listAll(bucket, '')).toEqual([]);
    });

    test('extend makes a lock longer and never shorter, and locks what was not', async () => {
      await bucket.put('object', CONTENT);
      const [soon, later] = [inHours(1), inHours(48)];
      expect(await retention().extend('object', soon)).toBe(true);
      expect(await retention().until('object')).toBe(soon);
      expect(await retention().extend('object', later)).toBe(true);
      expect(await retention().extend('object', soon)).toBe(false);
      expect(await retention().extend('object', later)).toBe(false);
      expect(await retention().until('object')).toBe(later);
      expect(await codeOf(bucket.remove('object', { unlessRetained: true }))).toBe('retained');
      expect(sameBytes(await bucket.get('object'), CONTENT)).toBe(true);
    });

    test('of a name that was never stored nothing is known', async () => {
      expect(await codeOf(retention().until('absent'))).toBe('object-missing');
      expect(await codeOf(retention().extend('absent', inHours(1)))).toBe('object-missing');
      expect(await codeOf(bucket.remove('absent', { unlessRetained: true }))).toBe('success');
    });

    test('the same bytes can be put again under a lock', async () => {
      const retainUntilMs = inHours(1);
      await bucket.put('locked', CONTENT, { retainUntilMs, drawn: true });
      expect(await codeOf(bucket.put('locked', CONTENT, { retainUntilMs, drawn: true }))).toBe('success');
      expect(await codeOf(bucket.put('locked', Buffer.from('other')))).toBe('already-exists');
    });

    test('the layers pass it on', async () => {
      const limits = createLimits({
        concurrency: 1,
        uploadBytesPerSecond: null,
        downloadBytesPerSecond: null,
      });
      const layered = retrying(limited(timed(bucket), limits));
      await layered.put('locked', CONTENT, { retainUntilMs: inHours(1) });
      const later = inHours(2);
      expect(await layered.retention?.extend('locked', later)).toBe(true);
      expect(await layered.retention?.until('locked')).toBe(later);
      expect(await layered.retention?.policy()).toEqual(await retention().policy());
      expect(await codeOf(layered.remove('locked', { unlessRetained: true }))).toBe('retained');
    });
  });
}
