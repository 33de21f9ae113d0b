/** Passwords that somebody gives: whoever mistypes one can be asked for another. */
import { invalidInput, isVaultError, type VaultError } from '../errors.ts';

/**
 * A password as keys are made from it: however its characters were composed, it is the same one.
 *
 * @throws `invalid-input` for half a character (a lone surrogate): as UTF-8 each would be the same as any other
 */
export function canonicalPassword(password: string): string {
  if (password.isWellFormed()) return password.normalize('NFC');
  throw invalidInput('The password is not valid Unicode: it has half a character. Give another one.');
}

/** Gives a password. Called with null at first, and then, as often as there are tries, with why the one before was refused. */
export type PasswordGiver = (refused: VaultError | null) => Promise<string>;

/**
 * Opens something with the password that is given, and asks for another one while it is wrong.
 *
 * @param asked `tries`: how often it is asked for; once unless given, since not everybody has another one
 * @throws `wrong-password` of the last try; what giving and opening throw otherwise
 */
export async function openAsking<T>(
  { give, tries = 1 }: { readonly give: PasswordGiver; readonly tries?: number | undefined },
  open: (password: string) => Promise<T>,
): Promise<T> {
  let refused: VaultError | null = null;
  for (let left = tries; ; left -= 1) {
    const password = await give(refused);
    try {
      return await open(password);
    } catch (error) {
      if (!isVaultError(error, 'wrong-password') || left <= 1) throw error;
      refused = error;
    }
  }
}
