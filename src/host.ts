/** What the program needs of the machine and the process it runs in: made once, where it starts, and handed on. */
import { availableParallelism, userInfo } from 'node:os';
import { invalidInput, systemCode } from './errors.ts';

/** Time. Tests bring their own, so that they need not wait. */
export interface Clock {
  /** Milliseconds since 1970. Somebody may set it. */
  now(): number;
  /** Milliseconds since some moment; never goes back. */
  monotonic(): number;
  /** Calls back once, after that many milliseconds; returns how to cancel it, which may be called any time. */
  schedule(delayMs: number, callback: () => void): () => void;
}

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Host {
  readonly clock: Clock;
  /** The variables that clients of databases and clouds look at (`PGSSLMODE`, `PGPASSFILE`, `HOME`, ...). */
  readonly environment: Environment;
  /** How many threads can work at once. */
  readonly threads: number;
  /** How many calls of file systems Node makes at once; its own number unless given. */
  readonly fileThreads?: number | undefined;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  // `performance.now()` tells the same, and Node takes 10 ms of every start to load it.
  monotonic() {
    const [seconds, nanoseconds] = process.hrtime();
    return seconds * 1000 + nanoseconds / 1_000_000;
  },
  schedule(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    return () => {
      clearTimeout(timer);
    };
  },
};

/** Node's own number, where nobody has set another. */
export const FILE_THREADS = 4;

/** This machine, and a process with these variables. */
export function thisHost(environment: Environment): Host {
  const fileThreads = Number(environment['UV_THREADPOOL_SIZE']) || FILE_THREADS;
  return { clock: systemClock, environment, threads: availableParallelism(), fileThreads };
}

/** The number of the user that this process acts as; null where a system has none, or does not know him. */
export function effectiveUser(): bigint | null {
  try {
    const { uid } = userInfo();
    return uid < 0 ? null : BigInt(uid);
  } catch {
    return null;
  }
}

/**
 * Whether there still is the working folder.
 *
 * @throws `invalid-input` if its path is too long for the system
 */
export function hasWorkingFolder(): boolean {
  try {
    // Else Node says what it was when it was first asked for.
    process.chdir('.');
  } catch {
    // Only the main thread may do that, and to ask says more of a folder that cannot be entered.
  }
  try {
    process.cwd();
    return true;
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT') return false;
    throw invalidInput(
      'The path of the working folder is too long for the system, or it may not be read. Go to another one.',
      cause,
    );
  }
}
