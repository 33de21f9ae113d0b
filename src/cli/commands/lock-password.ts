/** Getting the password of a locked file. */
import type { GetOptions } from '../../vault/read/get.ts';
import { warnOfFile, warnTo } from '../arguments/invocation.ts';
import type { Invocation } from '../arguments/invocation.ts';
import { showName } from '../terminal/text.ts';
import { readPassword, PASSWORD_TRIES } from '../arguments/password.ts';

export interface LockFlags {
  readonly lockPasswordFile?: string;
  readonly lockPasswordCommand?: string;
}

/** What reading takes: a password for what is locked, as the options say, or else asked for. */
export async function lockPasswordOf(
  invocation: Invocation,
  { lockPasswordFile: passwordFile, lockPasswordCommand: passwordCommand }: LockFlags,
): Promise<GetOptions> {
  const { signal, terminal } = invocation;
  const options = { passwordFile, passwordCommand };
  return {
    signal,
    onWarning: warnTo(terminal),
    lockPasswordTries: PASSWORD_TRIES,
    lockPassword({ name }, refused) {
      const warn = warnOfFile(terminal);
      return readPassword({ ...invocation, options, purpose: 'unlock', file: showName(name), warn, refused });
    },
  };
}
