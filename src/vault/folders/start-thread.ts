/** Threads of this room. */
import type { Worker } from 'node:worker_threads';
import { startWorker } from '../../concurrency/worker.ts';

/** @param given what the thread gets as `workerData` @throws as `startWorker` */
export function startThread(name: 'restore-thread' | 'scan-thread', given: unknown): Worker {
  // Beside this file, in the sources as in the built package.
  const file = `./${name}.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`;
  return startWorker(new URL(file, import.meta.url), { workerData: given });
}
