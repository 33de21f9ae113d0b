// The worked example of FORMAT.md, and what must be refused, read as any reader of the format would.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bodyHash, chunkSecrets, openChunk } from '../../src/crypto/chunk.ts';
import { reconstructData } from '../../src/crypto/erasure.ts';
import { unwrapKeys } from '../../src/crypto/keys.ts';
import type { VaultKeys } from '../../src/crypto/keys.ts';
import { idEntry, manifestHash, ManifestOpener } from '../../src/crypto/manifest.ts';
import { openPutMarker } from '../../src/crypto/put-marker.ts';
import { openEarlier } from '../../src/crypto/roots.ts';
import { openBucketUrl, openLabel } from '../../src/crypto/texts.ts';
import { objectDigest, openDeletion, openSweepList, verifyKeyring } from '../../src/crypto/signing.ts';
import { VaultError } from '../../src/errors.ts';
import { SEAL_OVERHEAD, unpackPayload } from '../../src/format/chunk.ts';
import { parseKeyringObjectName } from '../../src/format/keyring.ts';
import { EntryDecoder } from '../../src/format/folder-index.ts';
import type { FolderEntry, FolderTotals } from '../../src/format/folder-index.ts';
import {
  decodeIds,
  decodeRefs,
  encodeRefs,
  manifestObjectName,
  MANIFEST_PREFIX,
  parseManifestObjectName,
} from '../../src/format/manifest.ts';
import type { ChunkRef } from '../../src/format/manifest.ts';
import { decodeMarker } from '../../src/format/marker.ts';
import {
  parseDeletionObjectName,
  parsePutMarkerName,
  parseSweepObjectName,
} from '../../src/format/removal.ts';
import {
  isShardIntact,
  parseNamedShard,
  parseShardHeader,
  parseShardObjectName,
  sealingOf,
  SHARD_HEADER_SIZE,
} from '../../src/format/shard.ts';
import { allocateChunkMemory } from '../../src/vault/chunks/chunk-memory.ts';
import { ChunkReader } from '../../src/vault/chunks/chunk-reader.ts';
import { contentRefs } from '../../src/vault/files/tables.ts';
import { outcome } from '../crypto/samples.ts';
import { all, testVault } from '../vault/harness.ts';
import type { TestVault } from '../vault/harness.ts';
import example from '../vectors/format-example.json' with { type: 'json' };
import {
  computeExample,
  FULL,
  INLINE_BODY,
  INPUTS,
  NEXT,
  PACKED_BODY,
  PUT,
  STORED_BODY,
} from '../vectors/format-example.ts';
import { ENTRIES, FOLDER_BODY, indexOf } from '../vectors/example-folders.ts';
import type { Kind, MustFail } from '../vectors/broken-json.ts';
import storedCases from '../vectors/must-fail.json' with { type: 'json' };
import { wholeChunks } from '../vectors/must-fail-chunks.ts';
import { computeMustFail } from '../vectors/must-fail.ts';

interface Shown {
  readonly text?: string;
  readonly bytes?: string;
}

function bytesOf({ text, bytes }: Shown): Buffer {
  return bytes === undefined ? Buffer.from(text ?? '') : Buffer.from(bytes, 'hex');
}

const objects = new Map(Object.entries<Shown>(example.objects).map(([name, one]) => [name, bytesOf(one)]));
function named(name: string): Buffer {
  const found = objects.get(name);
  if (found === undefined) throw new Error(`The example has no object ${name}.`);
  return found;
}

const rotated = verifyKeyring(NEXT, named('keyring/0000000003'), 3);
/** Before the rotation, and after it. */
const [earlier, opener] = [new ManifestOpener(FULL), new ManifestOpener(openEarlier(NEXT, rotated))];

function only(prefix: string): { readonly name: string; readonly bytes: Buffer } {
  const [found, ...others] = [...objects].filter(([name]) => name.startsWith(prefix));
  if (found === undefined || others.length > 0) throw new Error(`There is not one object ${prefix}.`);
  return { name: found[0], bytes: found[1] };
}

test('the stored example is the one that is computed', async () => {
  expect(await computeExample()).toEqual(example);
});

test('the stored cases are those that are computed', () => {
  expect(computeMustFail()).toEqual(storedCases);
});

