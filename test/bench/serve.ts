// `vault serve` beside the command line on the same files. Clients are curl, and a hundred at once in this process.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { hold, start, tellRuns, wall } from './lines.ts';
import { measure } from './process.ts';
import type { Measured } from './process.ts';
import { env, freshVault, largeFile, MIB, pairs, run, values, vault, work } from './workbench.ts';

const clients = Number(values.clients);
const input = largeFile();
const [output, small] = [join(work, 'output'), join(work, 'small')];
const names = Array.from({ length: clients }, (_, i) => `file-${i}`);

const timed = (command: readonly string[], cwd = work): Promise<Measured> => measure(command, { env, cwd });
const empty = (): void => freshVault('--redundancy', '2+1');

/** Starts a server, and ends it when the work is done. @returns what the work gave, and the server's highest memory in MiB */
async function serving<T>(use: (url: string) => Promise<T>): Promise<readonly [T, number]> {
  const [program, ...args] = [...vault, 'serve', '--listen', '127.0.0.1:0'];
  const server: ChildProcess = spawn(program, args, { env, cwd: work, stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: server.stdout ?? process.stdin });
  const [line] = await once(lines, 'line');
  lines.on('line', () => undefined);
  try {
    const result = await use(/http:\/\/[^"]+/.exec(String(line))?.[0] ?? '');
    const peak = /^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${server.pid ?? 0}/status`, 'utf8'))?.[1];
    return [result, Number(peak) / 1024];
  } finally {
    server.kill('SIGTERM');
    await once(server, 'close');
  }
}

/** One request. @returns milliseconds until the first byte of the answer's body, and until its end */
async function ask(
  url: string,
  body: Buffer | null,
): Promise<{ readonly first: number; readonly end: number }> {
  const startedAt = performance.now();
  const sent = request(url, {
    method: body === null ? 'GET' : 'PUT',
    headers: body === null ? {} : { 'Content-Length': body.length },
    agent: false,
  });
  const answered = Promise.withResolvers<IncomingMessage>();
  sent
    .on('response', answered.resolve)
    .on('error', answered.reject)
    .end(body ?? undefined);
  const response = await answered.promise;
  if ((response.statusCode ?? 500) > 201) throw new Error(`${url} answered ${String(response.statusCode)}`);
  await once(response, 'readable');
  const first = performance.now() - startedAt;
  // Of a large file the rest is not wanted.
  if (body === null) response.destroy();
  else await response.resume().toArray();
  return { first, end: performance.now() - startedAt };
}

start();
mkdirSync(small);
for (const name of names) writeFileSync(join(small, name), randomFillSync(Buffer.alloc(MIB)));

const times = {
  up: new Array<Measured>(),
  down: new Array<Measured>(),
  put: new Array<Measured>(),
  get: new Array<Measured>(),
};
const many = { up: new Array<Measured>(), put: new Array<Measured>() };
const curl = ['curl', '-sS', '-f', '-o'];
for (let pair = 0; pair < pairs; pair += 1) {
  empty();
  times.put.push(await timed([...vault, 'put', input]));
  times.get.push(await timed([...vault, 'get', input, '-f', '-o', output]));
  empty();
  const [[up, down], one] = await serving(async (url) => [
    await timed([...curl, '/dev/null', '-T', input, `${url}/api/files/${input}`]),
    await timed([...curl, output, `${url}/api/files/${input}`]),
  ]);
  // The memory is the server's.
  times.up.push({ ...up, peakMebibytes: one });
  times.down.push({ ...down, peakMebibytes: one });
  empty();
  many.put.push(await timed(['bash', '-c', 'exec "$0" "$1" put *', ...vault], small));
  empty();
  const bodies = names.map((name) => readFileSync(join(small, name)));
  const [wallSeconds, peakMebibytes] = await serving(async (url) => {
    const startedAt = performance.now();
    await Promise.all(bodies.map((body, i) => ask(`${url}/api/files/file-${i}`, body)));
    return (performance.now() - startedAt) / 1000;
  });
  many.up.push({ wallSeconds, processorSeconds: NaN, peakMebibytes, readMebibytes: null });
}
const aims = [wall(1.25)];
tellRuns('upload, beside put', aims, times.up, times.put);
tellRuns('download, beside get', aims, times.down, times.get);
tellRuns(`${clients} uploads of 1 MiB, beside put *`, aims, many.up, many.put);

empty();
const long = largeFile(Number(values.first));
run([...vault, 'put', long]);
const [waits] = await serving(async (url) => {
  const found: number[] = [];
  for (let i = 0; i < 7; i += 1) {
    found.push((await ask(`${url}/api/files/${long}`, null)).first);
    // What was called off ends before the next one.
    await delay(500);
  }
  return found.toSorted((a, b) => a - b);
});
hold(`first byte of ${values.first} MiB`, 'ms', waits[3] ?? NaN, 200);
