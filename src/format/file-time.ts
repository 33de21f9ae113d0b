/** Times as file systems keep them: to the nanosecond, and before 1970 too. */
import { MAX_TIME_MS } from './limits.ts';

/** A moment. Both numbers are integers; 1.5 s before 1970 are `{ seconds: -2, nanoseconds: 500_000_000 }`. */
export interface FileTime {
  /** Whole seconds since 1970, rounded down. */
  readonly seconds: number;
  /** 0 to 999,999,999. */
  readonly nanoseconds: number;
}

const NS_A_SECOND = 1_000_000_000n;
const NS_A_MS = 1_000_000;
const MAX_TIME_NS = BigInt(MAX_TIME_MS) * BigInt(NS_A_MS);

/**
 * A moment in the range that is kept.
 *
 * @param ns since 1970; file systems may hold times that no calendar has: broken clocks, damaged inodes
 * @returns null if it is out of range, which is beyond 275,760 years from 1970
 */
export function fileTimeOfNs(ns: bigint): FileTime | null {
  if (ns < -MAX_TIME_NS || ns > MAX_TIME_NS) return null;
  const nanoseconds = ((ns % NS_A_SECOND) + NS_A_SECOND) % NS_A_SECOND;
  return { seconds: Number((ns - nanoseconds) / NS_A_SECOND), nanoseconds: Number(nanoseconds) };
}

/** Milliseconds since 1970, rounded down; always in ECMAScript's range for what `fileTimeOfNs` gives. */
export function msOfFileTime({ seconds, nanoseconds }: FileTime): number {
  return seconds * 1000 + Math.floor(nanoseconds / NS_A_MS);
}
