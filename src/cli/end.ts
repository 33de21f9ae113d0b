/** The end of the process, whatever is still under way in it. */
import { existsSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { ExitCode } from './exit.ts';

/** How long calls into the file system and the resolver may take to end by themselves, and how often they are looked at; in milliseconds. */
const IDLE_WAIT_MS = 200;
const IDLE_LOOK_MS = 10;

/**
 * Ends the process once what was said has been taken.
 *
 * @param overdue ends the wait for whoever reads standard error and takes nothing
 */
export async function end(code: ExitCode, overdue: Promise<unknown>): Promise<never> {
  await Promise.race([flushed(process.stderr), overdue]);
  // Standard output has been waited for with every write. What an interrupted library still holds open must not keep a cron job.
  for (let waitedMs = 0; isThreadBusy() && waitedMs < IDLE_WAIT_MS; waitedMs += IDLE_LOOK_MS) {
    await delay(IDLE_LOOK_MS);
  }
  return leave(code);
}

/**
 * Ends the process at once. Node's own end waits for every call that a thread of its pool is in, and one that opens a pipe without
 * a writer, or asks a server that has gone for a file, may never return: then another program takes the process's place, and
 * does nothing but give the exit code.
 */
export function leave(code: ExitCode): never {
  if (!isThreadBusy() || process.platform === 'win32') process.exit(code);
  if (process.stderr.isTTY && process.stdin.isTTY && process.stdin.isRaw) process.stdin.setRawMode(false);
  // Whoever hid the cursor shows it again.
  process.emit('exit', code);
  const [file, args] = existsSync('/bin/sh')
    ? ['/bin/sh', ['sh', '-c', `exit ${code}`]]
    : [process.execPath, ['node', '-e', `process.exit(${code})`]];
  process.execve?.(file, args, {});
  // An older Node. To a shell, the end by this signal is the exit code 130.
  process.removeAllListeners('SIGINT');
  if (code === 130) process.kill(process.pid, 'SIGINT');
  process.exit(code);
}

/** Waits until what was written has been taken; a reader that has gone counts. */
async function flushed(stream: NodeJS.WriteStream): Promise<void> {
  await new Promise<void>((resolve) => stream.write('', () => resolve()));
}

/** Whether a thread, of the pool or one of ours that has work, may be in a call that does not return. */
function isThreadBusy(): boolean {
  return process
    .getActiveResourcesInfo()
    .some((kind) => /^(FSReq|GetAddrInfo|GetNameInfo|MessagePort)/.test(kind));
}
