import { isAbsolute, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { invalidInput, mayHoldSecret, messageOf, VaultError } from '../../errors.ts';
import { requireNativePath } from '../../disk/folders.ts';

export interface FolderLocation {
  readonly kind: 'folder';
  readonly url: string;
  /** Absolute path. */
  readonly path: string;
}

/** A folder by its `file:///` URL. @throws `invalid-input` */
export function parseFileUrl(text: string): FolderLocation {
  return folderLocation(pathOfFileUrl(text));
}

/**
 * A folder by its path.
 *
 * @param base absolute path of the folder that relative paths start from; null: they are refused
 * @throws `invalid-input`
 */
export function parseFolderPath(text: string, base: string | null): FolderLocation {
  return folderLocation(absolutePath(text, base));
}

function folderLocation(path: string): FolderLocation {
  return { kind: 'folder', url: pathToFileURL(path).href, path };
}

function pathOfFileUrl(text: string): string {
  try {
    const url = new URL(text);
    if (url.search !== '' || url.hash !== '') {
      throw invalidInput(`${url.protocol}//${url.pathname}: in a file URL, write "?" as %3F and "#" as %23.`);
    }
    const path = fileURLToPath(url);
    if (path.includes('\0')) throw invalidInput('A path cannot contain a zero byte.');
    // Without a trailing slash, so that a folder has one URL only.
    return resolve(path);
  } catch (cause) {
    if (cause instanceof VaultError) throw cause;
    throw invalidInput(
      `This file URL cannot be used: ${messageOf(cause)}. Write file:///path with three slashes, or just the path.`,
      cause,
    );
  }
}

function absolutePath(text: string, base: string | null): string {
  if (text === '') throw invalidInput('A bucket needs a URL or a path, and this is empty.');
  if (text.includes('\0')) throw invalidInput('A path cannot contain a zero byte.');
  // Shells leave the tilde alone behind "=" and in quotes; a folder named "~" is never meant.
  if (/^~(\/|$)/.test(text)) {
    throw invalidInput(
      `The shell did not expand the "~" of ${text}. Write $HOME instead, or the whole path.`,
    );
  }
  if (mayHoldSecret(text)) {
    throw invalidInput(
      'A bucket is a path or a URL, which begins with its scheme, without quotes, blanks or anything else before that. What was given is not shown here, as it may hold a secret. For a path of such a name, put ./ before it.',
    );
  }
  requireNativePath(text);
  if (!isAbsolute(text) && base === null) {
    throw invalidInput(
      `The path ${text} is relative, and there is nothing that it is relative to. Write the whole path.`,
    );
  }
  return base === null ? resolve(text) : resolve(base, text);
}
