/**
 * The real process is killed at random instants of a put, a removal, a sweep and a get. Whatever was under way:
 * what is listed reads back exactly, a repeat succeeds and sends nothing again that was recorded, and a sweep leaves no
 * object without an owner.
 */
import { randomInt } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openBucket } from '../../src/buckets/open.ts';
import type { Catalog } from '../../src/catalog/catalog.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import { processTable } from '../../src/cli/arguments/processes.ts';
import { openVault } from '../../src/compose.ts';
import { createVault } from '../../src/vault/manage/create.ts';
import type { Vault } from '../../src/vault/vault.ts';
import { folderDiscrepancies } from '../soak/folder-audit.ts';
import { catalogPlace, DATABASE } from '../support/catalog-place.ts';
import type { CatalogPlace } from '../support/catalog-place.ts';
import { postgresProxy } from '../support/postgres-proxy.ts';
import type { PostgresProxy } from '../support/postgres-proxy.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { bytesSource, CHEAP_KDF, getBytes } from '../vault/harness.ts';
import type { Ended, RunOptions, Sandbox } from './run.ts';
import { PASSWORD, sandbox } from './run.ts';

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
  readonly vault: Vault;
  readonly catalog: Catalog;
  /** What was given to puts, by name: every version. */
  readonly given = new Map<string, Uint8Array[]>();
  /** How long the last run of each verb took, in milliseconds. */
  readonly #lengths = new Map<string, number>();
  readonly #folders: readonly string[];

  private constructor(
    box: Sandbox,
    db: string,
    opened: { vault: Vault; catalog: Catalog; folders: string[] },
  ) {
    this.box = box;
    this.db = db;
    this.vault = opened.vault;
    this.catalog = opened.catalog;
    this.#folders = opened.folders;
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
    const vault = await openVault({
      db: location,
      password: () => Promise.resolve(PASSWORD),
      baseFolder: box.path,
      processes: processTable(),
    });
    return new Scene(box, db, { vault, catalog, folders });
  }

  /** Runs a command to its end, which must be a good one, and notes how long that takes. */
  async measure(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
    const startedAtMs = performance.now();
    const ended = await this.box.run([...args, '--db', this.db], options);
    if (ended.exit !== 0 || ended.stderr !== '') {
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
    return this.#folders.reduce(
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

  /** The names of all listed files, each of which has been read and is one that was given. */
  async listed(): Promise<string[]> {
    const names: string[] = [];
    for await (const { name, hash } of this.vault.list({ all: true })) {
      const bytes = await getBytes(this.vault, hash, ({ message }) => {
        throw new Error(message);
      });
      if (this.given.get(name)?.some((given) => bytes.equals(given)) !== true) {
        throw new Error(`${name} came back with other bytes.`);
      }
      names.push(name);
    }
    return names;
  }

  /** What a sweep could not settle, and what does not add up after it. */
  async sweptDiscrepancies(): Promise<readonly string[]> {
    const { objectsOwed, strays, unknownFiles, unreachable } = await this.vault.sweep();
    return [
      ...(objectsOwed > 0 ? [`${objectsOwed} objects owed`] : []),
      ...(strays > 0 ? [`${strays} strays`] : []),
      ...unknownFiles,
      ...unreachable,
      ...(await folderDiscrepancies(this.catalog, this.#folders)),
    ];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.vault.close();
    await this.catalog.close();
    await this.box[Symbol.asyncDispose]();
  }
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
const CHUNKS = 0 + 1 + 4 + 12 + 1;

const PUT = ['put', '--chunk-size', '64KiB', '--json'];

/**
 * Tries until that many processes have been killed; some end before.
 *
 * @param attempt gets its number and a fraction of the run; it gives the exit code
 */
async function killed(
  times: number,
  attempt: (i: number, fraction: number) => Promise<number>,
): Promise<void> {
  let kills = 0;
  for (let i = 0; kills < times; i += 1) {
    // Random, and spread evenly over the run.
    const exit = await attempt(i, (kills + random.below(1000) / 1000) / times);
    if (exit === KILLED) kills += 1;
    expect(i, 'the process should be killed more often').toBeLessThan(3 * times);
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

/** How often each verb is killed. In Postgres, where each try takes longer, a third as often. */
const RUNS =
  DATABASE === 'postgres'
    ? { put: 5, stream: 3, rm: 5, sweep: 4, get: 2 }
    : { put: 14, stream: 8, rm: 12, sweep: 10, get: 8 };

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
      const { chunks } = await scene.catalog.counts();
      const repeat = await scene.measure([...PUT, ...names]);
      expect((await scene.catalog.counts()).chunks).toBe(chunks + storedIn(repeat));
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
      const { chunks } = await scene.catalog.counts();
      const repeat = await scene.measure(args, { stdin: bytes });
      expect((await scene.catalog.counts()).chunks).toBe(chunks + storedIn(repeat));
      expect(await getBytes(scene.vault, 'stream')).toEqual(Buffer.from(bytes));
      expect(await scene.sweptDiscrepancies()).toEqual([]);
      return exit;
    });
  });

  test('of a removal: each file is whole or gone, and a repeat removes the rest', async () => {
    await killed(RUNS.rm, async (i, fraction) => {
      const names = await makeFiles(scene, `rm-${i}`);
      for (const name of names) await scene.put(name);
      const before = scene.countObjects();
      const moment = momentOf(fraction, [before, before - 3 * (CHUNKS + SIZES.length)]);
      const exit = await scene.kill(['rm', ...names], moment);
      const left = await scene.listed();
      expect(left).toEqual(expect.arrayContaining(kept));
      const again = names.filter((name) => left.includes(name));
      // One transaction hides all of them.
      expect([0, names.length]).toContain(again.length);
      if (again.length > 0) await scene.measure(['rm', ...again]);
      expect(await scene.sweptDiscrepancies()).toEqual([]);
      expect((await scene.listed()).toSorted()).toEqual(kept.toSorted());
      return exit;
    });
  });

  test('of a sweep: what should stay stays, and the next one finishes', async () => {
    await killed(RUNS.sweep, async (i, fraction) => {
      const expired = await makeFiles(scene, `expired-${i}`);
      for (const name of expired) await scene.put(name, { expiresAtMs: 1 });
      const staying = scene.countObjects() - 3 * (CHUNKS + SIZES.length);
      // A dead put as well, killed when it had sent something.
      const dead = await scene.makeFile(`dead-${i}`, 12 * CHUNK);
      await scene.kill([...PUT, dead], { objects: scene.countObjects() + 5 + random.below(20) });
      const moment = momentOf(fraction, [scene.countObjects(), staying]);
      const exit = await scene.kill(['sweep'], moment);
      const names = await scene.listed();
      expect(names).toEqual(expect.arrayContaining(kept));
      await scene.measure(['sweep']);
      const rest = await scene.listed();
      expect(rest.filter((name) => name !== dead).toSorted()).toEqual(kept.toSorted());
      expect(await scene.sweptDiscrepancies()).toEqual([]);
      if (rest.includes(dead)) await scene.vault.remove([dead]);
      return exit;
    });
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
});
