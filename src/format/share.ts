/**
 * The objects of a share: a copy of a file, sealed for whoever has its link. FORMAT.md, "Shares".
 */
import { encodeStrictJson, FORMAT, readStrictJson } from './json.ts';
import { MAX_JSON_SIZE, MAX_TIME_MS } from './limits.ts';

export const SHARES_PREFIX = 'shares/';
/** Bytes of one part of a sealed file. */
export const SHARE_PART_SIZE = 32 * 1024 * 1024;
/** Parts of a share at most: 128 GiB. */
export const MAX_SHARE_PARTS = 4096;
/** Largest page and note in bytes. */
export const MAX_SHARE_PAGE_SIZE = 16 * 1024 * 1024;
export const MAX_SHARE_NOTE_SIZE = 2 * MAX_JSON_SIZE;

/** What an object's name says. */
export interface ShareObjectName {
  /** 32 hex digits. */
  readonly id: string;
  readonly expiresAtMs: number;
  /** The number of a part of the file, or one of the two things beside it. */
  readonly what: number | 'page' | 'note';
}

export function shareObjectName({ id, expiresAtMs, what }: ShareObjectName): string {
  const end = typeof what === 'number' ? String(what).padStart(5, '0') : what;
  return `${SHARES_PREFIX}${String(expiresAtMs).padStart(14, '0')}.${id}.${end}`;
}

/** Null if it is not the name of a share's object. */
export function parseShareObjectName(name: string): ShareObjectName | null {
  const found = /^shares\/(\d{14})\.([0-9a-f]{32})\.(?:(page|note)|(\d{5}))$/.exec(name);
  if (found === null) return null;
  const [, time, id = '', word, part] = found;
  return { id, expiresAtMs: Number(time), what: word === 'page' || word === 'note' ? word : Number(part) };
}

/** What the vault's own people are told of a share. */
export interface ShareNote {
  /** Of the file that was shared, 64 hex digits. */
  readonly hash: string;
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  readonly createdAtMs: number;
  /** Whether the link takes a password besides. */
  readonly password: boolean;
}

/** A note's text, to be sealed. */
export function encodeShareNote({ hash, name, size, createdAtMs, password }: ShareNote): string {
  const fields = { format: FORMAT, hash, name, size, created: createdAtMs, password };
  return encodeStrictJson(fields).toString();
}

/** @throws `damaged` | `unsupported` */
export function decodeShareNote(text: string): ShareNote {
  return readStrictJson(Buffer.from(text), "A share's note", (fields) => ({
    hash: fields.hex('hash', 32),
    name: fields.string('name'),
    size: fields.integer('size', 0, Number.MAX_SAFE_INTEGER),
    createdAtMs: fields.integer('created', -MAX_TIME_MS, MAX_TIME_MS),
    password: fields.boolean('password'),
  }));
}

/** How many of the shares that objects belong to have links that are still good. */
export function countGoodShares(names: readonly string[], nowMs: number): number {
  const shares = names.map(parseShareObjectName).filter((one) => one !== null && one.expiresAtMs > nowMs);
  return new Set(shares.map((one) => one?.id)).size;
}
