/** The markers of running puts, as a sweep and whoever takes a bucket out see them. */
import { setTimeout as sleep } from 'node:timers/promises';
import { openPutMarker } from '../../crypto/put-marker.ts';
import { isVaultError, throwIfAborted, VaultError } from '../../errors.ts';
import { MAX_PUT_MARKER_SIZE, parsePutMarkerName, PUTS_PREFIX } from '../../format/removal.ts';
import type { SweepList } from '../../format/removal.ts';
import type { ReadBucket } from '../buckets/bucket-set.ts';
import { mergedListing } from '../buckets/merged-listing.ts';
import { readCopy } from '../buckets/spread.ts';
import type { ReadSession } from '../session.ts';
import { MARKER_LIFETIME_MS } from './put-guard.ts';

/** The markers of puts that may still run. */
export interface Markers {
  /** Names of markers that are younger than a day. */
  readonly young: ReadonlySet<string>;
  /** Names of those that are older: nobody's. */
  readonly old: readonly string[];
}

/**
 * Markers that are older than a day, whatever their names say: a list of removal has waited for them so long. Who can only store may
 * date one ahead.
 */
export function outlived(lists: readonly SweepList[], nowMs: number): ReadonlySet<string> {
  const aged = lists.filter(({ atMs }) => nowMs - atMs >= MARKER_LIFETIME_MS);
  return new Set(aged.flatMap(({ waitsFor }) => waitsFor ?? []));
}

export interface MarkerOptions {
  readonly known?: ReadonlySet<string>;
  readonly signal?: AbortSignal | undefined;
}

/** Lists the markers. @param known those that are old all the same, see `outlived` @throws what a bucket says */
export async function listMarkers(
  buckets: readonly ReadBucket[],
  nowMs: number,
  { known = new Set(), signal }: MarkerOptions = {},
): Promise<Markers> {
  const young = new Set<string>();
  const old: string[] = [];
  for await (const { name } of mergedListing(buckets, PUTS_PREFIX, { signal })) {
    const parsed = parsePutMarkerName(name);
    if (parsed === null) continue;
    if (nowMs - parsed.createdAtMs < MARKER_LIFETIME_MS && !known.has(name)) young.add(name);
    else old.push(name);
  }
  return { young, old };
}

/** How long running puts are waited for, in milliseconds, unless asked otherwise, and how often they are looked for. */
const WAIT_MS = 20_000;
const POLL_MS = 500;

/** Waits for running puts, until enough of their markers are gone or a day old, or time is up. @param isEnough by those that are young */
export async function awaitMarkers(
  session: ReadSession,
  buckets: readonly ReadBucket[],
  { waitMs = WAIT_MS, ...options }: MarkerOptions & { readonly waitMs?: number | undefined },
  isEnough: (young: ReadonlySet<string>) => boolean,
): Promise<void> {
  const { clock } = session;
  const { signal } = options;
  const untilMs = clock.monotonic() + waitMs;
  for (;;) {
    throwIfAborted(signal);
    const { young } = await listMarkers(buckets, clock.now(), options);
    if (isEnough(young) || clock.monotonic() >= untilMs) return;
    await sleep(Math.min(POLL_MS, waitMs), undefined, { signal }).catch(() => throwIfAborted(signal));
  }
}

/** How often markers are listed anew because some went while they were read. */
const MOST_LISTINGS = 100;

/**
 * The ids that young markers name, marker by marker, some maybe again: what their puts rely on, though no manifest may say so yet.
 *
 * @throws `unavailable` or `unsupported` if a marker cannot be read: what it names is not known then
 */
export async function* readMarkedIds(
  session: ReadSession,
  buckets: readonly ReadBucket[],
  options: MarkerOptions,
): AsyncGenerator<readonly string[], void, undefined> {
  for (let listings = 0; listings < MOST_LISTINGS; listings += 1) {
    const { young } = await listMarkers(buckets, session.clock.now(), options);
    let gone = 0;
    for (const name of young) {
      const ids = await readMarker(session, buckets, name, options.signal);
      if (ids === null) gone += 1;
      else yield ids;
    }
    // One that went meanwhile may have been renewed by one that this listing does not show.
    if (gone === 0) return;
  }
  throw new VaultError(
    'unavailable',
    'Markers of puts come and go too quickly to be read. Sweep again later.',
  );
}

/** The ids that a marker names; null if no bucket has it any more. */
async function readMarker(
  session: ReadSession,
  buckets: readonly ReadBucket[],
  name: string,
  signal: AbortSignal | undefined,
): Promise<readonly string[] | null> {
  let seen: VaultError | null = null;
  for (const bucket of buckets) {
    try {
      const bytes = await readCopy(bucket, name, { maxSize: MAX_PUT_MARKER_SIZE, signal });
      if (bytes === null) continue;
      return openPutMarker(session.keys, bytes).ids;
    } catch (error) {
      if (!isVaultError(error, 'damaged', 'unsupported')) throw error;
      if (seen?.code !== 'unsupported') seen = error;
    }
  }
  if (seen === null) return null;
  const isNewer = seen.code === 'unsupported';
  throw new VaultError(
    isNewer ? 'unsupported' : 'unavailable',
    `The marker ${name} of a running put cannot be read. ${isNewer ? 'Use a newer version, or sweep' : 'Sweep'} again in a day.`,
    { cause: seen },
  );
}
