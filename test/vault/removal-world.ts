/** What removal-model.test.ts explores: vaults of real code, one handle an actor, over buckets in memory. */
import { randomBytes } from 'node:crypto';
import { memoryBucket } from '../support/memory-bucket.ts';
import type { Bucket } from '../../src/buckets/bucket.ts';
import { ManifestSealer } from '../../src/crypto/manifest.ts';
import { CLOCK_NAME } from '../../src/format/removal.ts';
import { parseShardObjectName } from '../../src/format/shard.ts';
import type { Redundancy } from '../../src/format/shard.ts';
import { BucketSet, VaultBucket } from '../../src/vault/buckets/bucket-set.ts';
import { ChunkMemoryPool } from '../../src/vault/chunks/chunk-memory.ts';
import type { Session } from '../../src/vault/session.ts';
import { Vault } from '../../src/vault/vault.ts';
import { changeDefaults } from '../../src/vault/keys/defaults.ts';
import { MarkerGuard } from '../../src/vault/protocol/put-guard.ts';
import { asPuppet } from '../support/puppets.ts';
import { RememberingWorkers } from '../support/remembering-workers.ts';
import { explore } from '../support/interleavings.ts';
import type { Exploration, Exploring, Shared } from '../support/interleavings.ts';
import { MemoryCatalog } from '../support/memory-catalog.ts';
import type { Link, Program } from '../support/remembered-actor.ts';
import { Snapshots } from '../support/snapshots.ts';
import type { Snapshot } from '../support/snapshots.ts';
import { getBytes, putBytes, testVault } from './harness.ts';
import type { TestVault } from './harness.ts';
import { systemClock } from '../../src/host.ts';

/** One chunk, too large for a manifest. */
export const BODY = randomBytes(20_000);
export const HOUR_MS = 3_600_000;

/** How the world begins: a vault with one file of `BODY`. */
export interface Beginning extends AsyncDisposable {
  readonly session: Session;
  readonly catalog: MemoryCatalog;
  readonly snapshots: Snapshots;
  readonly snapshot: Snapshot;
  /** The hash of the file that is there. */
  readonly hash: string;
  /** What each actor seals with, the same in every run. */
  readonly sealers: Map<string, ManifestSealer>;
  /** Ends that have been looked at already. A verdict on one does not depend on who came there. */
  readonly judged: Map<string, string | null>;
}

/**
 * @param options `twice`: whether the file's chunk has two sets of shards. `next`: what everything is to be coded with from now on,
 *   as the keyring says already and nothing is yet
 */
export async function beginning(options: {
  readonly buckets: number;
  readonly redundancy: Redundancy;
  readonly twice?: boolean;
  readonly next?: Redundancy;
}): Promise<Beginning> {
  const made: TestVault = await testVault({ ...options, now: () => 0 });
  const workers = new RememberingWorkers(made.session.workers);
  // Once for the workers to remember what they answer, once to be there.
  const guard = new MarkerGuard();
  const session: Session = { ...made.session, workers, guard };
  guard.attach(session);
  const vault = new Vault(session);
  const { hash } = await putBytes(vault, BODY, { name: 'F0' });
  await getBytes(vault, hash);
  await session.guard.end();
  if (options.next !== undefined) await changeDefaults(session, { redundancy: options.next });
  const storages = new Map(made.buckets.map(({ url, storage }) => [url, new Map(storage)]));
  const catalog = await MemoryCatalog.of(made.catalog);
  if (options.next !== undefined) await recodeOnce(made, vault, options.next);
  await session.guard.end();
  if (options.twice === true) {
    for (const storage of storages.values()) {
      for (const [name, bytes] of storage) {
        if (name.startsWith('chunks/')) storage.set(name.replace(/[0-9a-f]{16}$/, 'f'.repeat(16)), bytes);
      }
    }
  }
  const snapshots = new Snapshots();
  return {
    session,
    catalog,
    snapshots,
    snapshot: snapshots.of(storages),
    hash,
    sealers: new Map(),
    judged: new Map(),
    [Symbol.asyncDispose]: () => made[Symbol.asyncDispose](),
  };
}

