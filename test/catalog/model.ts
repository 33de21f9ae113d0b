import { VaultError } from '../../src/errors.ts';
import type { ChunkRow, NewFileRow } from '../../src/catalog/catalog.ts';
import { objectKey, objectsOf } from './samples.ts';

interface ModelPut {
  state: 'pending' | 'visible' | 'dead';
  readonly refs: Set<string>;
  announced: string | null;
  file: NewFileRow | null;
}

/** The catalog in a few lines of plain maps: slow, in memory, and easy to see right. */
export class ModelCatalog {
  readonly puts = new Map<string, ModelPut>();
  readonly chunks = new Map<string, ChunkRow>();
  readonly owed = new Set<string>();
  /** Generations of visible files, oldest first. */
  readonly order: string[] = [];
  readonly buckets: readonly number[];

  constructor(buckets: readonly number[]) {
    this.buckets = buckets;
  }

  beginPut(generation: string): void {
    this.puts.set(generation, { state: 'pending', refs: new Set(), announced: null, file: null });
  }

  claimChunks(generation: string, ids: readonly string[]): Map<string, ChunkRow> {
    const put = this.#pending(generation);
    const found = this.#rows(ids);
    for (const id of found.keys()) put.refs.add(id);
    return found;
  }

  recordChunks(generation: string, rows: readonly ChunkRow[]): Map<string, ChunkRow> {
    const put = this.#pending(generation);
    for (const row of rows) {
      put.refs.add(row.id);
      const first = this.chunks.get(row.id);
      if (first === undefined) this.chunks.set(row.id, row);
      else this.#supersede(row, first);
    }
    return this.#rows(rows.map((row) => row.id));
  }

  announceManifest(generation: string, hash: string): void {
    this.#pending(generation).announced = hash;
  }

  commitPut(generation: string, file: NewFileRow): void {
    const put = this.puts.get(generation);
    const visible = this.#visible(file.hash);
    if (visible !== null) {
      if (visible !== generation && put?.state === 'pending') this.discardPut(generation);
    } else {
      this.#pending(generation);
      if (put === undefined) return;
      put.state = 'visible';
      put.file = file;
      this.order.push(generation);
    }
    for (const key of this.owed) if (key.startsWith(`manifest ${file.hash} `)) this.owed.delete(key);
  }

  discardPut(generation: string): void {
    const put = this.puts.get(generation);
    if (put?.state !== 'pending') return;
    this.#end(put);
    this.puts.delete(generation);
  }

  buryPut(generation: string): void {
    const put = this.puts.get(generation);
    if (put?.state !== 'pending') return;
    this.#end(put);
    put.state = 'dead';
  }

  forgetPut(generation: string): void {
    if (this.puts.get(generation)?.state === 'dead') this.puts.delete(generation);
  }

  removeFiles(hashes: readonly string[]): string[] {
    const removed: string[] = [];
    for (const hash of new Set(hashes)) {
      const generation = this.#visible(hash);
      if (generation === null) continue;
      this.order.splice(this.order.indexOf(generation), 1);
      const put = this.puts.get(generation);
      this.puts.delete(generation);
      if (put !== undefined) this.#dropRefs(put);
      this.#oweManifest(hash);
      removed.push(hash);
    }
    return removed.toSorted();
  }

  replaceChunk(expected: ChunkRow, next: ChunkRow): boolean {
    const now = this.chunks.get(expected.id);
    if (now === undefined) return false;
    if (JSON.stringify(now) !== JSON.stringify(expected)) return JSON.stringify(now) === JSON.stringify(next);
    this.chunks.set(next.id, next);
    this.#supersede(expected, next);
    return true;
  }

  /** Visible files, newest first. */
  files(options: { readonly all: boolean }): NewFileRow[] {
    const files = this.order.toReversed().flatMap((generation) => this.puts.get(generation)?.file ?? []);
    if (options.all) return files;
    const names = new Set<string>();
    return files.filter((file) => {
      const name = Buffer.from(file.nameTag).toString('hex');
      if (names.has(name)) return false;
      names.add(name);
      return true;
    });
  }

  #rows(ids: readonly string[]): Map<string, ChunkRow> {
    return new Map(
      ids.flatMap((id) => {
        const row = this.chunks.get(id);
        return row === undefined ? [] : [[id, row] as const];
      }),
    );
  }

  #pending(generation: string): ModelPut {
    const put = this.puts.get(generation);
    if (put?.state !== 'pending') throw new VaultError('stale', generation);
    return put;
  }

  #visible(hash: string): string | null {
    return this.order.find((generation) => this.puts.get(generation)?.file?.hash === hash) ?? null;
  }

  #end(put: ModelPut): void {
    this.#dropRefs(put);
    if (put.announced !== null && this.#visible(put.announced) === null) this.#oweManifest(put.announced);
  }

  #dropRefs(put: ModelPut): void {
    const ids = [...put.refs];
    put.refs.clear();
    for (const id of ids) {
      const row = this.chunks.get(id);
      if (row === undefined || [...this.puts.values()].some((other) => other.refs.has(id))) continue;
      this.chunks.delete(id);
      for (const key of objectsOf(row)) this.owed.add(key);
    }
  }

  #oweManifest(hash: string): void {
    for (const bucket of this.buckets) {
      this.owed.add(objectKey({ kind: 'manifest', id: hash, k: 0, m: 0 }, 0, { bucket, generation: '' }));
    }
  }

  #supersede(old: ChunkRow, inForce: ChunkRow): void {
    const used = new Set(objectsOf(inForce));
    for (const key of objectsOf(old)) if (!used.has(key)) this.owed.add(key);
  }
}
