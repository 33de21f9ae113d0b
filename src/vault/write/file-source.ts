/** What a put reads from. */
import type { FileTime } from '../../format/file-time.ts';
import type { FileFacts } from '../folders/local-log.ts';

/** What tells whether a file of this machine is still the one that was read. */
export interface FileIdentity extends Omit<FileFacts, 'path'> {
  readonly device: bigint;
}

/** Where a file's bytes come from. */
export interface FileSource {
  /** For messages: a path, `standard input`. */
  readonly label: string;
  /** Whether it can be opened again from its beginning; standard input cannot, nor can a path that turned out to be a pipe's. */
  readonly reopens: boolean;
  /** Whether it is read also where it seems unchanged. */
  readonly forceRead?: boolean | undefined;
  /**
   * Opens it. A pipe that nobody writes to is opened at once, and waited for when it is read.
   *
   * @param signal ends a wait for a file system that does not answer
   * @throws `file-not-found`, `denied`; `invalid-input` (a folder, closed standard input); `source-changed` if it cannot be opened;
   *   `interrupted` as soon as the signal is aborted
   */
  open(signal?: AbortSignal): Promise<OpenSource>;
}

export interface OpenSource {
  /** Bytes; null where the source does not say. */
  readonly size: number | null;
  /** Modification time; null where the source has none, or one that cannot be kept (beyond 275,760 years from 1970). */
  readonly modified: FileTime | null;
  /** Permission bits, up to `0o7777`; null where the source does not say. */
  readonly mode: number | null;
  /** Null or absent for what has to be read to know. */
  readonly identity?: FileIdentity | null;
  /**
   * Fills `target` as far as the source goes; fewer bytes than asked mean its end.
   *
   * @param target not written to any more once the promise has settled, whatever became of it
   * @param signal ends a long wait for bytes
   * @throws `source-changed`; `invalid-input` if the source's size is not that of what it holds, as in /proc; `interrupted`
   */
  read(target: Uint8Array, signal: AbortSignal): Promise<number>;
  /** After the last byte: checks that what was read is one state of the source. @throws as `read` */
  verify(): Promise<void>;
  /** Ends its use, also after a read that failed or was interrupted; never waits for bytes. */
  close(): Promise<void>;
}
