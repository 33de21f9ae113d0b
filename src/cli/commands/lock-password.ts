/** Finding what may be locked with a password of its own. */
import type { Stored } from '../../vault/folders/stored-folder.ts';
import type { Vault } from '../../vault/vault.ts';
import { warnOfFile, warnTo } from '../arguments/invocation.ts';
import type { Invocation } from '../arguments/invocation.ts';
import { showName } from '../terminal/text.ts';
import { giveTyped } from '../terminal/typed-ahead.ts';
import { expectQuestion, PASSWORD_TRIES, readPassword } from '../arguments/password.ts';

export interface LockFlags {
  readonly lockPasswordFile?: string;
  readonly lockPasswordCommand?: string;
}

/** `Vault.find`, with a password for what is locked, as the options say, or else asked for. */
export async function findLocked(
  invocation: Invocation,
  vault: Vault,
  reference: string,
  { lockPasswordFile: passwordFile, lockPasswordCommand: passwordCommand }: LockFlags,
): Promise<Stored> {
  const { signal, terminal } = invocation;
  const options = { passwordFile, passwordCommand };
  try {
    return await vault.find(reference, {
      signal,
      onWarning: warnTo(terminal),
      lockPasswordTries: PASSWORD_TRIES,
      async lockPassword({ name }, refused) {
        const warn = warnOfFile(terminal);
        const asked = { ...invocation, options, purpose: 'unlock', file: showName(name) } as const;
        const password = await readPassword({ ...asked, warn, refused });
        // If it is wrong, it is asked for again.
        expectQuestion(asked);
        return password;
      },
    });
  } finally {
    giveTyped({ shown: true });
  }
}
