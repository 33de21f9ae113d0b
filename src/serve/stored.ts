/** What requests ask of what is stored: which one, with which password, how much of it. */
import { invalidInput, isVaultError, VaultError } from '../errors.ts';
import type { Stored, StoredFolder } from '../vault/folders/stored-folder.ts';
import type { StoredFile } from '../vault/read/get.ts';
import type { Exchange } from './exchange.ts';
import type { Serving } from './serving.ts';

/** Lines on a page of a list. */
export const PAGE = 100;
export const MAX_PAGE = 1000;

export const PASSWORD_HEADER = 'vault-password';

/**
 * A password, which stands in the header or elsewhere in the request; null if it is nowhere.
 *
 * @throws `invalid-input` if it is in both: one of them would be ignored
 */
export function onePassword(exchange: Exchange, elsewhere: string | null): string | null {
  const header = exchange.header(PASSWORD_HEADER);
  if (header !== null && elsewhere !== null) {
    throw invalidInput('The password is there twice: in Vault-Password, and in the body or the address.');
  }
  return header ?? elsewhere;
}

/**
 * Finds a file, a folder or what lies in one, and opens the lock if there is one.
 *
 * @param asked `password`: the lock's, where it does not stand in a header
 */
export async function openStored(
  exchange: Exchange,
  { vault, slowdown }: Serving,
  asked: { readonly reference: string; readonly password?: string | null },
): Promise<Stored> {
  const password = onePassword(exchange, asked.password ?? null);
  const { signal } = exchange;
  let locked: string | null = null;
  try {
    return await vault.find(asked.reference, {
      signal,
      lockPassword: ({ hash, name }) => {
        locked = hash;
        return Promise.reject(needsPassword(name));
      },
    });
  } catch (error) {
    if (locked === null || password === null) throw error;
  }
  // By its hash: whatever else it is called by, it is one thing that is guessed at.
  return slowdown.guessing(`file ${String(locked)}`, () =>
    vault.find(asked.reference, { signal, lockPassword: () => Promise.resolve(password) }),
  );
}

function needsPassword(name: string): VaultError {
  return new VaultError('wrong-password', `"${name}" has a password of its own, and none was given for it.`);
}

/** The file or folder itself. @throws `invalid-input` for what lies in a folder */
export function wholeStored(stored: Stored): StoredFile | StoredFolder {
  if (stored.kind === 'file') return stored.file;
  if (stored.path === '') return stored.folder;
  throw invalidInput('This can be had for whole folders, not for what lies in one.');
}

/**
 * Does what can be done to whole files and folders only.
 *
 * @throws `invalid-input` where the reference means what lies in a folder, and not that there is no such file
 */
export async function toWhole<T>(
  exchange: Exchange,
  serving: Serving,
  { reference, work }: { readonly reference: string; readonly work: () => Promise<T> },
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!isVaultError(error, 'file-not-found')) throw error;
    const stored = await openStored(exchange, serving, { reference }).catch(() => null);
    if (stored !== null) wholeStored(stored);
    throw error;
  }
}

export function referenceOf({ parameters }: Exchange): string {
  return parameters[0] ?? '';
}

/** Whether the query asks for something with `true`; not if it is not there. @throws `invalid-input` for what is neither `true` nor `false` */
export function flagOf({ query }: Pick<Exchange, 'query'>, name: string): boolean {
  const text = query.get(name) ?? 'false';
  if (text === 'true' || text === 'false') return text === 'true';
  throw invalidInput(`${name} is true or false.`);
}

/** A whole number of the query; null if it is not there. @throws `invalid-input` */
export function wholeOf(
  { query }: Pick<Exchange, 'query'>,
  name: string,
  { least = 0, most = Number.MAX_SAFE_INTEGER } = {},
): number | null {
  const text = query.get(name);
  if (text === null) return null;
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most) return value;
  throw invalidInput(`${name} is a whole number from ${least} to ${most}.`);
}
