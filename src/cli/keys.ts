/** The verbs for the keys that open the vault. */
import type { AddVerb } from './verbs.ts';

export function describeKeys(verb: AddVerb, key: ReturnType<AddVerb>): void {
  const changing = verb('password', 'Change the password', ({ changePassword }, run, command) =>
    changePassword(run, command.opts()),
  );
  const adding = verb(
    'add',
    'Let another person or machine open the vault',
    ({ addKey }, run, command) => addKey(run, command.opts()),
    key,
  )
    .option('--label <text>', 'a name for it')
    .option('--role <role>', 'full, or put: can store, but neither read nor remove (default: full)');
  const rotating = verb(
    'rotate',
    'Make a new root for what is stored from now on',
    ({ rotateKeys }, run, command) => rotateKeys(run, command.opts()),
    key,
  ).option('-y, --yes', 'do not ask, although all other keys are removed');
  for (const command of [changing, adding, rotating]) {
    command
      .option('--new-password-file <file>', 'read the new password from a file (or VAULT_NEW_PASSWORD_FILE)')
      .option(
        '--new-password-command <command>',
        'run a command that prints it (or VAULT_NEW_PASSWORD_COMMAND)',
      )
      .option('--new-key-file <file>', 'make a key and write it to a new file, for --key-file');
  }
  verb(
    'reseal',
    'Store what is under earlier roots again, under new hashes',
    ({ resealKeys }, run) => resealKeys(run),
    key,
  );
  verb('ls', 'Show the keys', ({ listKeys }, run) => listKeys(run), key);
  verb(
    'rm',
    'Remove a key',
    ({ removeKey }, run, command) => removeKey(run, command.args[0] ?? '', command.opts()),
    key,
  )
    .argument('<key|label>', 'as "vault key ls" shows it')
    .option('-y, --yes', 'also remove the key that opens the vault now');
  verb(
    'rename',
    'Rename a key',
    ({ renameKey }, run, command) => renameKey(run, command.args[0] ?? '', command.args[1] ?? ''),
    key,
  )
    .argument('<key|label>', 'as "vault key ls" shows it')
    .argument('<new-label>', 'its new name');
}
