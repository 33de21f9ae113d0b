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
    tests: [
      'test/buckets/folder-{tells,durable,hangs,limited-disks,writer}.test.ts',
      'test/buckets/open.test.ts',
      'test/buckets/folder.test.ts',
      'test/buckets/folder-{by-paths,links}.test.ts',
    ],
    // Some of these take on another user's rights, which threads cannot.
    pool: 'forks',
    isolate: true,
  },
  write: {
    mutate: [
      'src/vault/write/**/*.ts',
      '!src/vault/write/{content-cutter,folder-content,tree-reader,remembered-file}.ts',
    ],
    tests: [
      // First: it replaces a module, which those after it share.
      'test/vault/source.test.ts',
      'test/vault/{table-writer,chunked,chunk-writer,own-chunks}.test.ts',
      'test/vault/{put,finish-put}.test.ts',
      'test/vault/{put-only,put-guard,stale-views}.test.ts',
      'test/vault/{remembered-file,retain}.test.ts',
    ],
  },
  // Apart: its tests read folders and large files, and take long. What `put-folder.test.ts` tries, with any trees, takes too long.
  remembered: {
    mutate: ['src/vault/write/{folder-content,tree-reader,remembered-file}.ts'],
    tests: ['test/vault/folders/tree-reader.test.ts', 'test/vault/remembered-file.test.ts'],
  },
  // Apart: its loop goes over every byte, which changes make slow, so only over a few MiB.
  cutting: {
    mutate: ['src/vault/write/content-cutter.ts'],
    tests: ['test/vault/cutting-rule.test.ts'],
  },
  remove: {
    mutate: ['src/vault/remove/**/*.ts'],
    tests: [
      'test/vault/{retention,prune}.test.ts',
      'test/vault/remove.test.ts',
      'test/vault/{sweep,undelete,writers,plan,forged-row}.test.ts',
      'test/vault/removed-elsewhere.test.ts',
      'test/vault/{clocks,put-only,put-guard,stale-views}.test.ts',
    ],
    // Some of these set the time zone, which threads share.
    pool: 'forks',
  },
  repair: {
    mutate: ['src/vault/repair/**/*.ts'],
    tests: ['test/vault/repair-steps.test.ts', 'test/vault/repair.test.ts', 'test/vault/retain.test.ts'],
  },
} as const satisfies Readonly<Record<string, Facts>>;

export interface Facts {
  readonly mutate: readonly string[];
  readonly tests: readonly string[];
  /** Where vitest runs the tests: threads start faster. */
  readonly pool?: 'threads' | 'forks';
  /** Whether each file of tests loads the modules anew, since some replace them: to load them takes longer than most tests. */
  readonly isolate?: boolean;
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
