/** The thread of `batch.ts`: calls that a disk of this machine answers at once take the main thread's time there. */
import { parentPort } from 'node:worker_threads';
import { storeBatch } from './batch.ts';
import type { Batch } from './batch.ts';

async function answer(ticket: number, question: Batch): Promise<void> {
  const stored = await storeBatch(question);
  parentPort?.postMessage({ ticket, answer: stored }, [stored.bytes.buffer]);
}

parentPort?.on('message', ({ ticket, question }: { ticket: number; question: Batch }) => {
  void answer(ticket, question);
});