/** Lets the workers see what a coding anew, and puts beside it, will ask of them. */
async function recodeOnce({ buckets }: TestVault, vault: Vault, next: Redundancy): Promise<void> {
  await vault.repair({ redundancy: next });
  const recoded = buckets.map(({ storage }) => new Map(storage));
  for (const [i] of buckets.entries()) {
    for (const [j, { storage }] of buckets.entries()) {
      storage.clear();
      for (const [name, bytes] of recoded[j] ?? []) {
        if (!name.startsWith('chunks/') || (i === j && name.includes(`of${next.k}+${next.m}.`)))
          storage.set(name, bytes);
      }
    }
    await vault.repair({ redundancy: next });
  }
  for (const { storage } of buckets) {
    for (const name of storage.keys()) if (name.startsWith('chunks/')) storage.delete(name);
  }
  await putBytes(vault, BODY, { name: 'once' });
}

/** What an actor works with. */
export interface Stage {
  readonly vault: Vault;
  readonly session: Session;
  /** The hash of the file that was there at the beginning. */
  readonly first: string;
  /** From now on a file must be readable. */
  readonly acknowledge: (hash: string) => void;
  /** It need not be any more. */
  readonly release: (hash: string) => void;
  /** Waits until the explorer lets it go on: a moment at which others may have done anything. */
  readonly pause: (what: string) => Promise<void>;
  /** Moves the clock on, for everybody. */
  readonly pass: (ms: number) => void;
}

export interface Actor {
  readonly name: string;
  readonly play: (stage: Stage) => Promise<void>;
  /** Stands between the vault and the bucket, which held that at the beginning: how protocols are broken. */
  readonly rig?: ((bucket: Bucket, once: ReadonlyMap<string, Uint8Array>) => Bucket) | undefined;
  /** It does not notice how time passes. */
  readonly clockStands?: boolean | undefined;
}

/** Calls that say the same whenever they are made. */
const SETTLED = /^(keyring\/|vault\.json|clock$)/;

/**
 * Tries all orders of the calls of some actors. At every state that is come to also the case is looked at that everybody ends there. Whoever
 * dies alone is somebody who does not go on while the others do: that is among the orders.
 */
export function exploreRemovals(
  start: Beginning,
  actors: readonly Actor[],
  options: Pick<Exploring, 'prelude' | 'reduces' | 'switches' | 'mostStates' | 'onProgress'> = {},
): Promise<Exploration> {
  return explore({
    ...options,
    programs: actors.map((actor) => programOf(start, actor)),
    snapshots: start.snapshots,
    start: { snapshot: start.snapshot, nowMs: 0, promised: start.hash },
    waitsFor: 'puts/',
    wrong: async (shared) => whyLost(shared) ?? (await aftermath(start, shared, AFTER_HOURS)),
  });
}

function programOf(start: Beginning, actor: Actor): Program {
  const rig = actor.rig ?? ((bucket: Bucket) => bucket);
  return {
    name: actor.name,
    play: (link) =>
      actor.play({
        ...handle(start, actor.name, {
          now: () => (actor.clockStands === true ? 0 : link.now()),
          bucket: (url) => rig(linkedBucket(start, link, url), start.snapshot.storages.get(url) ?? new Map()),
        }),
        first: start.hash,
        acknowledge: (hash) => link.tell({ what: 'promise', hash }),
        release: (hash) => link.tell({ what: 'release', hash }),
        pause: (what) => link.pause(what),
        pass: (ms) => link.tell({ what: 'pass', ms }),
      }),
  };
}

/** A bucket of which what nobody changes is read at once. */
function linkedBucket({ snapshot }: Beginning, link: Link, url: string): Bucket {
  const objects = [...(snapshot.storages.get(url) ?? [])].filter(([name]) => SETTLED.test(name));
  const settled = memoryBucket(url, new Map(objects));
  const bucket = link.bucket(url);
  const of = (name: string): Bucket => (SETTLED.test(name) ? settled : bucket);
  const change = (name: string): Bucket => {
    if (SETTLED.test(name) && name !== CLOCK_NAME) throw new Error(`${name} was to be changed`);
    return of(name);
  };
  return {
    ...bucket,
    put: (name, bytes, call) => change(name).put(name, bytes, call),
    get: (name, call) => of(name).get(name, call),
    remove: (name, call) => change(name).remove(name, call),
    list: (prefix, call) => of(prefix).list(prefix, call),
  };
}

