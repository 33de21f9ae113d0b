/** Makes `toEqual` compare bytes at once: vitest lists the index of every byte as text, which took longer than most of what is tested. */
import { expect } from 'vitest';

expect.addEqualityTesters([
  (one: unknown, other: unknown) =>
    // Others are vitest's: to it, a Buffer is not equal to another Uint8Array of the same bytes.
    one instanceof Uint8Array && other instanceof Uint8Array && one.constructor === other.constructor
      ? Buffer.compare(one, other) === 0
      : undefined,
]);
