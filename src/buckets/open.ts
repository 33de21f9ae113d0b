import { invalidInput } from '../errors.ts';
import type { Bucket } from './bucket.ts';
import type { Kind, Machine } from './kind.ts';
import * as kinds from './kinds.ts';
import { gathering } from './layers/gathering.ts';
import { limited } from './layers/limits.ts';
import type { Limits } from './layers/limits.ts';
import { DEFAULT_DEADLINE_MS, retrying } from './layers/retry.ts';
import type { RetryingOptions } from './layers/retry.ts';
import { DEFAULT_TIMEOUT_MS, timed } from './layers/timeout.ts';

type Name = keyof typeof kinds;
type Locations = { readonly [K in Name]: ReturnType<(typeof kinds)[K]['locate']> };

/** Where a bucket is. `url` is the normalised form: the same place written otherwise gives the same `url`. */
export type BucketLocation = Locations[Name];

const KINDS: { readonly [K in Name]: Kind<Locations[K]> } = kinds;

export interface OpenBucketOptions extends Machine {
  /** Shared by all buckets that are opened with them; without, nothing is limited. */
  readonly limits?: Limits | undefined;
  /** Milliseconds that one attempt may take, see `TimedOptions`; bounds first contact as well if given. */
  readonly timeoutMs?: number | undefined;
  /** Milliseconds for which a bucket that does not answer is tried again, also at first contact if given. */
  readonly maxWaitMs?: number | undefined;
  /** See `RetryingOptions`. */
  readonly downMs?: RetryingOptions['downMs'];
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
  const { limits, maxWaitMs, downMs, onWaiting, clock } = options;
  // Nobody who waits for a bucket only so long waits longer for an attempt, unless told to.
  const timeoutMs =
    options.timeoutMs ?? (maxWaitMs === undefined ? undefined : Math.min(maxWaitMs, DEFAULT_TIMEOUT_MS));
  const location = parseBucketUrl(url);
  const driver = await openDriver(location.kind, location, options);
  const attempts = timed(driver, { timeoutMs, clock });
  const turns = limits === undefined ? attempts : limited(attempts, limits);
  // Whoever allows an attempt more time wants it to be repeated all the same.
  const deadlineMs = maxWaitMs ?? Math.max(DEFAULT_DEADLINE_MS, 2 * (timeoutMs ?? DEFAULT_TIMEOUT_MS));
  const bucket = retrying(gathering(turns), { deadlineMs, contactMs: maxWaitMs, downMs, onWaiting, clock });
  // Which asks nobody for anything.
  const presign = driver.presign?.bind(driver);
  return presign === undefined ? bucket : Object.assign(bucket, { presign });
}

async function openDriver<K extends Name>(
  kind: K,
  location: Locations[K],
  { clock, environment, fileThreads }: Machine,
): Promise<Bucket> {
  return await KINDS[kind].open(location, { clock, environment, fileThreads });
}

/**
 * Understands how people write a bucket: a URL of one of the kinds, or a path.
 *
 * @param options `base`: absolute path of the folder that relative paths start from; without it they are refused
 * @throws `invalid-input` if it is none of these, or names a bucket that cannot exist; the message never repeats
 *   what could be a credential
 */
export function parseBucketUrl(text: string, options: { readonly base?: string } = {}): BucketLocation {
  const [, scheme = '', colon, slashes] = /^([a-z][a-z0-9+.-]*)(:?)(\/\/)?/.exec(text.toLowerCase()) ?? [];
  const kind = Object.values(KINDS).find((one) => one.scheme === scheme);
  const isUrl = colon === ':' && slashes !== undefined;
  if (kind !== undefined && !isUrl && (colon === ':' || slashes !== undefined)) {
    const lacks = colon === ':' ? `After ${scheme}: come two slashes` : `A colon comes after ${scheme}`;
    throw invalidInput(`${lacks}: ${kind.example}. For a path of this name, put ./ before it.`);
  }
  if (kind === undefined && isUrl) {
    const examples = Object.values(KINDS).map(({ example }) => example);
    throw invalidInput(`${scheme}:// is not a kind of bucket. Write ${examples.join(', ')}, or a path.`);
  }
  return (isUrl ? (kind ?? KINDS.folder) : KINDS.folder).locate(text, options.base ?? null);
}

/** The folder of a bucket on a file system; null for one in a cloud. @throws as `parseBucketUrl` */
export function folderOf(url: string): string | null {
  const location = parseBucketUrl(url);
  return location.kind === 'folder' ? location.path : null;
}