describe('the example', () => {
  const last = verifyKeyring(FULL, named('keyring/0000000002'), 2);

  async function unlock(writer: string, password: string): Promise<VaultKeys> {
    const slot = last.slots.find((one) => one.writer === writer);
    const keys =
      slot === undefined
        ? null
        : await unwrapKeys(slot, password, { vaultId: last.vaultId, rootNumber: last.root });
    if (slot === undefined || keys === null) throw new Error('It does not open.');
    expect(openLabel(keys, slot)).toBe(writer === INPUTS.writer ? 'office' : 'nightly');
    return keys;
  }

  test('has a marker', () => {
    expect(decodeMarker(named('vault.json'))).toEqual({ vaultId: INPUTS.vaultId, bucketId: INPUTS.bucketId });
  });

  test('has two keyrings, the second upon the first', () => {
    expect(verifyKeyring(FULL, named('keyring/0000000001'), 1).previous).toBeNull();
    expect(last.previous).toBe(objectDigest(named('keyring/0000000001')));
    expect(last.compression).toBe(3);
  });

  test('has a third keyring with a new root, which both roots believe', async () => {
    expect(rotated.previous).toBe(objectDigest(named('keyring/0000000002')));
    expect(verifyKeyring(FULL, named('keyring/0000000003'), 3)).toEqual(rotated);
    const [slot, ...others] = rotated.slots;
    if (slot === undefined || others.length > 0) throw new Error('It has one.');
    const place = { vaultId: INPUTS.vaultId, rootNumber: rotated.root };
    const keys = await unwrapKeys(slot, INPUTS.nextPassword, place);
    expect(keys?.full?.root).toEqual(INPUTS.nextRoot);
    expect(openEarlier(NEXT, rotated).full?.earlier.map(({ full }) => full?.root)).toEqual([INPUTS.root]);
    expect(rotated.former.map((one) => openLabel(NEXT, one))).toEqual(['laptop', 'office', 'nightly']);
  });

  test('opens with its passwords', async () => {
    const full = await unlock(INPUTS.writer, INPUTS.password);
    expect(full.full?.root).toEqual(INPUTS.root);
    const put = await unlock(INPUTS.putWriter, INPUTS.putPassword);
    expect(put).toEqual({ ...PUT, role: 'put', full: null });
  });

  test('has the objects of a removal and of a put', () => {
    const deleted = only('deleted/');
    expect(openDeletion(FULL, deleted.bytes, parseDeletionObjectName(deleted.name) ?? '').live).toBe(false);
    const sweep = only('sweep/');
    const list = openSweepList(FULL, sweep.bytes, parseSweepObjectName(sweep.name) ?? '');
    expect(list.objects).toHaveLength(3);
    expect(list.objects.every((name) => objects.has(name))).toBe(true);
    const marker = only('puts/');
    expect(parsePutMarkerName(marker.name)?.createdAtMs).toBe(INPUTS.createdAtMs);
    const { writer, ids } = openPutMarker(FULL, marker.bytes);
    expect(writer).toBe(INPUTS.putWriter);
    expect(ids).toHaveLength(2);
  });

  test('has a file whose ids lie in chunks: those of its content, then those of its table', () => {
    const { hash } = example.files['tables in chunks'];
    const { ids, content } = opener.open(named(manifestObjectName(hash)), hash);
    if (ids.depth === 0 || content === null) throw new Error('Its tables are in chunks.');
    const { refs, chunkSize } = content.table;
    const below = decodeRefs(Buffer.concat(refs.map(readChunk)));
    expect(decodeIds(Buffer.concat(ids.refs.map(readChunk)))).toEqual([
      ...below.map((ref) => idEntry(ref, chunkSize)),
      ...refs.map((ref) => idEntry(ref, null)),
    ]);
  });

  test.each([
    ['folder', ENTRIES.length],
    ['folder in chunks', 3],
    ['locked folder', ENTRIES.length],
  ] as const)('has a folder whose index is read: %s', async (what, entries) => {
    const { hash } = example.files[what];
    const opened = opener.open(named(manifestObjectName(hash)), hash);
    expect(opened.head).toMatchObject({ kind: 'folder', entries: what === 'locked folder' ? null : entries });
    const content = await opened.unlock(INPUTS.lockPassword);
    if (content === null || content.folder === null) throw new Error('It is a folder.');
    const { index, size } = content.folder;
    const bytes = Buffer.from(index.inline ?? readTable(index.depth, index.refs));
    const read = readIndex(bytes, { entries, size, contentSize: content.table.size });
    expect(read).toHaveLength(entries);
    expect(read[0]?.kind).toBe('folder');
  });

  test.each([
    ['folder', FOLDER_BODY],
    ['folder in chunks', Buffer.concat([STORED_BODY, PACKED_BODY])],
    ['locked folder', FOLDER_BODY],
    ['cut by content', Buffer.concat([STORED_BODY, PACKED_BODY])],
    ['inline', INLINE_BODY],
    ['stored', STORED_BODY],
    ['packed', PACKED_BODY],
    ['tables in chunks', STORED_BODY],
    ['by a put keyslot', INLINE_BODY],
    ['after the rotation', INLINE_BODY],
    ['locked', INLINE_BODY],
  ] as const)('has a file that is read: %s', async (what, body) => {
    const { hash, content } = example.files[what];
    expect(bodyHash(body).toString('hex')).toBe(content);
    const opened = opener.open(named(manifestObjectName(hash)), hash);
    expect(opened.content === null).toBe(what.startsWith('locked'));
    const writers: Partial<Record<typeof what, string>> = {
      'by a put keyslot': INPUTS.putWriter,
      'after the rotation': INPUTS.nextWriter,
    };
    expect(opened.writer).toBe(writers[what] ?? INPUTS.writer);
    const table = (await opened.unlock(INPUTS.lockPassword))?.table;
    if (table === undefined) throw new Error('The lock does not open.');
    expect(table.inline ?? readTable(table.depth, table.refs)).toEqual(body);
  });
});

