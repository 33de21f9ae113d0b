// A server of a cloud in a thread of its own, so that a bench's client has its thread to itself. Asked, it tells the requests since then.
import { parentPort, workerData } from 'node:worker_threads';
import { startGcsServer } from '../support/gcs-server.ts';
import { startS3Server } from '../support/s3-server.ts';

const { kind, delayMs, buckets }: { kind: string; delayMs: number; buckets: string[] } = workerData;
const server =
  kind === 's3'
    ? await startS3Server({ latencyMs: delayMs, buckets })
    : await startGcsServer({ delayMs, buckets });
let told = 0;
parentPort?.on('message', () => {
  const requests = server.requests.slice(told);
  told = server.requests.length;
  parentPort?.postMessage(
    requests.map((one) => ({
      method: one.method,
      bucket: one.bucket,
      name: 'key' in one ? one.key : one.object,
    })),
  );
});
parentPort?.postMessage(server.url);
