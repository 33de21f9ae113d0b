/** What a put of several files comes to: while it runs, and at its end. */
import { INLINE_SIZE } from '../../format/manifest.ts';
import type { PutResult } from '../../vault/write/put-call.ts';
import type { ProgressReport } from '../terminal/progress.ts';
import { count, grouped, showDuration, showName, showSize, showTime } from '../terminal/text.ts';
import type { Task } from './put-tasks.ts';

/** What was stored, and what of it the buckets had. */
export function describeStored(result: PutResult): string {
  const { name, contentSize, unchanged } = result;
  const what = unchanged ? `${showName(name)} is unchanged` : `Stored ${showName(name)}`;
  const until = result.retainedUntilMs;
  const locked = until === null ? '' : `, locked until ${showTime(until)}`;
  return `${what}: ${showSize(contentSize)}, ${describeNews(result)}${locked}.`;
}

export function describeNews(result: PutResult): string {
  // Of a folder's bytes some may be holes, and its index is new, too.
  if (result.kind === 'folder')
    return result.bytesNew === 0 ? 'nothing new' : `${showSize(result.bytesNew)} new`;
  const size = result.contentSize;
  const newBytes = newBytesOf(result);
  if (newBytes === size) return 'all new';
  if (newBytes === 0) return 'nothing new';
  return `${showSize(newBytes)} new, ${showSize(size - newBytes)} there already`;
}

/** What lies in the manifest is in no chunk. */
export function newBytesOf({ contentSize, chunks, bytesNew, unchanged }: PutResult): number {
  return chunks === 0 && !unchanged ? contentSize : bytesNew;
}

export class PutTotal {
  readonly #asked: number;
  #files = 0;
  #unchanged = 0;
  #failed = 0;
  #bytes = 0;
  #bytesNew = 0;
  #bytesStored = 0;

  /** @param asked how many files are to be stored */
  constructor(asked: number) {
    this.#asked = asked;
  }

  /** @param result null for a file that failed */
  add(result: PutResult | null): void {
    if (result === null) {
      this.#failed += 1;
      return;
    }
    this.#files += 1;
    if (result.unchanged) this.#unchanged += 1;
    this.#bytes += result.contentSize;
    this.#bytesNew += newBytesOf(result);
    this.#bytesStored += result.bytesStored;
  }

  get facts(): Readonly<Record<string, unknown>> {
    return {
      files: this.#files,
      unchanged: this.#unchanged,
      failed: this.#failed,
      bytes: this.#bytes,
      bytesNew: this.#bytesNew,
      bytesStored: this.#bytesStored,
    };
  }

  describe(elapsedMs: number): string {
    const counts = [
      ...(this.#unchanged > 0 ? [`${grouped(this.#unchanged)} unchanged`] : []),
      ...(this.#failed > 0 ? [`${grouped(this.#failed)} failed`] : []),
    ];
    const more = counts.length > 0 ? ` (${counts.join(', ')})` : '';
    return `Stored ${count(this.#files, 'file')}${more}, ${showSize(this.#bytes)}: ${showSize(this.#bytesNew)} new, ${showSize(this.#bytesStored)} sent, ${showDuration(elapsedMs)}.`;
  }

  /** What stays if it ends here; null while there is nothing. */
  kept(doneBytes: number): string | null {
    // What fits into a manifest is sent at the end.
    const sent = doneBytes > INLINE_SIZE;
    if (this.#asked > 1 && (this.#files > 0 || sent)) {
      return `${grouped(this.#files)} of ${count(this.#asked, 'file')} are stored. The same command goes on from there.`;
    }
    return sent ? 'What was sent is kept: the same command goes on from there.' : null;
  }
}

/** One progress over several files, of which some are under way at once. */
export class TotalProgress {
  readonly #report: ProgressReport;
  readonly #files: number;
  readonly #totalBytes: number | null;
  readonly #doneBytes = new Map<Task, number>();
  #label = '';
  #sum = 0;

  constructor(tasks: readonly Task[], report: ProgressReport) {
    this.#report = report;
    this.#files = tasks.length;
    this.#totalBytes = tasks.some(({ size }) => size === null)
      ? null
      : tasks.reduce((sum, { size }) => sum + (size ?? 0), 0);
  }

  /** Of all files so far. */
  get doneBytes(): number {
    return this.#sum;
  }

  start(task: Task): void {
    this.#doneBytes.set(task, 0);
    this.#label = this.#files === 1 ? task.name : `${this.#doneBytes.size}/${this.#files} ${task.name}`;
    this.advance(task, 0);
  }

  /** @param doneBytes, doneFiles of that file or folder so far */
  advance(task: Task, doneBytes: number, doneFiles?: number): void {
    this.#sum += doneBytes - (this.#doneBytes.get(task) ?? 0);
    this.#doneBytes.set(task, doneBytes);
    this.#report({
      label: this.#label,
      doneBytes: this.#sum,
      totalBytes: this.#totalBytes,
      doneFiles: this.#files === 1 ? doneFiles : undefined,
    });
  }

  /** A file that will not be stored counts as done. */
  finish(task: Task): void {
    this.advance(task, task.size ?? 0);
  }
}

export function describeDegraded(files: number, dryRun: boolean): string {
  const are = dryRun ? 'would be' : files === 1 ? 'is' : 'are';
  const what = `${count(files, 'file')} ${are} stored with less redundancy than with every bucket at hand.`;
  return `${what} When all can be reached, "vault repair" completes ${files === 1 ? 'it' : 'them'}.`;
}
