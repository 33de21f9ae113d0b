/** What removal-model.test.ts explores: vaults of real code, one handle an actor, over buckets in memory. */
import { createHash, randomBytes } from 'node:crypto';
import { memoryBucket } from '../../src/buckets/memory.ts';
import type { Bucket, ListedObject } from '../../src/buckets/bucket.ts';
import { ManifestSealer } from '../../src/crypto/manifest.ts';
import { VaultError } from '../../src/errors.ts';
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
import type { Move, World } from '../support/interleavings.ts';
import { MemoryCatalog } from '../support/memory-catalog.ts';
import { getBytes, putBytes, testVault } from './harness.ts';
import type { TestVault } from './harness.ts';
import { systemClock } from '../../src/host.ts';

/** One chunk, too large for a manifest. */
export const BODY = randomBytes(20_000);
export const HOUR_MS = 3_600_000;

type Storages = ReadonlyMap<string, Map<string, Uint8Array>>;

/** How the world begins: a vault with one file of `BODY`. */
export interface Beginning extends AsyncDisposable {
  readonly session: Session;
  readonly catalog: MemoryCatalog;
  readonly storages: Storages;
  /** The hash of the file that is there. */
  readonly hash: string;
  /** What each actor seals with, the same in every run. */
  readonly sealers: Map<string, ManifestSealer>;
  /** Ends that have been looked at already. */
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
  return {
    session,
    catalog,
    storages,
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
  /** Stands between the vault and the bucket: how protocols are broken. */
  readonly rig?: ((bucket: Bucket) => Bucket) | undefined;
  /** It does not notice how time passes. */
  readonly clockStands?: boolean | undefined;
}

/** An actor goes on until its next call begins so (`put manifests/`); null: as far as it can. */
export interface Cue {
  readonly actor: string;
  readonly until: string | null;
}

/** Calls that say the same whenever they are made. */
const SETTLED = /^(keyring\/|vault\.json|clock$)/;

interface Waiting {
  readonly move: Move;
  /** Goes on only when the markers are others than these; null: at any time. */
  readonly until: string | null;
  readonly release: () => void;
  readonly refuse: () => void;
}

export class RemovalWorld implements World {
  readonly #beginning: Beginning;
  readonly #actors: readonly Actor[];
  readonly #storages: Storages;
  readonly #waiting: Waiting[] = [];
  /** What each actor has seen. */
  readonly #histories = new Map<string, History>();
  readonly #acknowledged: Set<string>;
  #nowMs = 0;
  #bug: string | null = null;
  #isOver = false;

  readonly #prelude: readonly Cue[];

  /** @param prelude what has happened before orders are explored */
  constructor(start: Beginning, actors: readonly Actor[], prelude: readonly Cue[] = []) {
    this.#beginning = start;
    this.#actors = actors;
    this.#prelude = prelude;
    this.#storages = new Map([...start.storages].map(([url, storage]) => [url, new Map(storage)]));
    this.#acknowledged = new Set([start.hash]);
  }

  async start(): Promise<void> {
    for (const actor of this.#actors) {
      this.#histories.set(actor.name, new History());
      const sleep = (): Promise<void> => this.#awaitChange(actor.name);
      void asPuppet({ name: actor.name, sleep }, () => this.#play(actor)).catch((error: unknown) => {
        this.#histories.get(actor.name)?.end();
        if (!(error instanceof VaultError)) this.#bug ??= `${actor.name}: ${String(error)}`;
      });
      await quiet();
    }
    for (const { actor, until } of this.#prelude) {
      for (;;) {
        const move = this.waiting().find((waiting) => waiting.actor === actor);
        if (move === undefined || (until !== null && `${move.call} ${move.name}`.startsWith(until))) break;
        await this.go(move);
      }
    }
  }

