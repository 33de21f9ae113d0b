// Makes format-example.json: one object of each kind, from fixed keys, for FORMAT.md and for decoders in other languages. Run
//     node test/vectors/format-example.ts
// Nothing is drawn: salts, nonces and the ephemeral key are given, which only this is allowed to do.
import { writeFileSync } from 'node:fs';
import { bodyHash, chunkNonce, chunkSecrets, chunkTag, sealChunk } from '../../src/crypto/chunk.ts';
import { encodeParity } from '../../src/crypto/erasure.ts';
import { keysOfRoot, privateKey, wrapKeys } from '../../src/crypto/keys.ts';
import type { VaultKeys } from '../../src/crypto/keys.ts';
import { idEntry, lockContentKey, manifestHash, ManifestSealer } from '../../src/crypto/manifest.ts';
import { sealPutMarker } from '../../src/crypto/put-marker.ts';
import { nextRoot } from '../../src/crypto/roots.ts';
import { sealBucketUrl, sealLabel } from '../../src/crypto/texts.ts';
import { objectDigest, signDeletion, signKeyring, signSweepList } from '../../src/crypto/signing.ts';
import {
  CODEC_STORED,
  CODEC_ZSTD,
  framePayload,
  payloadSize,
  SEAL_OVERHEAD,
} from '../../src/format/chunk.ts';
import { keyringObjectName } from '../../src/format/keyring.ts';
import type { FormerWriter, Keyring, Role } from '../../src/format/keyring.ts';
import { encodeIds, encodeRefs, manifestObjectName } from '../../src/format/manifest.ts';
import type {
  ChunkRef,
  ContentTable,
  FolderPart,
  IdsTable,
  LockStanza,
  ManifestHead,
} from '../../src/format/manifest.ts';
import { encodeMarker, MARKER_NAME } from '../../src/format/marker.ts';
import { deletionObjectName, putMarkerName, sweepObjectName } from '../../src/format/removal.ts';
import { chunkedFolder, FOLDER_BODY, smallFolder } from './example-folders.ts';
import {
  finishShardObject,
  SHARD_HEADER_SIZE,
  sealingOf,
  shardObjectName,
  shardObjectSize,
} from '../../src/format/shard.ts';

/** Bytes that count up from a number, modulo 256. */
export function count(from: number, size: number): Buffer {
  return Buffer.from(Array.from({ length: size }, (_, i) => (from + i) % 256));
}

/** What everything in the example follows from. Bytes count up. */
export const INPUTS = {
  root: count(0, 32),
  rootNumber: 1,
  vaultId: count(0x20, 16).toString('hex'),
  bucketId: count(0x30, 16).toString('hex'),
  bucketUrl: 'file:///backup',
  writer: count(0x40, 16).toString('hex'),
  putWriter: count(0x50, 16).toString('hex'),
  password: 'correct horse battery staple',
  putPassword: 'nightly \u00e4',
  lockPassword: 'a word of its own',
  cost: { memoryKib: 8192, passes: 1, lanes: 1 },
  createdAtMs: 1_700_000_000_000,
  upload: '0123456789abcdef',
  sweep: count(0x60, 16).toString('hex'),
  nextRoot: count(0x10, 32),
  nextWriter: count(0x70, 16).toString('hex'),
  nextPassword: 'another battery',
  chunkSize: 65_536,
  redundancy: { k: 2, m: 1 },
} as const;

const { vaultId, rootNumber, redundancy, chunkSize, cost, createdAtMs } = INPUTS;

export const FULL: VaultKeys = keysOfRoot(INPUTS.root, { vaultId, rootNumber, writer: INPUTS.writer });
export const PUT: VaultKeys = keysOfRoot(INPUTS.root, { vaultId, rootNumber, writer: INPUTS.putWriter });

const ROTATED = nextRoot(FULL, INPUTS.nextWriter, INPUTS.nextRoot);
/** The keys after the rotation, but for those of the root before. */
export const NEXT: VaultKeys = ROTATED.keys;

export interface Example {
  readonly inputs: unknown;
  /** What is derived on the way, in hex. */
  readonly derived: Readonly<Record<string, string>>;
  /** All files, by a word for each: hash, and the content's SHA-256. */
  readonly files: Readonly<Record<string, { readonly hash: string; readonly content: string }>>;
  /** Objects by name: text as it is (`text`), bytes in hex (`bytes`). */
  readonly objects: Readonly<Record<string, { readonly text: string } | { readonly bytes: string }>>;
}

