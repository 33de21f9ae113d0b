import { randomBytes } from 'node:crypto';
import type * as FsPromises from 'node:fs/promises';
import { lstat, readdir, readFile, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { VaultError } from '../../src/errors.ts';
import type { FileTime } from '../../src/format/file-time.ts';
import { restoreError } from '../../src/vault/read/restore-error.ts';
import { restoreFile } from '../../src/vault/read/restore.ts';
import type { RestorableFile } from '../../src/vault/read/restore.ts';
import type { Warning } from '../../src/vault/call.ts';
import { systemError } from '../support/system-error.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import type { TemporaryFolder } from '../support/temporary-folder.ts';

/** Every call that changes a disk, in order, and those that go wrong. */
const disk = vi.hoisted(() => ({
  /** Whether calls are looked at: those of the tests themselves are not. */
  watched: false,
  calls: [] as string[],
  /** Codes of failures, by call; `hang` never ends. */
  faults: new Map<string, string>(),
  writtenBytes: 0,
  onHang: (): void => undefined,
  async call<T>(name: string, run: () => Promise<T>): Promise<T> {
    if (!disk.watched) return run();
    disk.calls.push(name);
    const fault = disk.faults.get(name);
    // A descriptor is gone also when closing it fails.
    if (fault !== undefined && name.startsWith('close')) await run();
    if (fault === 'hang') {
      disk.onHang();
      return new Promise<T>(() => undefined);
    }
    if (fault !== undefined) throw systemError(fault, { syscall: name });
    return run();
  },
}));

vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof FsPromises>();
  return {
    ...real,
    async open(path: string, flags: string, mode?: number) {
      if (!disk.watched) return real.open(path, flags, mode);
      const what = flags === 'r' ? 'folder' : 'file';
      const handle = await disk.call(`open ${what}`, async () => real.open(path, flags, mode));
      const methods = ['chmod', 'utimes', 'truncate', 'sync', 'datasync', 'close'] as const;
      for (const name of methods) {
        const act: (...args: never[]) => Promise<void> = handle[name].bind(handle);
        Object.assign(handle, {
          [name]: async (...args: never[]) => disk.call(`${name} ${what}`, async () => act(...args)),
        });
      }
      const write = handle.write.bind(handle);
      Object.assign(handle, {
        write: async (bytes: Uint8Array, at: number, length: number, position: number) => {
          // Never everything at once, as a disk may.
          const result = await disk.call('write file', async () =>
            write(bytes, at, Math.ceil(length / 2), position),
          );
          disk.writtenBytes += result.bytesWritten;
          return result;
        },
      });
      return handle;
    },
    link: async (from: string, to: string) => disk.call('link', async () => real.link(from, to)),
    rename: async (from: string, to: string) => disk.call('rename', async () => real.rename(from, to)),
    rm: async (path: string, options?: { force: boolean }) =>
      disk.call('rm', async () => real.rm(path, options)),
  };
});

let folder: TemporaryFolder;
beforeEach(async () => {
  folder = await temporaryFolder();
});
afterEach(async () => {
  disk.watched = false;
  disk.faults.clear();
  disk.onHang = () => undefined;
  await folder[Symbol.asyncDispose]();
});

const MIB = 1024 * 1024;
const CONTENT = randomBytes(100_000);
const MODIFIED: FileTime = { seconds: 1_700_000_000, nanoseconds: 123_456_789 };

function fileOf(content: readonly Uint8Array[], facts: Partial<RestorableFile> = {}): RestorableFile {
  return {
    mode: 0o640,
    modified: MODIFIED,
    async *content() {
      for (const run of content) {
        const bytes = Uint8Array.from(run);
        yield bytes;
        // Its memory is used for something else when the next run is asked for.
        bytes.fill(0xee);
      }
    },
    ...facts,
  };
}

/** What is said of a call that the system refuses. */
function refusal(code: string, syscall: string): string {
  return restoreError('docs/a', systemError(code, { syscall })).message;
}

interface Restored {
  readonly calls: readonly string[];
  readonly warnings: readonly Warning[];
  readonly error: unknown;
}

async function restore(
  file: RestorableFile,
  path: string,
  options: { readonly existing?: 'refuse' | 'replace'; readonly signal?: AbortSignal } = {},
): Promise<Restored> {
  const warnings: Warning[] = [];
  let error: unknown = null;
  disk.calls = [];
  disk.writtenBytes = 0;
  disk.watched = true;
  try {
    await restoreFile(file, path, {
      existing: 'refuse',
      onWarning: (warning) => warnings.push(warning),
      ...options,
    });
  } catch (thrown) {
    error = thrown;
  }
  disk.watched = false;
  return { calls: disk.calls, warnings, error };
}

