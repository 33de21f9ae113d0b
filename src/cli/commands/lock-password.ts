/** Finding what may be locked with a password of its own. */
import type { Stored } from '../../vault/folders/stored-folder.ts';
import type { Vault } from '../../vault/vault.ts';
import { warnTo, type Invocation } from '../arguments/invocation.ts';
import { plainName } from '../arguments/options.ts';
import { nameMeant } from '../arguments/references.ts';
import { showName } from '../terminal/text.ts';
import { giveTyped } from '../terminal/typed-ahead.ts';
import { PASSWORD_TRIES, readTriedPassword, type PasswordFlags } from '../arguments/password.ts';

export type LockFlags = Pick<PasswordFlags, 'lockPasswordFile' | 'lockPasswordCommand'>;

/** `Vault.find` of what somebody may have typed, with a password for what is locked, as the options say, or else asked for. */
export async function findLocked(
  invocation: Invocation,
  vault: Vault,
  reference: string,
  options: LockFlags,
): Promise<Stored> {
  const { signal, terminal } = invocation;
  try {
    const meant = (await nameMeant(vault, reference)) ?? plainName(reference);
    return await vault.find(meant, {
      signal,
      onWarning: warnTo(terminal),
      lockPasswordTries: PASSWORD_TRIES,
      lockPassword: async ({ name }, refused) =>
        readTriedPassword({ ...invocation, options, purpose: 'unlock', file: showName(name), refused }),
    });
  } finally {
    giveTyped({ shown: true });
  }
}
