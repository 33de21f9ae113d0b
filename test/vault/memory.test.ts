/** Memory is chunks in flight times their size, whatever the file's size and however slow the other end. */
import { afterEach, describe, expect, test, vi } from 'vitest';
import { ChunkMemoryPool, chunkMemorySize } from '../../src/vault/chunks/chunk-memory.ts';
import { streamSource } from '../../src/vault/write/source.ts';
import { seededRandom } from '../support/seeded-random.ts';
import type { Around } from '../support/steps.ts';
import { CHUNK_SIZE, getBytes, putBytes, snapshotOf, testVault } from './harness.ts';

const IN_FLIGHT = 4;
const LIMITS = { chunkMemory: 64 * 1024 * 1024, chunksInFlight: IN_FLIGHT };
/** Many more chunks than are in flight. */
const CHUNKS = 200;
const CONTENT = seededRandom(31).bytes(CHUNKS * CHUNK_SIZE);
/** Bytes of a chunk's memory with its shards, 2+1: somewhat more than two and a half chunks. */
const CHUNK_MEMORY = 2.6 * CHUNK_SIZE;

afterEach(() => {
  vi.unstubAllGlobals();
});

/** Counts the memory that is allocated for chunks from now on. */
function countAllocations(): readonly number[] {
  const sizes: number[] = [];
  vi.stubGlobal(
    'SharedArrayBuffer',
    new Proxy(SharedArrayBuffer, {
      construct(target, [size]: [number]) {
        sizes.push(size);
        return new target(size);
      },
    }),
  );
  return sizes;
}

/** Counts the calls about chunks that are under way, and the most that ever were. */
function countCalls(call: 'put' | 'get'): { readonly around: Around; readonly most: () => number } {
  let underWay = 0;
  let most = 0;
  return {
    most: () => most,
    async around(step, proceed) {
      if (step.call !== call || !step.name.startsWith('chunks/')) return proceed();
      underWay += 1;
      most = Math.max(most, underWay);
      // Slow enough for everything that may start to start.
      await new Promise((resolve) => setTimeout(resolve, 1));
      await proceed();
      underWay -= 1;
    },
  };
}

describe('A put of many chunks', () => {
  test('has a few of them in memory, and their shards on the way', async () => {
    await using made = await testVault();
    await using copy = await (await snapshotOf(made)).copy();
    const { around, most } = countCalls('put');
    const { vault } = await copy.open({ limits: LIMITS, around });
    const sizes = countAllocations();
    await putBytes(vault, CONTENT, { name: 'long' });
    expect(sizes.length).toBeLessThanOrEqual(IN_FLIGHT);
    expect(Math.max(...sizes)).toBeLessThan(CHUNK_MEMORY);
    expect(most()).toBeLessThanOrEqual(IN_FLIGHT * 3);
    // And it does not go one by one either.
    expect(most()).toBeGreaterThan(3);
  });

  test('reads no further ahead than it has room for', async () => {
    await using made = await testVault();
    await using copy = await (await snapshotOf(made)).copy();
    let read = 0;
    let sent = 0;
    let furthest = 0;
    const { vault } = await copy.open({
      limits: LIMITS,
      around: async (step, proceed) => {
        await proceed();
        if (step.call === 'put' && step.name.startsWith('chunks/')) sent += 1;
      },
    });
    async function* stream(): AsyncGenerator<Uint8Array> {
      for (let at = 0; at < CONTENT.length; at += CHUNK_SIZE) {
        read += 1;
        furthest = Math.max(furthest, read - sent / 3);
        yield CONTENT.subarray(at, at + CHUNK_SIZE);
      }
    }
    await vault.put(streamSource(stream(), 'stream'), { name: 'long', chunkSize: CHUNK_SIZE });
    expect(read).toBe(CHUNKS);
    expect(furthest).toBeLessThanOrEqual(IN_FLIGHT + 2);
  });

  test('is the same for many at once, and none waits for ever', async () => {
    await using made = await testVault();
    await using copy = await (await snapshotOf(made)).copy();
    const { around, most } = countCalls('put');
    const { vault } = await copy.open({ limits: LIMITS, around });
    const sizes = countAllocations();
    const files = Array.from({ length: 12 }, (_, i) => CONTENT.subarray(i * 100, i * 100 + 8 * CHUNK_SIZE));
    const results = await Promise.all(files.map((bytes, i) => putBytes(vault, bytes, { name: `file ${i}` })));
    expect(sizes.length).toBeLessThanOrEqual(IN_FLIGHT);
    expect(most()).toBeLessThanOrEqual(IN_FLIGHT * 3);
    for (const [i, { hash }] of results.entries()) {
      expect((await getBytes(vault, hash)).equals(files[i] ?? Buffer.alloc(0))).toBe(true);
    }
  });

  test('is the same for chunks of every size, one put after the other', async () => {
    await using made = await testVault();
    await using copy = await (await snapshotOf(made)).copy();
    const { vault } = await copy.open({ limits: LIMITS });
    const sizes = countAllocations();
    for (let i = 0; i < 2 * IN_FLIGHT; i += 1) {
      const chunkSize = 2 * CHUNK_SIZE - i;
      const { hash, chunks } = await putBytes(vault, CONTENT.subarray(0, 4 * chunkSize), {
        name: 'sizes',
        chunkSize,
      });
      expect(chunks).toBe(4);
      expect((await getBytes(vault, hash)).equals(CONTENT.subarray(0, 4 * chunkSize))).toBe(true);
    }
    expect(sizes.filter((size) => size > CHUNK_MEMORY).length).toBeLessThanOrEqual(IN_FLIGHT);
  });

  test('frees its memory for others when it fails', async () => {
    await using made = await testVault();
    await using copy = await (await snapshotOf(made)).copy();
    const { vault } = await copy.open({ limits: LIMITS });
    for (let i = 0; i < 2 * IN_FLIGHT; i += 1) {
      async function* broken(): AsyncGenerator<Uint8Array> {
        yield CONTENT.subarray(0, (i + 1) * CHUNK_SIZE + 100);
        throw new Error('The cable came loose.');
      }
      const put = vault.put(streamSource(broken(), 'stream'), { name: 'broken', chunkSize: CHUNK_SIZE });
      await expect(put).rejects.toMatchObject({ code: 'source-changed' });
    }
    const { chunks } = await putBytes(vault, CONTENT.subarray(0, 20 * CHUNK_SIZE), { name: 'whole' });
    expect(chunks).toBe(20);
  });
});

