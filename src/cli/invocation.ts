/** One run of the command line: what its commands are given, and how they get at the vault. */
import type { Vault, Warning } from '../vault/vault.ts';
import type { Environment, SharedOptions } from './options.ts';
import { catalogLocation, requestOptions } from './options.ts';
import type { Output } from './output.ts';
import type { Terminal } from './terminal.ts';

export interface Invocation {
  readonly options: SharedOptions;
  readonly environment: Environment;
  /** Whether somebody can be asked: standard input and standard error are a terminal. */
  readonly interactive: boolean;
  /** Aborted by Ctrl-C and its like. */
  readonly signal: AbortSignal;
  readonly output: Output;
  readonly terminal: Terminal;
}

/**
 * Opens the vault, works with it and closes it, whatever happens.
 *
 * @throws what opening (`no-vault`, `wrong-password`, ...) or the work throws
 */
export async function withVault<T>(invocation: Invocation, work: (vault: Vault) => Promise<T>): Promise<T> {
  const { options, environment, interactive, signal, terminal } = invocation;
  // What is wrong with the options is said before anything is opened or asked.
  const request = requestOptions(options);
  const [{ openVault }, { readPassword }] = await Promise.all([
    import('../vault/open.ts'),
    import('./password.ts'),
  ]);
  const vault = await openVault({
    db: catalogLocation(options, environment),
    unlock: async () => readPassword({ options, environment, interactive, purpose: 'enter', signal }),
    baseFolder: process.cwd(),
    requestOptions: request,
    onWaiting: (event) => terminal.warn(event.message),
    signal,
  });
  try {
    return await work(vault);
  } finally {
    await vault.close();
  }
}

/** Passes on what went wrong in the vault and was got round. */
export function warnTo(terminal: Terminal): (warning: Warning) => void {
  return ({ message, kind, bucket }) => terminal.warn(message, { kind, bucket });
}