  async #play(actor: Actor): Promise<void> {
    const stage = this.#stageOf(actor);
    await actor.play(stage);
    this.#histories.get(actor.name)?.end();
  }

  waiting(): readonly Move[] {
    const ready = this.#waiting.filter(({ until }) => until === null || until !== this.#markers());
    return ready.map(({ move }) => move);
  }

  /** The markers of puts that stand, and how late it is: what a sweep waits for. */
  #markers(): string {
    const names = namesIn(this.#storages);
    return `${this.#nowMs} ${names.filter((name) => name.startsWith('puts/')).join()}`;
  }

  async go(wanted: Move): Promise<void> {
    const at = this.#waiting.findIndex(
      ({ move }) =>
        move.actor === wanted.actor &&
        move.where === wanted.where &&
        move.call === wanted.call &&
        move.name === wanted.name,
    );
    const [taken] = at === -1 ? [] : this.#waiting.splice(at, 1);
    if (taken === undefined)
      throw new Error(`Not the same twice: ${wanted.actor} ${wanted.call} ${wanted.name}`);
    taken.release();
    await quiet();
  }

  end(): void {
    this.#isOver = true;
    for (const { refuse } of this.#waiting.splice(0)) refuse();
  }

  digest(): string {
    const digest = createHash('sha1').update(this.#outcome());
    for (const [actor, { digest: seen }] of this.#histories) digest.update(`${actor} ${seen}\n`);
    for (const { move, until } of this.#waiting)
      if (until !== null) digest.update(`${move.actor} ${until}\n`);
    return digest.digest('base64');
  }

  /** As `World.wrong`; also what would be wrong if all actors ended here, and sweeps came later. */
  async wrong(): Promise<string | null> {
    if (this.#bug !== null) return this.#bug;
    for (const hash of this.#acknowledged) {
      const lost = this.#whyLost(hash);
      if (lost !== null) return lost;
    }
    return this.#aftermath();
  }

  wrongAtEnd(): Promise<string | null> {
    return this.#aftermath();
  }

  /** Cheaper than reading the file. */
  #whyLost(hash: string): string | null {
    const objects = namesIn(this.#storages);
    if (!objects.includes(`manifests/${hash}`)) return `The manifest of ${hash} is gone.`;
    const shards = objects.flatMap((name) => parseShardObjectName(name) ?? []);
    const readable = shards.some(
      ({ k, sealing }) =>
        new Set(shards.filter((other) => other.sealing === sealing).map(({ index }) => index)).size >= k,
    );
    return readable ? null : `The chunk of ${hash} is gone.`;
  }

  /** Everybody ends here; a day later somebody sweeps, and again after days: what was acknowledged is there, and nothing else. */
  async #aftermath(): Promise<string | null> {
    const { judged } = this.#beginning;
    const key = this.#outcome();
    const known = judged.get(key);
    if (known !== undefined) return known;
    const verdict = await this.#judge();
    judged.set(key, verdict);
    return verdict;
  }

  /** What there is, and what must be. */
  #outcome(): string {
    return `${this.#nowMs}\n${[...this.#acknowledged].toSorted().join()}\n${stateOf(this.#storages)}`;
  }

  async #judge(): Promise<string | null> {
    const storages = new Map([...this.#storages].map(([url, storage]) => [url, new Map(storage)]));
    let nowMs = this.#nowMs;
    const { session, vault } = this.#handle('later', {
      now: () => nowMs,
      bucket: (url) => memoryBucket(url, storages.get(url)),
      catalog: this.#beginning.catalog.copy(),
    });
    for (const hours of [26, 96, 96, 96]) {
      nowMs += hours * HOUR_MS;
      await vault.sweep({ waitMs: 0, ignoreGrace: true });
      for (const hash of this.#acknowledged) {
        const bytes = await getBytes(vault, hash).catch((error: unknown) => String(error));
        if (!BODY.equals(Buffer.from(bytes)))
          return `${hours} hours later ${hash} cannot be read: ${bytes.toString()}`;
      }
    }
    const { k, m } = session.keyring.keyring.redundancy;
    for (const prefix of ['puts/', 'sweep/', 'chunks/']) {
      const names = namesIn(storages);
      const most = prefix === 'chunks/' && names.some((name) => name.startsWith('manifests/')) ? k + m : 0;
      const left = names.filter((name) => name.startsWith(prefix));
      if (left.length > most) return `In the end there is left over: ${left.join(' ')}`;
    }
    return null;
  }

  #stageOf(actor: Actor): Stage {
    const rig = actor.rig ?? ((bucket: Bucket) => bucket);
    const handle = this.#handle(actor.name, {
      now: () => {
        const nowMs = actor.clockStands === true ? 0 : this.#nowMs;
        // Where it never moves it tells nothing.
        if (nowMs > 0) this.#note(actor.name, 'now', String(nowMs));
        return nowMs;
      },
      bucket: (url) => rig(this.#gated(actor.name, memoryBucket(url, this.#storages.get(url)))),
      catalog: this.#beginning.catalog.copy(),
    });
    return {
      ...handle,
      first: this.#beginning.hash,
      acknowledge: (hash) => void this.#acknowledged.add(hash),
      release: (hash) => void this.#acknowledged.delete(hash),
      pause: async (name) => {
        await this.#hold({ actor: actor.name, where: '', call: 'everything', name });
        this.#note(actor.name, name);
      },
      pass: (ms) => {
        this.#nowMs += ms;
      },
    };
  }

  #handle(
    name: string,
    how: {
      readonly now: () => number;
      readonly bucket: (url: string) => Bucket;
      readonly catalog: MemoryCatalog;
    },
  ): { readonly session: Session; readonly vault: Vault } {
    const { session: base, sealers } = this.#beginning;
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
      catalog: how.catalog,
      memory: new ChunkMemoryPool(base.limits),
      opener,
      buckets: new BucketSet(
        base.buckets.all.map((place) => new VaultBucket(place, { vaultId: base.vaultId, opener })),
      ),
      sealer,
      guard,
      clock: { ...systemClock, now: how.now },
    };
    guard.attach(session);
    return { session, vault: new Vault(session) };
  }

  /** The bucket whose calls wait until the explorer lets them go, and whose answers are part of what their actor knows. */
  #gated(actor: string, bucket: Bucket): Bucket {
    const { label: where } = bucket;
    const take = async <T>(
      call: Exclude<Move['call'], 'everything'>,
      name: string,
      work: () => Promise<T>,
      digest: (answer: T) => string,
    ): Promise<T> => {
      if (!SETTLED.test(name)) await this.#hold({ actor, where, call, name });
      let seen = '';
      try {
        const answer = await work();
        seen = digest(answer);
        return answer;
      } catch (error) {
        seen = error instanceof VaultError ? error.code : 'a bug';
        throw error;
      } finally {
        if (!SETTLED.test(name)) this.#note(actor, `${where} ${call} ${name}`, seen);
      }
    };
    return {
      label: where,
      put: (name, bytes, call) =>
        take(
          'put',
          name,
          () => bucket.put(name, bytes, call),
          () => '',
        ),
      get: (name, call) => take('get', name, () => bucket.get(name, call), hashOf),
      remove: (name, call) =>
        take(
          'remove',
          name,
          () => bucket.remove(name, call),
          () => '',
        ),
      async *list(prefix, call): AsyncGenerator<ListedObject, void, undefined> {
        const everything = (): Promise<ListedObject[]> => Array.fromAsync(bucket.list(prefix, call));
        yield* await take('list', prefix, everything, (all) => all.map(({ name }) => name).join());
      },
      close: () => bucket.close(),
    };
  }

  #hold(move: Move, until: string | null = null): Promise<void> {
    return new Promise((release, reject) => {
      const refuse = (): void => reject(new VaultError('unavailable', 'The run is over.'));
      if (this.#isOver) refuse();
      else this.#waiting.push({ move, until, release, refuse });
    });
  }

  async #awaitChange(actor: string): Promise<void> {
    const markers = this.#markers();
    await this.#hold({ actor, where: '', call: 'everything', name: 'wait' }, markers);
    this.#note(actor, 'waited');
  }

  #note(actor: string, what: string, answer = ''): void {
    this.#histories.get(actor)?.note(what, answer);
  }
}

