/** What the thread that writes a tree and the one that reads for it say to each other. */
import type { ThreadError } from '../../concurrency/thread-error.ts';
import type { FolderTotals } from '../../format/folder-index.ts';
import type { Run } from './content-runs.ts';
import type { RestoredTree, TreeProblem } from './restore-tree.ts';

/** What the thread is started with. */
export interface ThreadStart {
  readonly totals: FolderTotals;
  /** The path of what is wanted; null for all. */
  readonly path: string | null;
  readonly target: string;
  readonly force: boolean;
  readonly owners: boolean;
}

/** Bytes that were written since it was told last, and how many files there are. */
export interface ThreadProgress {
  readonly bytes: number;
  readonly files: number;
}

/** What the thread tells; the first two are answered. */
export type FromThread =
  | { readonly kind: 'index' }
  | { readonly kind: 'content'; readonly offset: number; readonly progress: ThreadProgress }
  | { readonly kind: 'problem'; readonly problem: TreeProblem }
  | { readonly kind: 'done'; readonly done: RestoredTree; readonly progress: ThreadProgress }
  | { readonly kind: 'failed'; readonly error: ThreadError; readonly wasAnswered: boolean };

export type ToThread =
  /** null: there are no more. */
  | { readonly kind: 'index'; readonly bytes: Uint8Array | null }
  | ({ readonly kind: 'content' } & Run)
  | { readonly kind: 'failed'; readonly error: ThreadError }
  | { readonly kind: 'abort' };
