/**
 * Throughput of erasure coding on one core, in GB of chunks a second: the coder in use, and beside it the two
 * other ways that need neither a compiler nor a dependency. Run it with `node test/bench/erasure.ts`.
 *
 * - tables: one look-up in a table of 256 products for each byte and factor
 * - words: four bytes at a time in one number, multiplied by doubling; written out for 2+1, where it is at its best
 */
import { randomBytes } from 'node:crypto';
import { encodeParity, reconstructData } from '../../src/crypto/erasure.ts';
import { shardSize } from '../../src/format/shard.ts';

type Shards = readonly Uint8Array[];

const CHUNK_SIZE = 1024 * 1024;
/** More than the processor's caches hold, so that chunks come from memory as they do in use. */
const CHUNKS = 64;
const ROUNDS = 7;

console.log(`GB/s, chunks of ${CHUNK_SIZE} bytes in shared memory, best of ${ROUNDS} rounds`);
console.log(['', 'encode', 'decode', 'tables', 'words'].map((title) => title.padStart(8)).join(''));
for (const [k, m] of [
  [2, 1],
  [1, 1],
  [3, 2],
  [4, 2],
  [8, 3],
  [13, 3],
] as const) {
  const chunks = Array.from({ length: CHUNKS }, () => randomShards(k, m));
  const tables = tablesOf(k, m);
  const cells = [
    `${k}+${m}`,
    measure(chunks, (shards) => encodeParity(k, m, shards)),
    measure(chunks, ([, ...shards]) => reconstructData(k, m, [null, ...shards])),
    measure(chunks, (shards) => encodeByTables(tables, shards)),
    k === 2 ? measure(chunks, encodeByWords) : '',
  ];
  console.log(cells.map((cell) => cell.padStart(8)).join(''));
}

function measure(chunks: readonly Shards[], code: (shards: Shards) => unknown): string {
  let bestNs = Infinity;
  for (let round = 0; round < ROUNDS; round += 1) {
    const start = process.hrtime.bigint();
    for (const shards of chunks) code(shards);
    bestNs = Math.min(bestNs, Number(process.hrtime.bigint() - start));
  }
  return ((chunks.length * CHUNK_SIZE) / bestNs).toFixed(2);
}

function randomShards(k: number, m: number): Shards {
  return Array.from({ length: k + m }, () => {
    const shard = new Uint8Array(new SharedArrayBuffer(shardSize(CHUNK_SIZE, k)));
    shard.set(randomBytes(shard.length));
    return shard;
  });
}

/** For each parity shard and data shard the products of its factor with every byte. */
function tablesOf(k: number, m: number): readonly Shards[] {
  const tables = Array.from({ length: k }, (_, c) => {
    // Data shard c holds every byte once and the others are zero: each parity shard is then a table.
    const shards = Array.from({ length: k + m }, () => new Uint8Array(256));
    shards[c]?.set(Array.from({ length: 256 }, (__, byte) => byte));
    encodeParity(k, m, shards);
    return shards.slice(k);
  });
  return Array.from({ length: m }, (_, r) => tables.flatMap((table) => table.slice(r, r + 1)));
}

function encodeByTables(tables: readonly Shards[], shards: Shards): void {
  const k = tables[0]?.length ?? 0;
  for (const [r, row] of tables.entries()) {
    const parity = shards[k + r];
    if (parity === undefined) return;
    parity.fill(0);
    for (const [c, table] of row.entries()) {
      const data = shards[c];
      if (data === undefined) return;
      for (let i = 0; i < parity.length; i += 1) parity[i] = (parity[i] ?? 0) ^ (table[data[i] ?? 0] ?? 0);
    }
  }
}

/** parity = 3 a + 2 b = a + 2 (a + b). */
function encodeByWords(shards: Shards): void {
  const [a, b, parity] = shards.map((shard) => new Int32Array(shard.buffer));
  if (a === undefined || b === undefined || parity === undefined) return;
  for (let i = 0; i < parity.length; i += 1) {
    const first = a[i] ?? 0;
    const sum = first ^ (b[i] ?? 0);
    parity[i] = first ^ ((sum << 1) & 0xfefefefe) ^ Math.imul((sum >>> 7) & 0x01010101, 0x1d);
  }
}
