/** Where a file's bytes come from. */
import type { FileTime } from '../../format/manifest.ts';

export interface FileSource {
  /** For messages: a path, `standard input`. */
  readonly label: string;
  /** Whether it can be opened again from its beginning; standard input cannot. */
  readonly reopens: boolean;
  /** Opens it. @throws `file-not-found`, `denied` or `invalid-input` (a folder) */
  open(signal?: AbortSignal): Promise<OpenSource>;
}

export interface OpenSource {
  /** Bytes, modification time and permission bits; null where the source does not say. */
  readonly size: number | null;
  readonly modified: FileTime | null;
  readonly mode: number | null;
  /**
   * Fills `target` as far as the source goes; fewer bytes than asked mean its end.
   *
   * @param signal ends a long wait for bytes
   * @throws `source-changed`
   */
  read(target: Uint8Array, signal: AbortSignal): Promise<number>;
  /** After the last byte: checks that what was read is one state of the source. @throws `source-changed` */
  verify(): Promise<void>;
  close(): Promise<void>;
}
