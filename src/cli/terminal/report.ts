/** How an error is told: one line for people or for programs, and more of it for those who look for its cause. */
import { inspect } from 'node:util';
import { isVaultError, messageOf } from '../../errors.ts';
import { exitCodeOf } from '../exit.ts';
import type { Invocation } from '../arguments/invocation.ts';

export function reportError(
  error: unknown,
  { terminal, options, environment }: Pick<Invocation, 'terminal' | 'options' | 'environment'>,
): void {
  const exit = exitCodeOf(error);
  const debug = options.debug === true || (environment['VAULT_DEBUG'] ?? '') !== '';
  if (isVaultError(error)) {
    terminal.fail(error.message, { code: error.code, exit });
  } else {
    const advice = debug ? '' : ' and what the same command prints with --debug';
    terminal.fail(
      `${messageOf(error)}\nThis is a bug in vault. Please report it, with this message${advice}.`,
      { code: 'bug', exit },
    );
  }
  if (debug) terminal.trace(inspect(error, { depth: 6 }));
}
