/**
 * The composition root: the one place that knows catalogs, buckets and the vault, and puts them together.
 */
import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { BucketLocation } from './buckets/open.ts';
import { createFolder } from './buckets/folder/driver.ts';
import { UNFINISHED } from './buckets/folder/unfinished.ts';
import { createLimits } from './buckets/layers/limits.ts';
import { folderOf, openBucket, parseBucketUrl } from './buckets/open.ts';
import type { Waiting } from './buckets/layers/retry.ts';
import type { CopyOptions, CopyResult } from './catalog/copy.ts';
import type { Catalog } from './catalog/catalog.ts';
import { isDatabaseUrl } from './catalog/location.ts';
import { openCatalog, openScratch } from './catalog/open.ts';
import type { OpenCatalogOptions } from './catalog/open.ts';
import { checkFolder, makeTemporaryFolder } from './disk/folders.ts';
import { isVaultError, VaultError } from './errors.ts';
import type { PasswordGiver } from './crypto/asked-password.ts';
import { systemClock, thisHost } from './host.ts';
import type { Host } from './host.ts';
import { Making } from './making.ts';
import { readMarker } from './vault/buckets/bucket-set.ts';
import type { BucketOpener } from './vault/buckets/bucket-set.ts';
import { createVault as createVaultFrom, vaultExists, type NewVault } from './vault/manage/create.ts';
import type { OpenVaultParts } from './vault/open.ts';
import type { DrillOptions, DrillResult } from './vault/recover/drill.ts';
import { factsOf } from './vault/read/status.ts';
import type { CatalogFacts } from './vault/read/status.ts';
import { recoverCatalog } from './vault/recover/recover.ts';
import type { RecoverResult } from './vault/recover/recover.ts';
import { scrubBucket } from './vault/verify/scrub.ts';
import type { ScrubOptions, ScrubResult } from './vault/verify/scrub.ts';
import type { CallOptions } from './vault/call.ts';
import type { Unlocked } from './vault/keys/unlock.ts';
import { openSession } from './vault/open.ts';
import { Vault } from './vault/vault.ts';

export type { Waiting } from './buckets/layers/retry.ts';

export type { CopyOptions, CopyResult };

/** What bounds the requests to buckets. */
export interface RequestOptions {
  /** Milliseconds without an answer after which an attempt counts as failed; default 60,000, and 15,000 at first contact. */
  readonly timeoutMs?: number | undefined;
  /** Milliseconds for which a bucket that does not answer is tried again; default 120,000, and 5,000 for one that never has. */
  readonly maxWaitMs?: number | undefined;
  /** Milliseconds for which a bucket that was given up is not asked at all; default 300,000. */
  readonly downMs?: number | undefined;
  /** Requests in flight over all buckets; default 48. */
  readonly concurrency?: number | undefined;
  /** Bytes per second over all buckets; unlimited unless given. */
  readonly limitUpload?: number | undefined;
  readonly limitDownload?: number | undefined;
}

