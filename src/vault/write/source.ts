/** Where the bytes of a put come from: a file of this machine, or a stream. */
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { messageOf, systemCode, throwIfAborted, VaultError } from '../../errors.ts';
import { MAX_TIME_SECONDS } from '../../format/limits.ts';
import type { FileTime } from '../../format/manifest.ts';
import type { FileSource, OpenSource } from './file-source.ts';

/**
 * A file of this machine. Its size and times are compared when it has been read: a file that changed meanwhile is
 * an error, not a mixture.
 *
 * @param path absolute, or relative to the working directory
 */
export function fileSource(path: string): FileSource {
  return { label: path, reopens: true, open: () => openFile(path) };
}

/**
 * A stream of bytes, read once.
 *
 * @param stream chunks of any size
 * @param label for messages, as `standard input`
 */
export function streamSource(stream: AsyncIterable<Uint8Array>, label: string): FileSource {
  return {
    label,
    reopens: false,
    open: () => Promise.resolve(openStream(stream[Symbol.asyncIterator](), label)),
  };
}

async function openFile(path: string): Promise<OpenSource> {
  let handle: FileHandle;
  try {
    handle = await open(path, 'r');
  } catch (cause) {
    throw openError(path, cause);
  }
  try {
    const before = await handle.stat({ bigint: true });
    if (before.isDirectory()) {
      throw new VaultError(
        'invalid-input',
        `${path} is a folder. Store its files by name, or the whole as one file: tar -cf - ${path} | vault put - --name ${path}.tar`,
      );
    }
    // A pipe or a device has no size and no times worth keeping.
    const regular = before.isFile();
    let at = 0;
    return {
      size: regular ? Number(before.size) : null,
      modified: regular ? timeOf(before.mtimeNs) : null,
      mode: regular ? Number(before.mode) & 0o7777 : null,
      async read(target, signal) {
        let filled = 0;
        while (filled < target.length) {
          throwIfAborted(signal);
          const { bytesRead } = await readAt(handle, path, {
            target: target.subarray(filled),
            position: regular ? at : null,
          });
          if (bytesRead === 0) break;
          filled += bytesRead;
          at += bytesRead;
        }
        return filled;
      },
      async verify() {
        if (!regular) return;
        const after = await handle.stat({ bigint: true });
        const same =
          after.size === before.size && after.mtimeNs === before.mtimeNs && after.ctimeNs === before.ctimeNs;
        if (!same || BigInt(at) !== before.size) {
          throw new VaultError(
            'source-changed',
            `${path} changed while it was read, so it was not stored. Put it again when nothing writes to it.`,
          );
        }
      },
      close: () => handle.close(),
    };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function readAt(
  handle: FileHandle,
  path: string,
  { target, position }: { readonly target: Uint8Array; readonly position: number | null },
): Promise<{ bytesRead: number }> {
  try {
    return await handle.read(target, 0, target.length, position);
  } catch (cause) {
    throw new VaultError('source-changed', `${path} could not be read to its end: ${messageOf(cause)}.`, {
      cause,
    });
  }
}

function openError(path: string, cause: unknown): VaultError {
  switch (systemCode(cause)) {
    case 'ENOENT':
    case 'ENOTDIR':
      return new VaultError('file-not-found', `There is no file ${path}.`, { cause });
    case 'EACCES':
    case 'EPERM':
      return new VaultError('denied', `${path} may not be read by this user.`, { cause });
    case 'ENAMETOOLONG':
    case 'ELOOP':
    case 'EINVAL':
      return new VaultError('invalid-input', `${path} is no usable path: ${messageOf(cause)}.`, { cause });
    default:
      return new VaultError('source-changed', `${path} could not be opened: ${messageOf(cause)}.`, { cause });
  }
}

function openStream(stream: AsyncIterator<Uint8Array>, label: string): OpenSource {
  let rest: Uint8Array = new Uint8Array(0);
  let ended = false;
  return {
    size: null,
    modified: null,
    mode: null,
    async read(target, signal) {
      let filled = 0;
      while (filled < target.length) {
        if (rest.length === 0) {
          if (ended) break;
          rest = await nextOf(stream, label, signal);
          ended = rest.length === 0;
          continue;
        }
        const part = rest.subarray(0, target.length - filled);
        target.set(part, filled);
        filled += part.length;
        rest = rest.subarray(part.length);
      }
      return filled;
    },
    verify: () => Promise.resolve(),
    async close() {
      if (!ended) await stream.return?.();
    },
  };
}

/** The next bytes of a stream, at least one; none at its end. A writer that never writes does not hold up an abort. */
async function nextOf(
  stream: AsyncIterator<Uint8Array>,
  label: string,
  signal: AbortSignal,
): Promise<Uint8Array> {
  throwIfAborted(signal);
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => {
    aborted.reject(new VaultError('interrupted', 'The operation was interrupted.', { cause: signal.reason }));
  };
  signal.addEventListener('abort', onAbort);
  try {
    while (true) {
      const next = await Promise.race([stream.next(), aborted.promise]);
      if (next.done === true) return new Uint8Array(0);
      if (next.value.length > 0) return next.value;
    }
  } catch (cause) {
    if (cause instanceof VaultError) throw cause;
    throw new VaultError('source-changed', `${label} could not be read to its end: ${messageOf(cause)}.`, {
      cause,
    });
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** A time of the file system's; null if it is none that can be kept. */
function timeOf(nanoseconds: bigint): FileTime | null {
  const seconds = nanoseconds / 1_000_000_000n;
  const rest = nanoseconds % 1_000_000_000n;
  const down = rest < 0n ? 1n : 0n;
  const whole = Number(seconds - down);
  if (Math.abs(whole) > MAX_TIME_SECONDS) return null;
  return { seconds: whole, nanoseconds: Number(rest + down * 1_000_000_000n) };
}
