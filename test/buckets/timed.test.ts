import { describe, expect, test } from 'vitest';
import type { Bucket, GetCall } from '../../src/buckets/bucket.ts';
import { memoryBucket } from '../support/memory-bucket.ts';
import { timed } from '../../src/buckets/layers/timeout.ts';
import { VirtualClock } from '../support/virtual-clock.ts';
import { codeOf } from './conformance.ts';

const MIB = 1024 * 1024;
const TIMEOUT_MS = 60_000;

/** A bucket whose downloads go as told, behind `timed`. */
function setUp(download: (call: GetCall, clock: VirtualClock) => Promise<void>) {
  const clock = new VirtualClock();
  const inner: Bucket = {
    ...memoryBucket('memory:slow'),
    async get(_, call = {}) {
      await download(call, clock);
      return new Uint8Array(1);
    },
  };
  return { clock, bucket: timed(inner, { clock, timeoutMs: TIMEOUT_MS }) };
}

const silence = (): Promise<never> => new Promise(() => undefined);

describe('a download', () => {
  test('that stays silent is given up after a few minutes, however large the object may be', async () => {
    const { clock, bucket } = setUp(silence);
    expect(await codeOf(bucket.get('a', { maxSize: 256 * MIB }))).toBe('unavailable');
    expect(clock.now()).toBeLessThan(4 * TIMEOUT_MS);
  });

  test('of what is known to be small is given up sooner', async () => {
    const { clock, bucket } = setUp(silence);
    expect(await codeOf(bucket.get('a', { maxSize: 1024 }))).toBe('unavailable');
    expect(clock.now()).toBeLessThan(1.5 * TIMEOUT_MS);
  });

  test('that is slow, but goes on, is waited for', async () => {
    const { clock, bucket } = setUp(async ({ onBytes }, time) => {
      for (let arrived = 0; arrived < 64; arrived += 1) {
        await time.pass(TIMEOUT_MS - 1);
        onBytes?.(MIB);
      }
    });
    expect(await codeOf(bucket.get('a', { maxSize: 64 * MIB }))).toBe('success');
    expect(clock.now()).toBeGreaterThan(60 * TIMEOUT_MS);
  });

  test('that falls silent on the way is given up as soon as any other', async () => {
    const { clock, bucket } = setUp(async ({ onBytes }, time) => {
      await time.pass(TIMEOUT_MS);
      onBytes?.(50 * MIB);
      await silence();
    });
    expect(await codeOf(bucket.get('a', { maxSize: 64 * MIB }))).toBe('unavailable');
    expect(clock.now()).toBeLessThan(5 * TIMEOUT_MS);
  });

  test('that only trickles is given up', async () => {
    const { clock, bucket } = setUp(async ({ onBytes }, time) => {
      while (time.now() < 1000 * TIMEOUT_MS) {
        await time.pass(TIMEOUT_MS / 2);
        onBytes?.(1);
      }
    });
    expect(await codeOf(bucket.get('a', { maxSize: 64 * MIB }))).toBe('unavailable');
    expect(clock.now()).toBeLessThan(5 * TIMEOUT_MS);
  });

  test('tells its caller, too, of the bytes that arrive', async () => {
    const { bucket } = setUp(async ({ onBytes }) => onBytes?.(7));
    const told: number[] = [];
    await bucket.get('a', { onBytes: (count) => told.push(count) });
    expect(told).toEqual([7]);
  });
});
