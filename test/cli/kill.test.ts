/**
 * The real process is killed at random instants of a put, a removal, a sweep, a repair, a change of the password and a get.
 * Whatever was under way: what is listed reads back exactly, a repeat succeeds and sends nothing again that was stored, and a
 * sweep leaves no object without an owner.
 */
import { randomInt } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openBucket } from '../../src/buckets/open.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import { parsePutMarkerName, putMarkerName } from '../../src/format/removal.ts';
import { parseShardObjectName } from '../../src/format/shard.ts';
import { createVault } from '../../src/vault/manage/create.ts';
import { openSession } from '../../src/vault/open.ts';
import type { Session } from '../../src/vault/session.ts';
import { Vault } from '../../src/vault/vault.ts';
import { folderDiscrepancies, namesIn } from '../soak/folder-audit.ts';
import { catalogPlace, DATABASE, THOROUGH } from '../support/catalog-place.ts';
import type { CatalogPlace } from '../support/catalog-place.ts';
import { postgresProxy } from '../support/postgres-proxy.ts';
import type { PostgresProxy } from '../support/postgres-proxy.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { bytesSource, CHEAP_KDF, getBytes, parts } from '../vault/harness.ts';
import type { Ended, RunOptions, Sandbox } from './run.ts';
import { PASSWORD, sandbox, SUMMARY } from './run.ts';

const KIB = 1024;
const CHUNK = 64 * KIB;
/** Exit code of a process that ended by SIGKILL. */
const KILLED = 137;

const seed = Number(process.env['VAULT_TEST_SEED'] ?? randomInt(2 ** 31));
const random = seededRandom(seed);

/** When to kill: after a part of the run's usual time, or when the buckets hold another number of objects. */
type Moment = { readonly part: number } | { readonly objects: number };

/** A vault on disk with the command on one side and the library, for looking at it, on the other. */
class Scene implements AsyncDisposable {
  readonly box: Sandbox;
  /** The catalog as the command is told of it. */
  readonly db: string;
  readonly session: Session;
  readonly vault: Vault;
  /** What was given to puts, by name: every version. */
  readonly given = new Map<string, Uint8Array[]>();
  /** How long the last run of each verb took, in milliseconds. */
  readonly #lengths = new Map<string, number>();
  readonly folders: readonly string[];

  private constructor(box: Sandbox, db: string, opened: { session: Session; folders: string[] }) {
    this.box = box;
    this.db = db;
    this.session = opened.session;
    this.vault = new Vault(opened.session);
    this.folders = opened.folders;
  }

  /** @param db the catalog as the command is to be told of it */
  static async make(location: string, db: string): Promise<Scene> {
    const box = await sandbox();
    const folders = [1, 2, 3].map((number) => box.at(`bucket-${number}`));
    for (const folder of folders) await mkdir(folder);
    const catalog = await openCatalog(location, { create: true });
    await createVault({
      catalog,
      urls: folders.map((folder) => pathToFileURL(folder).href),
      opener: async (url) => openBucket(url),
      redundancy: null,
      password: PASSWORD,
      kdfCost: CHEAP_KDF,
      nowMs: Date.now(),
    });
    const session = await openSession(parts(catalog, (url) => openBucket(url)));
    return new Scene(box, db, { session, folders });
  }

  /** Runs a command to its end, which must be a good one, and notes how long that takes. */
  async measure(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
    const startedAtMs = performance.now();
    const ended = await this.box.run([...args, '--db', this.db], options);
    if (ended.exit !== 0 || ended.stderr.replace(SUMMARY, '') !== '') {
      throw new Error(`${args.join(' ')} ended with ${ended.exit}: ${ended.stderr}`);
    }
    this.#lengths.set(args[0] ?? '', performance.now() - startedAtMs);
    return ended;
  }

