import type { Bucket } from '../../src/buckets/bucket.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import type { Catalog, ChunkRow } from '../../src/catalog/catalog.ts';
import { VaultError } from '../../src/errors.ts';
import type { ErrorCode } from '../../src/errors.ts';
import {
  finishShardObject,
  parseShardHeader,
  parseShardObjectName,
  SHARD_HEADER_SIZE,
  shardObjectName,
} from '../../src/format/shard.ts';
import type { Unlocked } from '../../src/vault/keys/unlock.ts';
import { openSession } from '../../src/vault/open.ts';
import type { Session } from '../../src/vault/session.ts';
import type { Guarded } from '../../src/vault/protocol/guarded.ts';
import { MarkerGuard } from '../../src/vault/protocol/put-guard.ts';
import { Vault } from '../../src/vault/vault.ts';
import { faulty, storageError } from '../support/faulty-bucket.ts';
import type { FaultyCall } from '../support/faulty-bucket.ts';
import { Steps } from '../support/steps.ts';
import type { Around } from '../support/steps.ts';
import { all, behind, parts, putBytes, snapshotOf, testVault } from './harness.ts';
import type { TestBucket, TestVault, TestVaultOptions } from './harness.ts';

/** A vault of a test's own, with what an earlier part of the file has stored. */
export interface Scene extends AsyncDisposable {
  /** All places that can be opened; one that is added may become a bucket. */
  readonly buckets: TestBucket[];
  bucket(index: number): TestBucket;
  readonly db: string;
  /** Opens the vault as a process does: everything it knows comes from the catalog. */
  open(options?: SceneOptions): Promise<SceneHandle>;
}

export interface SceneOptions {
  /** Stands around every call of catalog and buckets. */
  readonly around?: Around;
  readonly now?: () => number;
  /** What another key has opened. */
  readonly unlocked?: Unlocked;
}

export interface SceneHandle {
  readonly vault: Vault;
  readonly session: Session;
  readonly catalog: Catalog;
  readonly steps: Steps;
}

export interface Stage extends AsyncDisposable {
  scene(): Promise<Scene>;
}

/** Makes a vault and stores files in it, for many scenes that begin with it. */
export async function stage(
  options: TestVaultOptions,
  prepare: (made: TestVault) => Promise<void>,
): Promise<Stage> {
  const made = await testVault(options);
  await prepare(made);
  // What this process has under way ends with it.
  await made.session.guard.end();
  const snapshot = await snapshotOf(made);
  return {
    async scene() {
      const copy = await snapshot.copy();
      const buckets = [...copy.buckets];
      const opened: Session[] = [];
      return {
        buckets,
        db: copy.db,
        bucket: (index) => present(buckets[index]),
        async open({ around, unlocked: by, now = (): number => made.session.clock.now() } = {}) {
          const steps = new Steps(around ?? ((_, proceed) => proceed()));
          const raw = await openCatalog(copy.db);
          const opener = (url: string): Promise<Bucket> => {
            return Promise.resolve(steps.bucket(behind(present(buckets.find((b) => b.url === url)))));
          };
          const { keyring, bytes } = made.session.keyring;
          const unlocked = by ?? { keys: made.session.keys, keyring, bytes };
          const session = await openSession({ ...parts(raw, opener, { now }), unlocked });
          // Threads are dear, and hold nothing but keys.
          await session.workers.close();
          const catalog = steps.catalog(raw);
          const guard = new MarkerGuard();
          const shared: Session = { ...session, catalog, workers: made.session.workers, guard };
          guard.attach(shared);
          opened.push(shared);
          return { session: shared, catalog, vault: new Vault(shared), steps };
        },
        async [Symbol.asyncDispose]() {
          for (const session of opened) {
            await session.guard.end().catch(() => undefined);
            await session.catalog.close();
          }
          await copy[Symbol.asyncDispose]();
        },
      };
    },
    [Symbol.asyncDispose]: () => made[Symbol.asyncDispose](),
  };
}