describe('A file is durable before it has its name, and its name before the end', () => {
  const finished = ['utimes file', 'chmod file', 'sync file', 'close file'];
  const folderSynced = ['open folder', 'sync folder', 'close folder'];

  test('in a new place', async () => {
    const { calls, error } = await restore(fileOf([CONTENT]), folder.at('out'));
    expect(error).toBeNull();
    const [first, ...rest] = calls.filter((call) => call !== 'write file');
    expect(first).toBe('open file');
    expect(rest).toEqual([...finished, 'link', 'rm', ...folderSynced]);
    expect(calls.lastIndexOf('write file')).toBeLessThan(calls.indexOf('utimes file'));
    expect(await readFile(folder.at('out'))).toEqual(CONTENT);
  });

  test('in the place of another', async () => {
    await writeFile(folder.at('out'), 'old');
    const { calls, error } = await restore(fileOf([CONTENT]), folder.at('out'), { existing: 'replace' });
    expect(error).toBeNull();
    expect(calls.filter((call) => call !== 'write file')).toEqual([
      'open file',
      ...finished,
      'rename',
      ...folderSynced,
    ]);
    expect(calls.lastIndexOf('write file')).toBeLessThan(calls.indexOf('utimes file'));
    expect(await readdir(folder.path)).toEqual(['out']);
  });

  test('with all its bytes, however they come', async () => {
    const runs = Array.from({ length: 70 }, () => randomBytes(MIB));
    const { calls, error } = await restore(fileOf(runs), folder.at('out'));
    expect(error).toBeNull();
    expect(calls.filter((call) => call === 'datasync file').length).toBeGreaterThan(0);
    // What it is dated with while it is written does not count.
    expect(calls.lastIndexOf('datasync file')).toBeLessThan(calls.lastIndexOf('utimes file'));
    expect((await readFile(folder.at('out'))).equals(Buffer.concat(runs))).toBe(true);
  });
});

describe('A file system that cannot do everything', () => {
  // Zeros at its end make it need lengthening, its size syncing on the way.
  const long = [CONTENT, Buffer.alloc(33 * MIB, 1)];
  const cannot: readonly (readonly [call: string, codes: readonly string[], says: RegExp | null])[] = [
    ['utimes file', ['EPERM', 'ENOTSUP', 'ENOSYS', 'EINVAL', 'EIO'], /modification time \(E\w+\)/],
    ['chmod file', ['EPERM', 'ENOTSUP', 'ENOSYS', 'EINVAL', 'EIO'], /permissions \(E\w+\)/],
    ['sync file', ['EINVAL', 'ENOTSUP', 'ENOSYS'], /syncing the file \(E\w+\)/],
    ['open folder', ['EACCES', 'EPERM'], /syncing the folder \(E\w+\)/],
    ['sync folder', ['EINVAL', 'ENOTSUP', 'ENOSYS', 'EPERM'], /syncing the folder \(E\w+\)/],
    ['rm', ['EACCES', 'EIO'], /removal of its second name \.out.*\.partial \(E\w+\)/],
    ['link', ['EPERM', 'ENOTSUP', 'ENOSYS', 'EMLINK', 'EXDEV', 'EINVAL'], null],
    ['truncate file', ['EPERM', 'ENOTSUP', 'EINVAL'], null],
    ['datasync file', ['EINVAL', 'ENOTSUP'], null],
  ];
  for (const [call, codes, says] of cannot) {
    for (const code of codes) {
      test(`keeps the bytes when "${call}" fails with ${code}, and says what is missing`, async () => {
        disk.faults.set(call, code);
        const runs = call === 'datasync file' ? long : [CONTENT.subarray(0, 4096), Buffer.alloc(MIB)];
        const path = folder.at('out');
        const { calls, warnings, error } = await restore(fileOf(runs), path);
        expect({ error, called: calls.includes(call) }).toEqual({ error: null, called: true });
        expect((await readFile(path)).equals(Buffer.concat(runs))).toBe(true);
        expect(warnings.map(({ kind }) => kind)).toEqual(says === null ? [] : ['not-kept']);
        expect(warnings[0]?.message ?? '').toMatch(says ?? /^$/);
      });
    }
  }

  test('is told of once, with everything that it did not take', async () => {
    disk.faults.set('utimes file', 'EPERM').set('chmod file', 'ENOTSUP').set('sync folder', 'EINVAL');
    const path = folder.at('out');
    const { warnings } = await restore(fileOf([CONTENT]), path);
    expect(warnings.map(({ message }) => message)).toEqual([
      `${path} is written and verified, but its file system did not take: modification time (EPERM); permissions (ENOTSUP); syncing the folder (EINVAL).`,
    ]);
  });

  test('without hard links still overwrites nothing', async () => {
    disk.faults.set('link', 'EPERM');
    const path = folder.at('out');
    const file = fileOf([], {
      async *content() {
        yield CONTENT;
        await writeFile(path, 'came meanwhile');
      },
    });
    const { error } = await restore(file, path);
    expect(error).toMatchObject({ code: 'already-exists' });
    expect(await readFile(path, 'utf8')).toBe('came meanwhile');
    expect(await readdir(folder.path)).toEqual(['out']);
  });
});

