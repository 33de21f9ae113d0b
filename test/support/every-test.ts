/** What holds in every test. */
import { expect, vi } from 'vitest';

/** How long a test waits for what must come, in ms: a machine with more to do than the tests is slow, not wrong. */
const PATIENCE_MS = 60_000;

const { waitFor, waitUntil } = vi;
const patient = (options?: number | object): object =>
  typeof options === 'number' ? { timeout: options } : { timeout: PATIENCE_MS, ...options };
vi.waitFor = (callback, options) => waitFor(callback, patient(options));
vi.waitUntil = (callback, options) => waitUntil(callback, patient(options));

// `toEqual` compares bytes at once: vitest lists the index of every byte as text, which took longer than most of what is tested.
expect.addEqualityTesters([
  (one: unknown, other: unknown) =>
    // Others are vitest's: to it, a Buffer is not equal to another Uint8Array of the same bytes.
    one instanceof Uint8Array && other instanceof Uint8Array && one.constructor === other.constructor
      ? Buffer.compare(one, other) === 0
      : undefined,
]);
