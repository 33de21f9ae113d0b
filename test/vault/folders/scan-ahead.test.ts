// A scan by a thread of its own gives what a scan gives, and ends when nobody wants it any more.
import { rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { relative } from 'node:path';
import fc from 'fast-check';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { isVaultError } from '../../../src/errors.ts';
import { readAccounts } from '../../../src/vault/folders/accounts.ts';
import { makeExcludes } from '../../../src/vault/folders/excludes.ts';
import type { FolderSource } from '../../../src/vault/folders/folder-source.ts';
import { ScanAhead } from '../../../src/vault/folders/scan-ahead.ts';
import { restoreSelected } from '../../../src/vault/folders/restore-selected.ts';
import { scan } from '../../../src/vault/folders/scan.ts';
import type { Missed, ScannedEntry } from '../../../src/vault/folders/scan.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { testVault } from '../harness.ts';
import { anyThings, factsOf, makeTree } from './tree.ts';

const accounts = await readAccounts();

interface Scanned {
  readonly entries: readonly ScannedEntry[];
  readonly missed: readonly Missed[];
}

async function here(source: FolderSource): Promise<Scanned> {
  const missed: Missed[] = [];
  const excludes = await makeExcludes(source.excludes ?? []);
  const options = { ...source, excludes, accounts, onMissed: (one: Missed) => missed.push(one) };
  return { entries: await Array.fromAsync(scan(source.root, options)), missed };
}

async function inThread(source: FolderSource): Promise<Scanned> {
  const missed: Missed[] = [];
  const entries = new ScanAhead(source).entries({ accounts, onMissed: (one) => missed.push(one) });
  return { entries: await Array.fromAsync(entries), missed };
}

const withoutCalls = ({ entries }: Scanned): unknown => entries.map(({ entry, state }) => ({ entry, state }));

const nameOf = (index: number): string => `f${index}`.padEnd(40, '-');

afterEach(() => {
  vi.restoreAllMocks();
});

describe('a scan by a thread', () => {
  test('gives the same of any tree', async () => {
    await fc.assert(
      fc.asyncProperty(anyThings, async (things) => {
        await using at = await temporaryFolder();
        await makeTree(at.path, things);
        const source = { root: at.path };
        expect(await inThread(source)).toEqual(await here(source));
      }),
      { numRuns: 15 },
    );
  });

  test('gives the same of devices, and of a path that is relative', async () => {
    // Others make files in the folders there meanwhile, whose times are then other ones.
    const source = { root: relative(process.cwd(), '/dev'), excludes: ['*', '!/null', '!/zero'] };
    const devices = await inThread(source);
    expect(withoutCalls(devices)).toEqual(withoutCalls(await here(source)));
    expect(devices.entries.map(({ entry: { kind } }) => kind)).toContain('char-device');
  });

  test('leaves out what is to be left out, and tells of the rest that it has not', async () => {
    await using at = await temporaryFolder();
    for (const name of ['kept', 'left.o', 'large', Buffer.from([0x66, 0xff])]) {
      await writeFile(Buffer.concat([Buffer.from(at.path + '/'), Buffer.from(name)]), String(name));
    }
    await writeFile(at.at('large'), Buffer.alloc(1000));
    const server = createServer().listen(at.at('socket'));
    await writeFile(at.at('own'), '');
    const { dev, ino } = await stat(at.path, { bigint: true });
    const own = new Map([[`${dev}:${ino}`, { names: new Set(['own', 'never']), isBucket: false }]]);
    const source = { root: at.path, excludes: ['*.o\n', Buffer.from('none')], largest: 900, own };
    const found = await inThread(source);
    server.close();
    expect(found.entries.map(({ entry }) => entry.path.toString('latin1'))).toEqual(['', 'f\xff', 'kept']);
    expect(found.missed).toMatchObject([
      { path: Buffer.from('own'), why: 'own' },
      { path: Buffer.from('socket'), why: 'socket' },
    ]);
  });

  test.each([
    ['no folder', 'none', 'file-not-found'],
    ['a file', 'file', 'invalid-input'],
  ])('of %s is the same error', async (_, name, code) => {
    await using at = await temporaryFolder();
    await writeFile(at.at('file'), '');
    const source = { root: at.at(name) };
    const error: unknown = await inThread(source).catch((thrown: unknown) => thrown);
    const expected: unknown = await here(source).catch((thrown: unknown) => thrown);
    expect([error, expected].map((one) => isVaultError(one) && one.code)).toEqual([code, code]);
    expect(String(error)).toBe(String(expected));
  });

  test('ends with the abort of its signal, and with who stops asking', async () => {
    const abort = new AbortController();
    const scanning = new ScanAhead({ root: '/' });
    const entries = scanning.entries({ accounts, signal: abort.signal });
    await entries.next();
    abort.abort();
    const error: unknown = await Array.fromAsync(entries).catch((thrown: unknown) => thrown);
    expect(isVaultError(error, 'interrupted')).toBe(true);
    const other = new ScanAhead({ root: '/' });
    for await (const { entry } of other.entries({ accounts })) if (entry.path.length > 0) break;
    const never = new ScanAhead({ root: '/' });
    await never.end(undefined);
    const ended: unknown = await Array.fromAsync(never.entries({ accounts })).catch(
      (thrown: unknown) => thrown,
    );
    expect(String(ended)).toContain('ended before it was done');
    await Promise.all([scanning, other, never].map(async (one) => one.end(undefined)));
  });
});

test('a folder of many files is looked at by a thread from the second time on, and stored as one that is read', async () => {
  await using place = await temporaryFolder();
  const files = Array.from({ length: 1500 }, (_, index) => [nameOf(index), `content ${index}`] as const);
  await makeTree(
    place.path,
    Object.fromEntries(
      files.map(([path, text]) => [
        path,
        { kind: 'file', mode: 0o600, mtime: 1, content: Buffer.from(text) },
      ]),
    ),
  );
  await using log = await temporaryFolder();
  // What was changed a moment ago is not relied on: so the vault's clock is ahead.
  await using made = await testVault({ logFolder: log.path, now: () => Date.now() + 10_000 });
  const asked = vi.spyOn(ScanAhead.prototype, 'entries');
  const put = async (more: Partial<FolderSource> = {}): ReturnType<typeof made.vault.put> =>
    made.vault.put({ root: place.path, ...more }, { name: 'many' });
  await put();
  expect(asked).toHaveBeenCalledTimes(0);
  expect(await put()).toMatchObject({ unchanged: true, chunksStored: 0 });
  expect(asked).toHaveBeenCalledTimes(1);
  await rm(place.at(nameOf(3)));
  await writeFile(place.at(nameOf(700)), 'changed');
  await writeFile(place.at('new'), 'new');
  const after = await put();
  expect(asked).toHaveBeenCalledTimes(2);
  await put({ forceRead: true });
  expect(asked).toHaveBeenCalledTimes(2);
  expect(after).toMatchObject({ unchanged: false, incomplete: false });
  const found = await made.vault.find(after.hash);
  if (found.kind === 'file') throw new Error('It is a file.');
  const target = log.at('out');
  await restoreSelected(await found.folder.select(null), target, { force: false, owners: false });
  expect(await factsOf(target)).toEqual(await factsOf(place.path));
});
