import { execFile } from 'node:child_process';
import { link, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder } from '../support/temporary-folder.ts';
import type { TemporaryFolder } from '../support/temporary-folder.ts';
import { storageError } from '../support/faulty-bucket.ts';
import { CHEAP_KDF, putBytes } from '../vault/harness.ts';
import { rowsOf, servedVault } from './harness.ts';
import type { Answered, ServedVault } from './harness.ts';

const run = promisify(execFile);
const BIG = Buffer.alloc(700_000, 'big content ');

let place: TemporaryFolder;
let served: ServedVault;
beforeAll(async () => {
  place = await temporaryFolder();
  const docs = place.at('docs');
  await mkdir(join(docs, 'sub', 'empty'), { recursive: true });
  await writeFile(join(docs, 'a.txt'), 'hello');
  await writeFile(join(docs, 'sub', 'ü & "b".bin'), BIG, { mode: 0o600 });
  await link(join(docs, 'a.txt'), join(docs, 'sub', 'same.txt'));
  await symlink('a.txt', join(docs, 'to-a'));
  served = await servedVault();
  await served.made.vault.put({ root: docs }, { name: 'my/docs' });
  await served.made.vault.put(
    { root: docs },
    { name: 'locked', lock: { password: 'open sesame', cost: CHEAP_KDF } },
  );
});
afterAll(async () => {
  await served[Symbol.asyncDispose]();
  await place[Symbol.asyncDispose]();
});

const pathsIn = async (at: string): Promise<unknown[]> => {
  const { status, json } = await served.ask(`/api/folders/${at}`);
  expect(status).toBe(200);
  return rowsOf(json['entries']).map(({ path }) => path);
};

/** Unpacks an archive, and compares it with a folder of this machine. */
async function expectSame({ bytes }: Answered, format: 'tar' | 'zip', original: string): Promise<void> {
  await using to = await temporaryFolder();
  await writeFile(to.at('archive'), bytes);
  await mkdir(to.at('out'));
  if (format === 'tar') await run('tar', ['-xf', to.at('archive'), '-C', to.at('out')]);
  else await run('python3', ['-c', UNZIP, to.at('archive'), to.at('out')]);
  const { stdout } = await run('ls', [to.at('out')]);
  await run('diff', ['-r', '--no-dereference', original, to.at('out', stdout.trim())]);
}

/** As `unzip` does, which is not everywhere: names, permissions, symbolic links, and the checksum of each. */
const UNZIP = `
import sys, os, zipfile
with zipfile.ZipFile(sys.argv[1]) as archive:
    assert archive.testzip() is None
    for info in archive.infolist():
        mode = info.external_attr >> 16
        if mode & 0o170000 == 0o120000: os.symlink(archive.read(info), os.path.join(sys.argv[2], info.filename))
        else: archive.extract(info, sys.argv[2])
    modes = {info.filename: info.external_attr >> 16 & 0o777 for info in archive.infolist()}
    assert all(mode == 0o600 for name, mode in modes.items() if name.endswith('.bin')), modes
`;

