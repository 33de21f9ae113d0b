/** Zeros that need not be written: a file that was sparse is sparse again. */

/** Bytes of a block, the least that file systems leave out. */
const BLOCK_SIZE = 4096;
/** Shorter runs of zeros are written: a file in many pieces is slow to read. */
const LEAST_HOLE = 64 * 1024;
const ZEROS = Buffer.alloc(BLOCK_SIZE);

/** A part of some bytes, from an index to the one after its last. */
export interface Run {
  readonly start: number;
  readonly end: number;
}

/**
 * The parts of some bytes that are to be written to a new file: all but runs of zeros of 64 KiB and more that begin and end
 * on blocks of 4 KiB.
 *
 * It looks at one block in sixteen, which no such run can slip through: bytes without zeros cost next to nothing.
 *
 * @param position where in the file the bytes begin
 */
export function runsOfData(bytes: Uint8Array, position: number): Run[] {
  const runs: Run[] = [];
  const first = (BLOCK_SIZE - (position % BLOCK_SIZE)) % BLOCK_SIZE;
  let written = 0;
  for (let probe = first; probe + BLOCK_SIZE <= bytes.length; probe += LEAST_HOLE) {
    if (probe < written || !isZero(bytes, probe)) continue;
    let start = probe;
    while (start - BLOCK_SIZE >= Math.max(first, written) && isZero(bytes, start - BLOCK_SIZE)) {
      start -= BLOCK_SIZE;
    }
    let end = probe + BLOCK_SIZE;
    while (end + BLOCK_SIZE <= bytes.length && isZero(bytes, end)) end += BLOCK_SIZE;
    if (end - start < LEAST_HOLE) continue;
    if (start > written) runs.push({ start: written, end: start });
    written = end;
  }
  if (written < bytes.length) runs.push({ start: written, end: bytes.length });
  return runs;
}

function isZero(bytes: Uint8Array, at: number): boolean {
  return bytes[at] === 0 && ZEROS.compare(bytes, at, at + BLOCK_SIZE) === 0;
}
