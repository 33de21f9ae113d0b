/**
 * Whether the standard streams are what they seem. Node gives a stand-in for one that it cannot use (a folder, say), which reads
 * nothing or swallows everything, and opens the null device where a stream is closed: nothing would be stored, or
 * everything lost, and it would look like success.
 */
import { fstatSync, readSync, statSync, writeSync } from 'node:fs';
import { Readable, Writable } from 'node:stream';
import { systemCode } from '../../errors.ts';

/** What standard input is called where a file can be given: opened by its own name, one that is closed is an empty file. */
const INPUT_BY_NAME = /^\/dev\/(stdin|fd\/0)$|^\/proc\/self\/fd\/0$/;

/** Why standard input cannot be read; null if it can, or the path (`-`, `/dev/stdin`) is another file's. */
export function whyUnreadable(path: string): string | null {
  if (path !== '-') return INPUT_BY_NAME.test(path) && isNullBothWays(0) ? 'is closed' : null;
  try {
    if (fstatSync(0).isDirectory()) return 'is a folder';
  } catch {
    return 'is closed';
  }
  if (Object.getPrototypeOf(process.stdin) === Readable.prototype) return 'cannot be read';
  return isNullBothWays(0) ? 'is closed' : null;
}

/** Whether standard output is a stand-in, which swallows everything. */
export function isStandIn(stream: NodeJS.WriteStream): boolean {
  return Object.getPrototypeOf(stream) === Writable.prototype;
}

/**
 * Whether standard output was closed when the process began, or is open for reading alone. Some programs also start others with a null device that looks the
 * same, to throw away what they print, so this may be asked only of data that nobody throws away.
 */
export function isOutputClosed(): boolean {
  try {
    writeSync(1, new Uint8Array());
  } catch (error) {
    if (systemCode(error) === 'EBADF') return true;
  }
  return isNullBothWays(1);
}

/** Whether a descriptor is the null device, for reading and for writing, as Node opens it; a shell's `< /dev/null` goes one way. */
function isNullBothWays(fd: 0 | 1): boolean {
  if (process.platform === 'win32') return false;
  try {
    const found = fstatSync(fd);
    if (!found.isCharacterDevice() || found.rdev !== statSync('/dev/null').rdev) return false;
    // The way that it is not meant for.
    if (fd === 0) writeSync(fd, '\n');
    else readSync(fd, Buffer.alloc(1));
    return true;
  } catch {
    return false;
  }
}
