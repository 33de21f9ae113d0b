/**
 * The thread that writes a large tree: most of a restore is calls of the file system, made at once, which would keep
 * the main thread from fetching what comes next. It asks that one for runs of the index and of the content, one after
 * the other, in shared memory.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { enlargeNewSpace } from '../../concurrency/heap.ts';
import { fromThreadError, toThreadError } from '../../concurrency/thread-error.ts';
import { contentReader } from './content-runs.ts';
import type { FromThread, ThreadProgress, ThreadStart, ToThread } from './restore-messages.ts';
import { restoreTree } from './restore-tree.ts';
import { entriesOf } from './selection.ts';

type Answer = Exclude<ToThread, { kind: 'abort' }>;

async function main(port: NonNullable<typeof parentPort>, start: ThreadStart): Promise<void> {
  enlargeNewSpace();
  const abort = new AbortController();
  const tell = (message: FromThread): void => port.postMessage(message);
  let answered: ((answer: Answer) => void) | null = null;
  port.on('message', (message: ToThread) => {
    if (message.kind === 'abort') abort.abort();
    else answered?.(message);
  });
  /** What the main thread has answered with. */
  let failure: Error | null = null;
  const ask = async <K extends 'index' | 'content'>(
    question: Extract<FromThread, { kind: K }>,
  ): Promise<Extract<Answer, { kind: K }>> => {
    const waiting = new Promise<Answer>((resolve) => {
      answered = resolve;
    });
    tell(question);
    const answer = await waiting;
    if (answer.kind === 'failed') throw (failure = fromThreadError(answer.error));
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a question is answered in kind
    return answer as Extract<Answer, { kind: K }>;
  };
  let progress = { bytes: 0, files: 0 };
  const takeProgress = (): ThreadProgress => {
    const taken = progress;
    progress = { ...taken, bytes: 0 };
    return taken;
  };
  const index = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      const { bytes } = await ask({ kind: 'index' });
      if (bytes === null) return;
      yield bytes;
    }
  };
  const { totals, path, target, force, owners } = start;
  const wanted = path === null ? null : { path: Buffer.from(path, 'latin1') };
  try {
    const done = await restoreTree(
      entriesOf(index(), totals, wanted),
      contentReader((offset) => ask({ kind: 'content', offset, progress: takeProgress() })),
      target,
      {
        force,
        owners,
        signal: abort.signal,
        onBytes(count, files) {
          progress = { bytes: progress.bytes + count, files };
        },
        onProblem: (problem) => tell({ kind: 'problem', problem }),
      },
    );
    tell({ kind: 'done', done, progress: takeProgress() });
  } catch (error) {
    tell({ kind: 'failed', error: toThreadError(error), wasAnswered: error === failure });
  }
  port.close();
}

// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- whoever starts the thread gives it this
if (parentPort !== null) await main(parentPort, workerData as ThreadStart);
