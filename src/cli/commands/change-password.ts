import type { ExitCode } from '../exit.ts';
import { DONE } from '../exit.ts';
import type { Invocation } from '../arguments/invocation.ts';
import { warnOfFile, warnOfWeak, withVault } from '../arguments/invocation.ts';
import { expectQuestion, passwordSource, readNewPassword } from '../arguments/password.ts';

export interface ChangePasswordFlags {
  readonly newPasswordFile?: string;
  readonly newPasswordCommand?: string;
}

/** `vault password`: changes the password. */
export async function changePassword(invocation: Invocation, flags: ChangePasswordFlags): Promise<ExitCode> {
  const { environment, interactive, signal, terminal } = invocation;
  const next = {
    options: { passwordFile: flags.newPasswordFile, passwordCommand: flags.newPasswordCommand },
    environment,
    interactive,
    purpose: 'replace',
  } as const;
  // What is missing is said before the first question, and the old password is asked for once.
  passwordSource(next);
  let current = '';
  return withVault(
    invocation,
    async (vault) => {
      await vault.changePassword({
        current,
        next: await readNewPassword({ ...next, signal, warn: warnOfFile(terminal) }, warnOfWeak(terminal)),
        signal,
      });
      terminal.note(
        'The password was changed. Whoever has an old copy of a keyslot and the old password can still open the vault with them.',
      );
      return DONE;
    },
    (password) => {
      current = password;
      expectQuestion(next);
    },
  );
}