  /** Starts a command and kills it; gives its exit code, which is another one if it was quicker. */
  async kill(
    args: readonly string[],
    moment: Moment,
    { stdin = '', ...options }: RunOptions = {},
  ): Promise<number> {
    const startedAtMs = performance.now();
    const { process: child, ended } = this.box.start([...args, '--db', this.db], options);
    child.stdin?.end(stdin);
    const over = new AbortController();
    const [verb = ''] = args;
    const arrived =
      'part' in moment
        ? delay(moment.part * this.#lengthMs(verb), undefined, { signal: over.signal })
        : this.#untilObjects(moment.objects, over.signal);
    await Promise.race([arrived, ended]).catch(() => undefined);
    child.kill('SIGKILL');
    over.abort();
    await arrived.catch(() => undefined);
    const { exit } = await ended;
    // Machines are busy at times: the next one is killed sooner.
    if (exit !== KILLED)
      this.#lengths.set(verb, Math.min(performance.now() - startedAtMs, this.#lengthMs(verb)));
    return exit;
  }

  #lengthMs(verb: string): number {
    return this.#lengths.get(verb) ?? 500;
  }

  countObjects(): number {
    return this.folders.reduce(
      (sum, folder) => sum + countEntries(join(folder, 'chunks')) + countEntries(join(folder, 'manifests')),
      0,
    );
  }

  async #untilObjects(wanted: number, signal: AbortSignal): Promise<void> {
    const before = this.countObjects();
    const passed = (now: number): boolean => (wanted > before ? now >= wanted : now <= wanted);
    while (!signal.aborted && !passed(this.countObjects())) await delay(1);
  }

  /** Writes a file of random bytes for a put, and remembers it. */
  async makeFile(name: string, size: number): Promise<string> {
    const bytes = random.bytes(size);
    this.remember(name, bytes);
    await writeFile(this.box.at(name), bytes);
    return name;
  }

  /** Makes a folder of files of random bytes for a put, and remembers what is in it. */
  async makeFolder(name: string): Promise<string> {
    await mkdir(this.box.at(name));
    const files = FOLDER_FILES.map((file) => ({ file, bytes: random.bytes(FOLDER_FILE_SIZE) }));
    for (const { file, bytes } of files) await writeFile(this.box.at(name, file), bytes);
    this.remember(name, Buffer.concat(files.flatMap(({ file, bytes }) => [Buffer.from(file), bytes])));
    return name;
  }

  remember(name: string, bytes: Uint8Array): void {
    this.given.set(name, [...(this.given.get(name) ?? []), bytes]);
  }

  /** Stores a file that `makeFile` has made, in this process. */
  async put(
    name: string,
    { expiresAtMs = null }: { readonly expiresAtMs?: number | null } = {},
  ): Promise<void> {
    const bytes = this.given.get(name)?.at(-1) ?? Buffer.alloc(0);
    await this.vault.put(bytesSource(bytes), { name, chunkSize: CHUNK, expiresAtMs });
  }

  /**
   * The names of all listed files, each of which has been read and is one that was given.
   *
   * @param expected warnings that are right: of what is missing, and is read from elsewhere
   */
  async listed(expected: RegExp | null = null): Promise<string[]> {
    const names: string[] = [];
    for await (const { name, hash, kind } of this.vault.list({ all: true })) {
      const onWarning = ({ message }: { readonly message: string }): void => {
        if (expected?.test(message) !== true) throw new Error(message);
      };
      const bytes = await (kind === 'folder'
        ? folderBytes(this.vault, hash, onWarning)
        : getBytes(this.vault, hash, onWarning));
      if (this.given.get(name)?.some((given) => bytes.equals(given)) !== true) {
        throw new Error(`${name} came back with other bytes.`);
      }
      names.push(name);
    }
    return names;
  }

  /** Ids of the chunks of which the buckets have at least so many of the three shards of a set: two give it back. */
  async chunksOf(least: 2 | 3): Promise<ReadonlySet<string>> {
    const indices = new Map<string, Set<number>>();
    for (const folder of this.folders) {
      for (const name of await namesIn(join(folder, 'chunks'))) {
        const shard = parseShardObjectName(`chunks/${name}`);
        if (shard === null) throw new Error(`${name} is no shard.`);
        const set = `${shard.chunkId} ${shard.sealing}`;
        indices.set(set, (indices.get(set) ?? new Set()).add(shard.index));
      }
    }
    const found = [...indices].filter(([, { size }]) => size >= least);
    return new Set(found.map(([set]) => set.slice(0, 64)));
  }

  /** Lets a day go by for the markers of puts that have been killed, which sweeps wait for. */
  async ageMarkers(): Promise<void> {
    for (const folder of this.folders) {
      for (const name of await namesIn(join(folder, 'puts'))) {
        const marker = parsePutMarkerName(`puts/${name}`);
        if (marker === null) throw new Error(`${name} is no marker.`);
        const older = putMarkerName(marker.createdAtMs - DAY_MS, marker.random);
        await rename(join(folder, 'puts', name), join(folder, older));
      }
    }
  }

  /** What a sweep of everything could not settle a day later, and what does not add up after it. */
  async sweptDiscrepancies(): Promise<readonly string[]> {
    await this.ageMarkers();
    const { objectsWaiting, foreignObjects, filesMissing, blockedBy, unreachable } = await this.vault.sweep({
      ignoreGrace: true,
    });
    return [
      ...(objectsWaiting > 0 ? [`${objectsWaiting} objects wait`] : []),
      ...(foreignObjects > 0 ? [`${foreignObjects} objects are no shards`] : []),
      ...(blockedBy === null ? [] : [blockedBy]),
      ...filesMissing,
      ...unreachable,
      ...(await folderDiscrepancies(this.session, this.folders)),
    ];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.vault.close();
    await this.box[Symbol.asyncDispose]();
  }
}