describe('The memory of chunks', () => {
  const REDUNDANCY = { k: 2, m: 1 };
  const LIMIT = 4 * chunkMemorySize(CHUNK_SIZE, REDUNDANCY);
  const use = async (pool: ChunkMemoryPool, chunkSize: number): Promise<void> => {
    const { lender, inFlight } = pool.share(chunkSize, REDUNDANCY);
    const lent = await Promise.all(Array.from({ length: inFlight }, () => lender.borrow()));
    for (const memory of lent) lender.giveBack(memory);
  };

  test('that nobody borrows gives way to that of another size, if it is more than all may take', async () => {
    const pool = new ChunkMemoryPool({ chunkMemory: LIMIT, chunksInFlight: 4 });
    const sizes = countAllocations();
    await use(pool, 8 * CHUNK_SIZE);
    await use(pool, 8 * CHUNK_SIZE);
    expect(sizes).toHaveLength(3);
    await use(pool, CHUNK_SIZE);
    await use(pool, 8 * CHUNK_SIZE);
    expect(sizes).toHaveLength(3 + 4 + 3);
  });

  test('stays for the next if it is no more than that, or somebody borrows some of it', async () => {
    const pool = new ChunkMemoryPool({ chunkMemory: LIMIT, chunksInFlight: 4 });
    const sizes = countAllocations();
    await use(pool, CHUNK_SIZE);
    const { lender } = pool.share(8 * CHUNK_SIZE, REDUNDANCY);
    const [one, other] = [await lender.borrow(), await lender.borrow()];
    lender.giveBack(one);
    await use(pool, 2 * CHUNK_SIZE);
    const before = sizes.length;
    await use(pool, CHUNK_SIZE);
    expect(await lender.borrow()).toBe(one);
    expect(sizes).toHaveLength(before);
    for (const memory of [one, other]) lender.giveBack(memory);
  });
});

describe('A get of many chunks', () => {
  test('has a few of them in memory, and their shards on the way', async () => {
    await using made = await testVault();
    const { hash } = await putBytes(made.vault, CONTENT, { name: 'long' });
    await using copy = await (await snapshotOf(made)).copy();
    const { around, most } = countCalls('get');
    const { vault } = await copy.open({ limits: LIMITS, around });
    const sizes = countAllocations();
    expect((await getBytes(vault, hash)).equals(CONTENT)).toBe(true);
    // One more, for the one that the consumer looks at.
    expect(sizes.length).toBeLessThanOrEqual(IN_FLIGHT + 1);
    expect(Math.max(...sizes)).toBeLessThan(CHUNK_MEMORY);
    expect(most()).toBeLessThanOrEqual(IN_FLIGHT * 2);
    expect(most()).toBeGreaterThan(2);
  });

  test('reads no further ahead of a slow consumer than it has room for', async () => {
    await using made = await testVault();
    const { hash } = await putBytes(made.vault, CONTENT, { name: 'long' });
    await using copy = await (await snapshotOf(made)).copy();
    const handle = await copy.open({ limits: LIMITS });
    const file = await handle.vault.get(hash);
    const fetched = (): number =>
      handle.steps.log.filter(({ name }) => name.startsWith('chunks/')).length / 2;
    let consumed = 0;
    for await (const run of file.content()) {
      consumed += run.length / CHUNK_SIZE;
      if (consumed > 10) break;
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect(fetched() - consumed).toBeLessThanOrEqual(IN_FLIGHT + 1);
    }
    // Stopping early leaves nothing under way.
    const before = fetched();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(fetched()).toBe(before);
  });
});
