/** What `gs://` and `s3://` URLs share: name, folder and options of a bucket in a cloud. */
import { readFile } from 'node:fs/promises';
import { isAbsolute } from 'node:path';
import { invalidInput, messageOf } from '../errors.ts';
import { isObjectName, type LockMode } from './bucket.ts';

/** Longest folder in a cloud bucket, in bytes: both services allow names of 1,024 bytes, of which objects' names take 255. */
const MAX_PREFIX_SIZE = 768;

/** A bucket in a cloud, as a URL names it. */
export interface CloudPlace {
  readonly bucket: string;
  /** Folder in the bucket without slashes around it; '' for the whole bucket. */
  readonly prefix: string;
  /** URL of another server than the cloud's own, in its normal form. */
  readonly endpoint: string | null;
  /** Whether that server may have the credentials that are meant for the cloud. */
  readonly sendCredentials: boolean;
  /** The URL as far as the bucket's name, for messages. */
  readonly place: string;
  /** The options of this kind of bucket; none is empty. */
  readonly parameters: ReadonlyMap<string, string>;
}

/**
 * Takes a URL of a bucket in a cloud apart.
 *
 * @param known the options of this kind of bucket, beside `endpoint` and `credentials`, which every kind has
 * @throws `invalid-input`; the message never repeats what could be a credential
 */
