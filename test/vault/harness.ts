import { buffer } from 'node:stream/consumers';
import { memoryBucket } from '../../src/buckets/memory.ts';
import type { Bucket } from '../../src/buckets/bucket.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import type { Catalog } from '../../src/catalog/catalog.ts';
import { isShardIntact } from '../../src/crypto/chunk.ts';
import { manifestObjectName } from '../../src/format/manifest.ts';
import { shardObjectName } from '../../src/format/shard.ts';
import type { Redundancy } from '../../src/format/shard.ts';
import { BucketSet, VaultBucket } from '../../src/vault/buckets/bucket-set.ts';
import { ChunkMemoryPool } from '../../src/vault/chunks/chunk-memory.ts';
import { createVault } from '../../src/vault/manage/create.ts';
import { openSession, vaultOf } from '../../src/vault/open.ts';
import type { OpenVaultParts } from '../../src/vault/open.ts';
import type { Session } from '../../src/vault/session.ts';
import { streamSource } from '../../src/vault/write/source.ts';
import type { FileSource, PutOptions, PutResult, Vault, Warning } from '../../src/vault/vault.ts';
import { catalogPlace, frozenCatalog } from '../support/catalog-place.ts';
import { Steps } from '../support/steps.ts';
import type { Around } from '../support/steps.ts';

/** Argon2id as cheap as readers allow: tests make many vaults, and its strength is not what they are about. */
export const CHEAP_KDF = { memoryKib: 8 * 1024, passes: 1, lanes: 1 };
export const PASSWORD = 'correct horse battery staple';
/** The smallest chunks, so that small files have several. */
export const CHUNK_SIZE = 64 * 1024;

/** One bucket's content, and what stands between it and the vault. */
export interface TestBucket {
  readonly url: string;
  readonly storage: Map<string, Uint8Array>;
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
  /** Stands between vault and catalog. */
  readonly wrapCatalog?: (catalog: Catalog) => Catalog;
  readonly now?: () => number;
  /** A place for the catalog; one of its own, see `catalogPlace`, unless told otherwise. */
  readonly db?: string;
}

export interface ReopenOptions {
  readonly self?: string;
  readonly wrapCatalog?: (catalog: Catalog) => Catalog;
}

