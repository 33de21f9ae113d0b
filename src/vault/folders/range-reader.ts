/** Reads runs of a content that are asked for one by one, mostly in order, and no chunk that nobody asks for. */
import { Lender } from '../../concurrency/semaphore.ts';
import { VaultError } from '../../errors.ts';
import { mostBody } from '../../format/manifest.ts';
import type { ChunkRef, ContentTable } from '../../format/manifest.ts';
import { allocateChunkMemory, chunkMemorySize, chunksInFlight } from '../chunks/chunk-memory.ts';
import type { ChunkMemory } from '../chunks/chunk-memory.ts';
import { ChunkReader } from '../chunks/chunk-reader.ts';
import { contentRefs } from '../files/tables.ts';
import type { ContentOptions } from '../read/get.ts';
import type { Session } from '../session.ts';
import type { Run } from './content-runs.ts';

/** Chunks and the bytes of the content that they have. */
interface Span {
  readonly start: number;
  readonly end: number;
}

interface Fetched extends Span {
  readonly tag: Buffer;
  /** Shared by those that are the same chunk: a folder may list it again for what is behind a file that has changed. */
  readonly body: Promise<Uint8Array>;
  isRead: boolean;
}

/** Bodies that are opened and wait until they are read. With one a restore of many small files took a twelfth longer. */
const WAITING = 3;

export interface RangeReaderOptions extends Omit<ContentOptions, 'start' | 'end'> {
  /** Whether bytes of these are going to be asked for: only then they are read ahead. */
  readonly isWanted: (span: Span) => boolean;
  /** Most chunks that are opened at once, 1 or more; as memory allows unless given. */
  readonly opening?: number | undefined;
}

export class RangeReader {
  readonly #session: Session;
  readonly #content: { readonly table: ContentTable; readonly chunks: number };
  readonly #options: RangeReaderOptions;
  readonly #reader: ChunkReader;
  readonly #inFlight: number;
  readonly #opening: number;
  readonly #lender: Lender<ChunkMemory>;
  readonly #abort = new AbortController();
  readonly #signal: AbortSignal;
  #refs: AsyncGenerator<ChunkRef, void, undefined> | null = null;
  /** Where the next reference's chunk begins. */
  #next = 0;
  /** Chunks that are had or on their way, in order, the first one being read from. */
  readonly #queue: Fetched[] = [];
  /** How many of those there may be: more where one is read after the other, one where they are left out. */
  #window = 1;
  /** The memory of each body, which it has been given by the time it has come. */
  readonly #lent = new WeakMap<Promise<Uint8Array>, Promise<ChunkMemory>>();
  readonly #leaving = new Set<Promise<unknown>>();

  constructor(
    session: Session,
    content: { readonly table: ContentTable; readonly chunks: number },
    options: RangeReaderOptions,
  ) {
    this.#session = session;
    this.#content = content;
    this.#options = options;
    this.#reader = new ChunkReader(session);
    const most = mostBody(content.table);
    const inFlight = chunksInFlight(session.limits, chunkMemorySize(most, null) * 2);
    this.#inFlight = Math.min(inFlight, options.chunksInFlight ?? inFlight);
    this.#opening = Math.min(Math.ceil(this.#inFlight / 2), options.opening ?? Infinity);
    // What is only fetched takes no memory for a body: one is read, some wait for that, as one with many small files takes
    // several times as long to write as the next, and others are opened.
    this.#lender = new Lender(this.#opening + 1 + WAITING, () => allocateChunkMemory(most, null));
    const { signal } = options;
    this.#signal = signal === undefined ? this.#abort.signal : AbortSignal.any([signal, this.#abort.signal]);
  }

  /**
   * The bytes of the chunk that a byte lies in; see `RunAt`.
   *
   * @throws as reading a chunk
   */
  async runAt(offset: number): Promise<Run> {
    const { inline } = this.#content.table;
    if (inline !== null) {
      if (offset >= inline.length) throw noSuchBytes();
      return { start: 0, bytes: inline };
    }
    const chunk = await this.#chunkAt(offset);
    chunk.isRead = true;
    return { start: chunk.start, bytes: await chunk.body };
  }

