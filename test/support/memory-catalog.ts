import { VaultError } from '../../src/errors.ts';
import type {
  BucketRow,
  Catalog,
  ChunkCatalog,
  ChunkRow,
  FileCatalog,
  FileRow,
  GrantCatalog,
  GrantRow,
  SetupCatalog,
  VaultRow,
} from '../../src/catalog/catalog.ts';

/** A catalog in a few maps, for tests that make thousands of them: what the vault's own code asks of one, without its limits. */
export class MemoryCatalog implements Catalog {
  readonly label = 'memory catalog';
  readonly setup: SetupCatalog;
  readonly files: FileCatalog;
  readonly chunks: ChunkCatalog;
  readonly grants = grantsInMemory();
  readonly #state: CatalogState;

  constructor(state: CatalogState = emptyState()) {
    this.#state = state;
    this.setup = setupOf(state);
    this.files = filesOf(state);
    this.chunks = chunksOf(state);
  }

  /** Another catalog that says the same, and then goes its own way. */
  copy(): MemoryCatalog {
    const { vault, buckets, files, chunks, notes, lastNumber } = this.#state;
    return new MemoryCatalog({
      vault,
      buckets: [...buckets],
      files: new Map(files),
      chunks: new Map(chunks),
      notes: new Map(notes),
      lastNumber,
    });
  }

  /** Takes over all that another catalog says. */
  static async of(catalog: Catalog): Promise<MemoryCatalog> {
    const state = emptyState();
    state.vault = await catalog.setup.vault();
    state.buckets = [...(await catalog.setup.buckets())];
    state.lastNumber = Math.max(0, ...state.buckets.map(({ number }) => number));
    for await (const row of catalog.files.walk()) state.files.set(row.hash, row);
    for await (const row of catalog.chunks.walk()) state.chunks.set(row.id, row);
    return new MemoryCatalog(state);
  }

