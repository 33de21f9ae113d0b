/** The markers of running puts, as a sweep and whoever takes a bucket out see them. */
import { setTimeout as sleep } from 'node:timers/promises';
import { openPutMarker } from '../../crypto/put-marker.ts';
import { isVaultError, throwIfAborted, VaultError } from '../../errors.ts';
import { MAX_PUT_MARKER_SIZE, parsePutMarkerName, PUTS_PREFIX } from '../../format/removal.ts';
import type { VaultBucket } from '../buckets/bucket-set.ts';
import { mergedListing } from '../buckets/merged-listing.ts';
import { readCopy } from '../buckets/spread.ts';
import type { Session } from '../session.ts';
import { MARKER_LIFETIME_MS } from './put-guard.ts';

/** The markers of puts that may still run. */
export interface Markers {
  /** Names of markers that are younger than a day. */
  readonly young: ReadonlySet<string>;
  /** Names of those that are older: nobody's. */
  readonly old: readonly string[];
}

/** Lists the markers. @throws what a bucket says */
export async function listMarkers(
  buckets: readonly VaultBucket[],
  nowMs: number,
  signal?: AbortSignal,
): Promise<Markers> {
  const young = new Set<string>();
  const old: string[] = [];
  for await (const { name } of mergedListing(buckets, PUTS_PREFIX, { signal })) {
    const parsed = parsePutMarkerName(name);
    if (parsed === null) continue;
    if (nowMs - parsed.createdAtMs < MARKER_LIFETIME_MS) young.add(name);
    else old.push(name);
  }
  return { young, old };
}

/** How long running puts are waited for, in milliseconds, unless asked otherwise, and how often they are looked for. */
const WAIT_MS = 20_000;
const POLL_MS = 500;

/** Waits for running puts, until enough of their markers are gone or a day old, or time is up. @param isEnough by those that are young */
export async function awaitMarkers(
  session: Session,
  buckets: readonly VaultBucket[],
  {
    waitMs = WAIT_MS,
    signal,
  }: { readonly waitMs?: number | undefined; readonly signal?: AbortSignal | undefined },
  isEnough: (young: ReadonlySet<string>) => boolean,
): Promise<void> {
  const { clock } = session;
  const untilMs = clock.monotonic() + waitMs;
  for (;;) {
    throwIfAborted(signal);
    const { young } = await listMarkers(buckets, clock.now(), signal);
    if (isEnough(young) || clock.monotonic() >= untilMs) return;
    await sleep(Math.min(POLL_MS, waitMs), undefined, { signal }).catch(() => throwIfAborted(signal));
  }
}

/** How often markers are listed anew because some went while they were read. */
const MOST_LISTINGS = 100;

/**
 * The ids that young markers name: what their puts rely on, though no manifest may say so yet.
 *
 * @throws `unavailable` if a marker cannot be read: what it names is not known then
 */
export async function readMarkedIds(
  session: Session,
  buckets: readonly VaultBucket[],
  signal?: AbortSignal,
): Promise<readonly string[]> {
  for (let listings = 0; listings < MOST_LISTINGS; listings += 1) {
    const { young } = await listMarkers(buckets, session.clock.now(), signal);
    const found: (readonly string[] | null)[] = [];
    for (const name of young) found.push(await readMarker(session, buckets, name, signal));
    // One that went meanwhile may have been renewed by one that this listing does not show.
    if (found.every((ids) => ids !== null)) return found.flat();
  }
  throw new VaultError(
    'unavailable',
    'Markers of puts come and go too quickly to be read. Sweep again later.',
  );
}

/** The ids that a marker names; null if no bucket has it any more. */
async function readMarker(
  session: Session,
  buckets: readonly VaultBucket[],
  name: string,
  signal: AbortSignal | undefined,
): Promise<readonly string[] | null> {
  let seen = false;
  for (const bucket of buckets) {
    const bytes = await readCopy(bucket, name, { maxSize: MAX_PUT_MARKER_SIZE, signal });
    if (bytes === null) continue;
    seen = true;
    try {
      return openPutMarker(session.keys, bytes).ids;
    } catch (error) {
      if (!isVaultError(error, 'damaged')) throw error;
    }
  }
  if (!seen) return null;
  throw new VaultError(
    'unavailable',
    `The marker ${name} of a running put cannot be read. Sweep again in a day.`,
  );
}
