/** Which code is mutated, and the tests that are to notice: the quick ones that know most about it. */
export const ROOMS = {
  format: {
    mutate: ['src/format/**/*.ts'],
    tests: [
      'test/format/{chunk,file-time,json,shard,signed,tables,vectors}.test.ts',
      'test/crypto/*.test.ts',
    ],
  },
  crypto: {
    mutate: ['src/crypto/**/*.ts', '!src/crypto/erasure.ts'],
    tests: [
      'test/crypto/*.test.ts',
      'test/format/{chunk,file-time,json,shard,signed,tables,vectors}.test.ts',
    ],
  },
  erasure: {
    mutate: ['src/crypto/erasure.ts'],
    tests: ['test/crypto/erasure.test.ts'],
  },
  concurrency: {
    mutate: ['src/concurrency/**/*.ts'],
    tests: ['test/concurrency.test.ts'],
  },
  folder: {
    mutate: ['src/buckets/folder/**/*.ts'],
    tests: ['test/buckets/folder*.test.ts', 'test/buckets/open.test.ts'],
    // Some of these take on another user's rights, which threads cannot.
    pool: 'forks',
  },
  write: {
    mutate: ['src/vault/write/**/*.ts'],
    tests: [
      'test/vault/{source,table-writer,round-trip,order,placement,put-guard,interrupt,requests,transit}.test.ts',
    ],
  },
  remove: {
    mutate: ['src/vault/remove/**/*.ts'],
    tests: ['test/vault/{plan,sweep,removed-elsewhere,removed-meanwhile,put-guard}.test.ts'],
  },
  repair: {
    mutate: ['src/vault/repair/**/*.ts'],
    tests: ['test/vault/repair.test.ts'],
  },
} as const satisfies Readonly<Record<string, Facts>>;

export interface Facts {
  readonly mutate: readonly string[];
  readonly tests: readonly string[];
  /** Where vitest runs the tests: threads start faster. */
  readonly pool?: 'threads' | 'forks';
}

export type Room = keyof typeof ROOMS;

export function isRoom(name: string | undefined): name is Room {
  return name !== undefined && Object.hasOwn(ROOMS, name);
}

/** @throws if there is no such room */
export function roomNamed(name: string | undefined): Room {
  if (!isRoom(name)) throw new Error(`Which room? One of ${Object.keys(ROOMS).join(', ')}.`);
  return name;
}
