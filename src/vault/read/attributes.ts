/** What a restored file has beside its bytes. */
import type { FileHandle } from 'node:fs/promises';
import { messageOf, systemCode } from '../../errors.ts';
import type { FileTime } from '../../format/file-time.ts';

/** What a file system did not take, and why, as `permissions (EPERM)`; or `NO_TIME`, or `IDS_LOST`. */
export type NotKept = string;

/** Set-user-ID and set-group-ID. */
export const SET_IDS = 0o6000;

/** Of a program that must not run as somebody else than it did. */
export const IDS_LOST: NotKept =
  'without set-user-ID or set-group-ID, since its owner and group are not restored';

/** Of what was stored without a time. */
export const NO_TIME: NotKept = 'without a modification time, since none is stored';

/** What a sentence goes on with that says that something is restored. @param notKept what it lacks */
export function lacking(notKept: readonly NotKept[]): string {
  const own = notKept.filter((what) => what === IDS_LOST || what === NO_TIME);
  const refused = notKept.filter((what) => !own.includes(what)).join('; ');
  return `${own.map((what) => ` ${what}`).join(', and')}${refused === '' ? '' : `, but its file system did not take: ${refused}`}`;
}

/**
 * Sets permission bits and modification time as far as the file system takes them: SMB, exFAT, FUSE and NFS for a foreign user
 * may not. See `secondsForUtimes` for how exact a time becomes.
 *
 * @param handle of a file that no bytes are written to any more
 * @param attributes null leaves one as it is. Of the mode only `0o777` is set: with set-user-ID a program would run as
 *   whoever restores it
 * @returns what it did not take; nothing is thrown for that, since the bytes are what counts
 */
export async function setAttributes(
  handle: FileHandle,
  { mode, modified }: { readonly mode: number | null; readonly modified: FileTime | null },
): Promise<NotKept[]> {
  const notKept: NotKept[] = [];
  const attempt = async (what: string, set: Promise<void>): Promise<void> => {
    try {
      await set;
    } catch (error) {
      notKept.push(`${what} (${reasonOf(error)})`);
    }
  };
  // The time first: what may not be written any more may not be dated either on some servers.
  if (modified !== null) {
    // As text, since Node takes a negative number for the present.
    const set = handle.stat().then(({ atime }) => handle.utimes(atime, String(secondsForUtimes(modified))));
    await attempt('modification time', set);
  }
  if (mode !== null) await attempt('permissions', handle.chmod(mode & 0o777));
  if (((mode ?? 0) & SET_IDS) !== 0) notKept.push(IDS_LOST);
  return notKept;
}

/** A system error's code, or else its message. */
export function reasonOf(error: unknown): string {
  return systemCode(error) ?? messageOf(error);
}

/**
 * The seconds that make Node set a time as nearly as it can.
 *
 * Node takes times as one floating-point number of seconds, which has steps of 238 ns from 2004 to 2038 and of 477 ns from then to
 * 2106. So a nanosecond cannot be had: the time that is set is less than one step away, and has the very same microsecond. Before
 * 1901 and after 2106 steps are longer; from 2242 on they are longer than a microsecond.
 */
export function secondsForUtimes({ seconds, nanoseconds }: FileTime): number {
  const nearest = seconds + nanoseconds / 1e9;
  const step = 2 ** (Math.floor(Math.log2(Math.max(Math.abs(nearest), 1))) - 52);
  let best = nearest;
  let least = Infinity;
  for (const candidate of [nearest, nearest - step, nearest + step]) {
    const set = setBy(candidate);
    const distance = Math.abs((set.seconds - seconds) * 1e9 + (set.nanoseconds - nanoseconds));
    const sameMicrosecond =
      set.seconds === seconds && Math.floor(set.nanoseconds / 1000) === Math.floor(nanoseconds / 1000);
    // Any time of the same microsecond is nearer than all others.
    const rank = sameMicrosecond ? distance : distance + 1000;
    if (rank < least) {
      least = rank;
      best = candidate;
    }
  }
  return best;
}

/** The time that a file has after `secondsForUtimes`. */
export function timeAsSet(time: FileTime): FileTime {
  return setBy(secondsForUtimes(time));
}

/** What libuv makes of a number of seconds: it cuts off what is below a nanosecond. */
function setBy(time: number): FileTime {
  const whole = Math.trunc(time);
  const nanoseconds = Math.trunc((time - whole) * 1e9);
  return nanoseconds < 0
    ? { seconds: whole - 1, nanoseconds: nanoseconds + 1e9 }
    : { seconds: whole, nanoseconds };
}
