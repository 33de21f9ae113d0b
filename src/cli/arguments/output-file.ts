/** A file that a command is told to write. */
import type { Stats } from 'node:fs';
import { lstat, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { invalidInput } from '../../errors.ts';
import { typedWord } from '../../shell-word.ts';
import { quote } from '../terminal/text.ts';

/** Names of what this process has open, whatever that is: `/dev/stdout` is a link that must not be replaced by a file. */
const OWN_DESCRIPTOR = /^\/dev\/(stdin|stdout|stderr|fd\/.*)$|^\/proc\/[^/]+\/fd\//;

/**
 * Looks at what is there already.
 *
 * @returns null if there is nothing; a link, also one to nothing, is there itself
 * @throws `invalid-input` for a device or a pipe, and for a link to one: it would be replaced by a file of that name
 */
export async function lookAtTarget(path: string): Promise<Stats | null> {
  const itself = await lstat(path).catch(() => null);
  if (itself === null) return null;
  const meant = await stat(path).catch(() => null);
  const isOther = meant !== null && !meant.isFile() && !meant.isDirectory();
  if (!isOther && !OWN_DESCRIPTOR.test(resolve(path))) return itself;
  throw invalidInput(`${quote(path)} is a device or a pipe. Use standard output: -o - > ${typedWord(path)}.`);
}
