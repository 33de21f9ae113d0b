/** The verbs of those who are served over HTTP. */
import type { Command } from 'commander';
import type { AddVerb } from './verb.ts';

export function describeServing(verb: AddVerb, token: Command): void {
  verb('serve', 'Serve the vault over HTTP', (command) => async (invocation) => {
    const { serve } = await import('./commands/serve.ts');
    return serve(invocation, command.opts());
  })
    .option('--listen <address>', 'where to listen (default: 127.0.0.1:8750)')
    .option('--public-url <url>', 'what clients call this server, for example https://files.example.com')
    .option('--tls-cert <file>', 'certificate in PEM, with --tls-key: speak HTTPS')
    .option('--tls-key <file>', 'its key')
    .option('--max-upload <size>', 'largest file that is taken (default: 10G)')
    .option('--grace <duration>', 'how long requests may go on when it is stopped (default: 10s)');

  verb(
    'add',
    'Make a token, and show it this once',
    (command) => async (invocation) =>
      (await import('./commands/token.ts')).addToken(invocation, command.opts()),
    token,
  )
    .requiredOption('--scope <scopes>', 'what it is good for: some of put,read,list,delete,admin')
    .option('--label <text>', 'what you call it')
    .option('--expires <duration>', 'how long it is good, for example 90d (default: until it is removed)');
  verb(
    'ls',
    'Show the tokens',
    () => async (invocation) => (await import('./commands/token.ts')).listTokens(invocation),
    token,
  );
  verb(
    'rm',
    'Take a token away, at once and on every server',
    (command) => async (invocation) =>
      (await import('./commands/token.ts')).removeToken(invocation, command.args[0] ?? ''),
    token,
  ).argument('<id>', 'as "vault token ls" shows it');
}
