/** Cutting a source of bytes into chunks. */

/** A run of bytes in a piece of memory that was borrowed for it. */
export interface FilledChunk<M> {
  readonly memory: M;
  /** Bytes read into the memory's body. */
  readonly length: number;
  /** Whether the source ended with this chunk. */
  readonly isLast: boolean;
}

/**
 * Cuts a source of bytes into chunks of the full size, except the last one. A source of no bytes gives one chunk
 * of length 0, so that there always is a last one.
 *
 * One chunk is read ahead, to know which is the last; at least two pieces of memory are needed.
 *
 * @param read fills the given bytes from the source as far as it goes, and returns how many were filled; fewer than asked means
 *   that the source has ended
 * @param memory `borrow`: waits for free memory; `bodyOf`: the bytes in it to fill, all of one length; `giveBack`: called here only for memory that is not
 *   passed on
 */
export async function* chunked<M>(
  read: (target: Uint8Array) => Promise<number>,
  memory: { borrow(): Promise<M>; bodyOf(memory: M): Uint8Array; giveBack(memory: M): void },
): AsyncGenerator<FilledChunk<M>, void, undefined> {
  let held: M | null = null;
  try {
    held = await memory.borrow();
    let length = await read(memory.bodyOf(held));
    while (true) {
      const isFull = length === memory.bodyOf(held).length;
      if (!isFull) break;
      const ahead = await memory.borrow();
      let aheadLength: number;
      try {
        aheadLength = await read(memory.bodyOf(ahead));
      } catch (error) {
        memory.giveBack(ahead);
        throw error;
      }
      if (aheadLength === 0) {
        memory.giveBack(ahead);
        break;
      }
      const chunk = { memory: held, length, isLast: false };
      held = ahead;
      length = aheadLength;
      yield chunk;
    }
    const last = { memory: held, length, isLast: true };
    held = null;
    yield last;
  } finally {
    if (held !== null) memory.giveBack(held);
  }
}
