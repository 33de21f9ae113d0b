/** How threads of this program are started. */
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { WorkerOptions } from 'node:worker_threads';
import { hasWorkingFolder } from '../host.ts';

/**
 * Starts a thread with none of the parent's flags or environment: it needs neither, and secrets stay where they are.
 *
 * @param file what it runs
 * @throws as `hasWorkingFolder`
 */
export function startWorker(
  file: URL,
  options: Pick<WorkerOptions, 'workerData' | 'resourceLimits'>,
): Worker {
  return new Worker(file, { ...options, execArgv: hasWorkingFolder() ? [] : ['--require', GONE], env: {} });
}

/** Lets a thread start in a folder that has been removed. Beside this file, in the sources as in the built package. */
const GONE = fileURLToPath(
  new URL(`./removed-folder.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url),
);
