import { execFile, spawn } from 'node:child_process';
import { constants } from 'node:fs';
import type * as Fs from 'node:fs';
import {
  appendFile,
  chmod,
  link,
  open,
  readFile,
  rename,
  rm,
  stat,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { once } from 'node:events';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { fileSource, streamSource } from '../../src/vault/write/source.ts';
import type { FileSource } from '../../src/vault/write/file-source.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import type { TemporaryFolder } from '../support/temporary-folder.ts';

/** What the system says instead of the truth. */
const told = vi.hoisted(() => ({
  mtimeNs: null as bigint | null,
  hang: null as 'open' | 'read' | null,
  network: false,
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
}));

vi.mock('node:fs', async (original) => {
  const real = await original<typeof Fs>();
  const { promisify: promised } = await import('node:util');
  const stated = promised(real.fstat);
  const reads = promised(real.read);
  const opens = promised(real.open);
  const stats = promised(real.statfs);
  return {
    ...real,
    fstat: Object.assign(() => undefined, {
      [promised.custom]: async (descriptor: number, options: { bigint: true }) => {
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
        if (told.hang === 'read') await told.hung();
        return reads(descriptor, into, at, length, position);
      },
    }),
    open: Object.assign(() => undefined, {
      [promised.custom]: async (path: string, flags: number) => {
        if (told.hang === 'open') await told.hung();
        return opens(path, flags);
      },
    }),
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
  Object.assign(told, { mtimeNs: null, hang: null, network: false, onHang: () => undefined });
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
      await opened.close();
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
    told.hang = 'read';
    const abort = new AbortController();
    told.onHang = () => abort.abort();
    const target = Buffer.alloc(50);
    await expect(opened.read(target, abort.signal)).rejects.toMatchObject({ code: 'interrupted' });
    await opened.close();
    for (const release of told.release.splice(0)) release();
    // Its read ends before one that is asked for later.
    await readFile(path);
    expect(target).toEqual(Buffer.alloc(50));

    told.hang = 'open';
    const again = new AbortController();
    told.onHang = () => again.abort();
    await expect(fileSource(path).open(again.signal)).rejects.toMatchObject({ code: 'interrupted' });
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
    }
  });
});

describe('A path', () => {
  test('that cannot be read is said to be what it is', async () => {
    await expect(fileSource(folder.at('none')).open()).rejects.toMatchObject({ code: 'file-not-found' });
    await expect(fileSource(folder.path).open()).rejects.toMatchObject({ code: 'invalid-input' });
    await expect(fileSource(folder.at('x'.repeat(300))).open()).rejects.toMatchObject({
      code: 'invalid-input',
    });
    await expect(fileSource(folder.at('file')).open(AbortSignal.abort())).rejects.toMatchObject({
      code: 'interrupted',
    });
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
  });
});

async function* stalled(): AsyncGenerator<Uint8Array> {
  yield Buffer.from('begun');
  await new Promise(() => undefined);
}

async function* failing(): AsyncGenerator<Uint8Array> {
  yield Buffer.from('begun');
  throw new Error('the cable was pulled');
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
    await expect(readAll(streamSource(failing(), 'a stream'))).rejects.toMatchObject({
      code: 'source-changed',
      message: 'a stream could not be read to its end: the cable was pulled.',
    });
  });

  test('of a folder, or of a closed descriptor, is refused', async () => {
    await using here = await open(folder.path, 'r');
    await expect(streamSource(empty(), 'standard input', here.fd).open()).rejects.toMatchObject({
      code: 'invalid-input',
      message: expect.stringMatching(/^standard input is a folder/),
    });
    const closed = await open('/dev/null', 'r');
    const { fd } = closed;
    await closed.close();
    await expect(streamSource(empty(), 'standard input', fd).open()).rejects.toMatchObject({
      code: 'invalid-input',
      message: expect.stringMatching(/^standard input is closed/),
    });
    // As a process finds it that was started without one.
    await using replaced = await open('/dev/null', 'r+');
    await expect(streamSource(empty(), 'standard input', replaced.fd).open()).rejects.toMatchObject({
      code: 'invalid-input',
      message: expect.stringMatching(/^standard input is closed/),
    });
    await using zeros = await open('/dev/zero', 'r+');
    const opened = await streamSource(empty(), 'standard input', zeros.fd).open();
    await opened.close();
    await using nothing = await open('/dev/null', 'r');
    expect(await readAll(streamSource(empty(), 'standard input', nothing.fd))).toEqual(Buffer.alloc(0));
  });
});
