/** A file that lists the same parts of tables over and over: a handful of objects, of which it is made a billion times. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { idEntry, ManifestSealer, manifestHash } from '../../src/crypto/manifest.ts';
import { encodeIds, encodeRefs, manifestObjectName, type ChunkRef } from '../../src/format/manifest.ts';
import { readManifest } from '../../src/vault/files/manifests.ts';
import { sampleHead } from '../crypto/samples.ts';
import { putBytes, testVault, type TestVault } from './harness.ts';

/** Entries of each part of a table, and of the table in the manifest. */
const ENTRIES = 900;
const TOP = 100;
const CHUNKS = TOP * ENTRIES ** 3;
const LENGTH = 20_000;

const times = (count: number, ref: ChunkRef): ChunkRef[] => Array.from({ length: count }, () => ref);

let made: TestVault;
beforeAll(async () => {
  made = await testVault();
  const leaf = await store(randomBytes(LENGTH));
  const tables: ChunkRef[] = [leaf];
  for (let depth = 0; depth < 3; depth += 1) {
    const [below = leaf] = tables;
    tables.unshift(await store(encodeRefs(times(ENTRIES, below))));
  }
  const entries = tables.map((ref) => idEntry(ref, null));
  let ids = await store(
    encodeIds(Array.from({ length: ENTRIES }, (_, at) => entries[at % 4] ?? idEntry(leaf, null))),
  );
  for (let depth = 1; depth < 3; depth += 1) ids = await store(encodeRefs(times(ENTRIES, ids)));
  plant('whole', CHUNKS * LENGTH);
  plant('longer', CHUNKS * LENGTH + 1);

  function plant(name: string, size: number): void {
    const bytes = new ManifestSealer(made.session.keys).seal({
      head: sampleHead({ name, size, chunkSize: null, chunks: CHUNKS, createdAtMs: Date.now() }),
      ids: { depth: 3, refs: times(TOP + 1, ids) },
      content: { size, chunkSize: null, depth: 3, refs: times(TOP, tables[0] ?? leaf), inline: null },
      contentKey: randomBytes(32),
      lock: null,
    });
    for (const { storage } of made.buckets) storage.set(manifestObjectName(manifestHash(bytes)), bytes);
  }
}, 60_000);
afterAll(() => made[Symbol.asyncDispose]());

/** @returns what proves the chunk that the bytes are stored as */
async function store(bytes: Uint8Array): Promise<ChunkRef> {
  const { hash } = await putBytes(made.vault, bytes, { name: 'part' });
  const { content } = await readManifest(made.session, hash, {});
  const [ref] = content?.table.refs ?? [];
  if (ref === undefined || content?.table.refs.length !== 1) throw new Error('A part is one chunk.');
  return ref;
}

test('whatever looks at all of its chunks ends, and looks at each once', async () => {
  const { vault } = made;
  const soon = { signal: AbortSignal.timeout(20_000) };
  await vault.sync(soon);
  expect((await vault.inspect('whole', soon)).placement).toHaveLength(7);
  expect(await vault.status(soon)).toMatchObject({ degraded: 0 });
  expect(await vault.verify({ ...soon, depth: 'listing' })).toMatchObject({ outcome: 'whole' });
  const { affected } = await vault.verify({ ...soon, depth: 'data' });
  expect(affected).toMatchObject([{ name: 'longer', condition: 'lost' }]);
  for (const { storage } of [made.buckets[0]].flatMap((bucket) => bucket ?? []))
    for (const name of storage.keys()) if (name.startsWith('chunks/')) storage.delete(name);
  expect(await vault.repair(soon)).toMatchObject({ outcome: 'whole', filesLost: [] });
  expect(await vault.verify({ ...soon, depth: 'listing' })).toMatchObject({ outcome: 'whole' });
  await vault.remove(['whole'], soon);
  await vault.undelete(['whole'], soon);
  expect(await vault.sweep({ ...soon, waitMs: 0 })).toMatchObject({ blockedBy: null });
}, 60_000);
