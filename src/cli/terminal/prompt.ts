/**
 * Questions to the person at the terminal. They are asked on standard error, since standard output is data. The
 * library that asks is loaded with the first question.
 */
import type * as Prompts from '@inquirer/prompts';
import { VaultError } from '../../errors.ts';
import type { PasswordRequest } from '../arguments/password.ts';

interface Context {
  readonly output: NodeJS.WritableStream;
  readonly signal: AbortSignal;
}

/**
 * Asks one question.
 *
 * @param question calls one of the library's prompts with the context
 * @throws `interrupted` if the person leaves with Ctrl-C or Ctrl-D, or the signal is aborted
 */
export async function ask<T>(
  signal: AbortSignal,
  question: (prompts: typeof Prompts, context: Context) => Promise<T>,
): Promise<T> {
  const prompts = await import('@inquirer/prompts');
  const left = Promise.withResolvers<never>();
  // After Ctrl-D the library stops reading and never answers. Reading stops after every answer too; that one comes first.
  const onPause = (): void => {
    setImmediate(() => left.reject(new VaultError('interrupted', 'Nothing was entered.')));
  };
  process.stdin.once('pause', onPause);
  try {
    return await Promise.race([question(prompts, { output: process.stderr, signal }), left.promise]);
  } catch (error) {
    if (error instanceof Error && ['ExitPromptError', 'AbortPromptError'].includes(error.name)) {
      throw new VaultError('interrupted', 'Interrupted.', { cause: error });
    }
    throw error;
  } finally {
    process.stdin.off('pause', onPause);
  }
}

/**
 * Asks for a password, which is not shown: for a new one twice, and until both are the same.
 *
 * @throws `interrupted`
 */
export async function askForPassword(
  purpose: PasswordRequest['purpose'],
  signal: AbortSignal,
): Promise<string> {
  const askOnce = async (message: string): Promise<string> =>
    ask(signal, async ({ password }, context) =>
      password({ message, mask: '*', validate: (text) => text !== '' || 'It cannot be empty.' }, context),
    );
  if (purpose === 'enter') return askOnce('Password of the vault:');
  for (;;) {
    const first = await askOnce(purpose === 'replace' ? 'New password:' : 'Choose a password:');
    if ((await askOnce('The same again:')) === first) return first;
    process.stderr.write('The two differ. Once more:\n');
  }
}