function handle(
  { session: base, catalog, sealers }: Beginning,
  name: string,
  how: { readonly now: () => number; readonly bucket: (url: string) => Bucket },
): { readonly session: Session; readonly vault: Vault } {
  const sealer = sealers.get(name) ?? new ManifestSealer(base.keys);
  sealers.set(name, sealer);
  const buckets = new Map(base.buckets.all.map(({ url }) => [url, how.bucket(url)]));
  const opener = async (url: string): Promise<Bucket> => {
    const bucket = buckets.get(url);
    if (bucket === undefined) throw new Error(url);
    return bucket;
  };
  const guard = new MarkerGuard();
  const session: Session = {
    ...base,
    catalog: catalog.copy(),
    memory: new ChunkMemoryPool(base.limits),
    opener,
    buckets: new BucketSet(
      base.buckets.all.map((place) => new VaultBucket(place, { vaultId: base.vaultId, opener })),
    ),
    sealer,
    guard,
    clock: { ...systemClock, now: how.now, monotonic: () => 0 },
  };
  guard.attach(session);
  return { session, vault: new Vault(session) };
}

/** What is wrong with the objects as they are. Cheaper than reading the files. */
function whyLost({ snapshot, promised }: Shared): string | null {
  const objects = namesIn(snapshot);
  const shards = objects.flatMap((name) => parseShardObjectName(name) ?? []);
  const readable = shards.some(
    ({ k, sealing }) =>
      new Set(shards.filter((other) => other.sealing === sealing).map(({ index }) => index)).size >= k,
  );
  for (const hash of hashesIn(promised)) {
    if (!objects.includes(`manifests/${hash}`)) return `The manifest of ${hash} is gone.`;
    if (!readable) return `The chunk of ${hash} is gone.`;
  }
  return null;
}

/** How long after the last call, or the last sweep, the next one comes. */
const AFTER_HOURS = [26, 96, 96, 96];

/** Everybody ends here; a day later somebody sweeps, and again after days: what was promised is there, and nothing else. */
async function aftermath(
  start: Beginning,
  shared: Shared,
  [hours, ...later]: readonly number[],
): Promise<string | null> {
  if (hours === undefined) return whyLeftOver(start, shared);
  const { snapshot, promised } = shared;
  const nowMs = shared.nowMs + hours * HOUR_MS;
  const key = `${snapshot.id} ${nowMs} ${promised} ${later.length}`;
  const known = start.judged.get(key);
  if (known !== undefined) return known;
  const storages = new Map([...snapshot.storages].map(([url, storage]) => [url, new Map(storage)]));
  // The same lists in all runs, so that much comes to the same.
  const puppet = { name: 'later', sleep: () => Promise.resolve() };
  let verdict = await asPuppet(puppet, async () => {
    const { vault } = handle(start, 'later', {
      now: () => nowMs,
      bucket: (url) => memoryBucket(url, storages.get(url)),
    });
    await vault.sweep({ waitMs: 0, ignoreGrace: true });
    for (const hash of hashesIn(promised)) {
      const bytes = await getBytes(vault, hash).catch((error: unknown) => String(error));
      if (!BODY.equals(Buffer.from(bytes)))
        return `${hours} hours later ${hash} cannot be read: ${bytes.toString()}`;
    }
    return null;
  });
  verdict ??= await aftermath(start, { snapshot: start.snapshots.of(storages), nowMs, promised }, later);
  start.judged.set(key, verdict);
  return verdict;
}

function whyLeftOver({ session }: Beginning, { snapshot }: Shared): string | null {
  const { k, m } = session.keyring.keyring.redundancy;
  const names = namesIn(snapshot);
  for (const prefix of ['puts/', 'sweep/', 'chunks/']) {
    const most = prefix === 'chunks/' && names.some((name) => name.startsWith('manifests/')) ? k + m : 0;
    const left = names.filter((name) => name.startsWith(prefix));
    if (left.length > most) return `In the end there is left over: ${left.join(' ')}`;
  }
  return null;
}

function hashesIn(promised: string): string[] {
  return promised === '' ? [] : promised.split(' ');
}

/** The names of all objects, of each bucket's. */
function namesIn({ storages }: Snapshot): string[] {
  return Array.from(storages.values(), (storage) => Array.from(storage.keys())).flat();
}
