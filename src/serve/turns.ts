/** Memory of downloads, which they have in turns: one whose client is slow keeps it from nobody else. */
import type { Run, RunAt } from '../vault/folders/content-runs.ts';
import type { Exchange } from './exchange.ts';
import type { Serving } from './serving.ts';

/** Bytes that are given at once: all that a download holds while it has no turn. */
const PIECE = 64 * 1024;
/** Chunks in flight of a download, so that some fit into memory; of one that has given its memory away, to read little twice. */
export const CHUNKS_IN_FLIGHT = 4;
const LATER_CHUNKS_IN_FLIGHT = 1;

/** Looks in a turn of `idleMs` at whether others wait; and how many of them without a piece asked for end it, too. */
const LOOKS = 10;
const QUIET_LOOKS = 2;
const NOTHING: Run = { start: 0, bytes: new Uint8Array(0) };

/** A content that is being read. */
export interface Opened {
  readonly runAt: RunAt;
  close(): Promise<void>;
}

export interface Wanted {
  /** Bytes of memory that it takes. */
  readonly memory: (chunksInFlight: number) => number;
  readonly open: (chunksInFlight: number) => Opened;
}

/**
 * Reads a content with memory that all downloads share. While others wait for it, it is closed after a turn, or as soon
 * as its client takes nothing for a moment, and opened again where it was.
 *
 * @returns the content, whose runs are pieces of their own
 * @throws as reading it; also if there is no memory for long before its first byte (then the exchange has a refusal)
 */
export function inTurns(exchange: Exchange, serving: Serving, wanted: Wanted): Opened {
  const piece = Buffer.allocUnsafe(PIECE);
  let turn: { readonly opened: Opened; readonly end: () => Promise<void> } | null = null;
  let ended = Promise.resolve();
  let run: Run = NOTHING;
  let [isFirst, isReading, isOver, quiet] = [true, false, false, 0];

  const begin = async (): Promise<NonNullable<typeof turn>> => {
    const chunksInFlight = isFirst ? CHUNKS_IN_FLIGHT : LATER_CHUNKS_IN_FLIGHT;
    const giveBack = await take(exchange, serving, { bytes: wanted.memory(chunksInFlight), isFirst });
    isFirst = false;
    const opened = wanted.open(chunksInFlight);
    let looks = 0;
    const checks = setInterval(() => {
      looks += 1;
      quiet = isReading ? 0 : quiet + 1;
      isOver = serving.memory.isWanted && (looks >= LOOKS || quiet >= QUIET_LOOKS);
      if (isOver && !isReading) void close();
    }, serving.options.idleMs / LOOKS);
    const end = async (): Promise<void> => {
      clearInterval(checks);
      await opened.close().finally(giveBack);
    };
    return { opened, end };
  };

  /** Ends the turn. */
  const close = (): Promise<void> => {
    if (turn !== null) ended = turn.end();
    ended.catch(() => undefined);
    [turn, run, isOver] = [null, NOTHING, false];
    return ended;
  };

  const runAt: RunAt = async (offset) => {
    [isReading, quiet] = [true, 0];
    try {
      await ended;
      turn ??= await begin();
      if (offset < run.start || offset >= run.start + run.bytes.length) run = await turn.opened.runAt(offset);
      const part = run.bytes.subarray(offset - run.start, offset - run.start + PIECE);
      piece.set(part);
      return { start: offset, bytes: piece.subarray(0, part.length) };
    } finally {
      isReading = false;
      if (isOver) void close();
    }
  };
  return { runAt, close };
}

/** Waits for memory, for the first of it not for ever. @returns what gives it back */
async function take(
  exchange: Exchange,
  { memory, options }: Serving,
  { bytes, isFirst }: { readonly bytes: number; readonly isFirst: boolean },
): Promise<() => void> {
  const [begun, over] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const patience = new AbortController();
  const timer = setTimeout(() => isFirst && patience.abort(), 2 * options.idleMs);
  const work = (): Promise<void> => {
    begun.resolve();
    return over.promise;
  };
  try {
    const signal = AbortSignal.any([exchange.signal, patience.signal]);
    await Promise.race([begun.promise, memory.spend(bytes, work, signal)]);
    return over.resolve;
  } catch (error) {
    if (exchange.signal.aborted) throw error;
    const headers = { 'Retry-After': String(Math.ceil(options.idleMs / 1000)) };
    throw exchange.refuse(503, 'busy', 'Too many downloads are under way. Try again later.', headers);
  } finally {
    clearTimeout(timer);
  }
}
