// What a sweep of many chunks takes: the real one, on rows and listings that are generated while they are read, 2+1. Of a thousand
// chunks one is needed by no file.
import { performance } from 'node:perf_hooks';
import type { Bucket } from '../../src/buckets/bucket.ts';
import { memoryBucket } from '../support/memory-bucket.ts';
import type { FileRow } from '../../src/catalog/catalog.ts';
import { manifestObjectName, TOP_ENTRIES } from '../../src/format/manifest.ts';
import type { ManifestHead } from '../../src/format/manifest.ts';
import { MIN_CHUNK_SIZE } from '../../src/format/limits.ts';
import { shardObjectName, shardObjectSize } from '../../src/format/shard.ts';
import { systemClock } from '../../src/host.ts';
import { sealFileRow } from '../../src/vault/files/records.ts';
import { createVault } from '../../src/vault/manage/create.ts';
import { openSession } from '../../src/vault/open.ts';
import { Vault } from '../../src/vault/vault.ts';
import { MemoryCatalog } from '../support/memory-catalog.ts';
import { values } from './workbench.ts';

const chunks = Number(values.chunks);
const files = Math.ceil(chunks / TOP_ENTRIES);
const UNNEEDED = 1000;
const redundancy = { k: 2, m: 1 };
const urls = ['memory:0', 'memory:1', 'memory:2'];

const digits = (value: number): string => (value >>> 0).toString(16).padStart(8, '0');
/** Names in order: the first digits count, the others look like chance. */
function hexOf(number: number, count: number): string {
  return digits(Math.floor((number / count) * 2 ** 32)) + digits(Math.imul(number + 1, 0x9e3779b1)).repeat(7);
}

const storages = new Map(urls.map((url) => [url, new Map<string, Uint8Array>()]));
const size = shardObjectSize(MIN_CHUNK_SIZE, redundancy.k);

function generated(url: string): Promise<Bucket> {
  const plain = memoryBucket(url, storages.get(url));
  const index = urls.indexOf(url);
  return Promise.resolve({
    ...plain,
    async *list(prefix, call) {
      if (prefix === 'manifests/') {
        for (let i = 0; i < files; i += 1) yield { name: manifestObjectName(hexOf(i, files)), size };
      } else if (prefix === 'chunks/') {
        for (let i = 0; i < chunks; i += 1) {
          const shard = { chunkId: hexOf(i, chunks), sealing: '00000000', index, ...redundancy };
          yield { name: shardObjectName({ ...shard, upload: '0'.repeat(16) }), size };
        }
      } else yield* plain.list(prefix, call);
    },
  });
}

const catalog = new MemoryCatalog();
const made = { catalog, urls, opener: generated, redundancy, password: 'bench', nowMs: Date.now() };
const unlocked = await createVault(made);
const session = await openSession({
  ...made,
  password: () => Promise.reject(new Error('It is unlocked.')),
  unlocked,
  limits: { chunkMemory: 0, chunksInFlight: 1 },
  host: { clock: systemClock, threads: 1 },
});

function rowOf(file: number): FileRow {
  const ids = [];
  for (let i = file * TOP_ENTRIES; i < Math.min(chunks, (file + 1) * TOP_ENTRIES); i += 1)
    if ((i + 1) % UNNEEDED !== 0) ids.push({ id: hexOf(i, chunks), padded: MIN_CHUNK_SIZE });
  const head: ManifestHead = {
    kind: 'file',
    name: `file-${file}`,
    size: ids.length * MIN_CHUNK_SIZE,
    createdAtMs: 0,
    modified: null,
    mode: null,
    expiresAtMs: null,
    version: 1,
    epoch: 1,
    redundancy,
    chunkSize: MIN_CHUNK_SIZE,
    chunks: ids.length,
    indexChunks: 0,
    entries: null,
    incomplete: false,
    locked: false,
  };
  return sealFileRow(session, {
    hash: hexOf(file, files),
    writer: session.keys.writer.id,
    part: { head, ids: { depth: 0, ids }, access: { content: Buffer.alloc(32) } },
    contentDigest: null,
  });
}
Object.assign(catalog.files, {
  async *walk() {
    for (let i = 0; i < files; i += 1) yield rowOf(i);
  },
});

const vault = new Vault(session);
const startMs = performance.now();
const { objectsRemoved, blockedBy } = await vault.sweep({ waitMs: 0 });
const seconds = (performance.now() - startMs) / 1000;
await vault.close();
const peak = (process.resourceUsage().maxRSS / 1024).toFixed(0);
console.log(`${chunks} chunks, ${objectsRemoved} objects removed: ${seconds.toFixed(1)} s, ${peak} MiB`);
const expected = Math.floor(chunks / UNNEEDED) * urls.length;
if (objectsRemoved !== expected) throw new Error(`${expected} should have gone. ${blockedBy ?? ''}`);
