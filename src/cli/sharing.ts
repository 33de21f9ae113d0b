/** The verbs for people without the vault. */
import { unlocking } from './arguments/repeated.ts';
import type { AddVerb } from './verbs.ts';

export function describeSharing(verb: AddVerb): void {
  const sharing = verb('share', 'Make a link that opens a file in any browser', ({ share }, run, command) =>
    share(run, command.args[0] ?? '', command.opts()),
  )
    .argument(
      '<hash|name>',
      'hash, its first 8 or more digits, or name (its newest version); or a path in a folder, as for get',
    )
    .option('--expires <duration>', 'how long it is valid, at most 7d (default: 7d)')
    .option('--password', 'protect the link with a password')
    .option('--share-password-file <file>', 'read that password from a file (or VAULT_SHARE_PASSWORD_FILE)')
    .option(
      '--share-password-command <command>',
      'run a command that prints it (or VAULT_SHARE_PASSWORD_COMMAND)',
    )
    .option('--bucket <url>', 'the bucket for the copy (default: the first that can make links)');
  unlocking(sharing);
  verb('ls', 'Show what is shared', ({ listShares }, run) => listShares(run), sharing);
  verb(
    'rm',
    'Revoke links',
    ({ removeShares }, run, command) => removeShares(run, command.args),
    sharing,
  ).argument('<id...>', 'as "vault share ls" shows it');
}
