/** How the page and the report say sizes, times and names. */
import { h, type Tree } from './tree.ts';

const UNITS = ['KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** `17 B`, `1.0 KiB`, `234 MiB`. */
export function sizeText(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  let value = bytes;
  let unit = '';
  for (unit of UNITS) {
    value /= 1024;
    if (value < 1023.5) break;
  }
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value).toFixed(0)} ${unit}`;
}

/** `1 file`, `2,000 files`. */
export function countText(amount: number, one: string, many = `${one}s`): string {
  return `${amount.toLocaleString('en-US')} ${amount === 1 ? one : many}`;
}

const STEPS = [
  ['day', 86_400_000],
  ['hour', 3_600_000],
  ['minute', 60_000],
] as const;

/** `3 days ago`, `in 7 days`, `just now`. */
export function whenText(ms: number, nowMs: number): string {
  const away = Math.abs(ms - nowMs);
  for (const [unit, length] of STEPS) {
    // A week that has just begun is a week.
    const amount = ms < nowMs ? Math.floor(away / length) : Math.round(away / length);
    if (amount > 0) return ms < nowMs ? `${countText(amount, unit)} ago` : `in ${countText(amount, unit)}`;
  }
  return ms <= nowMs ? 'just now' : 'in a moment';
}

/** A time of ISO 8601, said as how long ago it is. */
export function timeTree(iso: string, nowMs: number): Tree {
  return h('time', { datetime: iso, title: exactText(iso) }, whenText(Date.parse(iso), nowMs));
}

/** `26 Nov 2026, 04:50`, in local time. */
export function exactText(iso: string): string {
  return new Date(iso).toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'short' });
}

/** A name as it can be shown: what is invisible, or turns the direction of writing, is written out. */
export function nameText(name: string): string {
  return name.replaceAll(
    /(?![\u200C\u200D])[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{Cf}]/gu,
    (one) => `\\u{${(one.codePointAt(0) ?? 0).toString(16)}}`,
  );
}
