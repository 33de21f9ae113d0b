import { Buffer } from 'node:buffer';
import { execFile, spawn } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import {
  chmod,
  chown,
  lutimes,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { promisify } from 'node:util';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { Bucket } from '../../src/buckets/bucket.ts';
import { createFolder, openFolderBucket } from '../../src/buckets/folder/driver.ts';
import { smallDisk } from '../support/small-disk.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import type { TemporaryFolder } from '../support/temporary-folder.ts';
import { bucketConformance, codeOf, listAll } from './conformance.ts';
import { manyObjects, whileAway } from './folder-away.ts';

bucketConformance('folder', async () => {
  const folder = await temporaryFolder();
  return {
    bucket: openFolderBucket(folder.path, { label: 'file:///one' }),
    reopen: async () => openFolderBucket(folder.path, { label: 'file:///one' }),
    openMissing: async () => openFolderBucket(folder.at('absent'), { label: 'file:///absent' }),
    cleanUp: async () => {
      await folder[Symbol.asyncDispose]();
    },
  };
});

const CONTENT = Buffer.from('content');

function open(folder: TemporaryFolder, name = 'bucket'): Bucket {
  return openFolderBucket(folder.at(name), { label: `file:///${name}` });
}

function ago(ms: number): Date {
  return new Date(Date.now() - ms);
}

async function modeOf(path: string): Promise<string> {
  return ((await stat(path)).mode & 0o777).toString(8);
}

describe('what lies in the folder', () => {
  test('an object is the file of its name, for its owner only', async () => {
    await using folder = await temporaryFolder();
    await createFolder(folder.at('x/bucket'));
    const bucket = open(folder, 'x/bucket');
    await bucket.put('chunks/object', CONTENT);
    await bucket.put('vault.json', CONTENT, { replace: true });
    expect(await promisify(execFile)('cat', [folder.at('x/bucket/chunks/object')])).toMatchObject({
      stdout: 'content',
    });
    expect(await modeOf(folder.at('x'))).toBe('700');
    expect(await modeOf(folder.at('x/bucket'))).toBe('700');
    expect(await modeOf(folder.at('x/bucket/chunks'))).toBe('700');
    expect(await modeOf(folder.at('x/bucket/chunks/object'))).toBe('600');
    expect(await modeOf(folder.at('x/bucket/vault.json'))).toBe('600');
  });

  test('nothing else is left by operations, however they ended', async () => {
    await using folder = await temporaryFolder();
    await createFolder(folder.at('bucket'));
    const bucket = open(folder);
    await bucket.put('a', CONTENT);
    await bucket.put('a', CONTENT);
    await bucket.put('a', CONTENT, { replace: true });
    expect(await codeOf(bucket.put('a', Buffer.from('other')))).toBe('already-exists');
    const controller = new AbortController();
    const ending = codeOf(bucket.put('b', randomBytes(1_000_000), { signal: controller.signal }));
    controller.abort();
    expect(await ending).toBe('interrupted');
    expect(await readdir(folder.at('bucket/unfinished~'))).toEqual([]);
    expect((await readdir(folder.at('bucket'))).toSorted()).toEqual(['a', 'unfinished~']);
  });

  test('objects that were copied here by other means are objects', async () => {
    await using folder = await temporaryFolder();
    await mkdir(folder.at('bucket/chunks'), { recursive: true });
    await writeFile(folder.at('bucket/chunks/object'), 'content');
    const bucket = open(folder);
    expect(await listAll(bucket, '')).toEqual([{ name: 'chunks/object', size: 7 }]);
    await bucket.put('chunks/object', CONTENT);
    expect(await codeOf(bucket.put('chunks/object', Buffer.from('CONTENT')))).toBe('already-exists');
  });

  test('files that no object can be are left alone and not listed', async () => {
    await using folder = await temporaryFolder();
    await mkdir(folder.at('bucket'));
    for (const name of ['object', 'my notes', 'ünï', 'unfinished~~']) {
      await writeFile(folder.at('bucket', name), '');
    }
    await promisify(execFile)('mkfifo', [folder.at('bucket/fifo')]);
    await symlink('nowhere', folder.at('bucket/no object'));
    const bucket = open(folder);
    expect(await listAll(bucket, '')).toEqual([{ name: 'object', size: 0 }]);
    expect((await readdir(folder.at('bucket'))).length).toBe(6);
  });

  test('what only the system may read at the root of a disk does not stop a listing', async () => {
    await using folder = await temporaryFolder();
    await mkdir(folder.at('bucket/lost+found/x'), { recursive: true });
    await writeFile(folder.at('bucket/lost+found/x/object'), '');
    expect(await listAll(open(folder), '')).toEqual([]);
  });

  test('createFolder leaves a folder as it is, and refuses a file', async () => {
    await using folder = await temporaryFolder();
    await mkdir(folder.at('old'), { mode: 0o755 });
    await createFolder(folder.at('old'));
    expect(await modeOf(folder.at('old'))).toBe('755');
    await writeFile(folder.at('file'), '');
    expect(await codeOf(createFolder(folder.at('file')))).toBe('invalid-input');
    expect(await codeOf(createFolder(folder.at('file/below')))).toBe('invalid-input');
  });
});

describe('a folder that is not what it was', () => {
  test.each(['put', 'get', 'list'] as const)(
    'is bucket-missing when its disk was unmounted after a %s',
    async (first) => {
      await using folder = await temporaryFolder();
      await createFolder(folder.at('bucket'));
      await open(folder).put('chunks/object', CONTENT);
      const bucket = open(folder);
      if (first === 'put') await bucket.put('chunks/next', CONTENT);
      if (first === 'get') await bucket.get('chunks/object');
      if (first === 'list') await listAll(bucket, '');
      // What is left of an unmounted disk: an empty folder of the same name.
      await rename(folder.at('bucket'), folder.at('elsewhere'));
      await mkdir(folder.at('bucket'));
      expect(await codeOf(bucket.get('chunks/object'))).toBe('bucket-missing');
      expect(await codeOf(bucket.put('chunks/more', CONTENT))).toBe('bucket-missing');
      expect(await codeOf(bucket.put('more', CONTENT, { replace: true }))).toBe('bucket-missing');
      expect(await codeOf(bucket.remove('chunks/object'))).toBe('bucket-missing');
      expect(await codeOf(listAll(bucket, ''))).toBe('bucket-missing');
      expect(await codeOf(listAll(bucket, 'chunks/'))).toBe('bucket-missing');
      expect(await readdir(folder.at('bucket'))).toEqual([]);
    },
  );

  test('has all its objects still when it was away for a moment, and says nothing else of them meanwhile', async () => {
    await using folder = await temporaryFolder();
    const bucket = open(folder);
    const names = await manyObjects(folder, CONTENT);
    const during = async <T>(ask: () => Promise<T>): Promise<T> => whileAway(folder, ask);
    const answers = ['success', 'bucket-missing'];
    await bucket.get('chunks/000');
    expect(answers).toContain(await during(() => codeOf(bucket.get('chunks/000'))));
    expect(await codeOf(bucket.get('chunks/000'))).toBe('success');
    expect(answers).toContain(await during(() => codeOf(listAll(bucket, 'chunks/'))));
    expect(await listAll(bucket, 'chunks/')).toHaveLength(names.length);
    const removed = await during(() => codeOf(bucket.remove('chunks/000')));
    expect(answers).toContain(removed);
    const left = await listAll(bucket, 'chunks/');
    expect(left).toHaveLength(removed === 'success' ? names.length - 1 : names.length);
  });

  test('is bucket-missing for everybody when it is a file', async () => {
    await using folder = await temporaryFolder();
    await writeFile(folder.at('bucket'), '');
    const bucket = open(folder);
    expect(await codeOf(bucket.put('a', CONTENT))).toBe('bucket-missing');
    expect(await codeOf(bucket.get('a'))).toBe('bucket-missing');
    expect(await codeOf(listAll(bucket, ''))).toBe('bucket-missing');
  });

  test('gets its sub-folders again when somebody removed them', async () => {
    await using folder = await temporaryFolder();
    await createFolder(folder.at('bucket'));
    const bucket = open(folder);
    await bucket.put('chunks/a', CONTENT);
    await rm(folder.at('bucket/chunks'), { recursive: true });
    await bucket.put('chunks/b', CONTENT);
    await rm(folder.at('bucket/unfinished~'), { recursive: true });
    await bucket.put('chunks/c', CONTENT);
    expect((await listAll(bucket, '')).map(({ name }) => name)).toEqual(['chunks/b', 'chunks/c']);
  });
});

describe('something else under the name of an object', () => {
  test('is damaged when it is no regular file', async () => {
    await using folder = await temporaryFolder();
    await mkdir(folder.at('bucket'));
    await promisify(execFile)('mkfifo', [folder.at('bucket/fifo')]);
    const bucket = open(folder);
    expect(await codeOf(bucket.get('fifo'))).toBe('damaged');
    expect(await codeOf(bucket.put('fifo', CONTENT))).toBe('already-exists');
    await bucket.put('fifo', CONTENT, { replace: true });
    expect(Buffer.from(await bucket.get('fifo')).toString()).toBe('content');
  });

  test('is a name that is taken, or none, when it is a folder', async () => {
    await using folder = await temporaryFolder();
    await createFolder(folder.at('bucket'));
    const bucket = open(folder);
    await bucket.put('a/b', CONTENT);
    expect(await codeOf(bucket.put('a', CONTENT))).toBe('already-exists');
    expect(await codeOf(bucket.put('a', CONTENT, { replace: true }))).toBe('already-exists');
    expect(await codeOf(bucket.put('a/b/c', CONTENT))).toBe('already-exists');
    expect(await codeOf(bucket.put('a/b/c/d', CONTENT))).toBe('already-exists');
    expect(await codeOf(bucket.get('a/b/c'))).toBe('object-missing');
    await bucket.remove('a');
    await bucket.remove('a/b/c');
    expect(await listAll(bucket, '')).toEqual([{ name: 'a/b', size: 7 }]);
  });

  test.skipIf(process.platform !== 'linux')('is damaged when it is not as long as it says', async () => {
    // Files of /proc say that they are empty and are not.
    const bucket = openFolderBucket('/proc/self', { label: 'file:///proc' });
    expect(await codeOf(bucket.get('status'))).toBe('damaged');
  });
});

describe('trouble of the system', () => {
  test.skipIf(process.seteuid === undefined)('no permission is denied', async () => {
    await using folder = await temporaryFolder();
    await createFolder(folder.at('bucket'));
    const bucket = open(folder);
    await bucket.put('chunks/object', CONTENT);
    const denied = openFolderBucket(folder.at('bucket'), { label: 'file:///one' });
    const isRoot = process.geteuid?.() === 0;
    for (const path of [
      folder.path,
      folder.at('bucket'),
      folder.at('bucket/chunks'),
      folder.at('bucket/unfinished~'),
    ]) {
      if (isRoot) await chown(path, 65_534, 65_534);
    }
    await chmod(folder.at('bucket/unfinished~'), 0o500);
    await chmod(folder.at('bucket/chunks'), 0o000);
    // Root may do everything, so root tries as nobody.
    if (isRoot) process.seteuid?.(65_534);
    try {
      expect(await codeOf(denied.put('chunks/next', CONTENT))).toBe('denied');
      expect(await codeOf(denied.get('chunks/object'))).toBe('denied');
      expect(await codeOf(denied.remove('chunks/object'))).toBe('denied');
      expect(await codeOf(listAll(denied, ''))).toBe('denied');
      expect(await codeOf(createFolder(folder.at('bucket/chunks/new')))).toBe('denied');
    } finally {
      if (isRoot) process.seteuid?.(0);
      await chmod(folder.at('bucket/chunks'), 0o700);
      await chmod(folder.at('bucket/unfinished~'), 0o700);
    }
  });

  test('a full disk is storage-full, and what was there can still be read', async ({ skip }) => {
    await using folder = await temporaryFolder();
    await using disk = await smallDisk(folder.at('bucket'), 256 * 1024);
    skip(disk === null, 'only root can mount a small disk');
    const bucket = open(folder);
    await bucket.put('chunks/small', CONTENT);
    expect(await codeOf(bucket.put('chunks/large', new Uint8Array(1_000_000)))).toBe('storage-full');
    expect(await codeOf(bucket.put('chunks/large', new Uint8Array(1_000_000), { replace: true }))).toBe(
      'storage-full',
    );
    expect(await listAll(bucket, '')).toEqual([{ name: 'chunks/small', size: 7 }]);
    expect(await readdir(folder.at('bucket/unfinished~'))).toEqual([]);
    await bucket.put('chunks/next', CONTENT);
  });
});

describe('unfinished puts', () => {
  test('start again when somebody removes their files', async () => {
    await using folder = await temporaryFolder();
    await createFolder(folder.at('bucket'));
    const bucket = open(folder);
    const bytes = randomBytes(500_000);
    const stored = new AbortController();
    let count = 0;
    const clearing = (async () => {
      let removed = 0;
      for (let last = { put: -1, times: 0 }; !stored.signal.aborted; await delay(1)) {
        if (last.put !== count) last = { put: count, times: 0 };
        const [name] = await readdir(folder.at('bucket/unfinished~')).catch(() => []);
        // Twice a put at most, however slow it is: it gives up when it never comes to an end.
        if (name === undefined || last.times === 2) continue;
        await rm(folder.at('bucket/unfinished~', name), { force: true });
        last.times += 1;
        removed += 1;
      }
      return removed;
    })();
    try {
      for (; count < 40; count += 1) await bucket.put(`chunks/${count}`, bytes);
    } finally {
      stored.abort();
    }
    expect(await clearing).toBeGreaterThan(0);
    const listed = await listAll(bucket, '');
    expect(listed).toHaveLength(40);
    expect(listed.every(({ size }) => size === bytes.length)).toBe(true);
    expect(await readdir(folder.at('bucket/unfinished~'))).toEqual([]);
  });

  test('of a running put are left alone by a listing', async () => {
    await using folder = await temporaryFolder();
    await createFolder(folder.at('bucket'));
    const bucket = open(folder);
    const other = open(folder);
    const puts = Promise.all(
      Array.from({ length: 20 }, async (_, index) => await bucket.put(`a/${index}`, randomBytes(200_000))),
    );
    const ended = new AbortController();
    void puts.finally(() => {
      ended.abort();
    });
    const seen = new Set<string>();
    while (!ended.signal.aborted) {
      const before = await readdir(folder.at('bucket/unfinished~')).catch(() => []);
      for (const name of before) seen.add(name);
      await listAll(other, 'manifests/');
    }
    await puts;
    // Each put has used one file, the first it made.
    expect(seen.size).toBeLessThanOrEqual(20);
    expect(await listAll(bucket, 'a/')).toHaveLength(20);
  });

  test('of a process that was killed leave whole objects only, and nothing once they are old', async () => {
    await using folder = await temporaryFolder();
    await createFolder(folder.at('bucket'));
    const source = new URL('../../src/buckets/folder/driver.ts', import.meta.url).href;
    await writeFile(
      folder.at('main.ts'),
      `import { openFolderBucket } from ${JSON.stringify(source)};
       const bucket = openFolderBucket(${JSON.stringify(folder.at('bucket'))}, { label: 'file:///one' });
       console.log('ready');
       for (let index = 0; ; index += 4) {
         await Promise.all([0, 1, 2, 3].map(async (more) => {
           const name = 'chunks/' + process.argv[2] + '.' + (index + more);
           await bucket.put(name, new Uint8Array(300_000).fill(index + more));
           console.log(name);
         }));
       }`,
    );
    for (let round = 0; round < 6; round += 1) {
      const child = spawn(process.execPath, [folder.at('main.ts'), String(round)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let output = '';
      child.stdout.setEncoding('utf8');
      child.stdout.on('data', (text: string) => {
        output += text;
      });
      await once(child.stdout, 'data');
      await delay(10 + Math.random() * 60);
      child.kill('SIGKILL');
      await once(child, 'close');

      const bucket = open(folder);
      const listed = await listAll(bucket, `chunks/${round}.`);
      const names = new Set(listed.map(({ name }) => name));
      const acknowledged = output.split('\n').slice(1, -1);
      expect(acknowledged.filter((name) => !names.has(name))).toEqual([]);
      for (const { name, size } of listed) {
        expect(size).toBe(300_000);
        const bytes = Buffer.from(await bucket.get(name));
        expect(bytes.equals(Buffer.alloc(300_000, Number(name.split('.')[1]) & 0xff))).toBe(true);
      }
      const hoursAgo = new Date(Date.now() - 2 * 3_600_000);
      for (const name of await readdir(folder.at('bucket/unfinished~')).catch(() => [])) {
        await utimes(folder.at('bucket/unfinished~', name), hoursAgo, hoursAgo);
      }
      await listAll(bucket, 'manifests/');
      expect(await readdir(folder.at('bucket/unfinished~')).catch(() => [])).toEqual([]);
    }
  });

  test('are cleared away when they are an hour old, and nothing else is', async () => {
    await using folder = await temporaryFolder();
    await mkdir(folder.at('bucket/unfinished~'), { recursive: true });
    const at = (name: string): string => folder.at('bucket/unfinished~', name);
    const old = randomUUID();
    const young = randomUUID();
    const left = [
      young,
      'notes',
      `${randomUUID()}.txt`,
      `x${randomUUID()}`,
      `A${randomUUID().slice(1).toUpperCase()}`,
    ];
    for (const name of [old, ...left]) await writeFile(at(name), '');
    const below = randomUUID();
    await mkdir(at(below));
    const link = randomUUID();
    await writeFile(folder.at('precious'), 'precious');
    await symlink(folder.at('precious'), at(link));
    for (const name of [old, ...left.slice(1), below]) await utimes(at(name), ago(3_700_000), ago(3_700_000));
    await lutimes(at(link), ago(3_700_000), ago(3_700_000));
    await utimes(at(young), ago(3_500_000), ago(3_500_000));
    expect(await listAll(open(folder), '')).toEqual([]);
    expect((await readdir(folder.at('bucket/unfinished~'))).toSorted()).toEqual(
      [...left, below, link].toSorted(),
    );
    expect(await readFile(folder.at('precious'), 'utf8')).toBe('precious');
  });
});
