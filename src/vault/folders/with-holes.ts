/** A file's whole content from the stored bytes, which leave its holes out. */
import { VaultError } from '../../errors.ts';
import { shown } from './disk-path.ts';
import type { FolderEntry } from '../../format/folder-index.ts';

/** Gives a file's stored bytes in order, each run valid until the next one is asked for. */
export interface ReadContent {
  (entry: FolderEntry, signal: AbortSignal | undefined): AsyncIterable<Uint8Array>;
  /** The same at once, of what need not be waited for; else null. */
  readonly atHand?: (entry: FolderEntry) => Uint8Array | null;
}

/**
 * @returns the file from its beginning to its end: bytes, or a number of zeros
 * @throws `damaged` if there are more or fewer bytes than the entry says; what `pieces` throws
 */
export async function* withHoles(
  { path, content }: Pick<FolderEntry, 'path' | 'content'>,
  pieces: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array | number, void, undefined> {
  const size = content?.size ?? 0;
  const extents = content?.extents ?? [{ start: 0, length: size }];
  const wrong = (): VaultError =>
    new VaultError('damaged', `The stored bytes of ${shown(path)} are not as many as its entry says.`);
  let at = 0;
  let index = 0;
  /** Bytes that are still wanted of the extent before `index`. */
  let wanted = 0;
  for await (const piece of pieces) {
    for (let rest = piece; rest.length > 0;) {
      if (wanted === 0) {
        const extent = extents[index];
        if (extent === undefined) throw wrong();
        index += 1;
        if (extent.start > at) yield extent.start - at;
        at = extent.start;
        wanted = extent.length;
        continue;
      }
      const part = rest.subarray(0, wanted);
      yield part;
      at += part.length;
      wanted -= part.length;
      rest = rest.subarray(part.length);
    }
  }
  const isWhole = wanted === 0 && extents.slice(index).every(({ length }) => length === 0);
  if (!isWhole || at > size) throw wrong();
  if (at < size) yield size - at;
}

const ZEROS = Buffer.alloc(64 * 1024);

export function* zeros(count: number): Generator<Uint8Array, void, undefined> {
  for (let left = count; left > 0; left -= ZEROS.length) yield ZEROS.subarray(0, left);
}

/** The same with zeros as bytes. */
export async function* wholeFile(
  entry: Pick<FolderEntry, 'path' | 'content'>,
  pieces: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const piece of withHoles(entry, pieces)) {
    if (typeof piece === 'number') yield* zeros(piece);
    else yield piece;
  }
}
