/**
 * Turns of file system calls. Node has a few threads for them, and a call that hangs, as on a network disk whose server has
 * gone, keeps its thread for ever and cannot be cancelled. So each folder has few calls in flight, and one that does not
 * answer gets no more of them until what hangs comes back.
 */
import { VaultError, interrupted, isVaultError, throwIfAborted } from '../../errors.ts';
import { FILE_THREADS } from '../../host.ts';
import { GRACE_MS } from '../layers/clock.ts';
import { AT_ONCE, IN_THREADS } from './files.ts';
import type { QuickCalls } from './files.ts';

/** The threads that all folders of the process share; made once, since the process has one set of them. */
class Threads {
  #taken = 0;
  /** Calls in flight in all folders: one thread is left for whatever else needs one. */
  #most = FILE_THREADS - 1;
  /** Folders with operations under way, those that had their turn last at the end. */
  readonly #busy = new Set<FolderCalls>();

  /** @param count how many there are, 4 or more */
  provide(count: number): void {
    this.#most = Math.max(FILE_THREADS, count) - 1;
  }

  /** Calls in flight in one folder: one that hangs leaves most threads to the others. */
  get #mostInOne(): number {
    return Math.max(2, Math.floor(this.#most / 3));
  }

  enter(folder: FolderCalls): void {
    this.#busy.add(folder);
  }

  leave(folder: FolderCalls): void {
    this.#busy.delete(folder);
  }

  take(): void {
    this.#taken += 1;
  }

  /** Whether a folder may have a call more: its second one leaves room for a first one of every other busy folder. */
  allow(folder: FolderCalls): boolean {
    if (folder.inFlight >= this.#mostInOne || this.#taken >= this.#most) return false;
    if (folder.inFlight === 0) return true;
    let kept = 0;
    for (const other of this.#busy) if (other.inFlight === 0) kept += 1;
    return this.#taken + 1 + kept <= this.#most;
  }

  giveBack(folder: FolderCalls): void {
    this.#taken -= 1;
    if (this.#busy.delete(folder)) this.#busy.add(folder);
    for (const next of this.#busy) {
      if (this.#taken >= this.#most) return;
      next.startWaiting();
    }
    // Its operations may have ended, and left something to be closed.
    folder.startWaiting();
  }
}

/** Said once by whoever opens buckets; all folders go by it. */
export const threads = new Threads();

interface Waiting {
  start(): void;
  refuse(error: VaultError): void;
}

/** The calls of one folder. */
export class FolderCalls {
  readonly #label: string;
  readonly #inFlight = new Set<symbol>();
  #operations = 0;
  /** In order of arrival; a Set so that one that gives up leaves at no cost. */
  readonly #waiting = new Set<Waiting>();
  /** What may be done later, or never: descriptors that nobody uses any more. */
  readonly #leftovers: (() => Promise<void>)[] = [];
  /** Calls that an operation ran out of time with, as long as they have not come back. */
  readonly #blocked = new Set<symbol>();
  #quick = IN_THREADS;

  /** @param label what to call the folder in messages */
  constructor(label: string) {
    this.#label = label;
  }

  get inFlight(): number {
    return this.#inFlight.size;
  }

  /**
   * Begins an operation, a run of calls in order; `end` ends it.
   *
   * @param signal ends the waits of its calls; a call in flight has to come back
   * @throws `interrupted`; `unavailable` while an earlier call hangs
   */
  begin(signal: AbortSignal | undefined): Operation {
    throwIfAborted(signal);
    this.#refuseIfBlocked();
    this.#operations += 1;
    threads.enter(this);
    return new Operation(this, signal);
  }

  ended(): void {
    this.#operations -= 1;
    if (this.#operations === 0) threads.leave(this);
  }

  /**
   * Runs calls, one after the other, when it is their turn.
   *
   * @param signal ends the wait for the turn
   * @throws `interrupted`; `unavailable` while an earlier call hangs; what `run` throws
   */
  async turn<T>(run: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    throwIfAborted(signal);
    this.#refuseIfBlocked();
    const call = this.#waiting.size === 0 && threads.allow(this) ? this.#take() : await this.#wait(signal);
    try {
      return await run();
    } finally {
      this.#giveBack(call);
    }
  }

  /** As `turn`, for calls of which several are made at once: `run` is told how many there may be now. */
  async turns<T>(run: (atOnce: number) => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    return await this.turn(async () => {
      const more: symbol[] = [];
      while (threads.allow(this)) more.push(this.#take());
      try {
        return await run(1 + more.length);
      } finally {
        for (const call of more) this.#giveBack(call);
      }
    }, signal);
  }

  /** @param isLocal whether the folder is on a disk of this machine, which answers at once */
  found(isLocal: boolean): void {
    this.#quick = isLocal ? AT_ONCE : IN_THREADS;
  }

  /** Whether calls that move no bytes are made at once. */
  get isNear(): boolean {
    return this.#quick === AT_ONCE;
  }

  /** For who has a turn. */
  get quickCalls(): QuickCalls {
    return this.#quick;
  }

  /** Runs calls that move no bytes: at once where they take no thread, else as `turn`. */
  async quick<T>(run: (calls: QuickCalls) => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    if (this.#quick === IN_THREADS) return await this.turn(() => run(IN_THREADS), signal);
    throwIfAborted(signal);
    return await run(this.#quick);
  }

  /** Closes a descriptor that nobody waits for: at once, or as soon as there is a turn. */
  discard(fd: number): void {
    const close = (): Promise<void> => this.#quick.close(fd).catch(() => undefined);
    if (this.#quick === AT_ONCE) return void close();
    this.#leftovers.push(close);
    this.startWaiting();
  }

  /** An operation was given up. Until the calls that are out now have come back, nobody else shall wait for this folder. */
  gaveUp(reason: unknown): void {
    const out = [...this.#inFlight];
    if (out.length === 0) return;
    if (ranOutOfTime(reason)) this.#block(out);
    // The user gave up, or a better answer came from elsewhere: that alone says nothing about the folder.
    else setTimeout(() => this.#block(out), GRACE_MS).unref();
  }

  #block(calls: readonly symbol[]): void {
    for (const call of calls) if (this.#inFlight.has(call)) this.#blocked.add(call);
    if (this.#blocked.size === 0) return;
    for (const waiting of this.#waiting) waiting.refuse(this.#hangs());
    this.#waiting.clear();
  }

  startWaiting(): void {
    if (this.#blocked.size > 0) return;
    while (this.#leftovers.length > 0 && threads.allow(this)) {
      const run = this.#leftovers.shift();
      if (run === undefined) return;
      const call = this.#take();
      void run().finally(() => this.#giveBack(call));
    }
    for (const next of this.#waiting) {
      if (!threads.allow(this)) return;
      this.#waiting.delete(next);
      next.start();
    }
  }

  async #wait(signal: AbortSignal | undefined): Promise<symbol> {
    return await new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiting.delete(waiting);
        reject(interrupted(signal));
      };
      const waiting: Waiting = {
        start: () => {
          signal?.removeEventListener('abort', onAbort);
          resolve(this.#take());
        },
        refuse: (error) => {
          signal?.removeEventListener('abort', onAbort);
          reject(error);
        },
      };
      this.#waiting.add(waiting);
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  #take(): symbol {
    const call = Symbol('call');
    this.#inFlight.add(call);
    threads.take();
    return call;
  }

  #giveBack(call: symbol): void {
    this.#inFlight.delete(call);
    this.#blocked.delete(call);
    threads.giveBack(this);
  }

  #refuseIfBlocked(): void {
    if (this.#blocked.size > 0) throw this.#hangs();
  }

  #hangs(): VaultError {
    return new VaultError(
      'unavailable',
      `${this.#label} does not answer: a call of its file system hangs. Is the disk, or its server, still there?`,
      { unreachable: true },
    );
  }
}

/** One operation of a bucket, made by `FolderCalls.begin`. */
export class Operation {
  readonly #calls: FolderCalls;
  readonly #signal: AbortSignal | undefined;

  constructor(calls: FolderCalls, signal: AbortSignal | undefined) {
    this.#calls = calls;
    this.#signal = signal;
    signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  /** Runs calls, in their turn, unless the signal is aborted before. */
  async run<T>(run: () => Promise<T>): Promise<T> {
    return await this.#calls.turn(run, this.#signal);
  }

  /** The same for several calls at once, see `FolderCalls.turns`. */
  async runSeveral<T>(run: (atOnce: number) => Promise<T>): Promise<T> {
    return await this.#calls.turns(run, this.#signal);
  }

  /** Runs calls that move no bytes. */
  async quick<T>(run: (calls: QuickCalls) => Promise<T>): Promise<T> {
    return await this.#calls.quick(run, this.#signal);
  }

  /** The same, also when the signal has been aborted. */
  async finishQuick<T>(run: (calls: QuickCalls) => Promise<T>): Promise<T> {
    return await this.#calls.quick(run, undefined);
  }

  /** Runs calls, in their turn, also when the signal has been aborted: what must not be left half done. */
  async finish<T>(run: () => Promise<T>): Promise<T> {
    return await this.#calls.turn(run, undefined);
  }

  /** @throws `interrupted` */
  check(): void {
    throwIfAborted(this.#signal);
  }

  end(): void {
    this.#signal?.removeEventListener('abort', this.#onAbort);
    this.#calls.ended();
  }

  readonly #onAbort = (): void => this.#calls.gaveUp(this.#signal?.reason);
}

/** Whether an operation was aborted by a limit of time, its own or one around it. */
function ranOutOfTime(reason: unknown): boolean {
  if (!isVaultError(reason)) return false;
  return reason.code === 'unavailable' || (reason.code === 'interrupted' && ranOutOfTime(reason.cause));
}
