/**
 * Whether text that the system handed over as bytes has arrived as it was. Node puts U+FFFD in the place of what is no UTF-8, so
 * that two file names, or two passwords, would become one: such text is refused wherever it comes from.
 */
import { isUtf8 } from 'node:buffer';
import { readFileSync, readlinkSync } from 'node:fs';
import { invalidInput } from '../../errors.ts';
import type { Environment } from '../../host.ts';
import { noWorkingFolder } from '../surroundings.ts';

/** Whether nothing in a text stands for bytes that were lost. */
export function isIntact(text: string): boolean {
  return text.isWellFormed() && !text.includes('\uFFFD');
}

/**
 * Refuses arguments that are no UTF-8. They are counted and not repeated: one may be a URL with a password.
 *
 * @param args all that were given to the command, the last ones of the process
 * @throws `invalid-input`
 */
export function requireIntactArguments(args: readonly string[]): void {
  if (args.every(isIntact)) return;
  const given = recordsOf('/proc/self/cmdline').slice(-args.length);
  const at = args.findIndex((arg, index) => !isIntact(arg) && !isText(given[index]));
  if (at === -1) return;
  const isPattern = args[at - 1] === '--exclude' || args[at]?.startsWith('--exclude=') === true;
  const advice = isPattern
    ? ' Write the pattern in a file: --exclude-from <file>.'
    : args.includes('put')
      ? ' To store a file of such a name: vault put - --name <name> < file; a folder with the folder that it is in.'
      : '';
  throw invalidInput(`Argument ${at + 1} is not UTF-8 text and could be taken for another name.${advice}`);
}

/** Variables that this program looks at itself. */
const OWN_VARIABLES = /^(VAULT_.*|PG.*|HOME|XDG_(DATA|CONFIG)_HOME|(LOCAL)?APPDATA)$/;

/** Refuses variables that are no UTF-8, of those that mean something here. @throws `invalid-input` */
export function requireIntactVariables(environment: Environment): void {
  for (const [name, value = ''] of Object.entries(environment)) {
    if (isIntact(value) || !OWN_VARIABLES.test(name)) continue;
    const start = Buffer.from(`${name}=`);
    const given = recordsOf('/proc/self/environ').find((record) => record.indexOf(start) === 0);
    if (isText(given)) continue;
    throw invalidInput(`${name} is not UTF-8 text and could be taken for something else. Write it in UTF-8.`);
  }
}

/**
 * The working folder.
 *
 * @throws `invalid-input` if it has been removed, its path is too long for the system, or is no UTF-8
 */
export function workingFolder(): string {
  let folder;
  try {
    folder = process.cwd();
  } catch (cause) {
    throw noWorkingFolder(cause);
  }
  if (!isIntact(folder) && !isText(linkTarget('/proc/self/cwd'))) {
    throw invalidInput(
      "The working folder's path is not UTF-8 text. Go to another one, or give whole paths.",
    );
  }
  return folder;
}

/** What cannot be looked at counts as lost. */
function isText(bytes: Buffer | undefined): boolean {
  return bytes !== undefined && isUtf8(bytes);
}

/** The records of a file of Linux about this process, each of which ends with a NUL; none where there is no such file. */
function recordsOf(path: string): Buffer[] {
  let rest;
  try {
    rest = readFileSync(path);
  } catch {
    return [];
  }
  const records: Buffer[] = [];
  for (let end = rest.indexOf(0); end !== -1; end = rest.indexOf(0)) {
    records.push(rest.subarray(0, end));
    rest = rest.subarray(end + 1);
  }
  return records;
}

function linkTarget(path: string): Buffer | undefined {
  try {
    return readlinkSync(path, { encoding: 'buffer' });
  } catch {
    return undefined;
  }
}
