import { buffer } from 'node:stream/consumers';
import { onTestFinished } from 'vitest';
import { memoryBucket } from '../support/memory-bucket.ts';
import type { MemoryLocks } from '../support/memory-bucket.ts';
import { NO_RETENTION } from '../../src/buckets/bucket.ts';
import type { Bucket, RetentionPolicy } from '../../src/buckets/bucket.ts';
import { gathering } from '../../src/buckets/layers/gathering.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import type { Catalog } from '../../src/catalog/catalog.ts';
import { ManifestOpener, manifestHash, ManifestSealer } from '../../src/crypto/manifest.ts';
import type { Compression } from '../../src/format/keyring.ts';
import { isShardIntact, parseShardObjectName, shardObjectName } from '../../src/format/shard.ts';
import type { Redundancy } from '../../src/format/shard.ts';
import { BucketSet, VaultBucket } from '../../src/vault/buckets/bucket-set.ts';
import type { Warning } from '../../src/vault/call.ts';
import { ChunkMemoryPool } from '../../src/vault/chunks/chunk-memory.ts';
import { createVault } from '../../src/vault/manage/create.ts';
import { openSession } from '../../src/vault/open.ts';
import type { OpenVaultParts } from '../../src/vault/open.ts';
import type { Session } from '../../src/vault/session.ts';
import { Vault } from '../../src/vault/vault.ts';
import type { FileSource } from '../../src/vault/write/file-source.ts';
import type { PutOptions, PutResult } from '../../src/vault/write/put-call.ts';
import { MarkerGuard } from '../../src/vault/protocol/put-guard.ts';
import { streamSource } from '../../src/vault/write/source.ts';
import { catalogPlace, frozenCatalog } from '../support/catalog-place.ts';
import { Steps } from '../support/steps.ts';
import type { Around } from '../support/steps.ts';
import { systemClock } from '../../src/host.ts';

/** Argon2id as cheap as readers allow: tests make many vaults, and its strength is not what they are about. */
export const CHEAP_KDF = { memoryKib: 8 * 1024, passes: 1, lanes: 1 };
export const PASSWORD = 'correct horse battery staple';
/** The smallest chunks, so that small files have several. */
export const CHUNK_SIZE = 64 * 1024;

/** One bucket's content, and what stands between it and the vault. */
export interface TestBucket {
  readonly url: string;
  readonly storage: Map<string, Uint8Array>;
  /** What keeps its objects, if anything does. */
  readonly locks?: MemoryLocks | undefined;
  /** What the vault is given; replace it to make the bucket misbehave. */
  wrap: (bucket: Bucket) => Bucket;
}

export interface TestVault extends AsyncDisposable {
  readonly vault: Vault;
  readonly session: Session;
  readonly catalog: Catalog;
  readonly buckets: readonly TestBucket[];
  /** Where the catalog is. */
  readonly db: string;
  /** All objects of all buckets, as `url name`. */
  objects(prefix?: string): string[];
  /** Another process's view: the same catalog and buckets, opened anew. */
  reopen(options?: ReopenOptions): Promise<Vault>;
}

export interface TestVaultOptions {
  /** How many buckets; 3 unless told otherwise. */
  readonly buckets?: number;
  readonly redundancy?: Redundancy;
  readonly compression?: Compression;
  /** Stands between vault and catalog. */
  readonly wrapCatalog?: (catalog: Catalog) => Catalog;
  readonly now?: () => number;
  /** What the buckets have against removal, in their order. */
  readonly policies?: readonly Partial<RetentionPolicy>[];
  /** Where it remembers folders; nowhere unless told otherwise. */
  readonly logFolder?: string;
  /** A place for the catalog; one of its own, see `catalogPlace`, unless told otherwise. */
  readonly db?: string;
}

export interface ReopenOptions {
  readonly wrapCatalog?: (catalog: Catalog) => Catalog;
}

