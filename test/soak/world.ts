/** A vault under test, everything that it stands on, and the processes that work on it. */
import { rm } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { Catalog } from '../../src/catalog/catalog.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import { openSweepList } from '../../src/crypto/signing.ts';
import type { VerifyingKeys } from '../../src/crypto/roots.ts';
import { isVaultError } from '../../src/errors.ts';
import { parsePutMarkerName, parseSweepObjectName, putMarkerName } from '../../src/format/removal.ts';
import { parseShardObjectName } from '../../src/format/shard.ts';
import type { Redundancy } from '../../src/format/shard.ts';
import { unlock } from '../../src/vault/keys/unlock.ts';
import { runSql } from '../support/postgres.ts';
import { EXAMPLE_CREDENTIALS } from '../support/s3-server.ts';
import { smallDisk } from '../support/small-disk.ts';
import type { SmallDisk } from '../support/small-disk.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import type { TemporaryFolder } from '../support/temporary-folder.ts';
import { discrepancies, PASSWORD } from '../vault/harness.ts';
import { ClientProcess } from './client-process.ts';
import { folderPlace } from './places.ts';
import type { Place, ServerPlaces } from './places.ts';
import type { ServerKind } from './servers.ts';

/** The environment of everything that asks buckets: credentials for the test servers, and none of the machine's own. */
export const ENVIRONMENT: Readonly<Record<string, string | undefined>> = {
  AWS_ACCESS_KEY_ID: EXAMPLE_CREDENTIALS.accessKeyId,
  AWS_SECRET_ACCESS_KEY: EXAMPLE_CREDENTIALS.secretAccessKey,
  AWS_SESSION_TOKEN: undefined,
  AWS_PROFILE: undefined,
  AWS_CONFIG_FILE: '/nonexistent',
  AWS_SHARED_CREDENTIALS_FILE: '/nonexistent',
  AWS_EC2_METADATA_DISABLED: 'true',
  GOOGLE_APPLICATION_CREDENTIALS: undefined,
  GOOGLE_CLOUD_PROJECT: 'project',
};

export interface WorldPlan {
  readonly buckets: readonly ('folder' | ServerKind)[];
  readonly redundancy: Redundancy;
  readonly clients: number;
  /** What lies on a small disk of its own, where that can be had. */
  readonly smallDisk: 'first bucket' | 'catalog' | null;
}

/** The objects that a list of removal names; none if the list is damaged. */
function namedBy(keys: VerifyingKeys, bytes: Uint8Array, id: string): readonly string[] {
  try {
    return openSweepList(keys, bytes, id).objects;
  } catch (error) {
    if (isVaultError(error, 'damaged')) return [];
    throw error;
  }
}

/** Longer than a process keeps its marker for the next put. */
const LINGER_MS = 2_500;
const DAY_MS = 86_400_000;

/** Bytes of the small disk. */
const DISK_SIZE = 48 * 1024 * 1024;

export class World implements AsyncDisposable {
  readonly plan: WorldPlan;
  readonly clients: readonly ClientProcess[];
  /** Looks at a vault at rest. */
  readonly checker: ClientProcess;
  /** In the order of their numbers in the catalog. */
  readonly places: Place[];
  readonly disk: SmallDisk | null;
  readonly db: string;
  readonly #folder: TemporaryFolder;
  #catalogs = 0;

  private constructor(
    plan: WorldPlan,
    made: { folder: TemporaryFolder; db: string; places: Place[]; disk: SmallDisk | null },
  ) {
    this.plan = plan;
    this.#folder = made.folder;
    this.db = made.db;
    this.places = made.places;
    this.disk = made.disk;
    this.clients = Array.from({ length: plan.clients }, () => this.makeClient());
    this.checker = this.makeClient();
  }

