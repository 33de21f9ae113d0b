// A GCS server in a thread of its own, so that a bench's client has its thread to itself.
import { parentPort, workerData } from 'node:worker_threads';
import { startGcsServer } from '../support/gcs-server.ts';

const { delayMs, buckets }: { delayMs: number; buckets: string[] } = workerData;
const server = await startGcsServer({ delayMs, buckets });
parentPort?.postMessage(server.url);
