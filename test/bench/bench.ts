// Single files, many files, starts and a sweep, beside restic without compression and cache, or beside a bare node.
import { randomFillSync } from 'node:crypto';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openBucket } from '../../src/buckets/open.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import { prepareBucket } from '../../src/compose.ts';
import { KDF_LIMITS } from '../../src/format/limits.ts';
import { createVault } from '../../src/vault/manage/create.ts';
import { beyond, compare, OUT, peak, processor, rate, readMebibytes, seconds, wall } from './lines.ts';
import type { Aim, Step } from './lines.ts';
import { env, freshRepository, freshVault, largeFile, MIB, remove, resticVersion, run } from './workbench.ts';
import { values, vault, work } from './workbench.ts';

const bytes = Number(values.size) * MIB;
const file = `large-${values.size}`;
const restic = ['restic', '--no-cache', '--quiet'];
const backup = [...restic, 'backup', '--compression', 'off'];
const put = [...vault, 'put', file];
const [out, restored] = OUT;
// restic was slower at storing until then.
const isOld = /^restic 0\.(\d|1[0-8])\./.test(resticVersion ?? '');

const begin = (redundancy: string) => () => {
  largeFile();
  freshVault('--redundancy', redundancy, '--compression', 'off');
  freshRepository();
};
const get: Step = {
  name: 'get',
  aims: [wall(0.8), processor(0.8), peak(200)],
  ours: [...vault, 'get', file, '-o', out],
  peer: [...restic, 'restore', 'latest', '--target', restored],
  restores: { from: file, ours: out, peer: join(restored, file) },
};
const putAims = (most: number): Aim[] => [wall(most), peak(200)];
const unread: Step = {
  name: 'put again, unchanged',
  // A command reads so much of itself at most.
  aims: [rate(bytes, 1.5), readMebibytes(16)],
  ours: put,
  peer: [...backup, file],
};
const reread: Step = {
  name: 'put again, --force-read',
  aims: [rate(bytes, 1.5)],
  ours: [...put, '--force-read'],
  peer: [...backup, '--force', file],
};
const otherName: Step = {
  name: 'the same content under another name',
  prepare: () => run(['cp', file, 'copy']),
  ours: [...vault, 'put', 'copy'],
  peer: [...backup, 'copy'],
};
for (const [redundancy, aims, more] of [
  ['1+0', [...putAims(isOld ? 0.38 : 0.45), processor(0.45)], []],
  ['2+1', putAims(isOld ? 0.55 : 0.65), [unread, reread, otherName]],
] as const) {
  const steps = [{ name: 'put', aims, ours: put, peer: [...backup, file] }, get, ...more];
  await compare(redundancy, steps, { begin: begin(redundancy) });
}
for (const [size, most] of [
  ['8MiB', 300],
  ['64MiB', 600],
] as const) {
  const steps = [
    { name: 'put', aims: [peak(most)], ours: [...put, '--chunk-size', size] },
    { name: 'get', aims: [peak(most)], ours: get.ours },
  ];
  await compare(`chunks of ${size}`, steps, { begin: begin('2+1') });
}

/** Files of 10 KiB. @returns their folder */
function smallFiles(count: number): string {
  const name = `small-${count}`;
  if (existsSync(join(work, name))) return name;
  mkdirSync(join(work, name));
  for (let i = 0; i < count; i += 1)
    writeFileSync(join(work, name, `file-${i}`), randomFillSync(Buffer.alloc(10 * 1024)));
  return name;
}
/** A verb on all of them. */
const onAll = (verb: string): string[] => ['bash', '-c', `exec "$0" "$1" ${verb} *`, ...vault];

function putSmall(count: number, aims: readonly Aim[]): Step {
  return {
    name: 'put',
    aims: [...aims, peak(200)],
    prepare: () => smallFiles(count),
    cwd: `small-${count}`,
    ours: onAll('put'),
    peer: [...backup, '.'],
    check() {
      const hashes = new Set(run([...vault, 'ls', '-l']).match(/\b[0-9a-f]{64}\b/g));
      if (hashes.size !== count) throw new Error(`${count} files have ${hashes.size} hashes.`);
    },
  };
}
const many = Number(values.many);
const [few] = await compare('1000 files of 10 KiB', [putSmall(1000, [wall(2)])], { begin: begin('2+1') });
const asFew: Aim = {
  what: 'peak beside that of 1000',
  limit: 1.25,
  of: ({ peakMebibytes }) => (peakMebibytes ?? NaN) / (few?.peakMebibytes ?? NaN),
};
const quick = [seconds(10)];
const steps = [
  putSmall(many, [wall(3), asFew]),
  { name: 'ls', aims: quick, ours: [...vault, 'ls'] },
  { name: 'verify', aims: quick, ours: [...vault, 'verify'] },
  { name: 'rm', aims: quick, cwd: `small-${many}`, ours: onAll('rm') },
];
await compare(`${many} files of 10 KiB`, steps, { begin: begin('2+1') });

/** A vault whose password costs as little as a reader allows. */
async function cheapVault(): Promise<void> {
  remove('vault');
  const urls = await Promise.all(
    [1, 2, 3].map((n) => prepareBucket(join(work, 'vault', `bucket-${n}`), work)),
  );
  const catalog = await openCatalog(env['VAULT_DB'] ?? '', { create: true });
  const kdfCost = { memoryKib: KDF_LIMITS.memoryKib.least, passes: 1, lanes: 1 };
  const settings = { redundancy: null, password: 'bench', kdfCost, nowMs: Date.now() };
  await createVault({ catalog, urls, opener: (url) => openBucket(url), ...settings });
  await catalog.close();
}
const bare = [process.execPath, '-e', '0'];
const starts = [
  { name: '--help, beside a bare node', aims: [beyond(40)], ours: [...vault, '--help'], peer: bare },
  {
    name: 'ls without key derivation, beside a bare node',
    aims: [beyond(150)],
    ours: [...vault, 'ls'],
    peer: bare,
  },
];
// What has been compiled is kept from the first start on.
const started = async (): Promise<void> => {
  await cheapVault();
  for (const { ours } of starts) run(ours);
};
await compare('start', starts, { begin: started, pairs: 15 });

const sweep = [process.execPath, join(import.meta.dirname, 'sweep.ts'), '--chunks', values.chunks];
await compare('sweep', [{ name: `${values.chunks} chunks`, ours: sweep }], { begin: () => null, pairs: 1 });
