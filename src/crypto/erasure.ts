/**
 * Erasure coding: k data shards give m parity shards, and any k of the k + m give all the others back.
 *
 * Reed-Solomon over GF(2^8), byte by byte: byte i of every parity shard depends on byte i of the k data shards
 * alone. What a decoder needs to know:
 *
 * - The field has the polynomial x^8 + x^4 + x^3 + x^2 + 1 (0x11D). Addition and subtraction are exclusive or. To
 *   multiply, multiply as polynomials over GF(2) and reduce by 0x11D; logarithms can be taken to the base 2.
 * - The bytes of the k + m shards at one position are the values f(0), f(1), ... f(k + m - 1) of the one polynomial
 *   f of degree below k whose first k values are the data shards' bytes. A shard's index is the field element.
 * - So any k shards, with indices s[0] ... s[k-1], give any shard w by Lagrange's interpolation: the sum over i of
 *   shard s[i] times the product over all j != i of (w - s[j]) / (s[i] - s[j]).
 * - For k = 2, m = 1 that makes parity = 3 * data[0] + 2 * data[1]; for k = 3, m = 2 the factors are (1, 1, 1) and
 *   (15, 8, 6); for k = 1 every shard is a plain copy. The factors of a shard do not depend on m.
 * - The sealed chunk is the data shards one after the other, the last ones filled up with zeros.
 *
 * The same in matrices: V * inverse(the first k rows of V), where V has k + m rows and k columns, V[r][c] = r^c,
 * and 0^0 = 1. That is the construction of Backblaze's JavaReedSolomon and the default one of
 * klauspost/reedsolomon, so that their decoders read these shards.
 *
 * The bytes go through a WebAssembly kernel of 128-bit SIMD instructions (in every Node since 16.4), see
 * `KERNEL_MODULE`. It works in its own memory, so that shards may lie at any address and in a SharedArrayBuffer.
 * Everything here is synchronous, and each thread has its own kernel.
 */
import { isRedundancy } from '../format/shard.ts';

/** The factors of the source shards in one shard. */
type Row = readonly number[];

/**
 * Computes the parity shards in place.
 *
 * @param k data shards, 1 to 16
 * @param m parity shards, 0 to 16 - k; with 0 there is nothing to do
 * @param shards k + m views of equal length that do not overlap: the k data shards are read, the m parity shards
 *   after them overwritten
 * @throws RangeError if k, m or the shards are not as said; that is a bug of the caller
 */
export function encodeParity(k: number, m: number, shards: readonly Uint8Array[]): void {
  requireShards(k, m, shards);
  const data = Array.from({ length: k }, (_, index) => index);
  const rows = Array.from({ length: m }, (_, i) => interpolation(data, k + i));
  combine(rows, shards.slice(0, k), shards.slice(k));
}

/**
 * The k data shards of a chunk, from any k of its shards. Nothing here can tell a wrong shard from a right one:
 * the caller has verified those it gives.
 *
 * @param k data shards, 1 to 16
 * @param m parity shards, 0 to 16 - k
 * @param shards k + m entries by shard index, of equal length; null where there is none. At least k are there
 * @returns k views in order: the given ones as they are, the missing ones computed
 * @throws RangeError if k, m or the shards are not as said, so also if fewer than k are there: the caller counts first, since
 *   only it can say what is lost where
 */
export function reconstructData(k: number, m: number, shards: readonly (Uint8Array | null)[]): Uint8Array[] {
  const size = requireShards(k, m, shards);
  const present = shards.flatMap((shard, index) => (shard === null ? [] : [{ shard, index }])).slice(0, k);
  if (present.length < k) {
    throw new RangeError(`${present.length} shards cannot give back a chunk that was cut into ${k}.`);
  }
  const indices = present.map(({ index }) => index);
  const rows: Row[] = [];
  const missing: Uint8Array[] = [];
  const data = shards.slice(0, k).map((shard, index) => {
    if (shard !== null) return shard;
    const view = new Uint8Array(size);
    rows.push(interpolation(indices, index));
    missing.push(view);
    return view;
  });
  const sources = present.map(({ shard }) => shard);
  if (missing.length > 0) combine(rows, sources, missing);
  return data;
}

