/**
 * What cutting by content costs on one core: GB/s of the rolling hash on random and on plain text's bytes, the mean length of the
 * chunks, and microseconds for each file of a folder that is placed in a group. Run it with `node test/bench/cutting.ts`.
 */
import { randomBytes } from 'node:crypto';
import { groupsOf } from '../../src/vault/folders/grouping.ts';
import { MAX_CUT_SIZE } from '../../src/format/limits.ts';
import { ContentCutter } from '../../src/vault/write/content-cutter.ts';

const CUT_KEY = Buffer.alloc(32, 1);
/** More than the processor's caches hold. */
const SIZE = 256 * 1024 * 1024;
const ROUNDS = 5;

const random = new Uint8Array(new SharedArrayBuffer(SIZE));
for (let at = 0; at < SIZE; at += 65536) random.set(randomBytes(65536), at);
const text = random.map((byte) => 32 + (byte & 63));

console.log(`best of ${ROUNDS} rounds over ${SIZE / 1024 / 1024} MiB in shared memory`);
for (const [name, bytes] of [
  ['random', random],
  ['text', text],
] as const) {
  let best = Infinity;
  let chunks = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    const start = process.hrtime.bigint();
    chunks = countChunks(bytes);
    best = Math.min(best, Number(process.hrtime.bigint() - start));
  }
  const mean = Math.round(SIZE / chunks / 1024);
  console.log(`${name.padEnd(8)}${(SIZE / best).toFixed(2)} GB/s, ${chunks} chunks, mean ${mean} KiB`);
}

// As many files as the kernel's sources, of the mean size there.
const files = Array.from({ length: 80_000 }, (_, i) => ({
  path: Buffer.from(`drivers/net/ethernet/vendor${Math.floor(i / 40)}/file${i}.c`),
  size: 16_000,
}));
for (let round = 0, best = Infinity; round < ROUNDS; round += 1) {
  const start = process.hrtime.bigint();
  const groups = await Array.fromAsync(groupsOf(files, (file) => file, CUT_KEY));
  best = Math.min(best, Number(process.hrtime.bigint() - start));
  if (round + 1 < ROUNDS) continue;
  console.log(`groups  ${(best / 1000 / files.length).toFixed(2)} us a file, ${groups.length} groups`);
}

function countChunks(bytes: Uint8Array): number {
  const cutter = new ContentCutter(CUT_KEY);
  let chunks = 0;
  for (let at = 0; at < bytes.length; chunks += 1) {
    const length = cutter.next(bytes.subarray(at, at + MAX_CUT_SIZE), at + MAX_CUT_SIZE >= bytes.length);
    at += length ?? 0;
  }
  return chunks;
}
