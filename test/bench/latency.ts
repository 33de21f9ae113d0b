// What round trips cost: a put over three Google Cloud Storage buckets whose every answer takes 50 ms longer, with one
// request in flight at a time and with the default; and a put into folders with a Postgres catalog behind 10 ms, against one
// without.
//
//     node test/bench/latency.ts [--size <MiB>] [--bucket-delay <ms>] [--catalog-delay <ms>]
import { randomFillSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { createVault } from '../../src/compose.ts';
import type { RequestOptions } from '../../src/compose.ts';
import { fileSource } from '../../src/vault/write/source.ts';
import { startPostgres } from '../support/postgres.ts';

const { values } = parseArgs({
  options: {
    size: { type: 'string', default: '256' },
    'bucket-delay': { type: 'string', default: '50' },
    'catalog-delay': { type: 'string', default: '10' },
  },
});
const sizeMebibytes = Number(values.size);
const work = mkdtempSync(join(process.env['VAULT_BENCH_FOLDER'] ?? tmpdir(), 'vault-latency-'));
const input = join(work, 'input');
writeFileSync(input, randomFillSync(Buffer.alloc(sizeMebibytes * 1024 * 1024)));

let vaults = 0;
async function putSeconds(where: {
  readonly db?: string;
  readonly buckets: readonly string[];
  readonly request?: RequestOptions;
}): Promise<number> {
  vaults += 1;
  await using vault = await createVault({
    db: where.db ?? join(work, `catalog-${vaults}.db`),
    buckets: where.buckets.map((url) => url.replace('%', String(vaults))),
    redundancy: { k: 2, m: 1 },
    password: () => Promise.resolve('bench'),
    baseFolder: work,
    request: where.request ?? {},
  });
  const start = performance.now();
  await vault.put(fileSource(input), { name: 'input' });
  return (performance.now() - start) / 1000;
}

const rate = (seconds: number): string =>
  `${seconds.toFixed(2)} s, ${(sizeMebibytes / seconds).toFixed(0)} MiB/s`;

try {
  const names = ['bucket-one', 'bucket-two', 'bucket-three'];
  const server = new Worker(new URL('server-thread.ts', import.meta.url), {
    workerData: { delayMs: Number(values['bucket-delay']), buckets: names },
  });
  const url = await new Promise<string>((resolve, reject) => {
    server.once('message', resolve);
    server.once('error', reject);
  });
  const buckets = names.map((name) => `gs://${name}/vault-%?endpoint=${encodeURIComponent(url)}`);
  console.log(
    `${sizeMebibytes} MiB in chunks of 1 MiB, 2+1, three buckets, ${values['bucket-delay']} ms a request:`,
  );
  const many = await putSeconds({ buckets });
  console.log(`  default                 ${rate(many)}`);
  const one = await putSeconds({ buckets, request: { concurrency: 1 } });
  console.log(`  one request at a time   ${rate(one)}`);
  console.log(`  ratio                   ${(one / many).toFixed(1)}`);
  await server.terminate();

  const postgres = await startPostgres();
  try {
    const folders = names.map((name) => join(work, `${name}-%`));
    console.log(`${sizeMebibytes} MiB into three folders, catalog in Postgres:`);
    const near: number[] = [];
    const far: number[] = [];
    for (let pair = 0; pair < 3; pair += 1) {
      near.push(await putSeconds({ db: await freshDatabase(postgres.url, pair * 2), buckets: folders }));
      const proxy = await delayingProxy(
        await freshDatabase(postgres.url, pair * 2 + 1),
        Number(values['catalog-delay']),
      );
      far.push(await putSeconds({ db: proxy.url, buckets: folders }));
      proxy.close();
    }
    console.log(`  at once                 ${rate(middle(near))}`);
    console.log(`  ${values['catalog-delay']} ms a round trip      ${rate(middle(far))}`);
    console.log(`  ratio                   ${(middle(far) / middle(near)).toFixed(2)}`);
  } finally {
    await postgres.remove();
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}

/** The middle of three. */
function middle(list: readonly number[]): number {
  return list.toSorted((a, b) => a - b)[1] ?? 0;
}

/** A schema of its own for each vault. */
function freshDatabase(url: string, number: number): Promise<string> {
  const own = new URL(url);
  own.searchParams.set('schema', `bench_${number}`);
  return Promise.resolve(own.href);
}

/** Passes bytes on, each half a round trip later. */
async function delayingProxy(url: string, roundTripMs: number): Promise<{ url: string; close(): void }> {
  const target = new URL(url);
  const sockets = new Set<Socket>();
  const proxy = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname);
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from);
      from.setNoDelay(true);
      from.on('error', () => to.destroy());
      from.on('data', (bytes) => setTimeout(() => to.write(bytes), roundTripMs / 2));
      from.on('close', () => setTimeout(() => to.destroy(), roundTripMs));
    }
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const address = proxy.address();
  if (address === null || typeof address === 'string') throw new Error('The proxy has no port.');
  const own = new URL(url);
  own.hostname = '127.0.0.1';
  own.port = String(address.port);
  return {
    url: own.href,
    close() {
      proxy.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
