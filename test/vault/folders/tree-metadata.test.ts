// A new file has its owner and permissions at the end, whatever it was made with, and nobody gets at it before who may not after.
import { constants, fchownSync, fstatSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { take } from '../../../src/concurrency/steps.ts';
import type { FolderEntry } from '../../../src/format/folder-index.ts';
import { readAccounts } from '../../../src/vault/folders/accounts.ts';
import { diskCalls } from '../../../src/vault/folders/disk-calls.ts';
import type { DiskCalls } from '../../../src/vault/folders/disk-calls.ts';
import { Metadata } from '../../../src/vault/folders/tree-metadata.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import type { TemporaryFolder } from '../../support/temporary-folder.ts';

const { O_CREAT, O_EXCL, O_WRONLY } = constants;
const uid = process.getuid?.() ?? 0;
const gid = process.getgid?.() ?? 0;

let place: TemporaryFolder;
let calls: DiskCalls;
let set: string[];
beforeEach(async () => {
  place = await temporaryFolder();
  const real = await diskCalls(place.path, undefined);
  set = [];
  calls = {
    ...real,
    fchown: (...given) => (set.push('owner'), real.fchown(...given)),
    fchmod: (...given) => (set.push('mode'), real.fchmod(...given)),
  };
});
afterEach(async () => {
  await place[Symbol.asyncDispose]();
});

const entryOf = (mode: number | null, owner = { uid, gid }): FolderEntry => ({
  path: Buffer.from('f'),
  kind: 'file',
  mode,
  owner: { ...owner, user: null, group: null },
  modified: { seconds: 1_700_000_000, nanoseconds: 0 },
  content: { size: 0, offset: 0, extents: null },
  target: null,
  linkGroup: null,
  device: null,
  attributes: [],
});

/** @returns the permissions a file was made with, and what it has at the end */
async function make(
  metadata: Metadata,
  entry: FolderEntry,
  name: string,
): Promise<{ readonly made: number; readonly facts: ReturnType<typeof fstatSync> }> {
  const made = metadata.modeToMake(entry);
  const fd = await calls.open(place.at(name), O_WRONLY | O_CREAT | O_EXCL, made);
  set = [];
  try {
    expect(await take(metadata.setOnNewFile(fd, entry))).toEqual([]);
    return { made, facts: fstatSync(fd) };
  } finally {
    await calls.close(fd);
  }
}

test('what a new file has already is not set again', async () => {
  const metadata = new Metadata(calls, await readAccounts(), true);
  await make(metadata, entryOf(0o600), 'first');
  const { facts } = await make(metadata, entryOf(0o600), 'second');
  expect(set).toEqual([]);
  expect(facts).toMatchObject({ uid, gid, mode: 0o100600, mtimeMs: 1_700_000_000_000 });
});

test.each([0o000, 0o444, 0o640, 0o666, 0o777, 0o4755, 0o6711])(
  'permissions %i are set whatever the mask of the process takes away',
  async (mode) => {
    const metadata = new Metadata(calls, await readAccounts(), true);
    await make(metadata, entryOf(0o600), 'first');
    const before = process.umask(0o077);
    try {
      const { facts } = await make(metadata, entryOf(mode), 'second');
      expect(Number(facts.mode) & 0o7777).toBe(mode);
    } finally {
      process.umask(before);
    }
  },
);

test.runIf(uid === 0)('a file of somebody else is opened to nobody before it is theirs', async () => {
  const metadata = new Metadata(calls, await readAccounts(), true);
  for (const name of ['first', 'second']) {
    const { made, facts } = await make(metadata, entryOf(0o664, { uid: 1234, gid: 5678 }), name);
    expect(made).toBe(0o600);
    expect(facts).toMatchObject({ uid: 1234, gid: 5678, mode: 0o100664 });
    expect(set).toEqual(['owner', 'mode']);
  }
});

test('where owners are left as they are, permissions are set all the same', async () => {
  const metadata = new Metadata(calls, await readAccounts(), false);
  const { facts } = await make(metadata, entryOf(0o606, { uid: 1234, gid: 5678 }), 'f');
  expect(facts).toMatchObject({ uid, gid, mode: 0o100606 });
  expect(set).not.toContain('owner');
});

test.each([
  ['is the one that is stored', null, 0o6755, []],
  [
    'has by its name another number here',
    'unheard-of',
    0o755,
    ['without set-user-ID or set-group-ID, since its owner and group are not restored'],
  ],
])('a program keeps set-user-ID where its owner %s', async (_, user, mode, notKept) => {
  const [first, second] = uid === 0 ? [1234, 5678] : [uid, gid];
  const stored = { ...entryOf(0o6755), owner: { uid: first, gid: second, user, group: null } };
  const fd = await calls.open(place.at('f'), O_WRONLY | O_CREAT | O_EXCL, 0o600);
  try {
    fchownSync(fd, first, second);
    const metadata = new Metadata(calls, await readAccounts(), false);
    expect(await take(metadata.setOnFile(fd, stored))).toEqual(notKept);
    expect(fstatSync(fd).mode & 0o7777).toBe(mode);
  } finally {
    await calls.close(fd);
  }
});

test('a folder keeps set-group-ID whosever it is, and it is told where the system takes that away', async () => {
  const stored = { ...entryOf(0o2750, { uid: 7, gid: 8 }), kind: 'folder' as const, content: null };
  const accounts = await readAccounts();
  const notKept = async (taken: number): Promise<string[]> => {
    const chmod: DiskCalls['chmod'] = (path, bits) => calls.chmod(path, bits & ~taken);
    return take(new Metadata({ ...calls, chmod }, accounts, false).setOnFolder(place.path, stored));
  };
  expect(await notKept(0o2000)).toEqual([expect.stringMatching(/^without set-user-ID or/)]);
  expect(await notKept(0)).toEqual([]);
});
