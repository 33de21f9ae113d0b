/** What may happen to a vault, and what has: which versions would go with which buckets, and what was stored on which day. */
import type { CallOptions } from '../call.ts';
import type { Session } from '../session.ts';
import { vaultStatus, type MetVersion, type VaultStatus } from './status.ts';

export interface VaultOutlook extends VaultStatus {
  /** For each bucket and each pair: how many versions that can be read now could not be read any more without them. */
  readonly losses: readonly Loss[];
  /** Versions by the day they were stored, removed ones too, the oldest day first; the last is today. */
  readonly days: readonly { readonly day: string; readonly versions: number }[];
  /** Names that are stored about every night, those that missed most first. */
  readonly nightly: readonly Nightly[];
}

export interface Loss {
  /** Ids of buckets. */
  readonly buckets: readonly string[];
  readonly versions: number;
}

export interface Nightly {
  readonly name: string;
  /** Whether it was stored on each of the last days, the oldest first; null: not yet. */
  readonly nights: readonly (boolean | null)[];
}

/** Days that are looked back at, and those of them that a name must show. */
const DAYS = 28;
const NIGHTS = 14;
/** Names that are watched at most, and told of. */
const MOST_NAMES = 20_000;
const MOST_TOLD = 20;
/** A name has a rhythm when it was stored on so many days, and on this part of those between the first and the last. */
const LEAST_DAYS = 3;
const LEAST_SHARE = 0.5;

export async function vaultOutlook(session: Session, options: CallOptions = {}): Promise<VaultOutlook> {
  const losses = lossesOf(session.buckets.all.map(({ id }) => id));
  const calendar = new Calendar(session.clock.now());
  const status = await vaultStatus(session, {
    ...options,
    onVersion(version) {
      calendar.add(version);
      // What has two to spare survives any pair.
      if (version.spare < 0 || version.spare >= 2) return;
      const ways = [...version.ways];
      for (const loss of losses) if (isLost(version, ways, loss.lost)) loss.versions += 1;
    },
  });
  return {
    ...status,
    losses: losses.map(({ lost, versions }) => ({ buckets: [...lost], versions })),
    days: calendar.days(),
    nightly: calendar.nightly(),
  };
}

function lossesOf(ids: readonly string[]): { readonly lost: ReadonlySet<string>; versions: number }[] {
  const pairs = ids.flatMap((id, at) => ids.slice(at).map((other) => new Set([id, other])));
  return pairs.toSorted((a, b) => a.size - b.size).map((lost) => ({ lost, versions: 0 }));
}

function isLost(
  { holders }: Pick<MetVersion, 'holders'>,
  ways: MetVersion['ways'],
  lost: ReadonlySet<string>,
): boolean {
  if (holders.every((id) => lost.has(id))) return true;
  return [...ways].some(({ holding, k }) => [...holding].filter((id) => !lost.has(id)).length < k);
}

/** Days of this machine's time zone. */
class Calendar {
  readonly #places = new Map<string, number>();
  readonly #versions = Array.from({ length: DAYS }, () => 0);
  /** On which days each name was stored, a bit for each. */
  readonly #names = new Map<string, number>();

  constructor(nowMs: number) {
    const now = new Date(nowMs);
    for (let at = 0; at < DAYS; at += 1) {
      const day = new Date(now.getFullYear(), now.getMonth(), now.getDate() - (DAYS - 1 - at));
      this.#places.set(dayOf(day), at);
    }
  }

  add({ info: { name, createdAtMs } }: Pick<MetVersion, 'info'>): void {
    const at = this.#places.get(dayOf(new Date(createdAtMs)));
    if (at === undefined) return;
    this.#versions[at] = (this.#versions[at] ?? 0) + 1;
    const known = this.#names.get(name);
    if (known !== undefined || this.#names.size < MOST_NAMES) this.#names.set(name, (known ?? 0) | (1 << at));
  }

  days(): VaultOutlook['days'] {
    return [...this.#places.keys()].map((day, at) => ({ day, versions: this.#versions[at] ?? 0 }));
  }

  nightly(): readonly Nightly[] {
    const found: Nightly[] = [];
    for (const [name, bits] of this.#names) {
      const stored = Array.from({ length: DAYS }, (_, at) => (bits & (1 << at)) !== 0);
      const first = stored.indexOf(true);
      const count = stored.filter(Boolean).length;
      if (count < LEAST_DAYS || count < LEAST_SHARE * (stored.lastIndexOf(true) - first + 1)) continue;
      // Today's may be still to come.
      const nights = stored.map((was, at) => (at < first || (at === DAYS - 1 && !was) ? null : was));
      found.push({ name, nights: nights.slice(-NIGHTS) });
    }
    const missed = ({ nights }: Nightly): number => nights.filter((was) => was === false).length;
    return found.toSorted((a, b) => missed(b) - missed(a) || (a.name < b.name ? -1 : 1)).slice(0, MOST_TOLD);
  }
}

/** `2026-07-01`. */
function dayOf(date: Date): string {
  const parts = [date.getFullYear(), date.getMonth() + 1, date.getDate()];
  return parts.map((part) => String(part).padStart(2, '0')).join('-');
}
