/** Random choices that are the same in every run with the same seed, for tests that must not flicker. */
export interface SeededRandom {
  /** A whole number from 0 to `limit` - 1, each equally likely. `limit`: 1 to 2^32. */
  readonly below: (limit: number) => number;
  /** Random bytes, that many. */
  readonly bytes: (size: number) => Uint8Array<ArrayBuffer>;
  /** One element of a list that is not empty. */
  readonly pick: <T>(list: readonly T[]) => T;
  /** A shuffled copy. */
  readonly shuffle: <T>(list: readonly T[]) => T[];
}

/**
 * A generator of its own; two with one seed give the same.
 *
 * @param seed any whole number; its low 32 bits count
 */
export function seededRandom(seed: number): SeededRandom {
  // sfc32, Chris Doty-Humphrey's "small fast counting" generator, as in PractRand; started as there.
  let [a, b, c, counter] = [0, seed | 0, 0, 1];
  const next = (): number => {
    const result = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + result) | 0;
    return result >>> 0;
  };
  for (let i = 0; i < 12; i += 1) next();

  const below = (limit: number): number => {
    // The numbers above the largest multiple of the limit would favour small results.
    const end = 2 ** 32 - (2 ** 32 % limit);
    let value = next();
    while (value >= end) value = next();
    return value % limit;
  };
  return {
    below,
    bytes(size) {
      const words = new Uint32Array(Math.ceil(size / 4));
      for (let i = 0; i < words.length; i += 1) words[i] = next();
      return new Uint8Array(words.buffer, 0, size);
    },
    pick(list) {
      const item = list[below(list.length)];
      if (item === undefined) throw new RangeError('An empty list has nothing to pick.');
      return item;
    },
    shuffle(list) {
      const rest = [...list];
      return list.flatMap(() => rest.splice(below(rest.length), 1));
    },
  };
}
