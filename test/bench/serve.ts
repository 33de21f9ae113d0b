// Measures `vault serve` against the command line on the same machine, files and buckets: what counts is the ratio of a line.
// Clients are curl, and a hundred at once in this process.
//
//     npm run bench -- serve [--size <MiB>] [--first <MiB>] [--clients <n>] [--pairs <n>]
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { request } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { measure, median } from './process.ts';
import type { Measured } from './process.ts';

const { values } = parseArgs({
  options: {
    size: { type: 'string', default: '1024' },
    // 10240 is what the promise is about; the first byte should not depend on it.
    first: { type: 'string', default: '2048' },
    clients: { type: 'string', default: '100' },
    pairs: { type: 'string', default: '3' },
  },
});
const [clients, pairs] = [Number(values.clients), Number(values.pairs)];
const vault = [process.execPath, resolve(import.meta.dirname, '../../bin/vault.js')];
const work = mkdtempSync(join(process.env['VAULT_BENCH_FOLDER'] ?? tmpdir(), 'vault-bench-'));
process.once('exit', () => rmSync(work, { recursive: true, force: true }));
process.once('SIGINT', () => process.exit(130));
const env: NodeJS.ProcessEnv = {
  PATH: process.env['PATH'],
  HOME: work,
  VAULT_PASSWORD: 'bench',
  VAULT_DB: join(work, 'vault', 'catalog.db'),
};
const [input, output, small] = [join(work, 'input'), join(work, 'output'), join(work, 'small')];
const names = Array.from({ length: clients }, (_, i) => `file-${i}`);

function writeRandom(path: string, mebibytes: number): void {
  const file = openSync(path, 'w');
  const block = Buffer.allocUnsafe(1024 * 1024);
  for (let i = 0; i < mebibytes; i += 1) writeSync(file, randomFillSync(block));
  closeSync(file);
}

function quietly(command: readonly string[]): void {
  const [program = '', ...args] = command;
  const { status, stderr } = spawnSync(program, args, { env, cwd: work });
  if (status !== 0)
    throw new Error(`${command.join(' ')} exited with ${String(status)}: ${stderr.toString()}`);
}

function freshVault(): void {
  rmSync(join(work, 'vault'), { recursive: true, force: true });
  mkdirSync(join(work, 'vault'));
  quietly([...vault, 'init', '--local', '--redundancy', '2+1']);
}

const run = (command: readonly string[], cwd = work): Promise<Measured> => measure(command, { env, cwd });

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

function say(name: string, ...cells: readonly string[]): void {
  console.log(name.padEnd(44) + cells.map((cell) => cell.padStart(12)).join(''));
}

function compare(name: string, ours: readonly Measured[], theirs: readonly Measured[], peak: number): void {
  const [a, b] = [median(ours).wallSeconds, median(theirs).wallSeconds];
  say(
    name,
    `${a.toFixed(2)} s`,
    `${b.toFixed(2)} s`,
    (a / b).toFixed(2),
    peak === 0 ? '' : `${peak.toFixed(0)} MiB`,
  );
}

writeRandom(input, Number(values.size));
mkdirSync(small);
for (const name of names) writeFileSync(join(small, name), randomFillSync(Buffer.alloc(1024 * 1024)));
say(`${values.size} MiB, ${clients} clients, ${pairs} pairs`, 'over HTTP', 'command', 'ratio', 'peak');

const times = {
  up: new Array<Measured>(),
  down: new Array<Measured>(),
  put: new Array<Measured>(),
  get: new Array<Measured>(),
};
const many = { up: new Array<Measured>(), put: new Array<Measured>() };
const peaks = { one: 0, many: 0 };
const curl = ['curl', '-sS', '-f', '-o'];
for (let pair = 0; pair < pairs; pair += 1) {
  freshVault();
  times.put.push(await run([...vault, 'put', 'input']));
  times.get.push(await run([...vault, 'get', 'input', '-f', '-o', output]));
  freshVault();
  const [, one] = await serving(async (url) => {
    times.up.push(await run([...curl, '/dev/null', '-T', input, `${url}/api/files/input`]));
    times.down.push(await run([...curl, output, `${url}/api/files/input`]));
  });
  freshVault();
  many.put.push(await run(['bash', '-c', 'exec "$0" "$1" put *', ...vault], small));
  freshVault();
  const bodies = names.map((name) => readFileSync(join(small, name)));
  const [, all] = await serving(async (url) => {
    const startedAt = performance.now();
    await Promise.all(bodies.map((body, i) => ask(`${url}/api/files/file-${i}`, body)));
    const wallSeconds = (performance.now() - startedAt) / 1000;
    many.up.push({ wallSeconds, processorSeconds: 0, peakMebibytes: null });
  });
  peaks.one = Math.max(peaks.one, one);
  peaks.many = Math.max(peaks.many, all);
}
compare('upload (put); at most 1.25', times.up, times.put, peaks.one);
compare('download (get); at most 1.25', times.down, times.get, peaks.one);
compare(`${clients} uploads of 1 MiB (put *); at most 1.25`, many.up, many.put, peaks.many);

freshVault();
writeRandom(input, Number(values.first));
quietly([...vault, 'put', 'input']);
const [waits] = await serving(async (url) => {
  const found: number[] = [];
  for (let i = 0; i < 7; i += 1) {
    found.push((await ask(`${url}/api/files/input`, null)).first);
    // What was called off ends before the next one.
    await delay(500);
  }
  return found.toSorted((a, b) => a - b);
});
say(
  `first byte of ${values.first} MiB; under 200 ms`,
  `${(waits[3] ?? 0).toFixed(0)} ms`,
  '',
  '',
  `worst ${(waits[6] ?? 0).toFixed(0)} ms`,
);
