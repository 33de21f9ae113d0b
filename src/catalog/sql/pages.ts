import { throwIfAborted } from '../../errors.ts';

/** Reads the page behind a row (null: the first page): rows in order, at most `size`. */
export type PageReader<Row> = (last: Row | null, size: number) => Promise<readonly Row[]>;

/**
 * Reads a table of any size in pages, of which one is in memory.
 *
 * @param size most rows a page; one with fewer is the last
 * @param signal checked before each page
 * @throws `interrupted` if the signal is aborted; what `read` throws
 */
export async function* pagesOf<Row>(
  size: number,
  signal: AbortSignal | undefined,
  read: PageReader<Row>,
): AsyncGenerator<readonly Row[], void, undefined> {
  let last: Row | null = null;
  while (true) {
    throwIfAborted(signal);
    const rows: readonly Row[] = await read(last, size);
    if (rows.length > 0) yield rows;
    if (rows.length < size) return;
    last = rows.at(-1) ?? null;
  }
}

/** As `pagesOf`, row by row; the signal is checked before each row. */
export async function* rowsOf<Row>(
  size: number,
  signal: AbortSignal | undefined,
  read: PageReader<Row>,
): AsyncGenerator<Row, void, undefined> {
  for await (const page of pagesOf(size, signal, read)) {
    for (const row of page) {
      throwIfAborted(signal);
      yield row;
    }
  }
}
