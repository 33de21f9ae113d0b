import { execFile, spawn } from 'node:child_process';
import { constants } from 'node:fs';
import type * as Fs from 'node:fs';
import { appendFile, chmod, link, open, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { VaultError } from '../../src/errors.ts';
import { fileSource, streamSource } from '../../src/vault/write/source.ts';
import type { FileSource } from '../../src/vault/write/file-source.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import type { TemporaryFolder } from '../support/temporary-folder.ts';

/** What the system says instead of the truth. */
const told = vi.hoisted(() => ({
  mtimeNs: null as bigint | null,
  hang: [] as ('open' | 'read' | 'stat' | 'close')[],
  network: false,
  /** Codes with which the next calls fail. */
  fails: { open: [] as string[], read: [] as string[] },
  /** How often a file was asked for. */
  calls: { open: 0, read: 0 },
  /** Descriptors that have been opened, and not closed. */
  descriptors: new Set<number>(),
  /** Called when something hangs. */
  onHang: (): void => undefined,
  /** Ends every wait, as a server does that is back. */
  release: [] as (() => void)[],
  async hung(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    told.release.push(resolve);
    told.onHang();
    await promise;
  },
  noted(call: 'open' | 'read'): void {
    told.calls[call] += 1;
    const code = told.fails[call].shift();
    if (code !== undefined) throw Object.assign(new Error(`The test says ${code}`), { code });
  },
  async asked(call: 'open' | 'read'): Promise<void> {
    told.noted(call);
    if (told.hang.includes(call)) await told.hung();
  },
}));

vi.mock('node:fs', async (original) => {
  const real = await original<typeof Fs>();
  const { promisify: promised } = await import('node:util');
  const stated = promised(real.fstat);
  const reads = promised(real.read);
  const opens = promised(real.open);
  const closes = promised(real.close);
  const stats = promised(real.statfs);
  return {
    ...real,
    fstat: Object.assign(() => undefined, {
      [promised.custom]: async (descriptor: number, options: { bigint: true }) => {
        if (told.hang.includes('stat')) await told.hung();
        const facts = await stated(descriptor, options);
        if (told.mtimeNs !== null) facts.mtimeNs = told.mtimeNs;
        return facts;
      },
    }),
    read: Object.assign(() => undefined, {
      [promised.custom]: async (
        descriptor: number,
        into: Uint8Array,
        at: number,
        length: number,
        position: number | null,
      ) => {
        await told.asked('read');
        return reads(descriptor, into, at, length, position);
      },
    }),
    open: Object.assign(() => undefined, {
      [promised.custom]: async (path: string, flags: number) => {
        await told.asked('open');
        const descriptor = await opens(path, flags);
        told.descriptors.add(descriptor);
        return descriptor;
      },
    }),
    close: Object.assign(() => undefined, {
      [promised.custom]: async (descriptor: number) => {
        if (told.hang.includes('close')) await told.hung();
        await closes(descriptor);
        told.descriptors.delete(descriptor);
      },
    }),
    // Of a file of this machine.
    openSync: (path: string, flags: number) => {
      told.noted('open');
      const descriptor = real.openSync(path, flags);
      told.descriptors.add(descriptor);
      return descriptor;
    },
    readSync: (descriptor: number, target: Uint8Array) => {
      told.noted('read');
      return real.readSync(descriptor, target);
    },
    fstatSync: (descriptor: number, options: { bigint: true }) => {
      const facts = real.fstatSync(descriptor, options);
      if (told.mtimeNs !== null) facts.mtimeNs = told.mtimeNs;
      return facts;
    },
    closeSync: (descriptor: number) => {
      real.closeSync(descriptor);
      told.descriptors.delete(descriptor);
    },
    statfs: Object.assign(() => undefined, {
      // NFS has this number.
      [promised.custom]: async (path: string) => (told.network ? { type: 0x6969 } : stats(path)),
    }),
  };
});

let folder: TemporaryFolder;
beforeEach(async () => {
  folder = await temporaryFolder();
});
afterEach(async () => {
  for (const release of told.release.splice(0)) release();
  Object.assign(told, { mtimeNs: null, hang: [], network: false, onHang: () => undefined });
  told.fails = { open: [], read: [] };
  told.calls = { open: 0, read: 0 };
  told.descriptors.clear();
  await folder[Symbol.asyncDispose]();
});

const unaborted = new AbortController().signal;

/** Everything a source has, read in pieces of an odd size, then verified. */
async function readAll(source: FileSource, between?: () => Promise<unknown>): Promise<Buffer> {
  const opened = await source.open();
  try {
    const pieces: Buffer[] = [];
    const piece = Buffer.alloc(10_007);
    for (;;) {
      const length = await opened.read(piece, unaborted);
      pieces.push(Buffer.from(piece.subarray(0, length)));
      if (length < piece.length) break;
      await between?.();
      between = undefined;
    }
    await between?.();
    await opened.verify();
    return Buffer.concat(pieces);
  } finally {
    await opened.close();
  }
}

async function fifo(name: string): Promise<string> {
  await promisify(execFile)('mkfifo', [folder.at(name)]);
  return folder.at(name);
}

async function openedToWrite(path: string): Promise<void> {
  await using _ = await open(path, constants.O_WRONLY | constants.O_NONBLOCK);
}

describe('A regular file', () => {
  const CONTENT = Buffer.alloc(100_000, 'content ');

  test('has its size, its permission bits, and its time to the nanosecond, also before 1970', async () => {
    const path = folder.at('file');
    await writeFile(path, CONTENT);
    await chmod(path, 0o640);
    // Whole and binary fractions of seconds are what a floating-point number has exactly.
    for (const [at, modified] of [
      ['1700000000.0009765625', { seconds: 1_700_000_000, nanoseconds: 976_562 }],
      ['-1.5', { seconds: -2, nanoseconds: 500_000_000 }],
    ] as const) {
      await utimes(path, 0, at);
      const opened = await fileSource(path).open();
      expect(opened).toMatchObject({ size: CONTENT.length, mode: 0o640, modified });
      const { ino: inode, dev: device, ctimeNs, mtimeNs } = await stat(path, { bigint: true });
      expect(opened.identity).toEqual({ inode, device, ctimeNs, mtimeNs, size: CONTENT.length });
      await opened.close();
      expect(told.descriptors.size).toBe(0);
    }
    expect(await readAll(fileSource(path))).toEqual(CONTENT);
    told.network = true;
    expect(await readAll(fileSource(path))).toEqual(CONTENT);
  });

  test('whose time no calendar has, has none, and is read all the same', async () => {
    const path = folder.at('file');
    await writeFile(path, CONTENT);
    for (const seconds of [8_640_000_000_001n, -8_640_000_000_001n, 2n ** 62n]) {
      told.mtimeNs = seconds * 1_000_000_000n;
      const opened = await fileSource(path).open();
      expect(opened.modified).toBeNull();
      await opened.close();
      expect(await readAll(fileSource(path))).toEqual(CONTENT);
    }
  });

  test('is whole when it is renamed, removed, linked, replaced or made read-only meanwhile', async () => {
    const path = folder.at('file');
    const meanwhile: (() => Promise<unknown>)[] = [
      async () => rename(path, folder.at('other')),
      async () => rm(path),
      async () => link(path, folder.at('second')),
      async () => chmod(path, 0o400),
      async () => {
        await writeFile(folder.at('new'), 'something else');
        await rename(folder.at('new'), path);
      },
    ];
    for (const change of meanwhile) {
      await rm(path, { force: true });
      await writeFile(path, CONTENT);
      expect(await readAll(fileSource(path), change)).toEqual(CONTENT);
    }
  });

  test('that is written to meanwhile is refused', async () => {
    const path = folder.at('file');
    const meanwhile: (() => Promise<unknown>)[] = [
      async () => appendFile(path, 'more'),
      async () => writeFile(path, CONTENT.subarray(1)),
      async () => writeFile(path, ''),
      async () => {
        await using file = await open(path, 'r+');
        await file.write('other', 0);
        await file.utimes(0, 1_800_000_000);
      },
    ];
    for (const change of meanwhile) {
      await writeFile(path, CONTENT);
      await utimes(path, 0, 1_700_000_000);
      await expect(readAll(fileSource(path), change)).rejects.toMatchObject({ code: 'source-changed' });
    }
    await writeFile(path, '');
    const touched = await fileSource(path).open();
    await utimes(path, 0, 1_800_000_000);
    await expect(touched.verify()).rejects.toMatchObject({ code: 'source-changed' });
    await touched.close();
  });

  test('on a server that does not answer does not hold up an abort, nor writes to what was to be filled afterwards', async () => {
    const path = folder.at('file');
    await writeFile(path, CONTENT);
    told.network = true;
    const opened = await fileSource(path).open();
    told.hang = ['read'];
    const abort = new AbortController();
    told.onHang = () => abort.abort();
    const target = Buffer.alloc(50);
    await expect(opened.read(target, abort.signal)).rejects.toMatchObject({ code: 'interrupted' });
    await opened.close();
    // Its number must not become another file's, which the read would then read.
    expect(told.descriptors.size).toBe(1);
    for (const release of told.release.splice(0)) release();
    await vi.waitFor(() => expect(told.descriptors.size).toBe(0));
    expect(target).toEqual(Buffer.alloc(50));
  });

  test.each([['open'], ['stat'], ['stat', 'close']] as const)(
    'on a server that answers to no %s is not waited for, and is closed when it does',
    async (...hang) => {
      const path = folder.at('file');
      await writeFile(path, CONTENT);
      told.network = true;
      told.hang = [...hang];
      const abort = new AbortController();
      told.onHang = () => abort.abort();
      await expect(fileSource(path).open(abort.signal)).rejects.toMatchObject({ code: 'interrupted' });
      told.hang = [];
      for (const release of told.release.splice(0)) release();
      await vi.waitFor(() => expect(told.descriptors.size).toBe(0));
    },
  );

  test('is read without more calls than it takes, and not at all after an abort', async () => {
    const path = folder.at('file');
    await writeFile(path, CONTENT);
    await expect(fileSource(path).open(AbortSignal.abort())).rejects.toMatchObject({ code: 'interrupted' });
    expect(told.calls).toEqual({ open: 0, read: 0 });
    const source = fileSource(path, { forceRead: true });
    expect(source).toMatchObject({ label: path, forceRead: true, reopens: true });
    const opened = await source.open();
    expect(source.reopens).toBe(true);
    const target = Buffer.alloc(1000);
    await expect(opened.read(target, AbortSignal.abort())).rejects.toMatchObject({ code: 'interrupted' });
    expect(told.calls.read).toBe(0);
    expect(await opened.read(target, unaborted)).toBe(1000);
    expect(await opened.read(target, unaborted)).toBe(1000);
    expect(told.calls).toEqual({ open: 1, read: 2 });
    expect(target).toEqual(CONTENT.subarray(1000, 2000));
    await opened.close();
  });

  test('that has changed says so as soon as more is read of it than there was', async () => {
    const path = folder.at('file');
    for (const content of [CONTENT, Buffer.alloc(0)]) {
      await writeFile(path, content);
      const opened = await fileSource(path).open();
      await appendFile(path, 'more');
      const reading = opened.read(Buffer.alloc(CONTENT.length + 1), unaborted);
      await expect(reading).rejects.toMatchObject({
        code: 'source-changed',
        message: `${path} changed while it was read, so it was not stored. Put it again when nothing writes to it.`,
      });
      await opened.close();
    }
  });

  test('that has grown within a tick of its clock is refused, too', async () => {
    const path = folder.at('file');
    await writeFile(path, CONTENT);
    told.mtimeNs = 1n;
    const opened = await fileSource(path).open();
    expect(await opened.read(Buffer.alloc(CONTENT.length), unaborted)).toBe(CONTENT.length);
    await appendFile(path, 'more');
    await expect(opened.verify()).rejects.toMatchObject({ code: 'source-changed' });
    await opened.close();
  });

  test('that fails says why; what is not ready has a size that means nothing', async () => {
    const path = folder.at('file');
    await writeFile(path, CONTENT);
    told.fails.read = ['EIO'];
    await expect(readAll(fileSource(path))).rejects.toMatchObject({
      code: 'source-changed',
      message: `${path} could not be read to its end: The test says EIO.`,
      cause: { code: 'EIO' },
    });
    told.fails.read = ['EAGAIN'];
    await expect(readAll(fileSource(path))).rejects.toMatchObject({ code: 'invalid-input' });
    expect(told.descriptors.size).toBe(0);
  });

  test('that the kernel makes up is never stored as what its size says', async () => {
    // These are there on Linux only; elsewhere nothing is made up.
    for (const path of [
      '/proc/version',
      '/proc/self/status',
      '/sys/kernel/mm/transparent_hugepage/enabled',
    ]) {
      const facts = await stat(path).catch(() => null);
      if (facts === null) continue;
      await expect(readAll(fileSource(path))).rejects.toMatchObject({
        code: 'invalid-input',
        message: `The size of ${path} cannot be relied upon. Store what it says now: cat ${path} | vault put - --name ${path}`,
      });
      // Its time may be that of the look.
      const opened = await fileSource(path).open();
      told.mtimeNs = 1n;
      const reading = opened.read(Buffer.alloc(1_000_000), unaborted).then(async () => opened.verify());
      await expect(reading).rejects.toMatchObject({
        code: facts.size === 0 ? 'invalid-input' : 'source-changed',
      });
      told.mtimeNs = null;
      await opened.close();
    }
  });
});

describe('A path', () => {
  test('that cannot be read is said to be what it is', async () => {
    await expect(fileSource(folder.at('none')).open()).rejects.toMatchObject({ code: 'file-not-found' });
    await expect(fileSource(folder.path).open()).rejects.toMatchObject({
      code: 'invalid-input',
      message: `${folder.path} is a folder, where a file was to be read. Store it as a folder.`,
    });
    expect(told.descriptors.size).toBe(0);
    await expect(fileSource(folder.at('x'.repeat(300))).open()).rejects.toMatchObject({
      code: 'invalid-input',
    });
  });

  test.each([
    ['ENOENT', 'file-not-found', 'There is no file "PATH".'],
    ['ENOTDIR', 'file-not-found', 'There is no file "PATH".'],
    ['EACCES', 'denied', 'PATH may not be read by this user.'],
    ['EPERM', 'denied', 'PATH may not be read by this user.'],
    ['ENXIO', 'invalid-input', 'PATH is a socket, or a device that does not exist.'],
    ['ENODEV', 'invalid-input', 'PATH is a socket, or a device that does not exist.'],
    ['ENAMETOOLONG', 'invalid-input', 'PATH is not a usable path: The test says ENAMETOOLONG.'],
    ['ELOOP', 'invalid-input', 'PATH is not a usable path: The test says ELOOP.'],
    ['EINVAL', 'invalid-input', 'PATH is not a usable path: The test says EINVAL.'],
    ['EIO', 'source-changed', 'PATH could not be opened: The test says EIO.'],
  ])('for which the system says %s', async (error, code, message) => {
    told.fails.open = [error];
    await expect(fileSource('PATH').open()).rejects.toMatchObject({ code, message, cause: { code: error } });
  });

  test('that somebody holds for a moment is opened then, unless there is an abort', async () => {
    await writeFile(folder.at('file'), 'content');
    told.fails.open = ['EAGAIN', 'EAGAIN', 'EAGAIN', 'EAGAIN'];
    const began = performance.now();
    expect((await readAll(fileSource(folder.at('file')))).toString()).toBe('content');
    expect(performance.now() - began).toBeGreaterThan(50);
    told.fails.open = Array<string>(1000).fill('EAGAIN');
    const abort = new AbortController();
    const opening = fileSource(folder.at('file')).open(abort.signal);
    abort.abort();
    await expect(opening).rejects.toMatchObject({ code: 'interrupted' });
  });
});

describe('A pipe', () => {
  test('is read to the end of its last writer', async () => {
    const path = await fifo('pipe');
    const writer = spawn('sh', ['-c', `for i in 1 2 3; do head -c 100000 /dev/zero; done > "${path}"`]);
    const source = fileSource(path);
    expect(source.reopens).toBe(true);
    expect((await readAll(source)).equals(Buffer.alloc(300_000))).toBe(true);
    // What has been read is gone.
    expect(source.reopens).toBe(false);
    if (writer.exitCode === null) await once(writer, 'exit');
  });

  test('is waited for until somebody writes to it', async () => {
    const path = await fifo('pipe');
    const opened = await fileSource(path).open();
    const target = Buffer.alloc(10);
    const reading = opened.read(target, unaborted);
    await setTimeout(30);
    await writeFile(path, 'content');
    expect(await reading).toBe(7);
    expect(target.toString('latin1', 0, 7)).toBe('content');
    await opened.close();
  });

  test('without a writer is opened at once and ends with an abort', async () => {
    const path = await fifo('pipe');
    const opened = await fileSource(path).open();
    expect(opened).toMatchObject({ size: null, modified: null, mode: null });
    const abort = new AbortController();
    const reading = opened.read(Buffer.alloc(10), abort.signal);
    setImmediate(() => abort.abort());
    await expect(reading).rejects.toMatchObject({ code: 'interrupted' });
    await opened.close();
  });

  test('whose writer stalls ends with an abort, more of them than there are threads', async () => {
    const abort = new AbortController();
    const pipes = await Promise.all(
      Array.from({ length: 8 }, async (_, i) => {
        const path = await fifo(`pipe-${i}`);
        const opened = await fileSource(path).open();
        const writer = await open(path, 'w');
        await writer.write('begun');
        const target = Buffer.alloc(10);
        const reading = opened.read(target, abort.signal);
        return { path, opened, writer, target, outcome: reading.then(String, (error: unknown) => error) };
      }),
    );
    await vi.waitUntil(() => pipes.every(({ target }) => target.toString('latin1', 0, 5) === 'begun'), {
      timeout: 60_000,
    });
    abort.abort();
    for (const { path, opened, writer, outcome } of pipes) {
      expect(await outcome).toMatchObject({ code: 'interrupted' });
      await opened.close();
      // Nobody reads it any more, so it cannot be opened for writing without waiting.
      await vi.waitFor(async () => expect(openedToWrite(path)).rejects.toMatchObject({ code: 'ENXIO' }), {
        timeout: 60_000,
      });
      await writer.close();
    }
  });
});

describe('A device', () => {
  test('is read for as long as it gives bytes', async () => {
    expect(await readAll(fileSource('/dev/null'))).toEqual(Buffer.alloc(0));
    const opened = await fileSource('/dev/zero').open();
    const target = Buffer.alloc(3_000_000, 1);
    expect(await opened.read(target, unaborted)).toBe(target.length);
    expect(target.equals(Buffer.alloc(target.length))).toBe(true);
    await opened.close();
    expect(told.descriptors.size).toBe(0);
  });

  test('has nothing that a file has, and is waited for as long as it has no bytes', async () => {
    const source = fileSource('/dev/zero');
    const opened = await source.open();
    expect(opened).toMatchObject({ size: null, modified: null, mode: null, identity: null });
    expect(source.reopens).toBe(false);
    told.fails.read = ['EAGAIN', 'EAGAIN', 'EAGAIN'];
    const began = performance.now();
    expect(await opened.read(Buffer.alloc(10), unaborted)).toBe(10);
    expect(performance.now() - began).toBeGreaterThan(50);
    const abort = new AbortController();
    told.hang = ['read'];
    told.onHang = () => abort.abort();
    await expect(opened.read(Buffer.alloc(10), abort.signal)).rejects.toMatchObject({ code: 'interrupted' });
    await opened.close();
  });
});

async function* stalled(): AsyncGenerator<Uint8Array> {
  yield Buffer.from('begun');
  await new Promise(() => undefined);
}

async function* failing(error: Error): AsyncGenerator<Uint8Array> {
  yield Buffer.from('begun');
  throw error;
}

async function* empty(): AsyncGenerator<Uint8Array> {}

describe('A stream', () => {
  test('that stalls ends with an abort, and is closed at once', async () => {
    const opened = await streamSource(stalled(), 'a stream').open();
    const abort = new AbortController();
    const reading = opened.read(Buffer.alloc(10), abort.signal);
    setImmediate(() => abort.abort());
    await expect(reading).rejects.toMatchObject({ code: 'interrupted' });
    await opened.close();
  });

  test('that fails says so', async () => {
    const stream = failing(new Error('the cable was pulled'));
    await expect(readAll(streamSource(stream, 'a stream'))).rejects.toMatchObject({
      code: 'source-changed',
      message: 'a stream could not be read to its end: the cable was pulled.',
      cause: { message: 'the cable was pulled' },
    });
    const refused = new VaultError('denied', 'It is not for you.');
    await expect(readAll(streamSource(failing(refused), 'a stream'))).rejects.toBe(refused);
  });

  test('is asked for no more than is wanted, and is told when no more is', async () => {
    let given = 0;
    let ended = false;
    const stream = (async function* () {
      try {
        for (; given < 9; given += 1) yield Buffer.from(`part ${given}`);
      } finally {
        await setTimeout(5);
        ended = true;
      }
    })();
    const source = streamSource(stream, 'a stream');
    expect(source).toMatchObject({ label: 'a stream', reopens: false });
    await expect(source.open(AbortSignal.abort())).rejects.toMatchObject({ code: 'interrupted' });
    const opened = await source.open();
    expect(opened).toMatchObject({ size: null, modified: null, mode: null });
    const target = Buffer.alloc(12);
    expect(await opened.read(target, unaborted)).toBe(12);
    expect(target.toString()).toBe('part 0part 1');
    expect(given).toBe(1);
    expect(await opened.read(target.subarray(0, 8), unaborted)).toBe(8);
    expect(target.toString('latin1', 0, 8)).toBe('part 2pa');
    await opened.close();
    expect(ended).toBe(true);
  });

  test('that has ended is not asked again, and one that cannot be told to end is left alone', async () => {
    let asked = 0;
    let ends = 0;
    const iterator = {
      next: () => {
        asked += 1;
        return Promise.resolve({ done: true as const, value: undefined });
      },
      return: () => {
        ends += 1;
        return Promise.resolve({ done: true as const, value: undefined });
      },
    };
    const opened = await streamSource({ [Symbol.asyncIterator]: () => iterator }, 'a stream').open();
    for (let i = 0; i < 2; i += 1) expect(await opened.read(Buffer.alloc(10), unaborted)).toBe(0);
    await opened.verify();
    await opened.close();
    expect({ asked, ends }).toEqual({ asked: 1, ends: 0 });
    const { next } = iterator;
    const plain = await streamSource({ [Symbol.asyncIterator]: () => ({ next }) }, 'a stream').open();
    await plain.close();
  });

  test('of a folder, or of a closed descriptor, is refused', async () => {
    await using here = await open(folder.path, 'r');
    await expect(streamSource(empty(), 'standard input', here.fd).open()).rejects.toMatchObject({
      code: 'invalid-input',
      message: 'standard input is a folder, so there is nothing to store. Give it a pipe or a file.',
    });
    const closed = await open('/dev/null', 'r');
    const { fd } = closed;
    await closed.close();
    await expect(streamSource(empty(), 'standard input', fd).open()).rejects.toMatchObject({
      code: 'invalid-input',
      message: 'standard input is closed, so there is nothing to store. Give it a pipe or a file.',
    });
    // As a process finds it that was started without one.
    await using replaced = await open('/dev/null', 'r+');
    await expect(streamSource(empty(), 'standard input', replaced.fd).open()).rejects.toMatchObject({
      code: 'invalid-input',
      message: 'standard input is closed, so there is nothing to store. Give it a pipe or a file.',
    });
    await using zeros = await open('/dev/zero', 'r+');
    const opened = await streamSource(empty(), 'standard input', zeros.fd).open();
    await opened.close();
    await using nothing = await open('/dev/null', 'r');
    expect(await readAll(streamSource(empty(), 'standard input', nothing.fd))).toEqual(Buffer.alloc(0));
  });
});
