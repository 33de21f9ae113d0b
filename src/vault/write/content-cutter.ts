/**
 * Cutting by content: FastCDC (Xia et al., "FastCDC: a Fast and Efficient Content-Defined Chunking Approach for Data
 * Deduplication", ATC 2016, and its version of 2020 that looks at two bytes in a turn), with a table of the writer's own.
 * A chunk ends where the bytes before say so, so that what is inserted or removed moves the ends beside it, and no others.
 */
import { gearTable } from '../../crypto/cutting.ts';
import { MAX_CUT_SIZE } from '../../format/limits.ts';

/** Bytes of a chunk; only the last of a content has fewer. */
export const LEAST_CUT_SIZE = 256 * 1024;

/**
 * Up to this length one end in 2^22 is taken, from then on one in 2^18: lengths stay near their mean, which is 1 MiB on random
 * bytes ("normalised chunking").
 */
const NORMAL_SIZE = 840 * 1024;
// The hash's highest bits depend on the most bytes. The very highest is not looked at: two bytes in a turn lose it.
const HARD_MASK = 0x7ffffe00;
const EASY_MASK = 0x7fffe000;

export class ContentCutter {
  readonly #gear: Int32Array;
  /** The same words, shifted as the first of two bytes needs them. */
  readonly #shifted: Int32Array;
  /** Of the chunk under way: bytes looked at, and their hash. */
  #at = 0;
  #hash = 0;

  /** @param cutKey the writer's, 32 bytes */
  constructor(cutKey: Uint8Array) {
    this.#gear = gearTable(cutKey);
    this.#shifted = this.#gear.map((word) => word << 1);
  }

  /**
   * Looks for the end of the chunk that `bytes` begin with. No byte is looked at twice: after null, it goes on where it was.
   *
   * @param bytes all there are of the content from the chunk's start; after null the same ones, and more behind them
   * @param last whether the content ends with them
   * @returns the chunk's length; null if its end lies further on, also if there are no bytes at all
   */
  next(bytes: Uint8Array, last: boolean): number | null {
    const end = Math.min(bytes.length, MAX_CUT_SIZE);
    this.#at = Math.max(this.#at, Math.min(end, LEAST_CUT_SIZE));
    const cut = this.#scan(bytes, Math.min(end, NORMAL_SIZE), HARD_MASK) ?? this.#scan(bytes, end, EASY_MASK);
    if (cut === null && end < MAX_CUT_SIZE && !(last && end > 0)) return null;
    this.#at = 0;
    this.#hash = 0;
    return cut ?? end;
  }

  /** Rolls the hash on to `end`, in pairs: a last odd byte waits for the next one. @returns where a chunk may end, if anywhere */
  #scan(bytes: Uint8Array, end: number, mask: number): number | null {
    const gear = this.#gear;
    const shifted = this.#shifted;
    const shiftedMask = mask << 1;
    let hash = this.#hash;
    let at = this.#at;
    for (; at + 1 < end; at += 2) {
      hash = ((hash << 2) + (shifted[bytes[at] ?? 0] ?? 0)) | 0;
      if ((hash & shiftedMask) === 0) return at + 1;
      hash = (hash + (gear[bytes[at + 1] ?? 0] ?? 0)) | 0;
      if ((hash & mask) === 0) return at + 2;
    }
    this.#at = at;
    this.#hash = hash;
    return null;
  }
}
