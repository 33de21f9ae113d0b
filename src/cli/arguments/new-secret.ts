/** What a new key opens with: a password that somebody gives, or a key file that is made for it. */
import { open as openFile, rm } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { drawKeyText } from '../../crypto/keys.ts';
import { syncFolder } from '../../disk/folders.ts';
import { invalidInput, isVaultError, messageOf, systemCode, VaultError } from '../../errors.ts';
import { quote } from '../terminal/text.ts';
import { workingFolder } from './intact.ts';
import type { Invocation } from './invocation.ts';
import { expectQuestion, passwordSource, readNewPassword } from './password.ts';
import type { PasswordFlags } from './password.ts';

export interface NewSecretFlags extends Pick<PasswordFlags, 'newPasswordFile' | 'newPasswordCommand'> {
  readonly newKeyFile?: string;
}

export interface NewSecret {
  /** Does not show what is typed before the question, if somebody will be asked. */
  expect(): void;
  /**
   * Gets it for some work. A key file stays once a bucket may have what it opens.
   *
   * @param work tells before that @param onTaken what to do where the key file is there already, before that is said
   */
  use<T>(
    work: (secret: string, onStoring: () => void) => Promise<T>,
    onTaken?: (error: VaultError) => Promise<VaultError>,
  ): Promise<T>;
}

/** @throws `invalid-input` if there is none, or if two options contradict each other: that is said before the first question */
export function newSecret(invocation: Invocation, flags: NewSecretFlags): NewSecret {
  const { newKeyFile, newPasswordFile, newPasswordCommand } = flags;
  if (newKeyFile !== undefined) {
    if (newPasswordFile !== undefined || newPasswordCommand !== undefined) {
      throw invalidInput('Use --new-key-file or an option for a new password, not both.');
    }
    return { expect: () => undefined, use: (...how) => withKeyFile(invocation, newKeyFile, ...how) };
  }
  const request = { ...invocation, options: flags, purpose: 'replace' } as const;
  passwordSource(request);
  return {
    expect: () => expectQuestion(request),
    use: async (work) => work(await readNewPassword(request), () => undefined),
  };
}

async function withKeyFile<T>(
  { terminal }: Invocation,
  path: string,
  work: (secret: string, onStoring: () => void) => Promise<T>,
  onTaken?: (error: VaultError) => Promise<VaultError>,
): Promise<T> {
  const place = resolve(workingFolder(), path);
  const secret = await makeKeyFile(place).catch(async (error: unknown) => {
    if (!isVaultError(error, 'already-exists') || onTaken === undefined) throw error;
    throw await onTaken(error);
  });
  let isStored = false;
  try {
    return await work(secret, () => {
      isStored = true;
    });
  } catch (error) {
    if (!isStored) {
      await rm(place, { force: true });
    } else {
      terminal.warn(
        `The key file ${quote(path)} stays, since it may open the vault from now on. Keep it unless "vault ls --key-file" shows that it does not.`,
        {
          kind: 'key-file',
        },
      );
    }
    throw error;
  }
}

/**
 * Makes a key file: only its owner can read it, what is there is never replaced, and no link is followed.
 *
 * @returns what it holds, without the line end
 * @throws `already-exists`; `denied`
 */
export async function makeKeyFile(path: string): Promise<string> {
  const text = drawKeyText();
  try {
    // Exclusive, so that a link under that name is refused as well, wherever it leads.
    await using file = await openFile(path, 'wx', 0o600);
    try {
      // Whatever the mask of the process is.
      await file.chmod(0o600);
      await file.writeFile(`${text}\n`);
      await file.sync();
    } catch (error) {
      await rm(path);
      throw error;
    }
    await syncFolder(dirname(path));
    return text;
  } catch (cause) {
    if (systemCode(cause) === 'EEXIST') {
      const message = `${quote(path)} exists, and a key file replaces nothing. Name another one, unless it is of this command, cut short: "vault ls --key-file" shows whether it opens the vault.`;
      throw new VaultError('already-exists', message, { cause });
    }
    throw new VaultError('denied', `Cannot make the key file ${quote(path)}: ${messageOf(cause)}.`, {
      cause,
    });
  }
}