/** Makes a vault over buckets in memory and opens it. */
export async function testVault(options: TestVaultOptions = {}): Promise<TestVault> {
  const place = await catalogPlace();
  const db = options.db ?? place.location;
  const buckets: TestBucket[] = Array.from({ length: options.buckets ?? 3 }, (_, i) => ({
    url: `memory:${i + 1}`,
    storage: new Map<string, Uint8Array>(),
    wrap: (bucket) => bucket,
  }));
  const opener = (url: string): Promise<Bucket> => {
    const bucket = buckets.find((candidate) => candidate.url === url);
    if (bucket === undefined) throw new Error(`No test bucket ${url}`);
    return Promise.resolve(behind(bucket));
  };
  const now = options.now ?? Date.now;
  const creating = await openCatalog(db, { create: true });
  await createVault({
    catalog: creating,
    urls: buckets.map(({ url }) => url),
    opener,
    redundancy: options.redundancy ?? null,
    password: PASSWORD,
    kdfCost: CHEAP_KDF,
    nowMs: now(),
  });
  await creating.close();

  const opened: Vault[] = [];
  const open = async (how: ReopenOptions): Promise<{ vault: Vault; session: Session; catalog: Catalog }> => {
    const wrapCatalog = how.wrapCatalog ?? ((catalog) => catalog);
    const catalog = wrapCatalog(await openCatalog(db));
    const session = await openSession(parts(catalog, opener, { now, ...how }));
    const vault = vaultOf(session);
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
  const plain = memoryBucket(bucket.url, bucket.storage);
  const current = (): Bucket => bucket.wrap(plain);
  return {
    label: bucket.url,
    put: (...args) => current().put(...args),
    get: (...args) => current().get(...args),
    remove: (...args) => current().remove(...args),
    list: (...args) => current().list(...args),
    close: () => Promise.resolve(),
  };
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
  /** Its process's word; one that begins with "gone" has ended, for all others. */
  readonly self?: string;
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

function handleOn(
  base: Session,
  on: { readonly catalog: Catalog; readonly buckets: readonly TestBucket[] },
  options: HandleOptions,
): Handle {
  const steps = new Steps(options.around ?? ((_, proceed) => proceed()));
  const catalog = steps.catalog(on.catalog);
  const opener = (url: string): Promise<Bucket> => {
    const bucket = on.buckets.find((candidate) => candidate.url === url);
    if (bucket === undefined) throw new Error(`No test bucket ${url}`);
    return Promise.resolve(steps.bucket(behind(bucket)));
  };
  const limits = options.limits ?? base.limits;
  const session: Session = {
    ...base,
    catalog,
    // Its own, as another process has: a put that is held up in the middle would keep the memory that another one waits for.
    memory: new ChunkMemoryPool(limits),
    opener,
    buckets: new BucketSet(
      base.buckets.all.map(
        (bucket) => new VaultBucket(bucket, { url: bucket.url, vaultId: base.vaultId, opener }),
      ),
    ),
    limits,
    processes: { ...base.processes, self: options.self ?? 'test-process' },
    now: options.now ?? (() => base.now()),
  };
  return { session, catalog, vault: vaultOf(session), steps };
}

/**
 * What does not add up between catalog and buckets: objects that no row explains, rows whose objects are not there or
 * are not whole, debts and puts that are left. Nothing, after a sweep of everything.
 */
export async function discrepancies(
  catalog: Catalog,
  buckets: readonly TestBucket[],
): Promise<readonly string[]> {
  const urls = new Map((await catalog.buckets()).map(({ number }, i) => [number, buckets[i]?.url ?? '']));
  const expected = new Set<string>();
  for (const chunk of await all(catalog.listChunks())) {
    for (const [index, place] of chunk.shards.entries()) {
      if (place === null) continue;
      const name = shardObjectName({
        chunkId: chunk.id,
        index,
        k: chunk.k,
        m: chunk.m,
        generation: place.generation,
      });
      expected.add(`${urls.get(place.bucket)} ${name}`);
    }
  }
  const manifests = new Set(
    (await all(catalog.listFiles({ all: true }))).map(({ hash }) => manifestObjectName(hash)),
  );
  const found: string[] = [];
  for (const { url, storage } of buckets) {
    for (const [name, bytes] of storage) {
      if (name.startsWith('chunks/')) {
        if (!expected.delete(`${url} ${name}`)) found.push(`${url} has ${name}, which nothing explains`);
        else if (!isShardIntact(bytes)) found.push(`${url} has ${name}, which is not whole`);
      } else if (name.startsWith('manifests/') && !manifests.has(name)) {
        found.push(`${url} has ${name}, which nothing explains`);
      }
    }
  }
  const { files: _files, chunks: _chunks, ...open } = await catalog.counts();
  return [
    ...found,
    ...[...expected].map((object) => `missing: ${object}`),
    ...Object.entries(open).flatMap(([what, count]) => (count === 0 ? [] : [`${count} ${what}`])),
  ];
}

/** What a vault in tests is opened with. */
export function parts(
  catalog: Catalog,
  opener: OpenVaultParts['opener'],
  { now = Date.now, self = 'test-process' }: { readonly now?: () => number; readonly self?: string } = {},
): OpenVaultParts {
  return {
    catalog,
    opener,
    password: () => Promise.resolve(PASSWORD),
    // A process whose word begins with "gone" has ended.
    processes: { self, isGone: (owner) => owner.startsWith('gone') },
    limits: { chunkMemory: 16 * 1024 * 1024, chunksInFlight: 4 },
    threads: 1,
    now,
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
