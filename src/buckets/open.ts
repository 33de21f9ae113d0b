import { isAbsolute, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { VaultError, messageOf } from '../errors.ts';
import { isObjectName } from './bucket.ts';
import type { Bucket } from './bucket.ts';
import { openFolderBucket } from './folder/driver.ts';
import { checkBucketName as checkGcsBucketName } from './gcs/names.ts';
import { limited } from './layers/limits.ts';
import type { Limits } from './layers/limits.ts';
import { DEFAULT_DEADLINE_MS, retrying } from './layers/retry.ts';
import type { RetryingOptions } from './layers/retry.ts';
import { S3_CHECKSUMS, checkBucketName as checkS3BucketName } from './s3/names.ts';
import type { S3Checksum } from './s3/names.ts';
import { DEFAULT_TIMEOUT_MS, timed } from './layers/timeout.ts';

/** Where a bucket is. `url` is the normalised form: the same place written otherwise gives the same `url`. */
export type BucketLocation = FolderLocation | GcsLocation | S3Location;

export interface FolderLocation {
  readonly kind: 'folder';
  readonly url: string;
  /** Absolute path. */
  readonly path: string;
}

export interface GcsLocation {
  readonly kind: 'gcs';
  readonly url: string;
  readonly bucket: string;
  /** Folder in the bucket without slashes around it; '' for the whole bucket. */
  readonly prefix: string;
  /** URL of another server than Google's. */
  readonly endpoint: string | null;
  /** Whether that server may have Google's credentials. */
  readonly sendCredentials: boolean;
}

export interface S3Location {
  readonly kind: 's3';
  readonly url: string;
  readonly bucket: string;
  /** Folder in the bucket without slashes around it; '' for the whole bucket. */
  readonly prefix: string;
  readonly region: string | null;
  /** URL of another server than Amazon's. */
  readonly endpoint: string | null;
  /** Whether that server may have credentials that the machine was given, and not the user. */
  readonly sendCredentials: boolean;
  /** Section of the AWS configuration that has the credentials; null: those of the environment. */
  readonly profile: string | null;
  /** Whether the bucket is named in the path of requests; null: as the kind of server suggests. */
  readonly forcePathStyle: boolean | null;
  readonly checksum: S3Checksum;
}

/** Options of `openBucket`. */
export interface OpenBucketOptions {
  /** Shared by all buckets that are opened with them; without, nothing is limited. */
  readonly limits?: Limits | undefined;
  /** Milliseconds that one attempt may take, see `TimedOptions`; bounds first contact as well if given. */
  readonly timeoutMs?: number | undefined;
  /** Milliseconds for which a bucket that does not answer is tried again, also at first contact if given. */
  readonly maxWaitMs?: number | undefined;
  /** See `RetryingOptions`. */
  readonly onWaiting?: RetryingOptions['onWaiting'];
}

/**
 * Opens a bucket, ready for use: every attempt ends, waits for its turn, and is repeated while that makes sense.
 * Only the driver that is needed is loaded. Nothing is connected before the first operation.
 *
 * @param url as `parseBucketUrl` takes it, except for relative paths
 * @throws `invalid-input`, see `parseBucketUrl`
 */
export async function openBucket(url: string, options: OpenBucketOptions = {}): Promise<Bucket> {
  const { limits, maxWaitMs, onWaiting } = options;
  // Nobody who waits for a bucket only so long waits longer for an attempt, unless told to.
  const timeoutMs =
    options.timeoutMs ?? (maxWaitMs === undefined ? undefined : Math.min(maxWaitMs, DEFAULT_TIMEOUT_MS));
  const attempts = timed(await openDriver(parseBucketUrl(url)), { timeoutMs });
  const turns = limits === undefined ? attempts : limited(attempts, limits);
  // Whoever allows an attempt more time wants it to be repeated all the same.
  const deadlineMs = maxWaitMs ?? Math.max(DEFAULT_DEADLINE_MS, 2 * (timeoutMs ?? DEFAULT_TIMEOUT_MS));
  return retrying(turns, { deadlineMs, contactMs: maxWaitMs, onWaiting });
}

async function openDriver(location: BucketLocation): Promise<Bucket> {
  switch (location.kind) {
    case 'folder':
      return openFolderBucket(location.path, { label: location.url });
    case 'gcs': {
      const { openGcsBucket } = await import('./gcs/driver.ts');
      return await openGcsBucket({ ...location, label: location.url });
    }
    case 's3': {
      const { openS3Bucket } = await import('./s3/driver.ts');
      return await openS3Bucket({ ...location, label: location.url });
    }
  }
}

/** Longest folder in a cloud bucket, in bytes: names of 1,024 bytes are allowed, of which objects' names take 255. */
const MAX_PREFIX_SIZE = 768;

/** What a URL can ask for, by scheme. */
const PARAMETERS = {
  gs: ['endpoint', 'credentials'],
  s3: ['region', 'endpoint', 'credentials', 'profile', 'forcePathStyle', 'checksum'],
} as const;

/**
 * Understands how people write a bucket: `gs://name/prefix?endpoint=&credentials=send`,
 * `s3://name/prefix?region=&endpoint=&credentials=send&profile=&forcePathStyle=&checksum=`, `file:///path`, or a path.
 *
 * @param options `base`: absolute path of the folder that relative paths start from; without it they are refused
 * @throws `invalid-input` if it is none of these, or names a bucket that cannot exist; the message never repeats
 *   what could be a credential
 */
export function parseBucketUrl(text: string, options: { readonly base?: string } = {}): BucketLocation {
  const scheme = /^([A-Za-z][A-Za-z0-9+.-]*):\/\//.exec(text)?.[1]?.toLowerCase() ?? null;
  switch (scheme) {
    case 'gs':
    case 's3':
      return parseCloudUrl(scheme, text.slice('gs://'.length));
    case 'file':
      return folderLocation(pathOfFileUrl(text));
    case null:
      return folderLocation(absolutePath(text, options.base ?? null));
    default:
      throw invalid(
        `${scheme}:// is no kind of bucket. Write gs://name/folder, s3://name/folder, file:///path, or a path.`,
      );
  }
}

function parseCloudUrl(scheme: 'gs' | 's3', rest: string): GcsLocation | S3Location {
  const [, authority = '', path = '', query = '', fragment = ''] =
    /^([^/?#]*)([^?#]*)(?:\?([^#]*))?(#.*)?$/s.exec(rest) ?? [];
  if (authority.includes('@')) {
    throw invalid(
      `A ${scheme}:// URL must not contain credentials. Leave out what is before the @; they are found in the ` +
        "environment, as the cloud's own tools find them.",
    );
  }
  const bucket = authority;
  const place = `${scheme}://${bucket}`;
  if (bucket === '') throw invalid(`${scheme}:// needs the name of a bucket: ${scheme}://name/folder.`);
  if (fragment !== '') throw invalid(`${place}: a bucket's URL has no part after "#".`);
  const prefix = parsePrefix(path, place);
  const parameters = parseQuery(scheme, query, place);
  const endpoint = parseEndpoint(parameters.get('endpoint') ?? null, place);
  const credentials = parameters.get('credentials') ?? null;
  if (credentials !== null && credentials !== 'send') {
    throw invalid(
      `${place}: credentials can only be "send", by which the endpoint may have yours. They themselves are found in ` +
        'the environment.',
    );
  }
  const sendCredentials = credentials === 'send';

  if (scheme === 'gs') {
    checkGcsBucketName(bucket, place);
    const url = writeUrl(place, prefix, { endpoint, credentials });
    return { kind: 'gcs', url, bucket, prefix, endpoint, sendCredentials };
  }
  checkS3BucketName(bucket, endpoint, place);
  const region = parameters.get('region') ?? null;
  if (region !== null && !/^[A-Za-z0-9-]{1,63}$/.test(region)) {
    throw invalid(
      `${place}: ${JSON.stringify(region)} cannot be a region. They are written like eu-central-1.`,
    );
  }
  const profile = parameters.get('profile') ?? null;
  if (profile !== null && !/^[\w.@:+=,/-]{1,128}$/.test(profile)) {
    throw invalid(
      `${place}: ${JSON.stringify(profile)} cannot be a profile. It is the name of a section in ~/.aws/credentials or ~/.aws/config.`,
    );
  }
  const pathStyle = parameters.get('forcePathStyle') ?? null;
  if (pathStyle !== null && pathStyle !== 'true' && pathStyle !== 'false') {
    throw invalid(`${place}: forcePathStyle is either true or false.`);
  }
  const wanted = parameters.get('checksum') ?? 'auto';
  const checksum = S3_CHECKSUMS.find((known) => known === wanted);
  if (checksum === undefined) throw invalid(`${place}: checksum is one of ${S3_CHECKSUMS.join(', ')}.`);
  return {
    kind: 's3',
    url: writeUrl(place, prefix, {
      region,
      endpoint,
      credentials,
      profile,
      forcePathStyle: pathStyle,
      checksum: checksum === 'auto' ? null : checksum,
    }),
    bucket,
    prefix,
    region,
    endpoint,
    sendCredentials,
    profile,
    forcePathStyle: pathStyle === null ? null : pathStyle === 'true',
    checksum,
  };
}

/** The folder that a URL's path names; '' for the whole bucket. */
function parsePrefix(path: string, place: string): string {
  if (path === '' || path === '/') return '';
  const prefix = path.slice(1).replace(/\/$/, '');
  // The same rule as for objects' names, piece by piece as it may be longer than those.
  if (prefix.length > MAX_PREFIX_SIZE || !prefix.split('/').every(isObjectName)) {
    throw invalid(
      `${place}: the folder ${JSON.stringify(prefix)} cannot be used. It may have A-Z, a-z, 0-9, ".", "_", "+", "-", ` +
        `single slashes in between, no "." or ".." between slashes, and ${MAX_PREFIX_SIZE} characters.`,
    );
  }
  return prefix;
}

function parseQuery(scheme: 'gs' | 's3', query: string, place: string): ReadonlyMap<string, string> {
  const known: readonly string[] = PARAMETERS[scheme];
  const parameters = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(query)) {
    // Names are shown and values are not: a secret may have been put here.
    if (!known.includes(name)) {
      throw invalid(
        `${place}: there is no option ${JSON.stringify(name)} for ${scheme}:// buckets, only ${known.join(', ')}. ` +
          'In a shell, a URL with "?" or "&" needs quotes.',
      );
    }
    if (parameters.has(name)) throw invalid(`${place}: the option ${name} is given twice.`);
    if (value === '')
      throw invalid(`${place}: the option ${name} has no value. Leave it out, or give it one.`);
    parameters.set(name, value);
  }
  return parameters;
}

function parseEndpoint(text: string | null, place: string): string | null {
  if (text === null) return null;
  if (!/^https?:\/\//i.test(text) || !URL.canParse(text)) {
    throw invalid(
      `${place}: the endpoint must be a whole URL, with its scheme: endpoint=https://host, or ` +
        'endpoint=http://localhost:9000 for a server on this machine.',
    );
  }
  const url = new URL(text);
  if (url.username !== '' || url.password !== '') {
    throw invalid(`${place}: the endpoint must not contain credentials; they are found in the environment.`);
  }
  if (url.search !== '' || url.hash !== '') {
    throw invalid(`${place}: the endpoint must not have a part after "?" or "#".`);
  }
  return url.href.replace(/\/$/, '');
}

/** A URL from its parts, in one order and with as little escaping as can be. */
function writeUrl(
  place: string,
  prefix: string,
  parameters: Readonly<Record<string, string | null>>,
): string {
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

function folderLocation(path: string): FolderLocation {
  return { kind: 'folder', url: pathToFileURL(path).href, path };
}

function pathOfFileUrl(text: string): string {
  try {
    const url = new URL(text);
    if (url.search !== '' || url.hash !== '') {
      throw invalid(`${url.protocol}//${url.pathname}: in a file URL, write "?" as %3F and "#" as %23.`);
    }
    const path = fileURLToPath(url);
    if (path.includes('\0')) throw invalid('A path cannot contain a zero byte.');
    // Without a trailing slash, so that a folder has one URL only.
    return resolve(path);
  } catch (cause) {
    if (cause instanceof VaultError) throw cause;
    throw invalid(
      `This file URL cannot be used: ${messageOf(cause)}. Write file:///path with three slashes, or just the path.`,
      cause,
    );
  }
}

function absolutePath(text: string, base: string | null): string {
  if (text === '') throw invalid('A bucket needs a URL or a path, and this is empty.');
  if (text.includes('\0')) throw invalid('A path cannot contain a zero byte.');
  const typo = /^(gs|s3|file):/i.exec(text);
  if (typo !== null) {
    const scheme = typo[1]?.toLowerCase() ?? '';
    const example = scheme === 'file' ? 'file:///path' : `${scheme}://name/folder`;
    throw invalid(
      `After ${scheme}: come two slashes: ${example}. For a path of this name, put ./ before it.`,
    );
  }
  // Shells leave the tilde alone behind "=" and in quotes; a folder named "~" is never meant.
  if (/^~(\/|$)/.test(text)) {
    throw invalid(`The shell has not replaced the "~" of ${text}. Write $HOME instead, or the whole path.`);
  }
  if (!isAbsolute(text) && base === null) {
    throw invalid(
      `The path ${text} is relative, and there is nothing that it is relative to. Write the whole path.`,
    );
  }
  return base === null ? resolve(text) : resolve(base, text);
}

function invalid(message: string, cause?: unknown): VaultError {
  return new VaultError('invalid-input', message, { cause });
}