/** Checks what every caller must get right; the length of a shard in bytes. */
function requireShards(k: number, m: number, shards: readonly (Uint8Array | null)[]): number {
  if (!isRedundancy({ k, m })) throw new RangeError(`There is no redundancy ${k}+${m}.`);
  const size = shards.find((shard) => shard !== null)?.length ?? 0;
  if (shards.length !== k + m || shards.some((shard) => shard !== null && shard.length !== size)) {
    throw new RangeError(`${k}+${m} takes ${k + m} shards of equal length.`);
  }
  return size;
}

// --- the field ----------------------------------------------------------------------------------------

const POLYNOMIAL = 0x11d;

/** EXP[i] = 2^i, twice over so that a sum of two logarithms needs no reduction; LOG is its inverse. */
const EXP = new Uint8Array(510);
const LOG = new Uint8Array(256);
for (let i = 0, power = 1; i < 255; i += 1) {
  EXP[i] = power;
  EXP[i + 255] = power;
  LOG[power] = i;
  power <<= 1;
  if (power > 0xff) power ^= POLYNOMIAL;
}

function multiply(a: number, b: number): number {
  return a === 0 || b === 0 ? 0 : at(EXP, at(LOG, a) + at(LOG, b));
}

/** Of an element that is not 0. */
function inverse(a: number): number {
  return at(EXP, 255 - at(LOG, a));
}

/** The factor of each source shard in the wanted shard: the polynomial through the sources, evaluated there. */
function interpolation(sources: readonly number[], wanted: number): Row {
  return sources.map((source) =>
    sources
      .filter((other) => other !== source)
      .reduce((product, other) => multiply(product, multiply(wanted ^ other, inverse(source ^ other))), 1),
  );
}

/** An element that is known to be there. */
function at<T>(list: ArrayLike<T>, index: number): T {
  const value = list[index];
  if (value === undefined) throw new RangeError(`There is no element ${index} of ${list.length}.`);
  return value;
}

// --- the bytes ----------------------------------------------------------------------------------------

/** Bytes of each shard that are in the kernel's memory at a time: few enough for the processor's caches. */
const BLOCK_SIZE = 16 * 1024;
const VECTOR_SIZE = 16;
/** The kernel's memory: for each of 256 factors two tables, then one source, then up to 16 sums. */
const TABLES_SIZE = 2 * VECTOR_SIZE;
const SOURCE = 256 * TABLES_SIZE;
const SUMS = SOURCE + BLOCK_SIZE;

/** out[i] = the sum over j of rows[i][j] * sources[j]. */
function combine(rows: readonly Row[], sources: readonly Uint8Array[], out: readonly Uint8Array[]): void {
  const computed: { readonly row: Row; readonly view: Uint8Array }[] = [];
  for (const [i, row] of rows.entries()) {
    const view = at(out, i);
    const used = sources.filter((_, j) => row[j] !== 0);
    // Interpolation gives a lone factor only as 1: the wanted shard is among the sources, or k = 1.
    if (used.length === 1) view.set(at(used, 0));
    else computed.push({ row, view });
  }
  if (computed.length === 0) return;

  kernel ??= startKernel();
  const { memory, addScaled } = kernel;
  const size = at(sources, 0).length;
  for (let offset = 0; offset < size; offset += BLOCK_SIZE) {
    const length = Math.min(BLOCK_SIZE, size - offset);
    memory.fill(0, SUMS, SUMS + computed.length * BLOCK_SIZE);
    for (const [j, source] of sources.entries()) {
      memory.set(source.subarray(offset, offset + length), SOURCE);
      for (const [i, { row }] of computed.entries()) {
        addScaled(SOURCE, SUMS + i * BLOCK_SIZE, length, at(row, j) * TABLES_SIZE);
      }
    }
    for (const [i, { view }] of computed.entries()) {
      const sum = SUMS + i * BLOCK_SIZE;
      view.set(memory.subarray(sum, sum + length), offset);
    }
  }
}

interface Kernel {
  readonly memory: Uint8Array;
  /**
   * Adds a factor times the source to a sum.
   *
   * @param source address, as is `sum`
   * @param length bytes, at least 1; rounded up to whole vectors of 16
   * @param tables address of the factor's two tables: its products with 0 to 15, and with 16 times 0 to 15
   */
  readonly addScaled: (source: number, sum: number, length: number, tables: number) => void;
}

let kernel: Kernel | null = null;