/** Enough to have it synced on the way, where that is what matters. */
function contentFor(call: string): Uint8Array[] {
  return call === 'datasync file' ? [CONTENT, Buffer.alloc(33 * MIB, 1)] : [CONTENT];
}

describe('A disk that fails', () => {
  const fails: readonly (readonly [call: string, code: string, error: string])[] = [
    ['open file', 'EROFS', 'denied'],
    ['write file', 'ENOSPC', 'storage-full'],
    ['write file', 'EDQUOT', 'storage-full'],
    ['write file', 'EFBIG', 'storage-full'],
    ['write file', 'EIO', 'unavailable'],
    ['datasync file', 'EIO', 'unavailable'],
    ['sync file', 'EIO', 'unavailable'],
    ['sync file', 'ENOSPC', 'storage-full'],
    ['close file', 'EIO', 'unavailable'],
    ['close file', 'EDQUOT', 'storage-full'],
    ['rename', 'EIO', 'unavailable'],
  ];
  for (const [call, code, expected] of fails) {
    for (const existing of ['refuse', 'replace'] as const) {
      test(`in "${call}" with ${code} leaves the target as it was (${existing})`, async () => {
        disk.faults.set(call, code);
        if (call === 'rename' && existing === 'refuse') disk.faults.set('link', 'ENOTSUP');
        if (existing === 'replace') await writeFile(folder.at('out'), 'old');
        const { error } = await restore(fileOf(contentFor(call)), folder.at('out'), { existing });
        expect(error).toBeInstanceOf(VaultError);
        const says = code === 'EFBIG' ? 'ulimit -f' : expected === 'storage-full' ? 'Make room' : '';
        expect(error).toMatchObject({ code: expected, message: expect.stringContaining(says) });
        expect(await readdir(folder.path)).toEqual(existing === 'replace' ? ['out'] : []);
        const left = await readFile(folder.at('out'), 'utf8').catch(() => 'nothing');
        expect(left).toBe(existing === 'replace' ? 'old' : 'nothing');
      });
    }
  }

  test('when the folder is synced says that the file is there', async () => {
    disk.faults.set('sync folder', 'EIO');
    const { error } = await restore(fileOf([CONTENT]), folder.at('out'));
    expect(error).toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(/is written, but a power cut may take it away: .*\(EIO\)/),
    });
    expect(await readFile(folder.at('out'))).toEqual(CONTENT);
  });

  test('also while cleaning up, is told of by what failed first', async () => {
    disk.faults.set('close file', 'EIO').set('rm', 'EIO').set('write file', 'ENOSPC');
    expect((await restore(fileOf([CONTENT]), folder.at('out'))).error).toMatchObject({
      code: 'storage-full',
    });
    const damaged = new VaultError('damaged', 'A chunk is lost.');
    const file = fileOf([], {
      async *content() {
        yield Buffer.from('begun');
        throw damaged;
      },
    });
    disk.faults.delete('write file');
    expect((await restore(file, folder.at('out'))).error).toBe(damaged);
    expect(await readdir(folder.path)).not.toContain('out');
  });

  for (const call of ['open file', 'write file', 'datasync file', 'utimes file', 'sync file', 'close file']) {
    test(`by never ending "${call}" does not hold up an abort`, async () => {
      disk.faults.set(call, 'hang');
      const abort = new AbortController();
      disk.onHang = () => abort.abort();
      const { error } = await restore(fileOf(contentFor(call)), folder.at('out'), {
        signal: abort.signal,
      });
      expect(error).toMatchObject({ code: 'interrupted' });
      expect(await readdir(folder.path)).toEqual([]);
    });
  }
});