/** Each is a chunk of its own, or two. */
const FOLDER_FILES = ['a', 'b', 'c', 'd', 'e', 'f'];
const FOLDER_FILE_SIZE = 300_000;

/** The paths of a stored folder's files, each with its bytes behind it. */
async function folderBytes(
  vault: Vault,
  hash: string,
  onWarning: (warning: { readonly message: string }) => void,
): Promise<Buffer> {
  const found = await vault.find(hash, { onWarning });
  if (found.kind === 'file') throw new Error(`${hash} is not a folder.`);
  const selected = await found.folder.select(null, { onWarning });
  const reader = selected.reader();
  const runs: Uint8Array[] = [];
  for await (const entry of selected.entries()) {
    runs.push(entry.path);
    for await (const run of reader.readContent(entry, undefined)) runs.push(Buffer.from(run));
  }
  await reader.close();
  return Buffer.concat(runs);
}

function countEntries(folder: string): number {
  try {
    return readdirSync(folder).length;
  } catch {
    // Not made yet.
    return 0;
  }
}

/** Files of one command: nothing, one byte, a few chunks, many. */
const SIZES = [0, 1, 3 * CHUNK + 7, 12 * CHUNK, CHUNK];
/** The first two lie in their manifests. */
const CHUNKS = 0 + 0 + 4 + 12 + 1;
const DAY_MS = 86_400_000;
/** Small files of one command, which are stored together. */
const MANY = 200;

const PUT = ['put', '--chunk-size', '64KiB', '--json'];

/**
 * Tries until that many processes have been killed; some end before, after which the next one is killed in the half of the time, or of the
 * work.
 *
 * @param attempt gets its number and a fraction of the run; it gives the exit code
 */
async function killed(
  times: number,
  attempt: (i: number, fraction: number) => Promise<number>,
): Promise<void> {
  // The buckets are the same whatever the database.
  const wanted = DATABASE === 'postgres' ? Math.ceil(times / 2) : times;
  let kills = 0;
  let misses = 0;
  for (let i = 0; kills < wanted; i += 1) {
    // Random, and spread evenly over the run.
    const exit = await attempt(i, (kills + random.below(1000) / 1000) / wanted / 2 ** misses);
    misses = exit === KILLED ? 0 : misses + 1;
    if (exit === KILLED) kills += 1;
    expect(misses, 'the process should be killed more often').toBeLessThan(12);
  }
}

/** A moment of a run that changes the number of objects so: by time or, for half of them, by what has been done. */
function momentOf(fraction: number, [from, to]: readonly [number, number]): Moment {
  if (random.below(2) === 0) return { part: fraction * 0.9 };
  return { objects: Math.round(from + (to - from) * fraction) };
}

async function makeFiles(scene: Scene, prefix: string): Promise<string[]> {
  return Promise.all(SIZES.map((size, i) => scene.makeFile(`${prefix}-${i}`, size)));
}

interface PutLine {
  readonly hash: string;
  readonly name: string;
  readonly chunksStored: number;
}

function linesOf({ stdout }: Ended): PutLine[] {
  return stdout
    .trim()
    .split('\n')
    .map((line): PutLine => JSON.parse(line));
}

function storedIn(ended: Ended): number {
  return linesOf(ended).reduce((sum, { chunksStored }) => sum + chunksStored, 0);
}