/**
 * The answers an actor has had. How it goes on depends on them and not on which of those that it asks for side by side came first: so
 * the order is left out, but for which of equal calls had which answer. The explorer notices if that is not so.
 */
class History {
  readonly #times = new Map<string, number>();
  readonly #sum = Buffer.alloc(20);
  #ended = false;

  note(what: string, answer: string): void {
    const times = (this.#times.get(what) ?? 0) + 1;
    this.#times.set(what, times);
    const one = createHash('sha1').update(`${times} ${what}\n${answer}`).digest();
    for (const [i, byte] of one.entries()) this.#sum[i] = (this.#sum[i] ?? 0) ^ byte;
  }

  /** What is over has no future that could differ. */
  end(): void {
    this.#ended = true;
  }

  get digest(): string {
    return this.#ended ? 'ended' : this.#sum.toString('base64');
  }
}

/** Everything that waits for nothing but promises has happened when this resolves. */
function quiet(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function hashOf(bytes: Uint8Array): string {
  return createHash('sha1').update(bytes).digest('base64');
}

/** The names of all objects, of each bucket's. */
function namesIn(storages: Storages): string[] {
  const names: string[] = [];
  for (const storage of storages.values()) names.push(...storage.keys());
  return names;
}

/** The buckets' objects; of those whose names stand for their bytes the name alone. */
function stateOf(storages: Storages): string {
  const lines: string[] = [];
  for (const [url, storage] of storages) {
    for (const [name, bytes] of storage) {
      if (!SETTLED.test(name))
        lines.push(`${url} ${name} ${/^(sweep|deleted)/.test(name) ? hashOf(bytes) : ''}`);
    }
  }
  return lines.toSorted().join('\n');
}
