import { isVaultError, VaultError } from '../../errors.ts';
import type { ExitCode } from '../exit.ts';
import { DONE } from '../exit.ts';
import type { Invocation } from '../arguments/invocation.ts';
import { withVault } from '../arguments/invocation.ts';
import { newSecret } from '../arguments/new-secret.ts';
import type { NewSecretFlags } from '../arguments/new-secret.ts';

/** `vault password`: changes the password of one's own key. */
export async function changePassword(invocation: Invocation, flags: NewSecretFlags): Promise<ExitCode> {
  const { signal, terminal } = invocation;
  const secret = newSecret(invocation, flags);
  // The old password is asked for once.
  let current = '';
  let isOpen = false;
  return withVault(
    invocation,
    async (vault) => {
      isOpen = true;
      // No key file is made where a key can only store.
      await vault.ready();
      await secret.use((next, onStoring) => vault.changePassword({ current, next, onStoring, signal }));
      terminal.note(
        'The password was changed. Whoever has an old copy of a keyslot and the old password can still open the vault with them.',
      );
      return DONE;
    },
    (password) => {
      current = password;
      secret.expect();
    },
  ).catch((error: unknown) => {
    if (isOpen || !isVaultError(error, 'wrong-password')) throw error;
    const message = `${error.message} If "vault password" was cut short, the new password may be in force: "vault repair" with it gives it to every bucket.`;
    throw new VaultError(error.code, message, { cause: error });
  });
}
