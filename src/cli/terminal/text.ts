/** Text that came from elsewhere, made safe and readable in a terminal. */
import { isUtf8 } from 'node:buffer';

import { escaped, EVERY_UNPRINTABLE, isPrintable, escapedWord } from '../../shell-word.ts';

/**
 * A file's name as it is shown: unchanged if it can be, otherwise as `$'...'` with escapes, which
 * bash and zsh read back as the same name. Always one line.
 */
export function showName(name: string): string {
  return isPrintable(name) ? name : escapedWord(name);
}

/** A path of a disk as `showName` shows names; bytes that are no UTF-8 are escaped too, so that two paths never look the same. */
export function showPath(path: Buffer): string {
  if (isUtf8(path)) return showName(path.toString());
  return `$'${path.toString('latin1').replace(/[^ -~]|[\\']/g, escapedByte)}'`;
}

function escapedByte(character: string): string {
  return `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
}

/** Lines with every character escaped that a terminal would act on, except the line ends. */
export function showLines(text: string): string {
  return text
    .trimEnd()
    .split('\n')
    .map((line) => line.replace(EVERY_UNPRINTABLE, escaped))
    .join('\n');
}

/** A message, safe as lines are; all but its first line are indented, so that nothing in it looks like the next message. */
export function showMessage(message: string): string {
  return showLines(message).replaceAll('\n', '\n  ');
}

/**
 * A value as JSON in one line. What a terminal would act on is escaped, which reads back as the same: `JSON.stringify` leaves some
 * of it as it is.
 */
export function jsonOf(value: Readonly<Record<string, unknown>>): string {
  return JSON.stringify(value).replace(EVERY_UNPRINTABLE, (character) =>
    character
      .split('')
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
      .join(''),
  );
}

/** A value in quotes inside a message, as all messages have them. */
export function quote(text: string): string {
  return `"${text.replace(EVERY_UNPRINTABLE, escaped)}"`;
}

/** An integer with a comma after every three digits. By hand: loading the rules of all languages takes as long as `ls` itself. */
export function grouped(integer: number): string {
  return String(integer).replace(/\B(?=(?:\d{3})+$)/g, ',');
}

/** `1 file`, `2 files`. */
export function count(amount: number, one: string, many = `${one}s`): string {
  return `${grouped(amount)} ${amount === 1 ? one : many}`;
}

const SIZE_UNITS = ['KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** A size for people, at most 8 characters: `17 B`, `1.0 KiB`, `234 MiB`. */
export function showSize(bytes: number): string {
  if (bytes < 1024) return `${Math.round(bytes)} B`;
  let value = bytes;
  let unit = '';
  for (unit of SIZE_UNITS) {
    value /= 1024;
    // What would be rounded to 1024 belongs to the next unit.
    if (value < 1023.5) break;
  }
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value).toFixed(0)} ${unit}`;
}

/** At least two digits. */
function two(value: number): string {
  return String(value).padStart(2, '0');
}

/** A moment for people, in local time: `2026-07-01 09:30`; `?` for one that no calendar has. */
export function showTime(ms: number): string {
  const date = new Date(ms);
  const year = date.getFullYear();
  if (Number.isNaN(year)) return '?';
  const day = `${year < 0 ? '-' : ''}${String(Math.abs(year)).padStart(4, '0')}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

/** How long something takes, for people: `9 s`, `2 min 05 s`, `3 h 20 min`, `4 d 2 h`. */
export function showDuration(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${two(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${two(minutes % 60)} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}
