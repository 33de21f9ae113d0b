import { createPrivateKey } from 'node:crypto';
import { readFile } from 'node:fs/promises';

const TYPES: ReadonlySet<unknown> = new Set([
  'service_account',
  'authorized_user',
  'impersonated_service_account',
  'external_account',
  'external_account_authorized_user',
  'gdch_service_account',
]);

/**
 * Reads a file of Google credentials. The library's own words for one that is none are those of its parsers.
 *
 * @throws an error that says what is wrong, without what is in the file
 */
export async function readKeyFile(path: string): Promise<object> {
  const text = await readFile(path, 'utf8');
  const read = parsed(text.replace(/^\uFEFF/, ''), path);
  // The library takes what has no type for a service account.
  const isAccount = isObject(read) && read['type'] === undefined && 'client_email' in read;
  if (!isObject(read) || !(isAccount || TYPES.has(read['type']))) {
    throw new Error(`"${path}" is no file of Google credentials`);
  }
  const key = read['private_key'];
  if (typeof key === 'string') requireKey(key, path);
  return read;
}

function parsed(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`"${path}" is not JSON`);
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function requireKey(pem: string, path: string): void {
  try {
    createPrivateKey(pem);
  } catch {
    throw new Error(`"${path}" was cut or changed: its private_key is no key`);
  }
}