  requireWritable(): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

interface CatalogState {
  vault: VaultRow | null;
  buckets: BucketRow[];
  lastNumber: number;
  readonly files: Map<string, FileRow>;
  readonly chunks: Map<string, ChunkRow>;
  readonly notes: Map<string, Uint8Array>;
}

function emptyState(): CatalogState {
  return {
    vault: null,
    buckets: [],
    lastNumber: 0,
    files: new Map(),
    chunks: new Map(),
    notes: new Map(),
  };
}

function setupOf(state: CatalogState): SetupCatalog {
  return {
    vault: async () => state.vault,
    async create(vault) {
      state.vault ??= vault;
    },
    async clear() {
      if (state.files.size > 0) throw new VaultError('already-exists', 'There are files.');
      state.vault = null;
      state.buckets.length = 0;
      state.notes.clear();
    },
    async putKeyring({ epoch, keyring }, counts) {
      if (state.vault === null) return false;
      if (counts === undefined ? epoch > state.vault.epoch : !counts(state.vault.keyring))
        state.vault = { ...state.vault, epoch, keyring };
      return epoch === state.vault.epoch;
    },
    note: async (key) => state.notes.get(key) ?? null,
    async putNote(key, value) {
      if (value === null) state.notes.delete(key);
      else state.notes.set(key, value);
    },
    buckets: async () => state.buckets,
    async putBucket({ id, record }) {
      const known = state.buckets.find((row) => row.id === id);
      if (known === undefined) state.lastNumber += 1;
      const number = known?.number ?? state.lastNumber;
      state.buckets = [...state.buckets.filter((row) => row.id !== id), { number, id, record }];
      state.buckets.sort((a, b) => a.number - b.number);
      return number;
    },
    async removeBucket(number) {
      state.buckets = state.buckets.filter((row) => row.number !== number);
    },
  };
}

function filesOf({ files }: CatalogState): FileCatalog {
  const all = (hidden: boolean): FileRow[] =>
    [...files.values()].filter(({ hiddenAtMs }) => (hiddenAtMs !== null) === hidden);
  const either = (hidden: boolean | undefined): FileRow[] => [
    ...all(false),
    ...(hidden === true ? all(true) : []),
  ];
  return {
    async put(rows) {
      for (const row of rows) files.set(row.hash, row);
    },
    byHashes: async (hashes) =>
      new Map(
        hashes.flatMap((hash): [string, FileRow][] => {
          const row = files.get(hash);
          return row === undefined ? [] : [[hash, row]];
        }),
      ),
    byPrefix: async (prefix, limit, options) =>
      either(options?.hidden)
        .filter(({ hash }) => hash.startsWith(prefix))
        .toSorted((a, b) => (a.hash < b.hash ? -1 : 1))
        .slice(0, limit),
    byName: async (tags, limit, options) => {
      const wanted = new Set(tags.map(hex));
      return either(options?.hidden)
        .filter(({ nameTag }) => wanted.has(hex(nameTag)))
        .toSorted(newestVersionFirst)
        .slice(0, limit);
    },
    async *list(options) {
      const rows = all(options.hidden === true).toSorted(newestVersionFirst);
      const newest = new Map(rows.toReversed().map((row) => [hex(row.nameTag), row.hash]));
      yield* rows
        .filter((row) => options.all || newest.get(hex(row.nameTag)) === row.hash)
        .toSorted((a, b) => b.createdAtMs - a.createdAtMs || (a.hash < b.hash ? 1 : -1));
    },
    async *walk(options) {
      const hashes = [...files.keys()].filter((hash) => hash > (options?.after ?? '')).toSorted();
      for (const hash of hashes) {
        const row = files.get(hash);
        if (row !== undefined) yield row;
      }
    },
    async hide(hashes, hiddenAtMs) {
      const changed: string[] = [];
      for (const hash of hashes) {
        const row = files.get(hash);
        if (row === undefined) continue;
        if ((row.hiddenAtMs === null) !== (hiddenAtMs === null)) changed.push(hash);
        files.set(hash, { ...row, hiddenAtMs });
      }
      return changed;
    },
    async forget(hashes) {
      for (const hash of hashes) files.delete(hash);
    },
    counts: async () => ({ files: all(false).length, hidden: all(true).length }),
  };
}

function chunksOf({ chunks }: CatalogState): ChunkCatalog {
  return {
    locate: async (ids) =>
      new Map(
        ids.flatMap((id): [string, ChunkRow][] => {
          const row = chunks.get(id);
          return row === undefined ? [] : [[id, row]];
        }),
      ),
    async put(rows) {
      for (const row of rows) chunks.set(row.id, row);
    },
    async forget(ids) {
      for (const id of ids) chunks.delete(id);
    },
    async *walk(options) {
      const ids = [...chunks.keys()].filter((id) => id > (options?.after ?? '')).toSorted();
      for (const id of ids) {
        const row = chunks.get(id);
        if (row !== undefined) yield row;
      }
    },
  };
}

/** Of this catalog alone: no copy has them. */
function grantsInMemory(): GrantCatalog {
  const rows = new Map<string, GrantRow>();
  return {
    async put(row) {
      rows.set(row.id, { ...row, uses: rows.get(row.id)?.uses ?? 0 });
    },
    find: async (id) => rows.get(id) ?? null,
    async *list(kind) {
      yield* [...rows.values()].filter((row) => row.kind === kind).toSorted((a, b) => (a.id < b.id ? -1 : 1));
    },
    async use(id, most) {
      const row = rows.get(id);
      if (row === undefined || (most !== null && row.uses >= most)) return false;
      rows.set(id, { ...row, uses: row.uses + 1 });
      return true;
    },
    async forget(ids) {
      for (const id of ids) rows.delete(id);
    },
    async forgetExpired(beforeMs) {
      for (const { id, expiresAtMs } of rows.values()) {
        if (expiresAtMs !== null && expiresAtMs < beforeMs) rows.delete(id);
      }
    },
  };
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

function newestVersionFirst(a: FileRow, b: FileRow): number {
  return b.version - a.version || b.createdAtMs - a.createdAtMs || (a.hash < b.hash ? 1 : -1);
}
