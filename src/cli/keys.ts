/** The verbs for who may open the vault. */
import { commands } from './verbs.ts';
import type { AddVerb } from './verbs.ts';

export function describeKeys(verb: AddVerb, key: ReturnType<AddVerb>): void {
  const changing = verb('password', 'Change the password', (command) => async (invocation) => {
    return (await commands()).changePassword(invocation, command.opts());
  });
  const adding = verb(
    'add',
    'Let another person or machine open the vault',
    (command) => async (invocation) => (await commands()).addKey(invocation, command.opts()),
    key,
  )
    .option('--label <text>', 'what you call it')
    .option('--role <role>', 'full, or put: it can store, and neither read nor remove (default: full)');
  const rotating = verb(
    'rotate',
    'Make a new root for what is stored from now on',
    (command) => async (invocation) => (await commands()).rotateKeys(invocation, command.opts()),
    key,
  ).option('-y, --yes', 'although all other keys are taken away');
  for (const command of [changing, adding, rotating]) {
    command
      .option('--new-password-file <file>', 'read the new password from a file (or VAULT_NEW_PASSWORD_FILE)')
      .option(
        '--new-password-command <command>',
        'run a command that prints it (or VAULT_NEW_PASSWORD_COMMAND)',
      )
      .option('--new-key-file <file>', 'draw a key and write it to a new file, for --key-file');
  }
  verb(
    'reseal',
    'Store what is under earlier roots anew, with other hashes',
    () => async (invocation) => (await commands()).resealKeys(invocation),
    key,
  );
  verb('ls', 'Show the keys', () => async (invocation) => (await commands()).listKeys(invocation), key);
  verb(
    'rm',
    'Take a key away',
    (command) => async (invocation) =>
      (await commands()).removeKey(invocation, command.args[0] ?? '', command.opts()),
    key,
  )
    .argument('<key|label>', 'as "vault key ls" shows it')
    .option('-y, --yes', 'also the one that opens the vault now');
  verb(
    'rename',
    'Call a key otherwise',
    (command) => async (invocation) =>
      (await commands()).renameKey(invocation, command.args[0] ?? '', command.args[1] ?? ''),
    key,
  )
    .argument('<key|label>', 'as "vault key ls" shows it')
    .argument('<new-label>', 'what you call it from now on');
}