function readTable(depth: number, refs: readonly ChunkRef[]): Buffer {
  const bodies = Buffer.concat(refs.map(readChunk));
  return depth === 0 ? bodies : readTable(depth - 1, decodeRefs(bodies));
}

/** A chunk from its last shards, so from parity; and it must be the body that is referred to. */
function readChunk({ tag, hash, length }: ChunkRef): Buffer {
  const secrets = chunkSecrets(tag);
  const chunkId = secrets.id.toString('hex');
  const shards: (Uint8Array | null)[] = [null, null, null];
  let header = null;
  for (const [name, bytes] of objects) {
    const parsed = parseShardObjectName(name);
    if (parsed?.chunkId !== chunkId || parsed.index === 0) continue;
    header = parseShardHeader(bytes);
    expect(isShardIntact(bytes, chunkId)).toBe(true);
    expect(parsed.sealing).toBe(sealingOf(header.nonce, header.sealedSize));
    expect(parsed.index).toBe(header.index);
    shards[parsed.index] = bytes.subarray(SHARD_HEADER_SIZE);
  }
  if (header === null) throw new Error(`The example has no chunk ${chunkId}.`);
  const { k, m, sealedSize, nonce } = header;
  const payload = Buffer.alloc(sealedSize - SEAL_OVERHEAD);
  expect(openChunk(secrets, nonce, reconstructData(k, m, shards), { sealedSize, payload })).toBe(true);
  const body = Buffer.from(unpackPayload(payload, length));
  expect(bodyHash(body)).toEqual(hash);
  return body;
}

// --- what must be refused -----------------------------------------------------------------------------

/** Reads an object as a reader of the format would. @throws what the code throws */
const readers: Readonly<Record<Kind, (bytes: Buffer, name: string, one?: MustFail) => unknown>> = {
  marker: decodeMarker,
  keyring: (bytes, name) => verifyKeyring(FULL, bytes, parseKeyringObjectName(name) ?? 0),
  deletion: (bytes, name) => openDeletion(FULL, bytes, parseDeletionObjectName(name) ?? ''),
  sweep: (bytes, name) => openSweepList(FULL, bytes, parseSweepObjectName(name) ?? ''),
  'put marker': (bytes) => openPutMarker(FULL, bytes),
  'rotated keyring': (bytes, name) =>
    openEarlier(NEXT, verifyKeyring(NEXT, bytes, parseKeyringObjectName(name) ?? 0)),
  manifest: (bytes, name) => earlier.open(bytes, parseManifestObjectName(name) ?? ''),
  'rotated manifest': (bytes, name) => opener.open(bytes, parseManifestObjectName(name) ?? ''),
  shard(bytes, name) {
    const parsed = parseShardObjectName(name);
    if (parsed === null) throw new Error(`${name} is the name of no shard.`);
    parseNamedShard(bytes, parsed);
    if (!isShardIntact(bytes, parsed.chunkId)) throw new VaultError('damaged', 'Its checksum is wrong.');
  },
  chunk: (bytes, name, one) => readStored(bytes, name, one?.entry ?? ''),
  table: (bytes, _, one) => readTableOf(bytes, one ?? {}),
  index: (bytes, _, one) => readIndex(bytes, one ?? {}),
  async keyslot(bytes) {
    const { slots, root, vaultId } = verifyKeyring(FULL, bytes, 2);
    const [slot] = slots;
    if (slot === undefined) throw new Error('There are two.');
    expect(await unwrapKeys(slot, INPUTS.password, { vaultId, rootNumber: root })).not.toBeNull();
  },
  async lock(bytes, name) {
    const opened = opener.open(bytes, parseManifestObjectName(name) ?? '');
    expect(await opened.unlock(INPUTS.lockPassword)).not.toBeNull();
  },
  label: (label) => openLabel(FULL, { writer: INPUTS.writer, label }),
  url: (url) => openBucketUrl(FULL, { id: INPUTS.bucketId, url }),
};

/** Any vault: what a chunk is told by is the entry that lists it. */
let made: TestVault;
beforeAll(async () => {
  made = await testVault({ buckets: 1 });
});
afterAll(() => made[Symbol.asyncDispose]());

