/** Writes a file's table of chunks, whatever its size, in the memory of a few chunks. */
import { VaultError } from '../../errors.ts';
import { encodeTable, MAX_TABLE_DEPTH } from '../../format/manifest.ts';
import type { TableEntry } from '../../format/manifest.ts';

/** Stores a run of table bytes as a chunk. */
export type StoreTable = (bytes: Uint8Array, isLast: boolean) => Promise<TableEntry>;

/**
 * A table that grows beyond one chunk is stored as chunks itself, and the table of those takes its place.
 * FORMAT.md, "Manifest".
 */
export class TableWriter {
  readonly #chunkSize: number;
  readonly #store: StoreTable;
  /** Bytes not yet stored, by depth. Only the last level is never stored: it goes into the manifest. */
  readonly #levels: { parts: Buffer[]; size: number }[] = [{ parts: [], size: 0 }];

  constructor(chunkSize: number, store: StoreTable) {
    this.#chunkSize = chunkSize;
    this.#store = store;
  }

  /** Adds entries of the file's own chunks, in order. */
  async add(entries: readonly TableEntry[]): Promise<void> {
    await this.#append(0, encodeTable(entries));
  }

  /** The entries for the manifest, and their depth. */
  async finish(): Promise<{ readonly bytes: Buffer; readonly depth: number }> {
    for (let depth = 0; depth < this.#levels.length - 1; depth += 1) {
      const rest = this.#take(depth, this.#level(depth).size);
      await this.#append(depth + 1, encodeTable([await this.#store(rest, true)]));
    }
    const depth = this.#levels.length - 1;
    return { bytes: this.#take(depth, this.#level(depth).size), depth };
  }

  async #append(depth: number, bytes: Buffer): Promise<void> {
    const level = this.#level(depth);
    level.parts.push(bytes);
    level.size += bytes.length;
    // Strictly more than a chunk: what is left is never empty, so a last chunk can follow.
    while (level.size > this.#chunkSize) {
      const full = this.#take(depth, this.#chunkSize);
      await this.#append(depth + 1, encodeTable([await this.#store(full, false)]));
    }
  }

  #level(depth: number): { parts: Buffer[]; size: number } {
    if (depth > MAX_TABLE_DEPTH) {
      throw new VaultError(
        'invalid-input',
        'The file is too large for its chunk size. Put it with a larger one.',
      );
    }
    return (this.#levels[depth] ??= { parts: [], size: 0 });
  }

  #take(depth: number, size: number): Buffer {
    const level = this.#level(depth);
    const all = Buffer.concat(level.parts);
    level.parts = [all.subarray(size)];
    level.size -= size;
    return all.subarray(0, size);
  }
}
