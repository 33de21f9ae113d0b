/** `npm run soak -- [--seconds n] [--seed n] [--db sqlite|postgres] [--clients n] [--faults a,b] [--trace]`: see `engine.ts`. */
import { randomBytes, randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { startPostgres } from '../support/postgres.ts';
import { soak } from './engine.ts';
import type { FaultKind } from './faults.ts';
import { ServerPlaces } from './places.ts';

const ALL_FAULTS: readonly FaultKind[] = [
  'kill',
  'sleep',
  'outage',
  'rot',
  'network',
  'full disk',
  'database crash',
  'lost catalog',
  'change',
];

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string' },
    db: { type: 'string', default: 'sqlite' },
    clients: { type: 'string' },
    faults: { type: 'string', default: ALL_FAULTS.join(',') },
    trace: { type: 'boolean', default: false },
  },
});
const seed = Number(values.seed ?? randomInt(2 ** 31));
const wanted = new Set(values.faults.split(','));
process.stdout.write(`seed ${seed}, catalog in ${values.db}\n`);
const startedAtMs = Date.now();

// Commits must outlive a crash here.
const server = values.db === 'postgres' ? await startPostgres({ synchronous_commit: 'on' }) : null;
let result;
try {
  await using servers = ServerPlaces.start();
  result = await soak({
    seed,
    durationMs: Number(values.seconds) * 1000,
    servers,
    faults: ALL_FAULTS.filter((fault) => wanted.has(fault)),
    ...(values.clients === undefined ? {} : { clients: Number(values.clients) }),
    makeDatabase: () =>
      Promise.resolve(server === null ? null : `${server.url}?schema=soak_${randomBytes(6).toString('hex')}`),
    crashDatabase:
      server === null
        ? null
        : async () => {
            await server.stop('crash');
            await server.start();
          },
    ...(values.trace ? { trace: (line: string) => void process.stdout.write(`${line}\n`) } : {}),
    say: (line) =>
      process.stdout.write(`${((Date.now() - startedAtMs) / 1000).toFixed(0).padStart(6)} s  ${line}\n`),
  });
} finally {
  await server?.remove();
}

const list = (counts: ReadonlyMap<string, number>): string =>
  [...counts].map(([name, times]) => `${name} ${times}`).join(', ');
const sum = (counts: ReadonlyMap<string, number>): number => [...counts.values()].reduce((a, b) => a + b, 0);
process.stdout.write(
  `${result.vaults} vaults, ${result.rounds} rounds in ${((Date.now() - startedAtMs) / 1000).toFixed(0)} s\n` +
    `${sum(result.operations)} operations: ${list(result.operations)}\n` +
    `${sum(result.faults)} faults: ${list(result.faults)}\n`,
);
if (result.finding === null) {
  process.stdout.write('Nothing was found.\n');
} else {
  process.stdout.write(`FOUND: ${result.finding}\n`);
  process.exitCode = 1;
}