/** Puts files whose every bucket has a shard: where they lie is left to chance, so others come beside them until it is so. */
export async function putWidely(
  { vault, buckets }: TestVault,
  files: Readonly<Record<string, Uint8Array>>,
): Promise<void> {
  const names = Object.keys(files);
  for (;;) {
    for (const name of names) await putBytes(vault, present(files[name]), { name });
    const isWide = buckets.every(({ storage }) => [...storage.keys()].some((n) => n.startsWith('chunks/')));
    if (isWide) break;
    await vault.remove(names, { graceMs: 0 });
    await vault.sweep({ ignoreGrace: true });
  }
  // How often it took is not to be seen.
  for (const { storage } of buckets)
    for (const name of storage.keys()) if (/^(sweep|deleted)\//.test(name)) storage.delete(name);
}

/** A place that is no bucket yet. */
export function emptyPlace(url: string): TestBucket {
  return { url, storage: new Map(), wrap: (bucket) => bucket };
}

/** A value that is there. */
export function present<T>(value: T | null | undefined): T {
  if (value === null || value === undefined) throw new Error('The test expected something to be there.');
  return value;
}

/** The catalog's rows of all chunks. */
export function rowsOf(catalog: Catalog): Promise<ChunkRow[]> {
  return all(catalog.chunks.walk());
}

interface StoredShard {
  readonly name: string;
  readonly bucket: TestBucket;
  readonly bytes: Uint8Array;
}

/** A stored shard of a chunk: its name, and the storage it is in. Bucket numbers are places in the list, from 1. */
export function shardOf(scene: Scene, row: ChunkRow, index: number): StoredShard {
  const place = present(row.shards[index]);
  const { k, m, id: chunkId, sealing } = row;
  const name = shardObjectName({ chunkId, sealing, index, k, m, upload: place.upload });
  const bucket = scene.bucket(place.bucket - 1);
  return { name, bucket, bytes: present(bucket.storage.get(name)) };
}

/** Takes a stored shard away. @returns what it was */
export function loseShard(scene: Scene, row: ChunkRow, index: number): StoredShard {
  const shard = shardOf(scene, row, index);
  shard.bucket.storage.delete(shard.name);
  return shard;
}

/** Lets calls fail that are meant, and no others. */
export function failing(
  bucket: TestBucket,
  fails: (call: FaultyCall) => boolean,
  code: ErrorCode = 'unavailable',
): void {
  bucket.wrap = (plain) =>
    faulty(plain, (call) =>
      fails(call) ? { kind: 'fail', when: 'before', error: storageError(code) } : null,
    );
}

/** A catalog some of whose calls about files are others. */
export function withFiles(catalog: Catalog, calls: Partial<Catalog['files']>): Catalog {
  return {
    ...catalog,
    close: () => catalog.close(),
    requireWritable: () => catalog.requireWritable(),
    files: new Proxy(catalog.files, {
      get(files, key) {
        const value: unknown = Reflect.get(Object.hasOwn(calls, key) ? calls : files, key);
        return typeof value === 'function' ? value.bind(files) : value;
      },
    }),
  };
}

/** A marker as it stands, some of which is otherwise. */
export function guardedWith(guarded: Guarded, changes: Partial<Guarded>): Guarded {
  const { presence, everywhere, targets, failed, clocks } = guarded;
  return {
    presence,
    everywhere,
    targets,
    failed,
    clocks,
    isNamed: (name) => guarded.isNamed(name),
    note: (id) => guarded.note(id),
    keep: (signal) => guarded.keep(signal),
    ...changes,
  };
}

/** Removes every object with a prefix. */
export function wipe({ storage }: TestBucket, prefix: string): void {
  for (const name of storage.keys()) if (name.startsWith(prefix)) storage.delete(name);
}

/** Flips a bit of an object. */
export function flip({ storage }: TestBucket, name: string, at: number): void {
  const bytes = Uint8Array.from(present(storage.get(name)));
  const byte = at < 0 ? bytes.length + at : at;
  bytes[byte] = (bytes[byte] ?? 0) ^ 1;
  storage.set(name, bytes);
}

/** Changes a shard and gives it the checksum that fits. */
export function forge({ storage }: TestBucket, name: string): void {
  storage.set(name, forged(name, present(storage.get(name))));
}

/** Other content under a header and a checksum that are right. */
export function forged(name: string, bytes: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[SHARD_HEADER_SIZE] = (copy[SHARD_HEADER_SIZE] ?? 0) ^ 1;
  finishShardObject(copy, present(parseShardObjectName(name)).chunkId, parseShardHeader(bytes));
  return copy;
}

/** Calls that change nothing: a process that ends at one of them leaves what one leaves that ends at the change before. */
export const LOOKS =
  /^(get|list|setup\.(vault|note|buckets)|files\.(by\w+|list|walk|expired|counts)|chunks\.(locate|walk|count))$/;

/** A process that ends just before the nth of the calls by which it changes anything. */
export function endingAt(nth: number): Around {
  let changes = 0;
  return async ({ call }, proceed) => {
    if (!LOOKS.test(call)) changes += 1;
    if (changes >= nth) throw new VaultError('unavailable', `The test has ended the process before ${call}.`);
    await proceed();
  };
}
