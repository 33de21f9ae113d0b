// Folders whose index says what no writer says, made with the right keys: nothing is written outside of the target.
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { manifestHash } from '../../../src/crypto/manifest.ts';
import { EntryWriter } from '../../../src/format/folder-entry.ts';
import type { FolderEntry } from '../../../src/format/folder-index.ts';
import { manifestObjectName } from '../../../src/format/manifest.ts';
import { restoreTree } from '../../../src/vault/folders/restore-tree.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { testVault } from '../harness.ts';
import type { TestVault } from '../harness.ts';

function entry(path: string, facts: Partial<FolderEntry> = {}): FolderEntry {
  return {
    path: Buffer.from(path),
    kind: 'file',
    mode: 0o644,
    owner: null,
    modified: null,
    content: facts.kind === undefined ? { size: 0, offset: 0, extents: null } : null,
    target: null,
    linkGroup: null,
    device: null,
    attributes: [],
    ...facts,
  };
}

const ROOT = entry('', { kind: 'folder' });

/** Stores an index as it is given, which the program itself would refuse to. @returns its hash */
function store({ session, buckets }: TestVault, entries: readonly FolderEntry[]): string {
  const writer = new EntryWriter();
  const bytes = Buffer.concat(
    entries.map((one) => Buffer.from(writer.write(one, { contentSize: 0, groups: 0 }))),
  );
  const none = { chunkSize: null, depth: 0 as const, refs: [] };
  const object = session.sealer.seal({
    head: {
      kind: 'folder',
      name: 'hostile',
      size: 0,
      createdAtMs: session.clock.now(),
      modified: null,
      mode: null,
      expiresAtMs: null,
      version: 1,
      epoch: session.keyring.keyring.epoch,
      redundancy: session.keyring.keyring.redundancy,
      chunkSize: null,
      chunks: 0,
      indexChunks: 0,
      entries: entries.length,
      incomplete: false,
      locked: false,
    },
    ids: { depth: 0, ids: [] },
    content: { ...none, size: 0, inline: Buffer.alloc(0) },
    folder: {
      index: { ...none, size: bytes.length, inline: bytes },
      size: 0,
      entries: entries.length,
      incomplete: false,
    },
    contentKey: randomBytes(32),
    lock: null,
  });
  const hash = manifestHash(object);
  for (const { storage } of buckets) storage.set(manifestObjectName(hash), object);
  return hash;
}

const LINK = entry('link', { kind: 'symlink', target: Buffer.from('../outside') });

const hostile: readonly (readonly [string, readonly FolderEntry[]])[] = [
  ['a path that leads up', [ROOT, entry('../outside/x')]],
  ['a path that leads up in its middle', [ROOT, entry('a', { kind: 'folder' }), entry('a/../../outside/x')]],
  ['an absolute path', [ROOT, entry('/tmp/x')]],
  ['a file below a link', [ROOT, LINK, entry('link/x')]],
  ['a name twice, a link first', [ROOT, LINK, entry('link')]],
  ['a name twice, a folder at last', [ROOT, LINK, entry('link', { kind: 'folder' }), entry('link/x')]],
  ['a file below no folder', [ROOT, entry('a/b')]],
  ['no folder at the top', [entry('a')]],
  ['a NUL in a name', [ROOT, entry('a\0b')]],
];

test.each(hostile)('%s is refused, and nothing is written outside', async (_, entries) => {
  await using made = await testVault();
  await using place = await temporaryFolder();
  await mkdir(place.at('outside'));
  await writeFile(place.at('outside', 'kept'), 'kept');
  const found = await made.vault.find(store(made, entries));
  if (found.kind === 'file') throw new Error('It is a folder.');
  const selected = await found.folder.select(null);
  const reader = selected.reader();
  const restoring = restoreTree(selected.entries(), reader.readContent, place.at('target'), {
    force: true,
    owners: false,
  });
  await expect(restoring).rejects.toMatchObject({ code: 'damaged' });
  await reader.close();
  expect(await readdir(place.at('outside'))).toEqual(['kept']);
  expect((await readdir(place.path)).toSorted()).toEqual(['outside', 'target']);
});
