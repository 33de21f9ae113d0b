/** Cutting a source of bytes into chunks by what is in it. */
import { MAX_CUT_SIZE } from '../../format/limits.ts';
import type { ContentCutter } from './content-cutter.ts';

/** Bytes read at a time: at most so many are read beyond a chunk's end, and are copied to where the next one begins. */
const STEP = 512 * 1024;

/**
 * Cuts a source of bytes where a cutter says. A source of no bytes gives no chunk.
 *
 * Never more than one piece of memory is held here while another is waited for: `chunked` needs turns for that, this does not.
 *
 * @param read as for `chunked`
 * @param memory as for `chunked`; each piece has room for the largest chunk
 */
export async function* cutByContent<M>(
  read: (target: Uint8Array) => Promise<number>,
  memory: { borrow(): Promise<M>; bodyOf(memory: M): Uint8Array; giveBack(memory: M): void },
  cutter: ContentCutter,
): AsyncGenerator<{ readonly memory: M; readonly length: number }, void, undefined> {
  // What was read beyond the chunk before.
  const rest = new Uint8Array(STEP);
  let restLength = 0;
  let ended = false;
  while (!ended || restLength > 0) {
    const held = await memory.borrow();
    let lent = true;
    try {
      const body = memory.bodyOf(held).subarray(0, MAX_CUT_SIZE);
      body.set(rest.subarray(0, restLength));
      let filled = restLength;
      let length = cutter.next(body.subarray(0, filled), ended);
      while (length === null && !(ended && filled === 0)) {
        const target = body.subarray(filled, filled + STEP);
        const count = await read(target);
        filled += count;
        ended = count < target.length;
        length = cutter.next(body.subarray(0, filled), ended);
      }
      if (length === null) return;
      restLength = filled - length;
      rest.set(body.subarray(length, filled));
      lent = false;
      yield { memory: held, length };
    } finally {
      if (lent) memory.giveBack(held);
    }
  }
}
