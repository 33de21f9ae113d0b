/** Threads of this room. */
import { Worker } from 'node:worker_threads';

/** @param given what the thread gets as `workerData` */
export function startThread(name: 'restore-thread' | 'scan-thread', given: unknown): Worker {
  // Beside this file, in the sources as in the built package.
  const file = `./${name}.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`;
  // None of the parent's flags or environment: secrets stay where they are.
  return new Worker(new URL(file, import.meta.url), { workerData: given, execArgv: [], env: {} });
}