/** How often each verb is killed; in Postgres, where each try takes longer, half as often. The soak test kills for hours. */
const RUNS = THOROUGH
  ? { put: 4, stream: 2, rm: 4, sweep: 3, repair: 3, password: 2, get: 2 }
  : { put: 2, stream: 1, rm: 2, sweep: 2, repair: 1, password: 1, get: 1 };

/**
 * A Postgres server answers so quickly from here that hardly any kill would hit a transaction in its middle. This far away is
 * the one that the command talks to, in milliseconds each way.
 */
const SERVER_DELAY_MS = 30;

describe(`kill -9, seed ${seed},`, () => {
  let place: CatalogPlace;
  let proxy: PostgresProxy | null = null;
  let scene: Scene;
  /** What nobody removes. */
  let kept: string[];
  beforeAll(async () => {
    place = await catalogPlace();
    if (DATABASE === 'postgres') {
      proxy = await postgresProxy(place.location);
      proxy.delayMs = SERVER_DELAY_MS;
    }
    scene = await Scene.make(place.location, proxy?.url ?? place.location);
    kept = await makeFiles(scene, 'kept');
    await scene.measure([...PUT, ...kept]);
  });
  afterEach(async () => {
    for (const { hash, name } of await Array.fromAsync(scene.vault.list({ all: true }))) {
      if (!kept.includes(name)) await scene.vault.remove([hash]);
    }
  });
  afterAll(async () => {
    await scene[Symbol.asyncDispose]();
    await proxy?.close();
    await place[Symbol.asyncDispose]();
  });

  test('of a put of several files: each is whole or absent, and a repeat goes on', async () => {
    await killed(RUNS.put, async (i, fraction) => {
      const before = scene.countObjects();
      const names = await makeFiles(scene, `put-${i}`);
      const after = before + 3 * (CHUNKS + SIZES.length);
      const exit = await scene.kill([...PUT, ...names], momentOf(fraction, [before, after]));
      expect(await scene.listed()).toEqual(expect.arrayContaining(kept));
      const readable = await scene.chunksOf(2);
      const repeat = await scene.measure([...PUT, ...names]);
      // What could be read has been completed, and is not new.
      expect((await scene.chunksOf(3)).size).toBe(readable.size + storedIn(repeat));
      expect(await scene.listed()).toEqual(expect.arrayContaining([...kept, ...names]));
      expect(await scene.sweptDiscrepancies()).toEqual([]);
      await scene.vault.remove(names);
      return exit;
    });
  });

  test('of a put of many small files: each is whole or absent, and a repeat goes on', async () => {
    await killed(RUNS.stream, async (i, fraction) => {
      const before = scene.countObjects();
      const many = Array.from({ length: MANY }, (_, n) => scene.makeFile(`small-${i}-${n}`, 2_000 + n));
      const names = await Promise.all(many);
      const exit = await scene.kill([...PUT, ...names], momentOf(fraction, [before, before + 3 * MANY]));
      expect(await scene.listed()).toEqual(expect.arrayContaining(kept));
      await scene.measure([...PUT, ...names]);
      expect(await scene.listed()).toEqual(expect.arrayContaining([...kept, ...names]));
      expect(await scene.sweptDiscrepancies()).toEqual([]);
      await scene.vault.remove(names);
      return exit;
    });
  });

  test('of a put of standard input, which is whole or absent', async () => {
    const args = [...PUT, '-', '--name', 'stream'];
    await killed(RUNS.stream, async (i, fraction) => {
      const before = scene.countObjects();
      const bytes = random.bytes(12 * CHUNK + i);
      scene.remember('stream', bytes);
      const moment = momentOf(fraction, [before, before + 3 * 14]);
      const exit = await scene.kill(args, moment, { stdin: bytes });
      expect(await scene.listed()).toEqual(expect.arrayContaining(kept));
      const readable = await scene.chunksOf(2);
      const repeat = await scene.measure(args, { stdin: bytes });
      // What could be read has been completed, and is not new.
      expect((await scene.chunksOf(3)).size).toBe(readable.size + storedIn(repeat));
      expect(await getBytes(scene.vault, 'stream')).toEqual(Buffer.from(bytes));
      expect(await scene.sweptDiscrepancies()).toEqual([]);
      return exit;
    });
  });

  test('of a put of a folder, which is whole or absent, and a repeat goes on', async () => {
    await killed(RUNS.stream, async (i, fraction) => {
      const before = scene.countObjects();
      const name = await scene.makeFolder(`folder-${i}`);
      const moment = momentOf(fraction, [before, before + 3 * FOLDER_FILES.length]);
      const exit = await scene.kill(['put', name, '--json'], moment);
      expect(await scene.listed()).toEqual(expect.arrayContaining(kept));
      const readable = await scene.chunksOf(2);
      const repeat = await scene.measure(['put', name, '--json']);
      // What could be read has been completed, and is not new.
      expect((await scene.chunksOf(3)).size).toBe(readable.size + storedIn(repeat));
      expect(await scene.listed()).toEqual(expect.arrayContaining([...kept, name]));
      expect(await scene.sweptDiscrepancies()).toEqual([]);
      await scene.vault.remove([name]);
      return exit;
    });
  });

  test('of a removal: each file is whole or gone, and a repeat removes the rest', async () => {
    await killed(RUNS.rm, async (i, fraction) => {
      const names = await makeFiles(scene, `rm-${i}`);
      for (const name of names) await scene.put(name);
      const before = scene.countObjects();
      // Half of them go on to free the space; the others take no object away.
      const now = i % 2 === 0 ? ['--now'] : [];
      const moment =
        i % 2 === 0
          ? momentOf(fraction, [before, before - 3 * (CHUNKS + SIZES.length)])
          : { part: fraction * 0.9 };
      const exit = await scene.kill(['rm', ...names, ...now], moment);
      const left = await scene.listed();
      expect(left).toEqual(expect.arrayContaining(kept));
      const again = names.filter((name) => left.includes(name));
      if (again.length > 0) await scene.measure(['rm', ...again]);
      expect((await scene.listed()).toSorted()).toEqual(kept.toSorted());
      expect(await scene.sweptDiscrepancies()).toEqual([]);
      expect((await scene.listed()).toSorted()).toEqual(kept.toSorted());
      return exit;
    });
  });

  test('of a sweep: what should stay stays, and the next one finishes', async () => {
    await killed(RUNS.sweep, async (i, fraction) => {
      const removed = await makeFiles(scene, `removed-${i}`);
      for (const name of removed) await scene.put(name);
      await scene.vault.remove(removed);
      const expired = await scene.makeFile(`expired-${i}`, 3 * CHUNK);
      await scene.put(expired, { expiresAtMs: 1 });
      const staying = scene.countObjects() - 3 * (CHUNKS + SIZES.length);
      // A dead put as well, killed when it had sent something.
      const dead = await scene.makeFile(`dead-${i}`, 12 * CHUNK);
      await scene.kill([...PUT, dead], { objects: scene.countObjects() + 5 + random.below(20) });
      await scene.ageMarkers();
      const moment = momentOf(fraction, [scene.countObjects(), staying]);
      const exit = await scene.kill(['sweep', '--now'], moment);
      expect(await scene.listed()).toEqual(expect.arrayContaining(kept));
      await scene.measure(['sweep', '--now']);
      const rest = await scene.listed();
      expect(rest.filter((name) => name !== dead).toSorted()).toEqual(kept.toSorted());
      expect(await scene.sweptDiscrepancies()).toEqual([]);
      if (rest.includes(dead)) await scene.vault.remove([dead]);
      return exit;
    });
  });

  test('of a repair: everything reads as before, and a repeat makes all of it whole', async () => {
    await killed(RUNS.repair, async (_, fraction) => {
      const [, second = ''] = scene.folders;
      await rm(join(second, 'chunks'), { recursive: true });
      const before = scene.countObjects();
      const exit = await scene.kill(['repair'], momentOf(fraction, [before, before + CHUNKS]));
      expect((await scene.listed(/shards? missing/)).toSorted()).toEqual(kept.toSorted());
      await scene.ageMarkers();
      await scene.measure(['repair']);
      await scene.measure(['verify', '--read-data']);
      expect(await scene.sweptDiscrepancies()).toEqual([]);
      await scene.measure(['verify', '--read-data']);
      return exit;
    });
  });

  test('of a re-coding: everything reads as before, and a repeat ends it', async () => {
    await killed(RUNS.repair, async (i, fraction) => {
      const redundancy = i % 2 === 0 ? '1+2' : '2+1';
      const before = scene.countObjects();
      const args = ['repair', '--redundancy', redundancy, '--yes'];
      const exit = await scene.kill(args, momentOf(fraction, [before, before + 3 * CHUNKS]));
      expect((await scene.listed()).toSorted()).toEqual(kept.toSorted());
      await scene.ageMarkers();
      await scene.measure(args);
      expect(await scene.sweptDiscrepancies()).toEqual([]);
      await scene.measure(['verify', '--read-data']);
      const { stdout } = await scene.measure(['info', kept[3] ?? '', '--json']);
      expect(JSON.parse(stdout)).toMatchObject({ redundancy, chunksDegraded: 0, chunksLost: 0 });
      return exit;
    });
    await scene.measure(['repair', '--redundancy', '2+1', '--yes']);
    expect(await scene.sweptDiscrepancies()).toEqual([]);
  });

  test('of a change of the password: one of both opens the vault, and after another change only that one', async () => {
    const opens = async (password: string): Promise<boolean> => {
      const env = { VAULT_PASSWORD: password };
      const { exit } = await scene.box.run(['ls', '--db', scene.db], { env });
      expect([0, 12]).toContain(exit);
      return exit === 0;
    };
    let current = PASSWORD;
    await killed(RUNS.password, async (i, fraction) => {
      const [next, last] = [`the next password ${i}`, `the last password ${i}`];
      const env = { VAULT_PASSWORD: current, VAULT_NEW_PASSWORD: next };
      const exit = await scene.kill(['password'], { part: fraction }, { env });
      const still = (await opens(current)) ? current : next;
      expect(await opens(still)).toBe(true);
      await scene.measure(['password'], { env: { VAULT_PASSWORD: still, VAULT_NEW_PASSWORD: last } });
      await scene.measure(['repair'], { env: { VAULT_PASSWORD: last } });
      for (const password of [current, next]) {
        expect(await opens(password)).toBe(false);
        for (const folder of scene.folders) {
          await using fresh = await catalogPlace();
          const args = ['recover', '--db', fresh.location, '--bucket', folder];
          const { exit: ended } = await scene.box.run(args, { env: { VAULT_PASSWORD: password } });
          expect({ password, folder, ended }).toEqual({ password, folder, ended: 12 });
        }
      }
      current = last;
      return exit;
    });
    await scene.measure(['password'], { env: { VAULT_PASSWORD: current, VAULT_NEW_PASSWORD: PASSWORD } });
    expect((await scene.listed()).toSorted()).toEqual(kept.toSorted());
  });

  test('of a get: the target has the whole content or is not there', async () => {
    const [, , , name = ''] = kept;
    const [content = Buffer.alloc(0)] = scene.given.get(name) ?? [];
    await scene.measure(['get', name, '-o', 'whole']);
    await killed(RUNS.get, async (i, fraction) => {
      const target = `target-${i}`;
      const exit = await scene.kill(['get', name, '-o', target], { part: fraction });
      const found = await readFile(scene.box.at(target)).catch(() => null);
      expect(found?.equals(content) ?? true).toBe(true);
      await rm(scene.box.at(target), { force: true });
      return exit;
    });
    expect(await scene.sweptDiscrepancies()).toEqual([]);
  });

  test('of a get of a folder: each file is whole or not there, and a repeat ends it', async () => {
    const name = await scene.makeFolder('folder');
    const contentOf = (folder: string, file: string): Promise<Buffer | null> =>
      readFile(scene.box.at(folder, file)).catch(() => null);
    await scene.measure(['put', name]);
    await scene.measure(['get', name, '-o', 'whole-folder']);
    await killed(RUNS.get, async (i, fraction) => {
      const target = `folder-target-${i}`;
      const exit = await scene.kill(['get', name, '-o', target], { part: fraction });
      const found = await Promise.all(FOLDER_FILES.map(async (file) => contentOf(target, file)));
      await scene.measure(['get', name, '-o', target, '--force']);
      for (const [at, file] of FOLDER_FILES.entries()) {
        const content = await contentOf(name, file);
        expect([content, null]).toContainEqual(found[at]);
        expect(await contentOf(target, file)).toEqual(content);
      }
      return exit;
    });
  });
});
