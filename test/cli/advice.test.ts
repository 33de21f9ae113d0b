/** Commands that messages tell somebody to type: a shell reads them as what was meant, whatever a name or URL has in it. */
import { execFileSync } from 'node:child_process';
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { describeLeaving } from '../../src/cli/terminal/condition.ts';
import type { Sandbox } from './run.ts';
import { sandbox } from './run.ts';

const ODD = 'it\'s a "b" & $c?';

let box: Sandbox;
let renew: () => Promise<void>;
beforeAll(async () => {
  box = await sandbox();
  await box.makeVault();
  renew = await box.keep();
});
beforeEach(async () => renew());
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

/** What the command in a message is given by a shell that has it typed. */
function typed(message: string, command: RegExp): string[] {
  const [, line = 'exit 1'] = command.exec(message) ?? [];
  const script = `vault() { printf '%s\\0' "$@"; }; ${line}`;
  return execFileSync('sh', ['-c', script], { encoding: 'utf8' }).split('\0').slice(0, -1);
}

test('ls of a folder that has no such entry', async () => {
  await mkdir(box.at(ODD));
  await writeFile(box.at(ODD, 'file'), 'content');
  for (const name of [ODD, '-n', 'two\nlines', 'a*b']) {
    await box.run(['put', ODD, `--name=${name}`]);
    const { exit, stderr } = await box.run(['get', '--', `${name}/nope`]);
    const [, advice = 'exit 1'] = /" has no entry called "nope"\. "(.*)" lists them\.$/m.exec(stderr) ?? [];
    expect([exit, await box.shell(advice)]).toMatchObject([
      4,
      { exit: 0, stdout: expect.stringMatching(/ file\n$/) },
    ]);
  }
});

test('bucket rm that was cut short', async () => {
  await box.run(['put', '-', '--name', 'a'], { stdin: 'content' });
  await box.run(['bucket', 'add', ODD]);
  const manifests = join(box.bucket(2), 'manifests');
  const [name = ''] = await readdir(manifests);
  // What keeps it from ending.
  await rename(join(manifests, name), box.at('kept'));
  await mkdir(join(manifests, name));
  expect((await box.run(['bucket', 'rm', ODD])).exit).toBe(3);
  await rm(join(manifests, name), { recursive: true });
  await rename(box.at('kept'), join(manifests, name));
  const { stderr } = await box.run(['bucket', 'add', ODD]);
  const words = ['bucket', 'rm', pathToFileURL(box.at(ODD)).href];
  expect(typed(stderr, /"(vault bucket rm .*)" ends it/)).toEqual(words);
  const url = 's3://bucket/p?region=us-east-1&endpoint=http://localhost:9000';
  const [said = ''] = describeLeaving([{ url, state: 'draining' }]);
  expect(typed(said, /"(vault bucket rm .*)" ends it/)).toEqual(['bucket', 'rm', url]);
});

test('recover from a bucket of another vault, and put into the vault that was made', async () => {
  const made = await box.run(['init', '--verbose', '--db', `${ODD}.db`, '--bucket', ODD]);
  expect(typed(made.stderr, /Next: (vault .*) <path>/)).toEqual(['--db', `${ODD}.db`, 'put']);
  const { exit, stderr } = await box.run(['init', '--db', 'x.db', '--bucket', ODD]);
  const words = ['recover', '--bucket', pathToFileURL(box.at(ODD)).href];
  expect([exit, typed(stderr, /(vault recover .*)/)]).toEqual([2, words]);
});

test('key add for a key that a rotation has taken away', async () => {
  await box.run(['key', 'add', '--role', 'put', '--label', ODD, '--new-key-file', 'put.key']);
  const { exit, stderr } = await box.run([
    'key',
    'rotate',
    '--yes',
    '--verbose',
    '--new-key-file',
    'root.key',
  ]);
  const words = ['key', 'add', '--label', ODD, '--role', 'put'];
  expect([exit, typed(stderr, /(vault key add .*)/)]).toEqual([0, words]);
});

test('a pattern in whose place a shell has put files', async () => {
  await mkdir(box.at(ODD));
  const files = ['1.pdf', '2.pdf'].map((name) => join(ODD, name));
  for (const file of files) await writeFile(box.at(file), '');
  const { exit, stderr } = await box.run(['get', ...files]);
  expect([exit, typed(stderr, /(vault get .*)/)]).toEqual([4, ['get', `${ODD}/*.pdf`]]);
});
