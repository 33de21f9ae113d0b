import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { sandbox } from './run.ts';
import type { Sandbox } from './run.ts';

/**
 * Has the command find a bucket's folder on a disk whose server has gone: whatever opens the folder, or something in it, opens a
 * pipe instead that nobody writes to, which keeps a thread of the process for ever.
 */
async function hangingFolder(box: Sandbox, folder: string): Promise<{ readonly NODE_OPTIONS: string }> {
  await promisify(execFile)('mkfifo', [box.at('pipe')]);
  await writeFile(
    box.at('hang.mjs'),
    `import fs from 'node:fs';
     import { syncBuiltinESMExports } from 'node:module';
     for (const name of ['open', 'stat', 'lstat', 'readdir', 'mkdir']) {
       const real = fs[name];
       fs[name] = Object.defineProperties((path, ...rest) => {
         if (!(String(path) + '/').startsWith(${JSON.stringify(`${folder}/`)})) return real(path, ...rest);
         fs.writeSync(2, 'HANGS\\n');
         return open(${JSON.stringify(box.at('pipe'))}, 'r', rest.at(-1));
       }, Object.getOwnPropertyDescriptors(real));
       if (name === 'open') var open = real;
     }
     syncBuiltinESMExports();`,
  );
  return { NODE_OPTIONS: `--import=${box.at('hang.mjs')}` };
}

test('a bucket that hangs keeps neither a command nor its end', async () => {
  await using box = await sandbox();
  await box.makeVault({ buckets: 3 });
  // Of many chunks, as it is drawn which buckets a get reads one from.
  const content = randomBytes(16_000_000);
  await writeFile(box.at('file'), content);
  const stored = await box.run(['put', 'file']);
  expect(stored.exit).toBe(0);
  const hash = stored.stdout.trim();
  const env = await hangingFolder(box, box.bucket(2));
  const got = await box.run(['get', hash, '-o', 'copy', '--timeout', '3s'], { env });
  expect(got.stderr).toContain('HANGS');
  expect(got.exit).toBe(0);
  expect((await readFile(box.at('copy'))).equals(content)).toBe(true);
  expect((await box.run(['info', hash, '--timeout', '3s'], { env })).exit).toBe(0);
  await writeFile(box.at('other'), randomBytes(3_000_000));
  const other = await box.run(['put', 'other', '--timeout', '3s'], { env });
  expect(other.exit).toBe(3);
  // It has never answered, so nobody waits for it to come back.
  expect(other.stderr).not.toContain('Waiting for');
});

test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
  'a command that waits for a bucket that hangs ends with %s',
  async (signal) => {
    await using box = await sandbox();
    await box.makeVault({ buckets: 1 });
    await writeFile(box.at('file'), 'content');
    const env = await hangingFolder(box, box.bucket(1));
    const running = box.start(['put', 'file'], { env });
    await new Promise<void>((resolve) => {
      running.process.stderr?.on('data', (piece) => String(piece).includes('HANGS') && resolve());
    });
    running.process.kill(signal);
    expect((await running.ended).exit).toBe(130);
  },
);

test('a second Ctrl-C ends it as it is', async () => {
  await using box = await sandbox();
  await box.makeVault({ buckets: 1 });
  await writeFile(box.at('file'), 'content');
  const env = await hangingFolder(box, box.bucket(1));
  const running = box.start(['put', 'file'], { env });
  await new Promise<void>((resolve) => {
    running.process.stderr?.on('data', (piece) => String(piece).includes('HANGS') && resolve());
  });
  running.process.kill('SIGINT');
  running.process.kill('SIGINT');
  expect((await running.ended).exit).toBe(130);
});

test.skipIf(process.platform !== 'linux')(
  'folders that cannot be made are told, or done without',
  async () => {
    await using box = await sandbox();
    await box.makeVault({ buckets: 1 });
    const listed = await box.run(['ls'], { env: { XDG_CACHE_HOME: '/proc/nope' } });
    expect(listed).toMatchObject({ exit: 0, stderr: '' });
    const made = await box.run(['init', '--bucket', 'b'], { env: { VAULT_DB: '/proc/nope/catalog.db' } });
    expect(made.exit).toBe(2);
    expect(made.stderr).toContain('Cannot make the folder /proc/nope: /proc takes no folders.');
    const bucket = await box.run(['init', '--bucket', '/proc/nope/b'], {
      env: { VAULT_DB: box.at('other.db') },
    });
    expect(bucket.exit).toBe(2);
    expect(bucket.stderr).toContain('/proc takes no folders');
  },
);
