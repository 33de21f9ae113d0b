/** One entry of a stored folder. */
import type { FileTime } from '../../format/file-time.ts';

export type EntryKind = 'file' | 'folder' | 'symlink' | 'fifo' | 'block-device' | 'char-device';

export interface FolderEntry {
  /**
   * Bytes, relative, parts joined by "/", without leading, trailing or double slashes, no part "." or "..", no NUL. '' is the
   * folder itself and comes first.
   */
  readonly path: Buffer;
  readonly kind: EntryKind;
  /** Permission bits, 0..0o7777; null if unknown (Windows). */
  readonly mode: number | null;
  readonly owner: {
    readonly uid: number;
    readonly gid: number;
    readonly user: string | null;
    readonly group: string | null;
  } | null;
  readonly modified: FileTime | null;
  /** Of a file: what was read of it. */
  readonly content: {
    readonly size: number;
    readonly offset: number;
    readonly extents: readonly Extent[] | null;
  } | null;
  /** Of a symlink: the target's bytes. */
  readonly target: Buffer | null;
  /**
   * Files with the same number (1 and up) are one file with several paths; only the first has content; null: has one
   * path.
   */
  readonly linkGroup: number | null;
  readonly device: { readonly major: number; readonly minor: number } | null;
  /** Extended attributes, names as bytes sorted. */
  readonly attributes: readonly { readonly name: Buffer; readonly value: Buffer }[];
}

/** Data of a sparse file: [start, length] in the file; holes between are left out of the content. null: all data. */
export interface Extent {
  readonly start: number;
  readonly length: number;
}
