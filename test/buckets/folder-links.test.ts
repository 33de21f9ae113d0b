import { Buffer } from 'node:buffer';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { openFolderBucket } from '../../src/buckets/folder/driver.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { codeOf, listAll } from './conformance.ts';
import { refusesLinks } from './folder-links.ts';

refusesLinks('refuses links inside');

test.skipIf(process.platform !== 'linux')(
  'nothing gets out of a bucket while its folders are exchanged for links and back',
  async () => {
    await using folder = await temporaryFolder();
    for (const name of ['bucket/chunks', 'bucket/unfinished~', 'outside']) {
      await mkdir(folder.at(name), { recursive: true });
    }
    await writeFile(folder.at('outside/vault.json'), 'precious');
    await writeFile(
      folder.at('exchange.mjs'),
      `import { renameSync, rmSync, symlinkSync, unlinkSync } from 'node:fs';
       const [root, outside] = process.argv.slice(2);
       const attempt = (step) => { try { step(); } catch {} };
       console.log('ready');
       for (let turn = 0; ; turn += 1) for (const name of ['/chunks', '/unfinished~']) {
         // The driver makes the folder again in an instant in which it is not there.
         attempt(() => renameSync(root + name, root + '/away' + turn));
         attempt(() => symlinkSync(outside, root + name));
         attempt(() => unlinkSync(root + name));
         attempt(() => renameSync(root + '/away' + turn, root + name));
         attempt(() => rmSync(root + '/away' + turn, { recursive: true, force: true }));
       }`,
    );
    const child = spawn(
      process.execPath,
      [folder.at('exchange.mjs'), folder.at('bucket'), folder.at('outside')],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    const ended = once(child, 'close');
    await once(child.stdout, 'data');
    const bucket = openFolderBucket(folder.at('bucket'), { label: 'file:///bucket' });
    const attempts = async (): Promise<void> => {
      for (let turn = 0; turn < 150; turn += 1) {
        const content = Buffer.from(`content ${turn}`);
        await codeOf(bucket.put('chunks/vault.json', content, { replace: true }));
        await codeOf(bucket.put(`chunks/${turn}`, content));
        const got = await bucket.get('chunks/vault.json').catch(() => content);
        expect(Buffer.from(got).toString()).toMatch(/^content /);
        await codeOf(bucket.remove('chunks/vault.json'));
        await codeOf(listAll(bucket, ''));
      }
    };
    try {
      await Promise.all([attempts(), attempts(), attempts()]);
    } finally {
      child.kill('SIGKILL');
      await ended;
    }
    expect(await readdir(folder.at('outside'))).toEqual(['vault.json']);
  },
);
