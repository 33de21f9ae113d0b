// A folder in a vault, as another machine has stored it: what goes by ids keeps and mends it, what reads files says what it is.
import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { idEntry, manifestHash } from '../../src/crypto/manifest.ts';
import { EntryEncoder } from '../../src/format/folder-index.ts';
import type { FolderEntry } from '../../src/format/folder-index.ts';
import { manifestObjectName } from '../../src/format/manifest.ts';
import type { ContentTable } from '../../src/format/manifest.ts';
import { readManifest } from '../../src/vault/files/manifests.ts';
import { CHUNK_SIZE, putBytes, testVault } from './harness.ts';
import type { TestVault } from './harness.ts';

const CONTENT = randomBytes(2 * CHUNK_SIZE + 5);
const ROOT: FolderEntry = {
  path: Buffer.alloc(0),
  kind: 'folder',
  mode: null,
  owner: null,
  modified: null,
  content: null,
  target: null,
  linkGroup: null,
  device: null,
  attributes: [],
};

/** One file and very many fifos, so that the index is not small. */
function entriesOf(size: number): FolderEntry[] {
  const file = { ...ROOT, path: Buffer.from('a'), kind: 'file' as const };
  const names = Array.from({ length: 3000 }, (_, i) => Buffer.from(`fifo ${10_000 + i}`));
  const fifos = names.map((path): FolderEntry => Object.assign({}, ROOT, { path, kind: 'fifo' }));
  return [ROOT, { ...file, content: { size, offset: 0, extents: null } }, ...fifos];
}

/** Stores bytes as a file, whose chunks are then those of a folder. */
async function storeBytes({ vault, session }: TestVault, bytes: Buffer, name: string): Promise<ContentTable> {
  const { hash } = await putBytes(vault, bytes, { name });
  const { content } = await readManifest(session, hash, {});
  if (content === null) throw new Error('It has no lock.');
  return { ...content.table, chunkSize: null };
}

/** @returns the folder's hash; the files that its chunks came from are gone */
async function putFolder(made: TestVault): Promise<string> {
  const encoder = new EntryEncoder();
  const bytes = Buffer.concat(entriesOf(CONTENT.length).map((entry) => Buffer.from(encoder.encode(entry))));
  const content = await storeBytes(made, CONTENT, 'content');
  const index = await storeBytes(made, bytes, 'index');
  const { session, vault } = made;
  const { size, entries } = encoder.totals;
  const object = session.sealer.seal({
    head: {
      kind: 'folder',
      name: 'docs',
      size,
      createdAtMs: session.clock.now(),
      modified: null,
      mode: null,
      expiresAtMs: null,
      version: 1,
      epoch: session.keyring.keyring.epoch,
      redundancy: session.keyring.keyring.redundancy,
      chunkSize: null,
      chunks: content.refs.length,
      indexChunks: index.refs.length,
      entries,
      incomplete: true,
      locked: false,
    },
    ids: { depth: 0, ids: [...content.refs, ...index.refs].map((ref) => idEntry(ref, null)) },
    content,
    folder: { index, size, entries, incomplete: true },
    contentKey: randomBytes(32),
    lock: null,
  });
  const hash = manifestHash(object);
  for (const { storage } of made.buckets) storage.set(manifestObjectName(hash), object);
  await vault.remove(['content', 'index']);
  await session.guard.end();
  return hash;
}

test('a folder is verified, swept around, mended and listed', async () => {
  await using made = await testVault();
  const hash = await putFolder(made);
  const { vault } = made;
  const chunks = made.objects('chunks/');
  await vault.sweep({ ignoreGrace: true, waitMs: 0 });
  expect(made.objects('chunks/')).toEqual(chunks);

  await vault.repair({ depth: 'listing' });
  expect(await vault.verify({ depth: 'data' })).toMatchObject({ outcome: 'whole', files: { whole: 1 } });
  const [bucket] = made.buckets;
  for (const name of bucket?.storage.keys() ?? [])
    if (name.startsWith('chunks/')) bucket?.storage.delete(name);
  expect(await vault.verify({ depth: 'listing' })).toMatchObject({ outcome: 'degraded' });
  expect(await vault.repair({ depth: 'data' })).toMatchObject({ outcome: 'whole', chunksNotOpened: 0 });
  expect(await vault.verify({ depth: 'data' })).toMatchObject({ outcome: 'whole' });

  const listed = await Array.fromAsync(vault.list());
  expect(listed.flat()).toMatchObject([
    { hash, name: 'docs', kind: 'folder', entries: 3002, incomplete: true },
  ]);
});

test('a folder is not read as a file', async () => {
  await using made = await testVault();
  const hash = await putFolder(made);
  await expect(made.vault.get(hash)).rejects.toMatchObject({
    code: 'invalid-input',
    message: '"docs" is a folder: it cannot be read as a file.',
  });
});

test('a file under the name of a folder is a version of its own', async () => {
  await using made = await testVault();
  await putFolder(made);
  await made.vault.repair({ depth: 'listing' });
  const put = await putBytes(made.vault, CONTENT, { name: 'docs' });
  expect(put).toMatchObject({ unchanged: false, kind: 'file', chunksStored: 0 });
});
