/** Writes a file's tables of chunks, whatever its size, in the memory of a few of them. FORMAT.md, "Tables". */
import { invalidInput } from '../../errors.ts';
import { encodeIds, encodeRefs, isTableEnd, TOP_ENTRIES } from '../../format/manifest.ts';
import type { ChunkId, ChunkRef, IdsTable } from '../../format/manifest.ts';
import { isTableDepth } from '../../format/tables.ts';
import type { TableDepth } from '../../format/tables.ts';
import type { StoredChunk } from './chunk-writer.ts';

/** Stores the bytes of a table's run as a chunk. */
export type StoreTable = (bytes: Uint8Array) => Promise<StoredChunk>;

/**
 * A tree of references: a level that grows beyond what a manifest may list is cut into runs, each stored as a chunk, and
 * the references to those form the next level. Runs end where the entries' tags say so, so that tomorrow's tables share them.
 */
class Levels<E> {
  readonly #store: StoreTable;
  readonly #encode: (entries: readonly E[]) => Buffer;
  readonly #tagOf: (entry: E) => Uint8Array;
  readonly #entries: E[] = [];
  /** Of those, how many are known not to end a run. */
  #scanned = 0;
  #above: Levels<ChunkRef> | null = null;
  readonly #depth: TableDepth;

  constructor(
    depth: number,
    how: {
      readonly store: StoreTable;
      readonly encode: (entries: readonly E[]) => Buffer;
      readonly tagOf: (entry: E) => Uint8Array;
    },
  ) {
    if (!isTableDepth(depth)) {
      throw invalidInput('The file is too large for its chunk size. Put it with a larger one.');
    }
    this.#depth = depth;
    this.#store = how.store;
    this.#encode = how.encode;
    this.#tagOf = how.tagOf;
  }

  async add(entry: E): Promise<void> {
    this.#entries.push(entry);
    if (this.#entries.length <= TOP_ENTRIES) return;
    await this.#cut(false);
  }

  /** The top of the tree: entries of this level, or references of the highest one; there are none of the other. */
  async finish(): Promise<{
    readonly depth: TableDepth;
    readonly entries: readonly E[];
    readonly refs: readonly ChunkRef[];
  }> {
    if (this.#above === null && this.#entries.length <= TOP_ENTRIES) {
      return { depth: this.#depth, entries: this.#entries, refs: [] };
    }
    await this.#cut(true);
    const top = await this.#next().finish();
    return { depth: top.depth, entries: [], refs: [...top.entries, ...top.refs] };
  }

  /** Stores the runs that are complete; with `all` also the last one. */
  async #cut(all: boolean): Promise<void> {
    let start = 0;
    for (let at = this.#scanned; at < this.#entries.length; at += 1) {
      const entry = this.#entries[at];
      if (entry === undefined || !isTableEnd(this.#tagOf(entry), at + 1 - start)) continue;
      await this.#storeRun(this.#entries.slice(start, at + 1));
      start = at + 1;
    }
    this.#entries.splice(0, start);
    if (all && this.#entries.length > 0) await this.#storeRun(this.#entries.splice(0));
    this.#scanned = this.#entries.length;
  }

  async #storeRun(run: readonly E[]): Promise<void> {
    const { ref } = await this.#store(this.#encode(run));
    await this.#next().add(ref);
  }

  #next(): Levels<ChunkRef> {
    return (this.#above ??= new Levels<ChunkRef>(this.#depth + 1, {
      store: this.#store,
      encode: encodeRefs,
      tagOf: ({ tag }) => tag,
    }));
  }
}

/** The tables of one file or folder: of its content, of a folder's index, and of the ids of everything that it needs. */
export class TableWriter {
  readonly #content: Levels<ChunkRef>;
  readonly #index: Levels<ChunkRef>;
  readonly #ids: Levels<ChunkId>;
  /** Chunks of the index, whose ids stand behind those of the content, and of the tables of both, which stand last. */
  readonly #indexIds: ChunkId[] = [];
  readonly #tableIds: ChunkId[] = [];

  /** @param store stores the runs of all; ids of the ids' own tables are not listed, since those are found by their references */
  constructor(store: StoreTable) {
    const levels = (): Levels<ChunkRef> =>
      new Levels(0, {
        store: async (bytes) => {
          const stored = await store(bytes);
          this.#tableIds.push(stored.id);
          return stored;
        },
        encode: encodeRefs,
        tagOf: ({ tag }) => tag,
      });
    this.#content = levels();
    this.#index = levels();
    this.#ids = new Levels(0, {
      store,
      encode: encodeIds,
      tagOf: ({ id }) => Buffer.from(id, 'hex'),
    });
  }

  /** Adds a chunk of the content, in order. */
  async add({ ref, id }: StoredChunk): Promise<void> {
    await this.#content.add(ref);
    await this.#ids.add(id);
  }

  /** Adds a chunk of the index, in order. */
  async addIndex({ ref, id }: StoredChunk): Promise<void> {
    await this.#index.add(ref);
    this.#indexIds.push(id);
  }

  /** What the manifest lists. */
  async finish(): Promise<{
    readonly content: TopTable;
    readonly index: TopTable;
    readonly ids: IdsTable;
    readonly indexChunks: number;
  }> {
    const [content, index] = [topOf(await this.#content.finish()), topOf(await this.#index.finish())];
    for (const id of [...this.#indexIds, ...this.#tableIds]) await this.#ids.add(id);
    const { depth, entries, refs } = await this.#ids.finish();
    const ids: IdsTable = depth === 0 ? { depth, ids: entries } : { depth, refs };
    return { content, index, ids, indexChunks: this.#indexIds.length };
  }
}

interface TopTable {
  readonly depth: TableDepth;
  readonly refs: readonly ChunkRef[];
}

function topOf({ depth, entries, refs }: TopTable & { readonly entries: readonly ChunkRef[] }): TopTable {
  return { depth, refs: [...entries, ...refs] };
}