/** Makes a vault over buckets in memory and opens it. */
export async function testVault(options: TestVaultOptions = {}): Promise<TestVault> {
  const place = await catalogPlace();
  const db = options.db ?? place.location;
  const now = options.now ?? Date.now;
  const buckets: TestBucket[] = Array.from({ length: options.buckets ?? 3 }, (_, i) => ({
    url: `memory:${i + 1}`,
    storage: new Map<string, Uint8Array>(),
    locks: locksOf(options.policies?.[i], () => now()),
    wrap: (bucket) => bucket,
  }));
  const opener = (url: string): Promise<Bucket> => {
    const bucket = buckets.find((candidate) => candidate.url === url);
    if (bucket === undefined) throw new Error(`No test bucket ${url}`);
    return Promise.resolve(behind(bucket));
  };
  const creating = await openCatalog(db, { create: true });
  await createVault({
    catalog: creating,
    urls: buckets.map(({ url }) => url),
    opener,
    redundancy: options.redundancy ?? null,
    password: PASSWORD,
    kdfCost: CHEAP_KDF,
    chunkSize: CHUNK_SIZE,
    compression: options.compression ?? 'off',
    nowMs: now(),
  });
  await creating.close();

  const opened: Vault[] = [];
  const open = async (how: ReopenOptions): Promise<{ vault: Vault; session: Session; catalog: Catalog }> => {
    const wrapCatalog = how.wrapCatalog ?? ((catalog) => catalog);
    const catalog = wrapCatalog(await openCatalog(db));
    const session = await openSession({ ...parts(catalog, opener, { now }), logFolder: options.logFolder });
    const vault = new Vault(session);
    opened.push(vault);
    return { vault, session, catalog };
  };
  const first = await open(options.wrapCatalog === undefined ? {} : { wrapCatalog: options.wrapCatalog });
  return {
    ...first,
    buckets,
    db,
    objects: (prefix = '') =>
      buckets
        .flatMap(({ url, storage }) => [...storage.keys()].map((name) => ({ url, name })))
        .filter(({ name }) => name.startsWith(prefix))
        .map(({ url, name }) => `${url} ${name}`)
        .toSorted(),
    reopen: async (how = {}) => (await open(how)).vault,
    async [Symbol.asyncDispose]() {
      await Promise.allSettled(opened.map((vault) => vault.close()));
      await place[Symbol.asyncDispose]();
    },
  };
}

/** The bucket as it is at each call, so that a test can change its behaviour after the vault was opened. */
export function behind(bucket: TestBucket): Bucket {
  const plain = memoryBucket(bucket.url, bucket.storage, { locks: bucket.locks });
  const current = (): Bucket => bucket.wrap(plain);
  return {
    label: bucket.url,
    put: (...args) => current().put(...args),
    get putAll() {
      const now = current();
      return now.putAll?.bind(now);
    },
    get: (...args) => current().get(...args),
    remove: (...args) => current().remove(...args),
    list: (...args) => current().list(...args),
    get retention() {
      return current().retention;
    },
    close: () => Promise.resolve(),
  };
}

function locksOf(policy: Partial<RetentionPolicy> | undefined, now: () => number): MemoryLocks | undefined {
  return policy === undefined ? undefined : { policy: { ...NO_RETENTION, ...policy }, until: new Map(), now };
}

/** A vault's state, to be tried out again and again without making it again. */
export interface Snapshot {
  /** A vault of its own with that state: other storage and another catalog, the same keys and threads. */
  copy(): Promise<VaultCopy>;
}

export interface VaultCopy extends AsyncDisposable {
  readonly buckets: readonly TestBucket[];
  /** Where the catalog is. */
  readonly db: string;
  /** One process's view. */
  open(options?: HandleOptions): Promise<Handle>;
}

export interface Handle {
  readonly vault: Vault;
  readonly session: Session;
  readonly catalog: Catalog;
  /** The calls that this handle has made. */
  readonly steps: Steps;
}

export interface HandleOptions {
  /** Stands around every call of catalog and buckets. */
  readonly around?: Around;
  readonly now?: () => number;
  readonly limits?: Session['limits'];
}

/**
 * Keeps a vault's state.
 *
 * @param made a vault or a copy of one that nobody changes meanwhile; its session's threads must run as long as copies are used
 */
export async function snapshotOf(made: Pick<TestVault, 'buckets' | 'db' | 'session'>): Promise<Snapshot> {
  const catalogCopy = await frozenCatalog(made.db);
  const states = made.buckets.map(({ url, storage }) => ({ url, objects: [...storage] }));
  return {
    async copy() {
      const place = await catalogCopy();
      const buckets = states.map(({ url, objects }): TestBucket => ({
        url,
        storage: new Map(objects),
        wrap: (bucket) => bucket,
      }));
      const opened: Catalog[] = [];
      return {
        buckets,
        db: place.location,
        async open(options = {}) {
          const catalog = await openCatalog(place.location);
          opened.push(catalog);
          return handleOn(made.session, { catalog, buckets }, options);
        },
        async [Symbol.asyncDispose]() {
          await Promise.allSettled(opened.map((catalog) => catalog.close()));
          await place[Symbol.asyncDispose]();
        },
      };
    },
  };
}

/** One process's view of buckets and a catalog, with the keys and threads of a session that is open. */
export function handleOn(
  base: Session,
  on: { readonly catalog: Catalog; readonly buckets: readonly TestBucket[] },
  options: HandleOptions,
): Handle {
  const steps = new Steps(options.around ?? ((_, proceed) => proceed()));
  const catalog = steps.catalog(on.catalog);
  const opener = (url: string): Promise<Bucket> => {
    const bucket = on.buckets.find((candidate) => candidate.url === url);
    if (bucket === undefined) throw new Error(`No test bucket ${url}`);
    return Promise.resolve(gathering(steps.bucket(behind(bucket))));
  };
  const limits = options.limits ?? base.limits;
  const guard = new MarkerGuard();
  const session: Session = {
    ...base,
    catalog,
    // Its own, as another process has: a put that is held up in the middle would keep the memory that another one waits for.
    memory: new ChunkMemoryPool(limits),
    opener,
    buckets: new BucketSet(
      base.buckets.all.map((bucket) => new VaultBucket(bucket, { vaultId: base.vaultId, opener })),
    ),
    sealer: new ManifestSealer(base.keys),
    manifests: new ManifestOpener(base.keys),
    guard,
    limits,
    clock: { ...systemClock, now: options.now ?? (() => base.clock.now()) },
  };
  guard.attach(session);
  return { session, catalog, vault: new Vault(session), steps };
}