/** What opening and creating a vault have in common. */
export interface VaultLocation {
  /** The catalog: path of an SQLite file, or a `postgres://` URL. */
  readonly db: string;
  /** Gives the password. Asked only when it is needed; once, unless `passwordTries` says otherwise. */
  readonly password: PasswordGiver;
  /** How often it is asked for while it does not open the vault, each time but the first with why not; once unless given. */
  readonly passwordTries?: number | undefined;
  /** The folder that relative paths are meant from; absolute. */
  readonly baseFolder: string;
  readonly request?: RequestOptions;
  /**
   * Where this machine remembers what it has stored of folders, so that what is unchanged need not be read again; absolute. Unless
   * given: beside the catalog if that is a file, else nowhere.
   */
  readonly logFolder?: string | undefined;
  /** Told whenever a bucket is being waited for. */
  readonly onWaiting?: (waiting: Waiting) => void;
  /** Its clock and threads; without one, this machine, and whatever variables node-postgres itself looks at. */
  readonly host?: Host | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface NewVaultLocation
  extends VaultLocation, Pick<NewVault, 'redundancy' | 'chunkSize' | 'compression'> {
  /** URLs or paths. */
  readonly buckets: readonly string[];
}

/** Requests in flight: enough for 16 chunks of three shards each, so that round trips of 50 ms hardly count. */
const DEFAULT_CONCURRENCY = 48;
/** Chunks in flight take this much memory at most, unless they are larger than a third of it. */
const CHUNK_MEMORY = 48 * 1024 * 1024;

/**
 * Opens a vault.
 *
 * @returns the vault; the caller closes it
 * @throws `no-vault`; `wrong-password`; `invalid-input`; `unavailable` or `denied` from the database; `damaged`
 */
export async function openVault(options: VaultLocation): Promise<Vault> {
  const catalog = await openCatalog(options.db, catalogOptions(options));
  try {
    return await Vault.open({
      catalog,
      opener: bucketOpener(options),
      password: options.password,
      passwordTries: options.passwordTries,
      ...machine(options),
    });
  } catch (error) {
    await catalog.close();
    throw error;
  }
}

/**
 * Makes a vault and opens it. A making that was cut short can be repeated; one that fails takes back what it has made: folders,
 * objects, and an SQLite file.
 *
 * @throws `already-exists` if there is a vault in the catalog or in a bucket; `invalid-input`; what the buckets say
 */
export async function createVault(options: NewVaultLocation): Promise<Vault> {
  const { signal } = options;
  const locations = options.buckets.map((text) => parseBucketUrl(text, { base: options.baseFolder }));
  const begun = await requireNoFiles(options);
  const password = await options.password(null);
  const making = new Making();
  if (!begun && !isDatabaseUrl(options.db)) await making.expectCatalog(resolve(options.db));
  const parts = machine(options);
  const opener = bucketOpener(options);
  let catalog: Catalog | null = null;
  let unlocked: Unlocked;
  try {
    catalog = await openCatalog(options.db, { ...catalogOptions(options), create: true });
    for (const location of locations) {
      if (location.kind === 'folder') await making.expectFolder(location.path);
      await prepare(location);
    }
    const urls = locations.map(({ url }) => url);
    const { redundancy, chunkSize, compression } = options;
    const nowMs = parts.host.clock.now();
    const made = { catalog, urls, opener, redundancy, chunkSize, compression, password, nowMs, signal };
    unlocked = await createVaultFrom(made);
  } catch (error) {
    await catalog?.close();
    // One that was begun before is completed by the next call, and stays until then.
    if (!begun) await making.undo();
    throw error;
  }
  try {
    const session = { catalog, opener, password: () => Promise.resolve(password), unlocked, ...parts };
    return new Vault(await openSession(session));
  } catch (error) {
    await catalog.close();
    throw error;
  }
}

/**
 * Refuses a catalog whose vault has files, before anybody has to choose a password.
 *
 * @returns whether there is a vault in it that has none, as a making that was cut short leaves it
 * @throws `already-exists`; what opening the catalog throws, except for `no-vault`
 */
export async function requireNoFiles(options: VaultLocation): Promise<boolean> {
  try {
    const catalog = await openCatalog(options.db, catalogOptions(options));
    try {
      const { files, hidden } = await catalog.files.counts();
      if (files + hidden > 0) throw vaultExists(catalog);
      return (await catalog.setup.vault()) !== null;
    } finally {
      await catalog.close();
    }
  } catch (error) {
    if (!isVaultError(error, 'no-vault')) throw error;
    return false;
  }
}

/** Attempts at a bucket that somebody waits for an answer about take this long at most, in milliseconds. */
const PROBE_TIMEOUT_MS = 10_000;

/**
 * Looks whether a place can become a bucket of a new vault, and changes nothing there.
 *
 * @param text URL or path
 * @returns the normalised URL
 * @throws `invalid-input` for an impossible URL or folder; `already-exists` if the place belongs to a vault; what the bucket says
 */
export async function probeBucket(
  text: string,
  options: Pick<VaultLocation, 'baseFolder' | 'request' | 'signal'>,
): Promise<string> {
  const location = parseBucketUrl(text, { base: options.baseFolder });
  if (location.kind === 'folder' && !(await checkFolder(location.path))) return location.url;
  const timeoutMs = Math.min(options.request?.timeoutMs ?? PROBE_TIMEOUT_MS, PROBE_TIMEOUT_MS);
  const bucket = await openBucket(location.url, { timeoutMs, maxWaitMs: 0 });
  try {
    if ((await readMarker(bucket, options.signal)) === null) return location.url;
  } finally {
    await bucket.close();
  }
  throw new VaultError('already-exists', `${location.url} belongs to a vault already.`);
}

/**
 * Rebuilds a lost catalog from the buckets and the password. What was rebuilt stays, so that repeating it after
 * an interruption goes on.
 *
 * @param options `buckets`: URLs or paths of all buckets that can be had. `dryRun`: only tells what it would come to
 * @throws `no-vault` if no bucket has a vault; `invalid-input` if they belong to several; `wrong-password`; `unavailable`
 */
export async function recoverVault(
  options: VaultLocation &
    CallOptions & { readonly buckets: readonly string[]; readonly dryRun?: boolean | undefined },
): Promise<RecoverResult> {
  const urls = options.buckets.map((text) => parseBucketUrl(text, { base: options.baseFolder }).url);
  const { db, dryRun = false, password, passwordTries, onProgress, onWarning, signal } = options;
  await using stack = new AsyncDisposableStack();
  const opening = async (open: Promise<Catalog>): Promise<Catalog> =>
    stack.adopt(await open, (catalog) => catalog.close());
  const how = catalogOptions(options);
  const scratch = dryRun ? await opening(openScratch(how)) : undefined;
  const making = new Making();
  if (!dryRun && !isDatabaseUrl(db)) await making.expectCatalog(resolve(db));
  const catalog = await opening(openCatalog(db, { ...how, create: !dryRun })).catch((error: unknown) => {
    if (!dryRun || !isVaultError(error, 'no-vault')) throw error;
    return opening(openScratch(how));
  });
  const [opener, parts] = [bucketOpener(options), machine(options)];
  const asked = { password, passwordTries, signal, onProgress, onWarning };
  try {
    return await recoverCatalog({ catalog, scratch, urls, opener, parts, ...asked });
  } catch (error) {
    const found = await catalog.setup.vault().catch(() => undefined);
    await stack.disposeAsync();
    if (found === null) await making.undo();
    throw error;
  }
}

export interface DrillReport extends DrillResult {
  readonly recovered: RecoverResult;
}

/**
 * Shows that buckets and password are enough: rebuilds a catalog beside the vault's own, reads random files by it, and takes it away.
 * Nothing is written to a bucket, and nothing in clear to this machine.
 *
 * @param options `folder`: where there is room for the catalog, meanwhile. `password`: asked twice
 * @throws as `recoverVault`
 */
export async function drillVault({
  folder,
  ...options
}: Omit<VaultLocation, 'db'> &
  DrillOptions & { readonly buckets: readonly string[]; readonly folder: string }): Promise<DrillReport> {
  return withCatalogIn(folder, async (db) => {
    const location = { ...options, db };
    const recovered = await recoverVault({ ...location, onProgress: undefined });
    await using vault = await openVault(location);
    return { recovered, ...(await vault.drill(options)) };
  });
}

/** A place for a catalog that is taken away afterwards. */
async function withCatalogIn<T>(folder: string, work: (db: string) => Promise<T>): Promise<T> {
  const made = await makeTemporaryFolder(folder, 'vault-catalog-');
  try {
    return await work(join(made, 'catalog.db'));
  } finally {
    await rm(made, { recursive: true, force: true });
  }
}

/** What the catalog says to whoever has no password: nobody has checked that it is right. @throws as `openVault`, but for the password */
export async function catalogFacts(options: Omit<VaultLocation, 'password'>): Promise<CatalogFacts> {
  const catalog = await openCatalog(options.db, catalogOptions(options));
  try {
    const { clock = systemClock } = options.host ?? {};
    return await factsOf(catalog, { nowMs: clock.now(), signal: options.signal });
  } finally {
    await catalog.close();
  }
}

/**
 * The one normalised form of what people write for a bucket; vaults know their buckets by it.
 *
 * @param baseFolder absolute path of the folder that relative paths are meant from
 * @throws `invalid-input`
 */
export function bucketUrl(text: string, baseFolder: string): string {
  return parseBucketUrl(text, { base: baseFolder }).url;
}

/**
 * Copies a catalog into another database, of the same kind or of another, and verifies both ends.
 *
 * @param from location of the catalog
 * @param to location of the copy, which holds no vault yet
 * @throws `no-vault`; `already-exists`; `unavailable` if the catalog changed meanwhile; what the databases say
 */
export async function copyCatalog(from: string, to: string, options: CopyOptions = {}): Promise<CopyResult> {
  const { copyCatalog: copy } = await import('./catalog/copy.ts');
  return copy(from, to, options);
}

/**
 * Checks every object of a bucket against its own checksum, without a password and without a catalog.
 *
 * @param url URL or path of the bucket
 * @throws as `scrubBucket`; `invalid-input` for an impossible URL
 */
export async function scrubPlace(
  url: string,
  options: Omit<VaultLocation, 'db' | 'password'> & ScrubOptions,
): Promise<ScrubResult> {
  const bucket = await bucketOpener(options)(parseBucketUrl(url, { base: options.baseFolder }).url);
  try {
    return await scrubBucket(bucket, options);
  } finally {
    await bucket.close();
  }
}

/**
 * The normalised URL of a bucket that is to become a vault's, its folder made if it is one.
 *
 * @param text URL or path
 * @param baseFolder the folder that relative paths are meant from; absolute
 * @throws `invalid-input` for an impossible URL; `denied` or `storage-full` if the folder cannot be made
 */
export async function prepareBucket(text: string, baseFolder: string): Promise<string> {
  return withPreparedBucket(text, baseFolder, (url) => Promise.resolve(url));
}

/** The same for what is done with that bucket: if it fails, the folder goes again, unless there is something in it. */
export async function withPreparedBucket<T>(
  text: string,
  baseFolder: string,
  work: (url: string) => Promise<T>,
): Promise<T> {
  const location = parseBucketUrl(text, { base: baseFolder });
  const making = new Making();
  if (location.kind === 'folder') await making.expectFolder(location.path);
  try {
    await prepare(location);
    return await work(location.url);
  } catch (error) {
    await making.undo();
    throw error;
  }
}

/** A folder is made; buckets in clouds are there already, with the rights that their owner has chosen. */
async function prepare(location: BucketLocation): Promise<void> {
  if (location.kind === 'folder') await createFolder(location.path);
}

function catalogOptions({ signal, host }: Pick<VaultLocation, 'signal' | 'host'>): OpenCatalogOptions {
  return { signal, environment: host?.environment, clock: host?.clock };
}

function bucketOpener({
  request = {},
  onWaiting,
  host,
}: Pick<VaultLocation, 'request' | 'onWaiting' | 'host'>): BucketOpener {
  const { clock, environment, fileThreads } = host ?? {};
  const limits = createLimits({
    concurrency: request.concurrency ?? DEFAULT_CONCURRENCY,
    uploadBytesPerSecond: request.limitUpload ?? null,
    downloadBytesPerSecond: request.limitDownload ?? null,
    clock,
  });
  return (url) => openBucket(url, { ...request, limits, onWaiting, clock, environment, fileThreads });
}

function machine({
  request,
  host,
  logFolder,
  db,
}: Pick<VaultLocation, 'request' | 'host' | 'logFolder' | 'db'>): Pick<
  OpenVaultParts,
  'limits' | 'host' | 'logFolder' | 'places'
> {
  const concurrency = request?.concurrency ?? DEFAULT_CONCURRENCY;
  return {
    limits: { chunkMemory: CHUNK_MEMORY, chunksInFlight: Math.max(3, Math.ceil(concurrency / 3)) },
    host: host ?? thisHost({}),
    logFolder: logFolder ?? (isDatabaseUrl(db) ? null : `${resolve(db)}.folders`),
    places: {
      catalog: isDatabaseUrl(db) ? null : resolve(db),
      bucketFolder: folderOf,
      inBuckets: [UNFINISHED],
    },
  };
}
