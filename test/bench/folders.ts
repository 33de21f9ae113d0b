// Folders beside restic as it is, both compressing by default; README.md says which corpora.
import { appendFileSync, mkdirSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { makeEntries } from './entries.ts';
import { added, addedMebibytes, compare, OUT, peak, processor, skip, wall } from './lines.ts';
import type { Aim, SceneOptions, Step } from './lines.ts';
import { freshRepository, freshVault, largeFile, remove, run, values, vault, work } from './workbench.ts';
import { writeRandom } from './workbench.ts';

const restic = ['restic', '--quiet'];
const [out, restored] = OUT;
const tree = join(work, 'tree');

function begins(make: () => void): SceneOptions {
  return {
    counts: true,
    begin() {
      remove('tree');
      make();
      freshVault('--redundancy', '1+0');
      freshRepository();
    },
  };
}

function filesOf(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

function change(count: number): void {
  const files = filesOf(tree);
  const step = Math.max(1, Math.floor(files.length / count));
  for (let i = 0; i < Math.min(count, files.length); i += 1)
    appendFileSync(files[i * step] ?? '', 'changed\n');
}

const copyOf = (folder: string) => () => run(['cp', '-a', resolve(folder), tree]);

function putting(name: string, aims: readonly Aim[], prepare: () => unknown = () => null): Step {
  const backup = [...restic, 'backup', 'tree'];
  return { name, aims, prepare: () => void prepare(), ours: [...vault, 'put', 'tree'], peer: backup };
}

function storing(aims: Readonly<Record<'first' | 'again' | 'restore', readonly Aim[]>>): Step[] {
  return [
    putting('first put', aims.first),
    putting('again, nothing changed', aims.again),
    {
      name: 'restore of all',
      aims: aims.restore,
      ours: [...vault, 'get', 'tree', '-o', out],
      peer: [...restic, 'restore', 'latest', '--target', restored],
      restores: { from: 'tree', ours: out, peer: join(restored, 'tree') },
    },
  ];
}

async function kernel(corpus: string): Promise<void> {
  const files = filesOf(corpus);
  const one = files.find((path) => path.endsWith('/MAINTAINERS')) ?? files[0] ?? '';
  const path = `tree${resolve(one).slice(resolve(corpus).length)}`;
  const steps = storing({
    first: [wall(0.5), processor(0.5), added(0.85), peak(220)],
    again: [wall(0.4), processor(0.4), peak(220)],
    restore: [wall(0.7), processor(0.7), peak(220)],
  });
  steps.push(
    {
      name: 'one file out of it',
      aims: [wall(0.5)],
      ours: [...vault, 'get', path, '-o', '-'],
      peer: [...restic, 'dump', 'latest', path],
    },
    putting('again, 100 files changed', [wall(0.5), added(2.5)], () => change(100)),
  );
  if (values.second === '') skip('corpus: another version after it', 'no --second <folder>');
  else {
    const take = (): void => {
      remove('tree');
      copyOf(values.second)();
    };
    steps.push(putting('another version after it', [added(1)], take));
  }
  await compare('corpus', steps, begins(copyOf(corpus)));
}

if (values.corpus === '') skip('corpus', 'no --corpus <folder>');
else await kernel(values.corpus);

const notSlower = storing({ first: [wall(1)], again: [wall(1)], restore: [wall(1)] });
if (values.modules !== '') await compare('modules', notSlower, begins(copyOf(values.modules)));
const media = Number(values.media);
const makeMedia = (): void => {
  mkdirSync(tree);
  for (let i = 0; i < media; i += 1) writeRandom(join(tree, `media-${i}`), 50_000_000);
};
if (media > 0) await compare('media', notSlower, begins(makeMedia));

const putLarge = [...vault, 'put', '--chunks', 'content', 'large'];
const backupLarge = [...restic, 'backup', 'large'];
const insert = (): void => {
  run(['bash', '-c', 'head -c 1000000 /dev/urandom >new && cat large >>new && mv new large']);
};
const inserting: Step[] = [
  { name: 'put --chunks content', ours: putLarge, peer: backupLarge },
  {
    name: '1 MB put in front of it',
    aims: [addedMebibytes(5)],
    prepare: insert,
    ours: putLarge,
    peer: backupLarge,
  },
];
await compare(
  'large file',
  inserting,
  begins(() => run(['cp', largeFile(), 'large'])),
);

const entries = Number(values.entries);
const most = [peak(500)];
const listing: Step = {
  name: 'ls -R',
  aims: most,
  ours: [...vault, 'ls', '-R', 'tree/'],
  peer: [...restic, 'ls', 'latest'],
};
// Once: it takes long, and memory differs little from run to run.
if (entries > 0) {
  const steps = [putting('first put', most), putting('again, nothing changed', most), listing];
  await compare(`${entries} entries`, steps, { ...begins(() => makeEntries(tree, entries)), pairs: 1 });
}