  /**
   * @param postgres URL of an empty schema for the catalog; null for an SQLite file
   * @param servers null if no bucket is to be on a server
   */
  static async make(plan: WorldPlan, postgres: string | null, servers: ServerPlaces | null): Promise<World> {
    const folder = await temporaryFolder();
    const disk = plan.smallDisk === null ? null : await smallDisk(folder.at('disk'), DISK_SIZE);
    try {
      const pathOf = (what: NonNullable<WorldPlan['smallDisk']>, name: string): string =>
        disk !== null && plan.smallDisk === what ? `${disk.path}/${name}` : folder.at(name);
      const places: Place[] = [];
      for (const [i, kind] of plan.buckets.entries()) {
        if (kind !== 'folder' && servers !== null) places.push(await servers.make(kind));
        else
          places.push(
            await folderPlace(i === 0 ? pathOf('first bucket', 'bucket-0') : folder.at(`bucket-${i}`)),
          );
      }
      const db = postgres ?? pathOf('catalog', 'catalog.db');
      const world = new World(plan, { folder, db, places, disk });
      const buckets = places.map(({ url }) => url);
      await world.checker.perform({ verb: 'create', buckets, redundancy: plan.redundancy });
      return world;
    } catch (error) {
      await disk?.[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** @param db its catalog; the vault's own unless given */
  makeClient(db: string = this.db): ClientProcess {
    return new ClientProcess({ db, password: PASSWORD, baseFolder: this.#folder.path }, { ...ENVIRONMENT });
  }

  /** A folder for one more bucket. */
  async makeFolder(): Promise<Place> {
    this.#catalogs += 1;
    return folderPlace(this.#folder.at(`more-${this.#catalogs}`));
  }

  /** A path at which there is no catalog yet. */
  otherCatalog(): string {
    this.#catalogs += 1;
    return this.#folder.at(`other-${this.#catalogs}.db`);
  }

  /** Lets a day go by for the markers of puts, which sweeps wait for: those of processes that have been killed. */
  async ageMarkers(): Promise<void> {
    // Those that live take theirs away when they have had nothing to do for a while.
    await delay(LINGER_MS);
    for (const place of this.places) {
      for (const [name, bytes] of await place.objects()) {
        const marker = parsePutMarkerName(name);
        if (marker === null) continue;
        await place.write(name, null);
        await place.write(putMarkerName(marker.createdAtMs - DAY_MS, marker.random), bytes);
      }
    }
  }

  /** Does something with the catalog itself. */
  async withCatalog<T>(work: (catalog: Catalog) => Promise<T>): Promise<T> {
    const catalog = await openCatalog(this.db);
    try {
      return await work(catalog);
    } finally {
      await catalog.close();
    }
  }

  /** Loses the catalog. No process may be using it. */
  async loseCatalog(): Promise<void> {
    const schema = /[?&]schema=([a-z0-9_]+)/.exec(this.db)?.[1];
    if (schema === undefined) {
      for (const end of ['', '-wal', '-shm']) await rm(this.db + end, { force: true });
    } else {
      await runSql(this.db, `drop schema if exists ${schema} cascade`);
    }
  }

  /** What does not add up between catalog and buckets. */
  async discrepancies(): Promise<readonly string[]> {
    const buckets = await Promise.all(
      this.places.map(async (place) => ({
        url: place.url,
        storage: await place.objects(),
        wrap: <T>(bucket: T): T => bucket,
      })),
    );
    return this.withCatalog(async (catalog) => {
      const row = await catalog.setup.vault();
      if (row === null) throw new Error('The catalog describes no vault.');
      const { keys } = await unlock([row.keyring], PASSWORD, { vaultId: row.id, hint: row.writer });
      const found = await discrepancies({ catalog, keys }, buckets);
      // Lists of removal that are done stay for days, and what they name and was spared, or is damaged, goes after them.
      const lists = buckets.flatMap(({ storage }) =>
        [...storage].flatMap(([name, bytes]) => {
          const id = parseSweepObjectName(name);
          return id === null ? [] : namedBy(keys, bytes, id);
        }),
      );
      const named = new Set(lists);
      // What a list names counts for no set, so that what would be complete with it is not, and has no doubles.
      const partlyNamed = new Set(lists.map((name) => parseShardObjectName(name)?.chunkId));
      // Doubles are chosen among where a set is complete.
      const degraded = new Set<string>();
      const rows = new Map<string, string>();
      for await (const { id, shards, ...set } of catalog.chunks.walk()) {
        if (shards.includes(null)) degraded.add(id);
        rows.set(id, JSON.stringify({ ...set, shards }));
      }
      const withDetails = (line: string): string => {
        const id = /chunks\/([0-9a-f]+)/.exec(line)?.[1] ?? '';
        const there = buckets.map(({ url, storage }) =>
          [url, ...[...storage.keys()].filter((name) => id !== '' && name.includes(id))].join(' '),
        );
        return id === '' ? line : `${line} (row ${rows.get(id) ?? 'none'}; there: ${there.join(', ')})`;
      };
      const isExplained = (line: string): boolean => {
        // It may have gone, if the file has been removed once more since; a row of it stays until the list has gone.
        if (line.startsWith('missing: ') && named.has(line.split(' ')[2] ?? '')) return true;
        const [, name = '', what = ''] = / has (\S+), which (.*)$/.exec(line) ?? [];
        if (what === 'is left over') return parseSweepObjectName(name) !== null;
        const { chunkId = '' } = parseShardObjectName(name) ?? {};
        const hasNoChoice = degraded.has(chunkId) || partlyNamed.has(chunkId);
        return named.has(name) || (what === 'the catalog does not know' && hasNoChoice);
      };
      return found.filter((line) => !isExplained(line)).map(withDetails);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.clients, this.checker].map((client) => client.kill()));
    await Promise.all(this.places.map((place) => place.close()));
    await this.disk?.[Symbol.asyncDispose]();
    if (this.db.startsWith('postgres')) await this.loseCatalog();
    await this.#folder[Symbol.asyncDispose]();
  }
}