describe('a folder', () => {
  it('is listed, a part of it and all that lies deeper, in pages', async () => {
    expect(await pathsIn('my/docs')).toEqual(['a.txt', 'sub', 'to-a']);
    expect(await pathsIn('my/docs/sub')).toEqual(['sub/empty', 'sub/same.txt', 'sub/ü & "b".bin']);
    expect(await pathsIn('my/docs/sub/empty')).toEqual([]);
    const all = await pathsIn('my/docs?recursive=true');
    expect(all).toHaveLength(6);
    const paged: unknown[] = [];
    for (let after = ''; ;) {
      const { json } = await served.ask(`/api/folders/my/docs?recursive=true&limit=4&after=${after}`);
      paged.push(...rowsOf(json['entries']).map(({ path }) => path));
      if (typeof json['next'] !== 'string') break;
      after = json['next'];
    }
    expect(paged).toEqual(all);
    expect(await served.ask('/api/folders/my/docs/nothing')).toMatchObject({ status: 404 });
    expect((await served.ask('/api/folders/my/docs?recursive=false')).bytes.toString()).not.toContain(
      'sub/empty',
    );
    for (const query of ['limit=0', 'recursive=1', 'recursive=yes', 'after=@', 'after=YQ==']) {
      const answer = { status: 400, code: 'invalid-input' };
      expect({ query, ...(await served.ask(`/api/folders/my/docs?${query}`)) }).toMatchObject({
        query,
        ...answer,
      });
    }
  });

  it('gives single files, whatever they are called', async () => {
    const one = await served.ask(`/api/files/my/docs/sub/${encodeURIComponent('ü & "b".bin')}`);
    expect([one.status, one.headers['content-length']]).toEqual([200, String(BIG.length)]);
    expect(one.bytes.equals(BIG)).toBe(true);
    expect(one.headers['content-disposition']).toContain("filename*=UTF-8''%C3%BC%20%26%20%22b%22.bin");
    expect((await served.ask('/api/files/my/docs/sub/same.txt')).bytes.toString()).toBe('hello');
    const head = await served.ask('/api/files/my/docs/a.txt', { method: 'HEAD' });
    expect(head).toMatchObject({ status: 200, headers: { 'content-length': '5' } });
    expect(await served.ask('/api/files/my/docs/nothing')).toMatchObject({ status: 404 });
    for (const none of ['my/docs/to-a', 'my/docs', 'my/docs?format=rar', 'my/docs/sub'])
      expect(await served.ask(`/api/files/${none}`)).toMatchObject({ status: 400, code: 'invalid-input' });
  });

  it.each(['tar', 'zip'] as const)('comes as a %s that others unpack, whole or in part', async (format) => {
    const whole = await served.ask(`/api/files/my/docs?format=${format}`);
    expect(whole.headers['content-disposition']).toContain(`filename="docs.${format}"`);
    await expectSame(whole, format, place.at('docs'));
    const part = await served.ask(`/api/files/my/docs/sub?format=${format}`);
    await expectSame(part, format, place.at('docs', 'sub'));
  });

  it('is an archive in a known format alone, and a file is in none', async () => {
    await putBytes(served.made.vault, Buffer.from('plain'), { name: 'plain' });
    const paths = ['plain?format=zip', 'plain?format=', 'my/docs/a.txt?format=tar', 'my/docs?format=rar'];
    for (const path of [...paths.map((one) => `/api/files/${one}`), '/upload/?file_name=plain&format=zip']) {
      const answer = { status: 400, code: 'invalid-input' };
      expect({ path, ...(await served.ask(path)) }).toMatchObject({ path, ...answer });
    }
  });

  it('has no version to name in a condition, but is there', async () => {
    for (const path of ['my/docs?format=tar', 'my/docs/sub?format=zip', 'my/docs/a.txt']) {
      for (const [match, status] of [
        ['"x"', 412],
        ['*', 200],
      ] as const)
        expect(await served.ask(`/api/files/${path}`, { headers: { 'if-match': match } })).toMatchObject({
          status,
        });
    }
  });

  it('does not judge conditions of what is not there, or cannot be had', async () => {
    const headers = { 'if-match': '"x"' };
    for (const [path, status] of [
      ['my/docs/nope', 404],
      ['my/docs/sub/nope?format=tar', 404],
      ['nope', 404],
      ['my/docs', 400],
    ] as const)
      expect([path, (await served.ask(`/api/files/${path}`, { headers })).status]).toEqual([path, status]);
  });

  it('is removed and linked to as a whole, and what lies in it is not said to be nowhere', async () => {
    for (const [method, path] of [
      ['POST', '/api/files/my/docs/a.txt/links'],
      ['DELETE', '/api/files/my/docs/a.txt'],
      ['GET', '/api/links?file=my/docs/a.txt'],
    ] as const) {
      const refused = await served.ask(path, { method, body: method === 'POST' ? '{}' : null });
      expect(refused).toMatchObject({ status: 400, code: 'invalid-input' });
      expect(refused.bytes.toString()).toContain('for whole folders');
    }
  });

  it('has links, which give a zip unless told otherwise', async () => {
    const { json } = await served.ask('/api/files/my/docs/links', {
      method: 'POST',
      body: '{"downloads":2}',
    });
    const at = new URL(String(json['url'])).pathname;
    expect(await served.ask(at, { headers: { accept: 'text/html' } })).toMatchObject({ status: 200 });
    const zip = await served.ask(at, { method: 'POST' });
    expect(zip.bytes.toString('latin1', 0, 4)).toBe('PK\x03\x04');
    const tar = await served.ask(`${at}?format=tar`, { method: 'POST' });
    expect(tar.bytes.toString('latin1', 257, 262)).toBe('ustar');
    expect(await served.ask(at, { method: 'POST' })).toMatchObject({ status: 404 });
  });

  it('that is locked asks for its password, and slows down guesses by whatever path', async () => {
    const headers = { 'vault-password': 'open sesame' };
    expect(await served.ask('/api/folders/locked')).toMatchObject({ status: 403, code: 'wrong-password' });
    expect(await served.ask('/api/files/locked/a.txt', { headers })).toMatchObject({ status: 200 });
    const guess = async (path: string): Promise<unknown> =>
      (await served.ask(path, { headers: { 'vault-password': 'wrong' } })).code;
    const paths = ['a.txt', 'sub', 'to-a', 'sub/same.txt', 'x', 'y'];
    const codes = await Promise.all(paths.map((path) => guess(`/api/files/locked/${path}`)));
    expect(codes.filter((code) => code === 'wrong-password')).toHaveLength(5);
    expect(codes).toContain('too-many');
  });

  it.each(['tar', 'zip'])('whose %s cannot be finished ends with its connection', async (format) => {
    for (const bucket of served.made.buckets) {
      bucket.wrap = (plain) => ({
        ...plain,
        get: (name, ...rest) =>
          name.startsWith('chunks/') ? Promise.reject(storageError()) : plain.get(name, ...rest),
      });
    }
    try {
      await expect(served.ask(`/api/files/my/docs?format=${format}`)).rejects.toThrow(/aborted|hang up/);
      await expect(served.ask('/api/files/my/docs/sub/nothing')).resolves.toMatchObject({
        code: expect.any(String),
      });
    } finally {
      for (const bucket of served.made.buckets) bucket.wrap = (plain) => plain;
    }
    expect(served.log.at(-2)).toMatchObject({ code: 'unavailable' });
  });
});