export function parseCloudUrl(scheme: string, text: string, known: readonly string[] = []): CloudPlace {
  const [, authority = '', path = '', query = '', fragment = ''] =
    /^([^/?#]*)([^?#]*)(?:\?([^#]*))?(#.*)?$/s.exec(text.slice(`${scheme}://`.length)) ?? [];
  if (authority.includes('@')) {
    throw invalidInput(
      `A ${scheme}:// URL must not contain credentials. Leave out what is before the @; they are found in the ` +
        "environment, as the cloud's own tools find them.",
    );
  }
  const bucket = authority;
  const place = `${scheme}://${bucket}`;
  if (bucket === '') throw invalidInput(`${scheme}:// needs the name of a bucket: ${scheme}://name/folder.`);
  if (fragment !== '') throw invalidInput(`${place}: a bucket's URL has no part after "#".`);
  const prefix = parsePrefix(path, place);
  const parameters = parseQuery(scheme, query, { known: [...known, 'endpoint', 'credentials'], place });
  const endpoint = parameters.get('endpoint') ?? null;
  const credentials = parameters.get('credentials') ?? null;
  if (credentials !== null && credentials !== 'send') {
    throw invalidInput(
      `${place}: credentials can only be "send", by which the endpoint may have yours. They themselves are found in ` +
        'the environment.',
    );
  }
  return {
    bucket,
    prefix,
    endpoint: endpoint === null ? null : endpointUrl(endpoint, place),
    sendCredentials: credentials === 'send',
    place,
    parameters,
  };
}

/** The folder that a URL's path names; '' for the whole bucket. */
function parsePrefix(path: string, place: string): string {
  if (path === '' || path === '/') return '';
  const prefix = path.slice(1).replace(/\/$/, '');
  // The same rule as for objects' names, piece by piece as it may be longer than those.
  if (prefix.length > MAX_PREFIX_SIZE || !prefix.split('/').every(isObjectName)) {
    throw invalidInput(
      `${place}: the folder ${JSON.stringify(prefix)} cannot be used. It may have A-Z, a-z, 0-9, ".", "_", "+", "-", ` +
        `single slashes in between, no "." or ".." between slashes, and ${MAX_PREFIX_SIZE} characters.`,
    );
  }
  return prefix;
}

function parseQuery(
  scheme: string,
  query: string,
  { known, place }: { readonly known: readonly string[]; readonly place: string },
): ReadonlyMap<string, string> {
  const parameters = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(query)) {
    // Names are shown and values are not: a secret may have been put here.
    if (!known.includes(name)) {
      throw invalidInput(
        `${place}: there is no option ${JSON.stringify(name)} for ${scheme}:// buckets, only ${known.join(', ')}. ` +
          'In a shell, a URL with "?" or "&" needs quotes.',
      );
    }
    if (parameters.has(name)) throw invalidInput(`${place}: the option ${name} is given twice.`);
    if (value === '')
      throw invalidInput(`${place}: the option ${name} has no value. Leave it out, or give it one.`);
    parameters.set(name, value);
  }
  return parameters;
}

/**
 * The URL of a server in its normal form.
 *
 * @param place what messages call the bucket
 * @throws `invalid-input` if it is not the whole URL of a server, or has credentials or a query
 */
function endpointUrl(text: string, place: string): string {
  if (!/^https?:\/\//i.test(text) || !URL.canParse(text)) {
    throw invalidInput(
      `${place}: the endpoint must be a whole URL, with its scheme: endpoint=https://host, or ` +
        'endpoint=http://localhost:9000 for a server on this machine.',
    );
  }
  const url = new URL(text);
  if (url.username !== '' || url.password !== '') {
    throw invalidInput(
      `${place}: the endpoint must not contain credentials; they are found in the environment.`,
    );
  }
  if (url.search !== '' || url.hash !== '') {
    throw invalidInput(`${place}: the endpoint must not have a part after "?" or "#".`);
  }
  return url.href.replace(/\/$/, '');
}

/**
 * A URL from its parts, in one order and with as little escaping as can be: the same bucket has one URL.
 *
 * @param options those of this kind of bucket; null for what is not given
 */
export function cloudUrl(
  { place, prefix, endpoint, sendCredentials }: CloudPlace,
  options: Readonly<Record<string, string | null>> = {},
): string {
  const { region = null, ...others } = options;
  const parameters = { region, endpoint, credentials: sendCredentials ? 'send' : null, ...others };
  const query = Object.entries(parameters)
    .filter(([, value]) => value !== null)
    .map(
      ([name, value]) =>
        `${name}=${encodeURIComponent(value ?? '')
          .replaceAll('%3A', ':')
          .replaceAll('%2F', '/')}`,
    );
  return place + (prefix === '' ? '' : `/${prefix}`) + (query.length === 0 ? '' : `?${query.join('&')}`);
}

/** What the full names of all objects in a folder of a cloud's bucket begin with. @param folder see `CloudPlace.prefix` */
export function folderPrefix(folder: string): string {
  return folder === '' ? '' : `${folder}/`;
}

/** What every cloud's bucket can be asked for. Null: what the bucket has by itself. */
export interface CloudOptions {
  readonly storageClass: string | null;
  /** The key of the cloud's key service that encrypts new objects. */
  readonly kmsKey: string | null;
  readonly acl: string | null;
  /** How objects are locked that are to be retained. */
  readonly lock: LockMode | null;
  /** File of certificates, in PEM; the server's is held to these and no others. */
  readonly caFile: string | null;
}

export const CLOUD_OPTIONS = ['storageClass', 'kmsKey', 'acl', 'lock', 'caFile'] as const;

/** What is given for `CLOUD_OPTIONS`. @param how `kmsKey`: how one is named; `acls`: those that there are. @throws `invalid-input` */
export function cloudOptionsOf(
  { parameters, place }: CloudPlace,
  how: { readonly kmsKey: RegExp; readonly kmsExample: string; readonly acls: readonly string[] },
): CloudOptions {
  const given = (name: string): string | null => parameters.get(name) ?? null;
  const [storageClass, kmsKey, acl] = [given('storageClass'), given('kmsKey'), given('acl')];
  if (storageClass !== null && !/^[A-Z][A-Z0-9_]{0,31}$/.test(storageClass)) {
    throw invalidInput(`${place}: a storage class is written like STANDARD or COLDLINE.`);
  }
  if (kmsKey !== null && !how.kmsKey.test(kmsKey)) {
    throw invalidInput(`${place}: a kmsKey is written like ${how.kmsExample}.`);
  }
  if (acl !== null && !how.acls.includes(acl)) {
    throw invalidInput(`${place}: acl is one of ${how.acls.join(', ')}.`);
  }
  const lock = given('lock');
  if (lock !== null && lock !== 'governance' && lock !== 'compliance') {
    throw invalidInput(`${place}: lock is governance or compliance.`);
  }
  return { storageClass, kmsKey, acl, lock, caFile: fileOption(parameters, 'caFile', place) };
}

/** A path that is given as an option: a whole one, as a URL is read in any folder. @throws `invalid-input` */
export function fileOption(parameters: CloudPlace['parameters'], name: string, place: string): string | null {
  const path = parameters.get(name) ?? null;
  if (path === null || (isAbsolute(path) && !path.includes('\0'))) return path;
  throw invalidInput(`${place}: ${name} needs a whole path, like /etc/ssl/certs/own.pem.`);
}

/** The certificates in a file; null without one. @throws `invalid-input` */
export async function certificatesIn(caFile: string | null, label: string): Promise<string | null> {
  if (caFile === null) return null;
  try {
    const text = await readFile(caFile, 'utf8');
    if (text.includes('-----BEGIN CERTIFICATE-----')) return text;
  } catch (cause) {
    throw invalidInput(`${label}: its caFile cannot be read: ${messageOf(cause)}.`, cause);
  }
  throw invalidInput(`${label}: its caFile has no certificate in PEM.`);
}