/** The part of WebAssembly that is used here: Node's type declarations leave it to the DOM's. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object) => {
    readonly exports: {
      readonly memory: { readonly buffer: ArrayBuffer };
      readonly addScaled: Kernel['addScaled'];
    };
  };
};

function startKernel(): Kernel {
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(Uint8Array.from(KERNEL_MODULE)));
  const memory = new Uint8Array(exports.memory.buffer);
  for (let factor = 0; factor < 256; factor += 1) {
    for (let nibble = 0; nibble < VECTOR_SIZE; nibble += 1) {
      const address = factor * TABLES_SIZE + nibble;
      memory[address] = multiply(factor, nibble);
      memory[address + VECTOR_SIZE] = multiply(factor, nibble << 4);
    }
  }
  return { memory, addScaled: exports.addScaled };
}

/**
 * The kernel's module in WebAssembly's binary format (https://webassembly.github.io/spec/core/binary/), each line
 * under what it says in the text format. A product is the sum of the products with the byte's two halves; each
 * half has 16 values, so that one `swizzle` looks up 16 bytes in a table that fits a register: Plank, Greenan,
 * Miller, "Screaming Fast Galois Field Arithmetic Using Intel SIMD Instructions", FAST 2013.
 */
const KERNEL_MODULE = [
  // magic number and version
  0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00,
  // section 1, 8 bytes: (type (func (param i32 i32 i32 i32)))
  0x01, 0x08, 0x01, 0x60, 0x04, 0x7f, 0x7f, 0x7f, 0x7f, 0x00,
  // section 3, 2 bytes: (func (type 0))
  0x03, 0x02, 0x01, 0x00,
  // section 5, 3 bytes: (memory 5), in pages of 64 KiB: SUMS + 16 * BLOCK_SIZE = 286,720 bytes
  0x05, 0x03, 0x01, 0x00, 0x05,
  // section 7, 22 bytes: two exports
  0x07, 0x16, 0x02,
  // (export "memory" (memory 0))
  0x06, 0x6d, 0x65, 0x6d, 0x6f, 0x72, 0x79, 0x02, 0x00,
  // (export "addScaled" (func 0))
  0x09, 0x61, 0x64, 0x64, 0x53, 0x63, 0x61, 0x6c, 0x65, 0x64, 0x00, 0x00,
  // section 10, 109 bytes: one function of 107 bytes; its parameters are $source, $sum, $length, $tables
  0x0a, 0x6d, 0x01, 0x6b,
  // (local $low v128) (local $high v128) (local $bytes v128)
  0x01, 0x03, 0x7b,
  // (local.set $low (v128.load (local.get $tables)))
  0x20, 0x03, 0xfd, 0x00, 0x00, 0x00, 0x21, 0x04,
  // (local.set $high (v128.load offset=16 (local.get $tables)))
  0x20, 0x03, 0xfd, 0x00, 0x00, 0x10, 0x21, 0x05,
  // (loop
  0x03, 0x40,
  //   local.get $sum (v128.load (local.get $sum))
  0x20, 0x01, 0x20, 0x01, 0xfd, 0x00, 0x00, 0x00,
  //   local.get $low (local.tee $bytes (v128.load (local.get $source)))
  0x20, 0x04, 0x20, 0x00, 0xfd, 0x00, 0x00, 0x00, 0x22, 0x06,
  //   (v128.const i8x16 15 15 15 15 15 15 15 15 15 15 15 15 15 15 15 15)
  0xfd, 0x0c, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15,
  //   v128.and i8x16.swizzle v128.xor
  0xfd, 0x4e, 0xfd, 0x0e, 0xfd, 0x51,
  //   local.get $high (i8x16.shr_u (local.get $bytes) (i32.const 4)) i8x16.swizzle v128.xor
  0x20, 0x05, 0x20, 0x06, 0x41, 0x04, 0xfd, 0x6d, 0xfd, 0x0e, 0xfd, 0x51,
  //   v128.store
  0xfd, 0x0b, 0x00, 0x00,
  //   (local.set $source (i32.add (local.get $source) (i32.const 16)))
  0x20, 0x00, 0x41, 0x10, 0x6a, 0x21, 0x00,
  //   (local.set $sum (i32.add (local.get $sum) (i32.const 16)))
  0x20, 0x01, 0x41, 0x10, 0x6a, 0x21, 0x01,
  //   (br_if 0 (i32.gt_s (local.tee $length (i32.sub (local.get $length) (i32.const 16))) (i32.const 0))))
  0x20, 0x02, 0x41, 0x10, 0x6b, 0x22, 0x02, 0x41, 0x00, 0x4a, 0x0d, 0x00, 0x0b,
  // end of the function
  0x0b,
];
