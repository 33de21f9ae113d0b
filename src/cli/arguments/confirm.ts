/** Whether somebody means what cannot be taken back easily. */
import { invalidInput, VaultError } from '../../errors.ts';
import { askForChoice } from '../terminal/prompt.ts';
import type { Invocation } from './invocation.ts';

/**
 * Asks whether to go on.
 *
 * @param what would be done, as a sentence without its end
 * @param yes whether they said so beforehand: `--yes`
 * @throws `invalid-input` where nobody can be asked; `interrupted` if they do not mean it
 */
export async function confirm(
  { interactive, signal, environment }: Pick<Invocation, 'interactive' | 'signal' | 'environment'>,
  what: string,
  yes: boolean,
): Promise<void> {
  if (yes) return;
  if (!interactive) {
    throw invalidInput(`${what}. Use --yes if that is what you want.`);
  }
  const choices = [
    { value: false, name: 'No, leave it' },
    { value: true, name: 'Yes' },
  ];
  const go = await askForChoice(
    { message: `${what}. Go on?`, choices, usual: false },
    { signal, environment },
  );
  if (!go) throw new VaultError('interrupted', 'Nothing was changed.');
}