/** Computes the example. */
export async function computeExample(): Promise<Example> {
  const objects = new Map<string, Buffer>();
  objects.set(MARKER_NAME, encodeMarker({ vaultId, bucketId: INPUTS.bucketId }));
  for (const [name, object] of await keyrings()) objects.set(name, object);
  const stored = storedChunk();
  const packed = packedChunk();
  for (const chunk of [stored, packed]) for (const [name, object] of chunk.objects) objects.set(name, object);
  const files = await exampleFiles(stored, packed, objects);
  const [hash] = Object.values(files).map((file) => file.hash);
  const record = { hash: hash ?? '', serial: 1, live: false, atMs: createdAtMs, graceMs: 604_800_000 };
  objects.set(deletionObjectName(record.hash), signDeletion(FULL, record));
  const swept = [...packed.objects.keys()];
  const list = { id: INPUTS.sweep, atMs: createdAtMs, doneAtMs: null, waitsFor: null, objects: swept };
  objects.set(sweepObjectName(list.id), signSweepList(FULL, list));
  const marker = sealPutMarker(PUT, [stored.id.id, packed.id.id], { salt: count(0xe0, 32) });
  objects.set(putMarkerName(createdAtMs, INPUTS.upload), marker);
  return {
    inputs: {
      ...INPUTS,
      root: INPUTS.root.toString('hex'),
      nextRoot: INPUTS.nextRoot.toString('hex'),
    },
    derived: { ...derivedKeys(), ...fullChunk() },
    files,
    objects: Object.fromEntries([...objects].map(([name, object]) => [name, shown(object)])),
  };
}