/**
 * What does not add up between catalog and buckets: objects that no file explains, and rows of places whose objects are not there
 * or are not whole. Nothing, after a sweep of everything.
 */
export async function discrepancies(
  { catalog, keys }: Pick<Session, 'catalog' | 'keys'>,
  buckets: readonly TestBucket[],
): Promise<readonly string[]> {
  const urls = new Map(
    (await catalog.setup.buckets()).map(({ number }, i) => [number, buckets[i]?.url ?? '']),
  );
  const opener = new ManifestOpener(keys);
  const needed = new Set<string>();
  const files = new Set((await all(catalog.files.walk())).map(({ hash }) => hash));
  const found: string[] = [];
  for (const { url, storage } of buckets) {
    for (const [name, bytes] of storage) {
      if (!name.startsWith('manifests/')) continue;
      const hash = name.slice('manifests/'.length);
      if (!files.has(hash)) found.push(`${url} has ${name}, which the catalog does not know`);
      if (manifestHash(bytes) !== hash) {
        found.push(`${url} has ${name}, which is not whole`);
        continue;
      }
      const { ids } = opener.open(bytes, hash);
      if (ids.depth !== 0) throw new Error('The test’s files are too large');
      for (const { id } of ids.ids) needed.add(id);
    }
  }
  const expected = new Set<string>();
  for (const { id: chunkId, k, m, sealing, shards } of await all(catalog.chunks.walk())) {
    for (const [index, place] of shards.entries()) {
      if (place === null) continue;
      const name = shardObjectName({ chunkId, sealing, index, k, m, upload: place.upload });
      expected.add(`${urls.get(place.bucket)} ${name}`);
    }
  }
  for (const { url, storage } of buckets) {
    for (const [name, bytes] of storage) {
      const shard = parseShardObjectName(name);
      if (shard === null) {
        if (/^(puts|sweep)\//.test(name)) found.push(`${url} has ${name}, which is left over`);
        continue;
      }
      const isKnown = expected.delete(`${url} ${name}`);
      if (!needed.has(shard.chunkId)) found.push(`${url} has ${name}, which nothing explains`);
      else if (!isKnown) found.push(`${url} has ${name}, which the catalog does not know`);
      if (!isShardIntact(bytes, shard.chunkId)) found.push(`${url} has ${name}, which is not whole`);
    }
  }
  return [...found, ...[...expected].map((object) => `missing: ${object}`)];
}

/** What a vault in tests is opened with. */
export function parts(
  catalog: Catalog,
  opener: OpenVaultParts['opener'],
  { now = Date.now }: { readonly now?: () => number } = {},
): OpenVaultParts {
  return {
    catalog,
    opener,
    password: () => Promise.resolve(PASSWORD),
    limits: { chunkMemory: 16 * 1024 * 1024, chunksInFlight: 4 },
    host: { clock: { ...systemClock, now }, threads: 1 },
  };
}

/** A source of given bytes that can be opened again. */
export function bytesSource(bytes: Uint8Array): FileSource {
  return {
    label: 'bytes',
    reopens: true,
    open: (signal) => streamSource(once(bytes), 'bytes').open(signal),
  };
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** Puts bytes in the smallest chunks. */
export function putBytes(
  vault: Vault,
  bytes: Uint8Array,
  options: Partial<PutOptions> & { readonly name: string },
): Promise<PutResult> {
  return vault.put(bytesSource(bytes), { chunkSize: CHUNK_SIZE, ...options });
}

/** Gets a whole file. */
export async function getBytes(
  vault: Vault,
  reference: string,
  onWarning: (warning: Warning) => void = () => undefined,
): Promise<Buffer> {
  const file = await vault.get(reference, { onWarning });
  return buffer(copies(file.content({ onWarning })));
}

/** A run's memory is used again, so each is copied. */
async function* copies(runs: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const run of runs) yield Uint8Array.from(run);
}

/** Everything an iterable gives. */
export async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  return Array.fromAsync(items);
}

/** Two machines until the test ends: the buckets are shared, each has its own catalog, both as it stands now. */
export async function twoMachines(
  made: TestVault,
): Promise<{ readonly here: VaultCopy; readonly there: VaultCopy }> {
  await made.session.guard.end();
  const snapshot = await snapshotOf(made);
  const here = await snapshot.copy();
  const there = await snapshot.copy();
  for (const one of [here, there]) onTestFinished(async () => one[Symbol.asyncDispose]());
  for (const [i, bucket] of there.buckets.entries()) {
    Object.assign(bucket, { storage: here.buckets[i]?.storage });
  }
  return { here, there };
}