describe('A target', () => {
  test('that is a symbolic link is there, and is replaced itself', async () => {
    await writeFile(folder.at('pointed-to'), 'mine');
    for (const points of ['pointed-to', 'nowhere']) {
      const path = folder.at(`link-${points}`);
      await symlink(points, path);
      expect((await restore(fileOf([CONTENT]), path)).error).toMatchObject({ code: 'already-exists' });
      expect(await readlink(path)).toBe(points);
      expect((await restore(fileOf([CONTENT]), path, { existing: 'replace' })).error).toBeNull();
      expect((await lstat(path)).isFile()).toBe(true);
      expect(await readFile(path)).toEqual(CONTENT);
    }
    expect(await readFile(folder.at('pointed-to'), 'utf8')).toBe('mine');
    expect((await readdir(folder.path)).toSorted()).toEqual([
      'link-nowhere',
      'link-pointed-to',
      'pointed-to',
    ]);
  });

  test('that a file can never be is refused before anything is fetched', async () => {
    await symlink('.', folder.at('link-to-folder'));
    await promisify(execFile)('mkfifo', [folder.at('pipe')]);
    let fetched = false;
    const file = fileOf([], {
      async *content() {
        fetched = true;
        yield CONTENT;
      },
    });
    for (const name of ['.', 'link-to-folder', 'pipe', 'none/', 'none/out', 'pipe/out', 'x'.repeat(256)]) {
      const { error } = await restore(file, `${folder.path}/${name}`, { existing: 'replace' });
      expect({ name, error }).toMatchObject({ name, error: { code: 'invalid-input' } });
    }
    expect(fetched).toBe(false);
    expect((await readdir(folder.path)).toSorted()).toEqual(['link-to-folder', 'pipe']);
  });

  test('that something else got meanwhile is not overwritten', async () => {
    const path = folder.at('out');
    const file = fileOf([], {
      async *content() {
        yield CONTENT;
        await symlink('nowhere', path);
      },
    });
    expect((await restore(file, path)).error).toMatchObject({ code: 'already-exists' });
    expect(await readdir(folder.path)).toEqual(['out']);
  });

  test('has nothing beside it that a killed restore of it has left', async () => {
    const left = '.out.0123456789ab.partial';
    const others = [
      '.other.0123456789ab.partial',
      '.out.0123456789ab.partial~',
      '.out.partial',
      '.out.0123456789ac.partial',
    ];
    for (const name of [left, ...others]) await writeFile(folder.at(name), 'x');
    const file = fileOf([], {
      async *content() {
        // Another restore that goes on.
        await writeFile(folder.at('.out.0123456789ac.partial'), 'xx');
        yield CONTENT;
      },
    });
    expect((await restore(file, folder.at('out'))).error).toBeNull();
    expect((await readdir(folder.path)).toSorted()).toEqual([...others, 'out'].toSorted());
  });

  test('is written although its content is long in coming, and another restore of it ends meanwhile', async () => {
    await using elsewhere = await temporaryFolder();
    const path = folder.at('out');
    const others: unknown[] = [];
    const file = fileOf([], {
      async *content() {
        yield CONTENT;
        // Another process knows no list of the folder from before.
        await restore(fileOf([]), join(elsewhere.path, 'other'));
        others.push((await restore(fileOf([CONTENT]), path, { existing: 'replace' })).error);
        yield CONTENT;
      },
    });
    expect((await restore(file, path, { existing: 'replace' })).error).toBeNull();
    expect(others).toEqual([null]);
    expect((await readFile(path)).equals(Buffer.concat([CONTENT, CONTENT]))).toBe(true);
    const { mtimeMs } = await stat(path);
    expect(Math.floor(mtimeMs / 1000)).toBe(MODIFIED.seconds);
    expect(await readdir(folder.path)).toEqual(['out']);
  });

  test.each(['refuse', 'replace'] as const)(
    'says that what was written of it was removed meanwhile, and no untruth (%s)',
    async (existing) => {
      const file = fileOf([], {
        async *content() {
          yield CONTENT;
          for (const name of await readdir(folder.path)) await rm(folder.at(name));
        },
      });
      const { error } = await restore(file, folder.at('out'), { existing });
      const says = expect.stringContaining('was removed meanwhile');
      expect(error).toMatchObject({ code: 'unavailable', message: says });
    },
  );

  test('that the system refuses says what it refused', () => {
    expect(refusal('EACCES', 'mkdir')).toBe(
      'docs/a could not be written: this user may not make a folder there (EACCES). Change that, or name another place.',
    );
    expect(refusal('EPERM', 'rename')).toContain('may not give a file its name there (EPERM)');
    expect(refusal('EACCES', 'scandir')).toContain('may not list the folder');
    expect(refusal('ENOKEY', 'open')).toContain('could not be written: ENOKEY');
    expect(refusal('ENOENT', 'open')).toContain('its folder does not exist');
    expect(refusal('ENOTDIR', 'open')).toContain('on the way to it');
  });

  test('has a name as long as any can be, in characters of any length', async () => {
    const names = [
      'x'.repeat(255),
      '漢'.repeat(85),
      `a${'漢'.repeat(84)}`,
      `ab${'漢'.repeat(84)}`,
      '😀'.repeat(63),
      `abc${'😀'.repeat(63)}`,
      `é${'e\u0301'.repeat(84)}`,
    ];
    for (const name of names) {
      const unfinished: string[] = [];
      const file = fileOf([], {
        async *content() {
          unfinished.push(...(await readdir(folder.path)));
          yield CONTENT;
        },
      });
      const path = folder.at(name);
      expect((await restore(file, path)).error).toBeNull();
      expect(await readFile(path)).toEqual(CONTENT);
      const partial = unfinished.filter((entry) => entry.endsWith('.partial'));
      expect(partial).toHaveLength(1);
      // Whole characters, and what it is a part of can be seen.
      const shown = /^\.(.+)\.[0-9a-f]{12}\.partial$/.exec(partial[0] ?? '')?.[1] ?? '';
      expect(name.startsWith(shown)).toBe(true);
      expect(Buffer.byteLength(shown)).toBeGreaterThan(96);
      expect(Buffer.byteLength(partial[0] ?? '')).toBeLessThanOrEqual(143);
    }
  });
});

