/** The arithmetic of chunks gives the same in the thread that asks, where the little is done, as in threads. */
import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { chunkNonce, chunkSecrets } from '../../src/crypto/chunk.ts';
import { framePayload, CODEC_STORED, payloadSize } from '../../src/format/chunk.ts';
import type { Redundancy } from '../../src/format/shard.ts';
import { shardSize } from '../../src/format/shard.ts';
import { allocateChunkMemory, bodyOf, objectsOf } from '../../src/vault/chunks/chunk-memory.ts';
import type { ChunkMemory } from '../../src/vault/chunks/chunk-memory.ts';
import { ChunkWorkers } from '../../src/vault/chunks/chunk-workers.ts';
import type { CodedObjects, Identity, SealedChunk } from '../../src/vault/chunks/chunk-jobs.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { present } from './scene.ts';

const MIB = 1024 * 1024;
const SIZE = 100_003;
const BODY = seededRandom(81).bytes(SIZE);
const DEDUP_KEY = seededRandom(82).bytes(32);
const REDUNDANCY: Redundancy = { k: 2, m: 1 };

const started = vi.hoisted(() => vi.fn<(file: URL) => void>());
vi.mock(import('../../src/concurrency/worker.ts'), async (original) => {
  const { startWorker } = await original();
  return {
    startWorker: (file, options) => {
      started(file);
      return startWorker(file, options);
    },
  };
});

let workers: ChunkWorkers;
beforeEach(() => {
  workers = new ChunkWorkers({ most: 2 });
  started.mockClear();
});
afterEach(async () => workers.close());

interface Sealed {
  readonly identity: Identity;
  readonly sealed: SealedChunk;
  readonly memory: ChunkMemory;
  readonly coded: CodedObjects;
}

async function sealBody(): Promise<Sealed> {
  const memory = allocateChunkMemory(SIZE, REDUNDANCY);
  bodyOf(memory).set(BODY);
  const identity = await workers.identify(memory, SIZE, DEDUP_KEY);
  const { tag } = identity;
  const chunk = { length: SIZE, full: false, tag, compression: 'off', redundancy: REDUNDANCY } as const;
  const sealed = await workers.seal(memory, chunk);
  const payload = new Uint8Array(payloadSize(SIZE, false));
  payload.set(BODY);
  framePayload(payload, CODEC_STORED, SIZE);
  const nonce = chunkNonce(chunkSecrets(Buffer.from(tag)), payload);
  const { sealedSize } = sealed;
  // As they come from buckets: in memory of their own.
  const objects = objectsOf(memory, 3, shardSize(sealedSize, 2)).map((object) => Uint8Array.from(object));
  return { identity, sealed, memory, coded: { ...REDUNDANCY, sealedSize, nonce, objects } };
}

describe.each([
  ['in the thread that asks', 0],
  ['in threads', 2],
])('The arithmetic of chunks %s', (_, threads) => {
  beforeEach(() => {
    if (threads > 0) workers.warm(threads, 'open', Infinity);
  });
  afterEach(() => {
    if (started.mock.calls.length !== threads) throw new Error('It was done elsewhere.');
  });

  test('names and seals a body as it always does', async () => {
    const { identity, sealed } = await sealBody();
    expect(identity.id).toBe('386f36d76dab5796bc17c5a18b94a53eb44294dfffa71e15d5a0acd1a5dfe3a9');
    expect(sealed).toEqual({ sealing: '89bef337', sealedSize: payloadSize(SIZE, false) + 16 });
  });

  test.each([0, 1, 2])('opens it without shard %i, and gives the objects back', async (missing) => {
    const { identity, coded } = await sealBody();
    const objects = coded.objects.map((object, i) => (i === missing ? null : object));
    const kept = objects.map((object) => (object === null ? null : Buffer.from(object)));
    const into = allocateChunkMemory(SIZE, null);
    const { hash, tag } = identity;
    const answer = await workers.open(into, { hash, tag, length: SIZE }, { ...coded, objects });
    expect(answer).toMatchObject({ opened: true, tooNew: false });
    expect(Buffer.from(bodyOf(into)).equals(BODY)).toBe(true);
    expect(answer.objects.map((object) => (object === null ? null : Buffer.from(object)))).toEqual(kept);
  });

  test('opens nothing that is another body, or damaged', async () => {
    const { identity, coded } = await sealBody();
    const into = allocateChunkMemory(SIZE, null);
    const { tag, hash } = identity;
    const other = await workers.open(into, { tag, hash: randomBytes(32), length: SIZE }, coded);
    expect(other.opened).toBe(false);
    const objects = [...other.objects];
    present(objects[0])[200] = (present(objects[0])[200] ?? 0) ^ 1;
    const damaged = await workers.open(into, { tag, hash, length: SIZE }, { ...coded, objects });
    expect(damaged.opened).toBe(false);
  });

  test('tells objects that are whole from others', async () => {
    const { identity, coded } = await sealBody();
    const objects = coded.objects.map((object) => present(object));
    present(objects[1])[300] = (present(objects[1])[300] ?? 0) ^ 1;
    const { intact } = await workers.check(objects, [identity.id, identity.id, 'f'.repeat(64)]);
    expect(intact).toEqual([true, false, false]);
  });

  test('makes a sealing anew with more redundancy', async () => {
    const { identity, coded } = await sealBody();
    const { id, tag, hash } = identity;
    const redundancy = { k: 2, m: 2 };
    const memory = allocateChunkMemory(SIZE, redundancy);
    const proof = { tag, hash, length: SIZE };
    const objects = [null, ...coded.objects.slice(1)];
    const { opened } = await workers.recode(memory, { id, proof, redundancy }, { ...coded, objects });
    expect(opened).toBe(true);
    const wider = objectsOf(memory, 4, shardSize(coded.sealedSize, 2)).map((object) =>
      Uint8Array.from(object),
    );
    const into = allocateChunkMemory(SIZE, null);
    const outermost = { ...coded, ...redundancy, objects: [null, null, ...wider.slice(2)] };
    expect(await workers.open(into, proof, outermost)).toMatchObject({ opened: true });
    expect(Buffer.from(bodyOf(into)).equals(BODY)).toBe(true);
  });
});

describe('Threads are started', () => {
  test('for more than a few megabytes that will be stored or read', () => {
    workers.warm(4, 'seal', 10 * MIB);
    workers.warm(20, 'open', 60 * MIB);
    expect(started).not.toHaveBeenCalled();
    workers.warm(1, 'open', 70 * MIB);
    expect(started).toHaveBeenCalledTimes(1);
    workers.warm(5, 'seal', 20 * MIB);
    expect(started).toHaveBeenCalledTimes(2);
  });

  test('once much has been done, however little is asked at a time', async () => {
    const memory = allocateChunkMemory(4 * MIB, null);
    for (let i = 0; i < 16; i += 1) await workers.identify(memory, 4 * MIB, DEDUP_KEY);
    expect(started).not.toHaveBeenCalled();
    const { id } = await workers.identify(memory, 100, DEDUP_KEY);
    expect(started).toHaveBeenCalledTimes(1);
    expect((await workers.identify(memory, 100, DEDUP_KEY)).id).toBe(id);
  });

  test('for what comes out of a chunk, however small it was made', async () => {
    const { identity, coded } = await sealBody();
    const proof = { tag: identity.tag, hash: identity.hash, length: 65 * MIB };
    await workers.open(allocateChunkMemory(SIZE, null), proof, coded);
    expect(started).toHaveBeenCalledTimes(1);
  });
});
