/** A bucket that falls silent while a put runs costs seconds, and one that is only slow is waited for. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { randomBytes } from 'node:crypto';
import type { Bucket } from '../../src/buckets/bucket.ts';
import { retrying } from '../../src/buckets/layers/retry.ts';
import { timed } from '../../src/buckets/layers/timeout.ts';
import { VaultError } from '../../src/errors.ts';
import { VaultBucket } from '../../src/vault/buckets/bucket-set.ts';
import { PATIENCE_MS } from '../../src/vault/buckets/silence.ts';
import type { Warning } from '../../src/vault/call.ts';
import { memoryBucket } from '../support/memory-bucket.ts';
import { CHUNK_SIZE, getBytes, putBytes, testVault } from './harness.ts';
import type { TestBucket } from './harness.ts';

/** What waits for so many milliseconds here waits for one. */
const FASTER = 100;
const { setTimeout: later, setInterval: repeatedly } = globalThis;

beforeEach(() => {
  vi.spyOn(globalThis, 'setTimeout').mockImplementation(
    Object.assign((run: () => void, ms = 0) => later(run, ms / FASTER), later),
  );
  vi.spyOn(globalThis, 'setInterval').mockImplementation((run: () => void, ms = 0) =>
    repeatedly(run, ms / FASTER),
  );
});
afterEach(() => {
  vi.restoreAllMocks();
});

const never = (signal: AbortSignal | undefined): Promise<never> =>
  new Promise((_, reject) => {
    signal?.addEventListener('abort', () => reject(new VaultError('interrupted', 'aborted')));
  });

/** What all buckets are given in earnest. */
const layered = (bucket: Bucket): Bucket => retrying(timed(bucket));

interface Silent {
  asked: number;
  silent: boolean;
  fromOn: RegExp | null;
}

/** From the first object of such a name on it answers nothing. */
function fallSilent(bucket: TestBucket, first: RegExp): Silent {
  const state: Silent = { asked: 0, silent: false, fromOn: first };
  bucket.wrap = (() => {
    let made: Bucket | null = null;
    return (plain: Bucket) => {
      made ??= layered({
        ...plain,
        put: (name, bytes, call) => {
          if (state.fromOn?.test(name) === true) state.silent = true;
          if (!state.silent) return plain.put(name, bytes, call);
          state.asked += 1;
          return never(call?.signal);
        },
        get: (name, call) => (state.silent ? never(call?.signal) : plain.get(name, call)),
        remove: (name, call) => (state.silent ? never(call?.signal) : plain.remove(name, call)),
      });
      return made;
    };
  })();
  return state;
}

test.each([/^chunks\//, /^puts\//, /^manifests\//])(
  'a bucket that falls silent at %s costs a put seconds, and is left out from then on',
  async (fromOn) => {
    await using made = await testVault();
    const [silent] = made.buckets;
    if (silent === undefined) throw new Error('none');
    const state = fallSilent(silent, fromOn);
    const warnings: Warning[] = [];
    const body = randomBytes(20 * CHUNK_SIZE);
    const putting = putBytes(made.vault, body, { name: 'a', onWarning: (warning) => warnings.push(warning) });
    const { hash, degraded } = await putting;
    expect(degraded).toBe(true);
    expect(warnings).toMatchObject([{ kind: 'bucket-down', bucket: 'memory:1' }]);
    const { asked } = state;
    const next = putBytes(made.vault, randomBytes(3 * CHUNK_SIZE), { name: 'b' });
    expect((await next).degraded).toBe(true);
    expect(state.asked).toBe(asked);
    silent.wrap = (plain) => plain;
    expect(body.equals(await getBytes(await made.reopen(), hash))).toBe(true);
  },
);

test('a bucket that was left out is used again in the same process once it answers', async () => {
  await using made = await testVault();
  const [silent] = made.buckets;
  if (silent === undefined) throw new Error('none');
  const state = fallSilent(silent, /^chunks\//);
  expect((await putBytes(made.vault, randomBytes(CHUNK_SIZE), { name: 'a' })).degraded).toBe(true);
  const whole = async (): Promise<boolean> =>
    !(await putBytes(made.vault, randomBytes(CHUNK_SIZE), { name: 'b' })).degraded;
  expect(await whole()).toBe(false);
  state.fromOn = null;
  state.silent = false;
  await expect.poll(whole).toBe(true);
});

test('a bucket that could not be opened is opened again', async () => {
  const bucket = memoryBucket('memory:1');
  let attempts = 0;
  const place = { number: 1, id: '0'.repeat(32), url: 'memory:1', state: 'active' } as const;
  const opener = async (): Promise<Bucket> => {
    attempts += 1;
    if (attempts === 1) throw new VaultError('invalid-input', 'No such certificates.');
    return bucket;
  };
  const opened = new VaultBucket(place, { vaultId: '1'.repeat(32), opener });
  await expect(opened.open()).rejects.toThrow('No such certificates.');
  expect(await opened.open()).toBe(bucket);
  expect(await opened.open()).toBe(bucket);
  expect(attempts).toBe(2);
});

/** Longer than a silent bucket is waited for. */
const SLOW_MS = 5 * PATIENCE_MS;

test.each(['slow', 'busy'])(
  'a bucket that is %s is waited for, as long as it answers something',
  async (how) => {
    await using made = await testVault();
    const [slow] = made.buckets;
    if (slow === undefined) throw new Error('none');
    let wrapped: Bucket | null = null;
    let began: number | null = null;
    const busy = (): boolean =>
      how === 'busy' && began !== null && performance.now() < began + SLOW_MS / FASTER;
    slow.wrap = (plain) => {
      wrapped ??= layered({
        ...plain,
        put: async (name, bytes, call) => {
          if (name.startsWith('chunks/')) {
            began ??= performance.now();
            if (how === 'slow') await new Promise((resolve) => setTimeout(resolve, SLOW_MS));
          }
          if (busy()) throw new VaultError('unavailable', 'Slow down.');
          return plain.put(name, bytes, call);
        },
        get: async (name, call) => {
          if (busy()) throw new VaultError('unavailable', 'Slow down.');
          return plain.get(name, call);
        },
      });
      return wrapped;
    };
    const putting = putBytes(made.vault, randomBytes(2 * CHUNK_SIZE), { name: 'a' });
    expect((await putting).degraded).toBe(false);
    expect(began).not.toBe(null);
  },
);