/** An object as it stands in JSON: text as it is, other bytes in hex. */
export function shown(object: Uint8Array): { readonly text: string } | { readonly bytes: string } {
  const bytes = Buffer.from(object);
  const text = bytes.toString('latin1');
  return /^\{[ -~\n]*$/.test(text) ? { text } : { bytes: bytes.toString('hex') };
}

function derivedKeys(): Record<string, string> {
  const { id: _, ...writer } = FULL.writer;
  const named = { 'read public': FULL.readPublic, verification: FULL.verification, urls: FULL.urls };
  const own = Object.entries(writer).map(([purpose, key]) => [`writer ${purpose}`, key] as const);
  const all = [...Object.entries(named), ...own];
  return Object.fromEntries(all.map(([name, key]) => [name, key.toString('hex')]));
}

// --- keyrings -----------------------------------------------------------------------------------------

async function keyrings(): Promise<[string, Buffer][]> {
  const slot = await wrapKeys(FULL, INPUTS.password, {
    role: 'full',
    createdAtMs,
    label: 'office',
    cost,
    fixed: { salt: count(0x80, 32), nonce: count(0xa0, 12) },
  });
  const putSlot = await wrapKeys(PUT, INPUTS.putPassword, {
    role: 'put',
    createdAtMs: createdAtMs + 1,
    by: INPUTS.writer,
    label: 'nightly',
    cost,
    fixed: { salt: count(0x90, 32), nonce: count(0xb0, 12) },
  });
  const url = sealBucketUrl(FULL, INPUTS.bucketId, INPUTS.bucketUrl, count(0xc0, 12));
  const first: Keyring = {
    vaultId,
    epoch: 1,
    previous: null,
    root: rootNumber,
    roots: [],
    redundancy,
    chunkSize,
    compression: 'auto',
    buckets: [{ id: INPUTS.bucketId, state: 'active', url }],
    slots: [slot],
    former: [],
  };
  const firstObject = signKeyring(FULL, first);
  const previous = objectDigest(firstObject);
  const label = sealLabel(FULL, INPUTS.sweep, 'laptop', count(0xd0, 12));
  const second: Keyring = {
    ...first,
    epoch: 2,
    previous,
    compression: 3,
    slots: [slot, putSlot],
    former: [{ writer: INPUTS.sweep, root: rootNumber, role: 'full', label, next: null }],
  };
  const secondObject = signKeyring(FULL, second);
  return [
    [keyringObjectName(1), firstObject],
    [keyringObjectName(2), secondObject],
    [keyringObjectName(3), await rotated(second, secondObject)],
  ];
}

/** The keyring after the second one, with a new root: everything that is sealed is sealed anew. */
async function rotated(second: Keyring, before: Buffer): Promise<Buffer> {
  const slot = await wrapKeys(NEXT, INPUTS.nextPassword, {
    role: 'full',
    createdAtMs: createdAtMs + 2,
    label: 'office',
    cost,
    fixed: { salt: count(0xa0, 32), nonce: count(0xe0, 12) },
  });
  const url = sealBucketUrl(NEXT, INPUTS.bucketId, INPUTS.bucketUrl, count(0xf0, 12));
  const former = (writer: string, role: Role, label: string, nonce: number): FormerWriter => ({
    writer,
    root: rootNumber,
    role,
    label: sealLabel(NEXT, writer, label, count(nonce, 12)),
    next: writer === INPUTS.writer ? INPUTS.nextWriter : null,
  });
  return signKeyring(NEXT, {
    ...second,
    epoch: 3,
    previous: objectDigest(before),
    root: rootNumber + 1,
    roots: [ROTATED.step],
    buckets: [{ id: INPUTS.bucketId, state: 'active', url }],
    slots: [slot],
    former: [
      former(INPUTS.sweep, 'full', 'laptop', 0x10),
      former(INPUTS.writer, 'full', 'office', 0x20),
      former(INPUTS.putWriter, 'put', 'nightly', 0x30),
    ],
  });
}

// --- chunks -------------------------------------------------------------------------------------------

export interface ExampleChunk {
  readonly ref: ChunkRef;
  readonly id: ReturnType<typeof idEntry>;
  readonly objects: ReadonlyMap<string, Buffer>;
}

/** 300 bytes that count up, stored as they are. */
export const STORED_BODY: Buffer = count(0, 300);
/** 1,000 times the letter a. */
export const PACKED_BODY: Buffer = Buffer.alloc(1000, 'a');
/** One frame by hand (RFC 8878): a single segment of 1,000 bytes, one run-length block of them. */
const PACKED_FRAME = Buffer.from('28b52ffd60e802431f0061', 'hex');

function storedChunk(): ExampleChunk {
  return exampleChunk(FULL.writer.content, STORED_BODY, CODEC_STORED, STORED_BODY);
}

function packedChunk(): ExampleChunk {
  return exampleChunk(FULL.writer.content, PACKED_BODY, CODEC_ZSTD, PACKED_FRAME);
}

/** A chunk and its shards. */
export function exampleChunk(
  dedupKey: Buffer,
  body: Buffer,
  codec: number = CODEC_STORED,
  stored: Buffer = body,
): ExampleChunk {
  const hash = bodyHash(body);
  const ref = { tag: chunkTag(dedupKey, hash), hash, length: body.length };
  const secrets = chunkSecrets(ref.tag);
  const payload = Buffer.alloc(payloadSize(stored.length, false));
  payload.set(stored);
  framePayload(payload, codec, stored.length);
  const nonce = chunkNonce(secrets, payload);
  const sealedSize = payload.length + SEAL_OVERHEAD;
  const { k, m } = redundancy;
  const objects = Array.from({ length: k + m }, () => Buffer.alloc(shardObjectSize(sealedSize, k)));
  const shards = objects.map((object) => object.subarray(SHARD_HEADER_SIZE));
  sealChunk(secrets, nonce, payload, shards.slice(0, k));
  encodeParity(k, m, shards);
  const chunkId = secrets.id.toString('hex');
  const sealing = sealingOf(nonce, sealedSize);
  const named = objects.map((object, index) => {
    finishShardObject(object, chunkId, { k, m, index, sealedSize, nonce });
    return [shardObjectName({ chunkId, sealing, index, k, m, upload: INPUTS.upload }), object] as const;
  });
  return { ref, id: idEntry(ref, chunkSize), objects: new Map(named) };
}

/** A full chunk is long, so only digests of it are in the example: 65,536 bytes that count up, stored as they are. */
function fullChunk(): Record<string, string> {
  const body = count(0, chunkSize);
  const h = bodyHash(body);
  const secrets = chunkSecrets(chunkTag(FULL.writer.content, h));
  const payload = Buffer.alloc(payloadSize(body.length, true));
  payload.set(body);
  framePayload(payload, CODEC_STORED, body.length);
  const nonce = chunkNonce(secrets, payload);
  const sealed = Buffer.alloc(payload.length + SEAL_OVERHEAD);
  sealChunk(secrets, nonce, payload, [sealed]);
  return {
    'full chunk h': h.toString('hex'),
    'full chunk t': secrets.t.toString('hex'),
    'full chunk id': secrets.id.toString('hex'),
    'full chunk nonce': nonce.toString('hex'),
    'full chunk sealed, SHA-256': bodyHash(sealed).toString('hex'),
  };
}

// --- files --------------------------------------------------------------------------------------------

export const EPHEMERAL = privateKey('x25519', count(0xc0, 32));
export const INLINE_BODY = Buffer.from('A small file lies in its manifest.\n');

/** A content, ids and head that fit together. */
export interface ExampleFile {
  readonly head: ManifestHead;
  readonly ids: IdsTable;
  readonly content: ContentTable;
  readonly folder?: FolderPart;
}

export function exampleHead(name: string, size: number, chunks: number): ManifestHead {
  return {
    kind: 'file',
    name,
    size,
    createdAtMs,
    modified: { seconds: -1, nanoseconds: 999_999_999 },
    mode: 0o640,
    expiresAtMs: null,
    version: 1,
    epoch: 2,
    redundancy,
    chunkSize,
    chunks,
    indexChunks: 0,
    entries: null,
    incomplete: false,
    locked: false,
  };
}

/** The file whose body lies in its manifest. */
export function inlineFile(): ExampleFile {
  return {
    head: exampleHead('inline \u00e4.txt', INLINE_BODY.length, 0),
    ids: { depth: 0, ids: [] },
    content: { size: INLINE_BODY.length, chunkSize, depth: 0, refs: [], inline: INLINE_BODY },
  };
}

/** A file of one chunk. */
export function chunkFile(name: string, chunk: ExampleChunk): ExampleFile {
  const size = chunk.ref.length;
  return {
    head: exampleHead(name, size, 1),
    ids: { depth: 0, ids: [chunk.id] },
    content: { size, chunkSize, depth: 0, refs: [chunk.ref], inline: null },
  };
}

/** The same, with its tables in chunks, as those of large files are. */
function tableFile(chunk: ExampleChunk, objects: Map<string, Buffer>): ExampleFile {
  const table = exampleChunk(FULL.writer.table, encodeRefs([chunk.ref]));
  const tableId = idEntry(table.ref, null);
  const ids = exampleChunk(FULL.writer.table, encodeIds([chunk.id, tableId]));
  for (const [name, object] of [...table.objects, ...ids.objects]) objects.set(name, object);
  const { head, content } = chunkFile('tables in chunks', chunk);
  return {
    head,
    ids: { depth: 1, refs: [ids.ref] },
    content: { ...content, depth: 1, refs: [table.ref] },
  };
}

/** A file whose chunks are cut by content. */
export function cutFile(...chunks: readonly ExampleChunk[]): ExampleFile {
  const refs = chunks.map(({ ref }) => ref);
  const size = refs.reduce((sum, { length }) => sum + length, 0);
  return {
    head: { ...exampleHead('cut by content', size, chunks.length), chunkSize: null },
    ids: { depth: 0, ids: chunks.map(({ id }) => id) },
    content: { size, chunkSize: null, depth: 0, refs, inline: null },
  };
}

async function exampleFiles(
  stored: ExampleChunk,
  packed: ExampleChunk,
  objects: Map<string, Buffer>,
): Promise<Example['files']> {
  const sealers = new Map(
    [FULL, PUT, NEXT].map((keys) => [keys, new ManifestSealer(keys, { ephemeral: EPHEMERAL })]),
  );
  const files: Record<string, { hash: string; content: string }> = {};
  const add = (
    what: string,
    file: ExampleFile,
    body: Buffer,
    by = FULL,
    lock: LockStanza | null = null,
  ): void => {
    const from = 16 * Object.keys(files).length;
    const fixed = { salt: count(from, 32) };
    const object = sealers.get(by)?.seal({ ...file, contentKey: CONTENT_KEY, lock, fixed });
    if (object === undefined) throw new Error('There is a sealer for each writer.');
    const hash = manifestHash(object);
    files[what] = { hash, content: bodyHash(body).toString('hex') };
    objects.set(manifestObjectName(hash), object);
  };
  add('inline', inlineFile(), INLINE_BODY);
  add('stored', chunkFile('stored', stored), STORED_BODY);
  add('packed', chunkFile('packed', packed), PACKED_BODY);
  add('tables in chunks', tableFile(stored, objects), STORED_BODY);
  add('by a put keyslot', inlineFile(), INLINE_BODY, PUT);
  const fixed = { salt: count(0xd0, 32) };
  const lock = await lockContentKey(CONTENT_KEY, INPUTS.lockPassword, { vaultId, cost, fixed });
  const { head, ...rest } = inlineFile();
  add('locked', { ...rest, head: { ...head, size: null, locked: true } }, INLINE_BODY, FULL, lock);
  add('cut by content', cutFile(stored, packed), Buffer.concat([STORED_BODY, PACKED_BODY]));
  const folderHead = exampleHead('', 0, 0);
  add('folder', smallFolder(folderHead), FOLDER_BODY);
  const large = chunkedFolder(folderHead, [stored, packed], (index) =>
    exampleChunk(FULL.writer.index, index),
  );
  for (const [name, object] of large.objects) objects.set(name, object);
  add('folder in chunks', large.file, Buffer.concat([STORED_BODY, PACKED_BODY]));
  const { head: small, ...others } = smallFolder(folderHead);
  const hidden = { ...small, size: null, entries: null, locked: true };
  add('locked folder', { ...others, head: hidden }, FOLDER_BODY, FULL, lock);
  add('after the rotation', { ...rest, head: { ...head, epoch: 3, version: 2 } }, INLINE_BODY, NEXT);
  return files;
}

/** One for all files of the example; everywhere else each manifest draws its own. */
export const CONTENT_KEY: Buffer = count(0x70, 32);

if (import.meta.main) {
  const path = new URL('format-example.json', import.meta.url);
  writeFileSync(path, `${JSON.stringify(await computeExample(), null, 2)}\n`);
}