/** Reads the chunk that an entry lists, where a bucket has one shard of it. */
async function readStored(bytes: Buffer, name: string, entry: string): Promise<Uint8Array> {
  const [ref] = decodeRefs(Buffer.from(entry, 'hex'));
  const storage = made.buckets[0]?.storage;
  if (ref === undefined || storage === undefined) throw new Error('There is one of each.');
  storage.set(name, bytes);
  try {
    const memory = allocateChunkMemory(ref.length, null);
    return await new ChunkReader(made.session).read(memory, ref, new AbortController().signal);
  } finally {
    storage.delete(name);
  }
}

const TABLE = { size: 140_000, chunkSize: INPUTS.chunkSize };

async function readTableOf(
  bytes: Buffer,
  {
    size = 0,
    chunkSize = 0,
    chunks,
  }: { readonly size?: number; readonly chunkSize?: number | null; readonly chunks?: number },
): Promise<ChunkRef[]> {
  const refs = decodeRefs(bytes);
  return all(
    contentRefs(made.session, {
      table: { size, chunkSize, depth: 0, refs, inline: null },
      chunks: chunks ?? refs.length,
    }),
  );
}

function readIndex(
  bytes: Buffer,
  { entries = 0, size = 0, contentSize = 0 }: Partial<FolderTotals>,
): readonly FolderEntry[] {
  const decoder = new EntryDecoder({ entries, size, contentSize });
  const read = decoder.push(bytes);
  decoder.end();
  return read;
}

async function outcomeOf(read: () => unknown): Promise<string> {
  try {
    await read();
    return 'success';
  } catch (error) {
    return outcome(() => {
      throw error;
    });
  }
}

const byName = new Map(computeMustFail().map((one) => [`${one.kind} ${one.name}`, one]));
const cases: readonly MustFail[] = storedCases.map((one) => computed(one));

/** JSON's types are wider than what is in it, which the test above holds to what is computed. */
function computed({ kind, name }: { readonly kind: string; readonly name: string }): MustFail {
  const found = byName.get(`${kind} ${name}`);
  if (found === undefined) throw new Error(`There is no case ${kind} ${name}.`);
  return found;
}

test('each case has a name of its own', () => {
  expect(byName.size).toBe(storedCases.length);
});

test.each([
  ['marker', 'vault.json'],
  ['keyring', 'keyring/0000000002'],
  ['keyring', 'keyring/0000000003'],
  ['rotated keyring', 'keyring/0000000003'],
  ['rotated manifest', `${MANIFEST_PREFIX}${example.files['after the rotation'].hash}`],
  ['deletion', only('deleted/').name],
  ['sweep', only('sweep/').name],
  ['put marker', only('puts/').name],
  ['manifest', `${MANIFEST_PREFIX}${example.files.stored.hash}`],
  ['shard', [...objects.keys()].find((name) => name.startsWith('chunks/')) ?? ''],
] as const)('a %s that is whole is read', (kind, name) => {
  expect(outcome(() => readers[kind](named(name), name))).toBe('success');
});

test('a keyslot and a lock that are whole are opened', async () => {
  expect(await outcomeOf(() => readers.keyslot(named('keyring/0000000002'), ''))).toBe('success');
  const name = manifestObjectName(example.files.locked.hash);
  expect(await outcomeOf(() => readers.lock(named(name), name))).toBe('success');
});

test.each(wholeChunks())('a chunk that is whole is read: $object.name', async ({ object, entry }) => {
  const body = await readStored(object.bytes, object.name, entry);
  expect(bodyHash(body).toString('hex')).toBe(entry.slice(64, 128));
});

test('a table that is whole is read', async () => {
  const full = TABLE.chunkSize;
  const refs = [full, full, TABLE.size - 2 * full].map((length) => ({
    tag: Buffer.alloc(32, 1),
    hash: Buffer.alloc(32, 2),
    length,
  }));
  expect(await readTableOf(encodeRefs(refs), TABLE)).toEqual(refs);
});

test('a table of a content cut by content that is whole is read', async () => {
  const refs = [1, 4 * 1024 * 1024].map((length) => ({
    tag: Buffer.alloc(32, 1),
    hash: Buffer.alloc(32, 2),
    length,
  }));
  const said = { size: 4 * 1024 * 1024 + 1, chunkSize: null, chunks: 2 };
  expect(await readTableOf(encodeRefs(refs), said)).toEqual(refs);
});

test('an index that is whole is read', () => {
  const { index, totals } = indexOf(ENTRIES);
  expect(readIndex(index, totals)).toEqual(ENTRIES);
});

test.each(cases)('$kind $name: $expect', async (one) => {
  const bytes = bytesOf(one);
  const name = one.object ?? manifestObjectName(manifestHash(bytes));
  expect(await outcomeOf(() => readers[one.kind](bytes, name, one))).toBe(one.expect);
});