  /** Ends what is on its way, and tells what was got round. */
  async close(): Promise<void> {
    this.#abort.abort();
    this.#leaveAll();
    await Promise.all(this.#leaving);
    await this.#refs?.return();
    for (const warning of this.#reader.problems.warnings()) this.#options.onWarning?.(warning);
  }

  async #chunkAt(at: number): Promise<Fetched> {
    if (at < (this.#queue[0]?.start ?? this.#next)) await this.#rewind();
    for (let head = this.#queue[0]; head !== undefined && head.end <= at; head = this.#queue[0]) {
      this.#window = head.isRead ? Math.min(this.#inFlight, this.#window * 2) : 1;
      this.#queue.shift();
      this.#leave(head);
    }
    while (this.#queue.length < this.#window) if (!(await this.#fetchNext(at))) break;
    const [head] = this.#queue;
    if (head === undefined || at < head.start || at >= head.end) {
      throw noSuchBytes();
    }
    return head;
  }

  /** Begins with the next chunk that is wanted. @returns false at the end */
  async #fetchNext(at: number): Promise<boolean> {
    const refs = (this.#refs ??= contentRefs(this.#session, this.#content, { signal: this.#signal }));
    for (;;) {
      const next = await refs.next();
      if (next.done === true) return false;
      const span = { start: this.#next, end: this.#next + next.value.length };
      this.#next = span.end;
      const isAsked = span.start <= at && at < span.end;
      if (!isAsked && (span.end <= at || !this.#options.isWanted(span))) continue;
      this.#queue.push(this.#fetch(next.value, span));
      return true;
    }
  }

  #fetch(ref: ChunkRef, span: Span): Fetched {
    const same = this.#queue.find(({ tag }) => tag.equals(ref.tag));
    if (same !== undefined) return { ...span, tag: ref.tag, body: same.body, isRead: false };
    const fetched = this.#reader.fetch(ref, this.#signal);
    // In order: what is read last must not have the memory that what is read first waits for.
    const before = this.#queue.at(-1);
    const opened = this.#queue.at(-this.#opening)?.body;
    const turn = Promise.allSettled([before && this.#lent.get(before.body), opened, fetched]);
    const lent = turn.then(() => this.#lender.borrow());
    const body = lent.then(async (memory) => this.#reader.open(memory, await fetched, this.#signal));
    // It is told to whoever reads it, if anybody does.
    body.catch(() => undefined);
    this.#lent.set(body, lent);
    return { ...span, tag: ref.tag, body, isRead: false };
  }

  #leaveAll(): void {
    for (let head = this.#queue.shift(); head !== undefined; head = this.#queue.shift()) this.#leave(head);
  }

  /** @param fetched no longer in the queue */
  #leave({ body }: Fetched): void {
    if (this.#queue.some((other) => other.body === body)) return;
    const left = this.#settle(body);
    this.#leaving.add(left);
    void left.finally(() => this.#leaving.delete(left));
  }

  /** Waits until nothing is written into its memory, and gives that back. */
  async #settle(body: Promise<Uint8Array>): Promise<void> {
    await Promise.allSettled([body]);
    const memory = await this.#lent.get(body);
    if (memory !== undefined) this.#lender.giveBack(memory);
  }

  async #rewind(): Promise<void> {
    this.#leaveAll();
    await this.#refs?.return();
    this.#refs = null;
    this.#next = 0;
    this.#window = 1;
  }
}

function noSuchBytes(): VaultError {
  return new VaultError('damaged', 'An index refers to bytes that its content does not have.');
}

/** Runs of a content that are going to be read, gathered in any order, and looked up in order. */
export class Ranges {
  #runs: { start: number; end: number }[] = [];

  add(start: number, length: number): void {
    const last = this.#runs.at(-1);
    if (length === 0) return;
    if (last?.end === start) last.end += length;
    else this.#runs.push({ start, end: start + length });
  }

  /** Once all are added: tells whether any of them is in a span. */
  lookup(): (span: Span) => boolean {
    const runs = this.#runs.toSorted((a, b) => a.start - b.start);
    return ({ start, end }) => {
      let [low, high] = [0, runs.length];
      while (low < high) {
        const middle = (low + high) >>> 1;
        if ((runs[middle]?.end ?? 0) <= start) low = middle + 1;
        else high = middle;
      }
      const found = runs[low];
      return found !== undefined && found.start < end;
    };
  }
}