describe('What a file is beside its bytes', () => {
  test('comes back: permissions without set-user-ID, the time to its microsecond', async () => {
    const times: FileTime[] = [
      MODIFIED,
      { seconds: 0, nanoseconds: 0 },
      { seconds: -2, nanoseconds: 500_000_000 },
      { seconds: -1, nanoseconds: 999_999_000 },
      { seconds: -1_000_000_000, nanoseconds: 1 },
      { seconds: 1_699_999_999, nanoseconds: 999_999_999 },
      { seconds: 4_102_444_800, nanoseconds: 7 },
      ...Array.from({ length: 50 }, (_, i) => ({
        seconds: 1_100_000_000 + i * 20_000_003,
        nanoseconds: (i * 123_456_791) % 1_000_000_000,
      })),
    ];
    for (const [i, modified] of times.entries()) {
      const path = folder.at(`out-${i}`);
      expect((await restore(fileOf([CONTENT], { modified, mode: 0o4751 }), path)).error).toBeNull();
      const { mtimeNs, mode } = await stat(path, { bigint: true });
      const wanted = BigInt(modified.seconds) * 1_000_000_000n + BigInt(modified.nanoseconds);
      const off = mtimeNs > wanted ? mtimeNs - wanted : wanted - mtimeNs;
      const sameMicrosecond = modified.seconds < 0 || mtimeNs / 1000n === wanted / 1000n;
      expect({ modified, off: off < 1000n, sameMicrosecond }).toEqual({
        modified,
        off: true,
        sameMicrosecond: true,
      });
      expect(Number(mode) & 0o7777).toBe(0o751);
    }
  });

  test("is the present and the owner's alone where nothing is known", async () => {
    await writeFile(folder.at('before'), '');
    const before = await stat(folder.at('before'));
    expect(
      (await restore(fileOf([CONTENT], { mode: null, modified: null }), folder.at('out'))).error,
    ).toBeNull();
    const after = await stat(folder.at('out'));
    expect(after.mode & 0o777).toBe(0o600);
    expect(after.mtimeMs).toBeGreaterThanOrEqual(before.mtimeMs);
  });
});

describe('Holes', () => {
  test('come back as holes, at the end of a file too, and nothing else does', async () => {
    const zeros = Buffer.alloc(MIB);
    const block = Buffer.alloc(4096, 1);
    const contents: readonly (readonly [written: number, runs: readonly Uint8Array[]])[] = [
      [4096, [zeros, block, zeros, zeros]],
      // Zeros up to the first whole block are written, and those of the last one.
      [100_000 + 2400 + 1696, [CONTENT, zeros]],
      [0, [zeros]],
      [1, [zeros, Buffer.from('x')]],
      [0, [Buffer.alloc(64 * 1024)]],
      [64 * 1024 - 1, [Buffer.alloc(64 * 1024 - 1)]],
      [5, [Buffer.alloc(5)]],
      [0, []],
    ];
    for (const [i, [written, runs]] of contents.entries()) {
      const path = folder.at(`out-${i}`);
      expect((await restore(fileOf(runs), path)).error).toBeNull();
      expect({ i, written: disk.writtenBytes }).toEqual({ i, written });
      expect((await readFile(path)).equals(Buffer.concat(runs))).toBe(true);
    }
  });
});
