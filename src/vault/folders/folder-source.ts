/** A folder of this machine that is to be stored. */
import type { ScanOptions } from './scan.ts';

export interface FolderSource extends Pick<
  ScanOptions,
  'excludeCaches' | 'largest' | 'oneFileSystem' | 'own'
> {
  /** Its path, absolute or relative to the working directory. */
  readonly root: string;
  /** What is left out: lines as in `.gitignore`, or whole files of them, relative to the folder. */
  readonly excludes?: readonly (string | Buffer)[] | undefined;
  /** Reads every file, also those that seem to be as they were the last time. */
  readonly forceRead?: boolean | undefined;
}
