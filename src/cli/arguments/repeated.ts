/** Options that verbs share, and those that are given more than once. */
import type { Command } from 'commander';
import { invalidInput } from '../../errors.ts';

export function append(value: string, previous: readonly string[] | undefined): readonly string[] {
  return [...(previous ?? []), value];
}

/**
 * Has verbs refuse an option that is given twice, unless it is one that is repeated: what the earlier one says must not be forgotten.
 * Those of all verbs are left as they are, as aliases may give them for a later one to overrule.
 */
export function takeOnce(commands: readonly Command[]): void {
  for (const command of commands) {
    for (const option of command.options) {
      if (!option.required || option.parseArg !== undefined) continue;
      option.argParser((value, previous: unknown) => {
        if (previous === undefined || previous === option.defaultValue) return value;
        throw invalidInput(`${option.long} is given twice, and only the last would count. Give it once.`);
      });
    }
    takeOnce(command.commands);
  }
}

/** What is left out of a local folder. */
export function leavingOut(command: Command): void {
  command
    .option('--exclude <pattern>', 'leave out what matches, as in .gitignore; repeat', append)
    .option('--exclude-from <file>', 'leave out what matches the patterns in a file; repeat', append)
    .option('--exclude-caches', 'leave out what is in folders with a CACHEDIR.TAG')
    .option('--exclude-larger-than <size>', 'leave out files larger than this, for example 1G')
    .option('--one-file-system', 'leave out other file systems that are mounted in a folder');
}

/** What opens files that have a password of their own. */
export function unlocking(command: Command): void {
  command
    .option('--lock-password-file <file>', "a locked file's own password (or VAULT_LOCK_PASSWORD_FILE)")
    .option(
      '--lock-password-command <command>',
      'run a command that prints it (or VAULT_LOCK_PASSWORD_COMMAND)',
    );
}
