/** A file's facts as one line of JSON has them; names and meanings are an interface. */
import type { FileInfo } from '../../vault/files/records.ts';
import type { Style } from './terminal.ts';
import { msOfFileTime } from '../../format/file-time.ts';

export function fileAsJson(file: FileInfo): Record<string, unknown> {
  return {
    hash: file.hash,
    name: file.name,
    size: file.size,
    createdAt: asTime(file.createdAtMs),
    modifiedAt: asTime(modifiedMs(file)),
    expiresAt: asTime(file.expiresAtMs),
    mode: file.mode === null ? null : file.mode.toString(8).padStart(4, '0'),
    chunkSize: file.chunkSize,
    chunks: file.chunks,
    version: file.version,
    locked: file.locked,
  };
}

/** When the source was last modified, in milliseconds since 1970; null if it did not say. */
export function modifiedMs({ modified }: Pick<FileInfo, 'modified'>): number | null {
  return modified === null ? null : msOfFileTime(modified);
}

/** ISO 8601, in UTC; null stays null, and so is a moment that no calendar has. */
function asTime(ms: number | null): string | null {
  if (ms === null) return null;
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? null : date.toISOString();
}

/** Colours a condition of a file or a bucket by how much it asks for attention; what is none of these is an error. */
export function paintCondition(style: Style, text: string): string {
  if (text === 'whole' || text === 'active') return style('green', text);
  return style(['degraded', 'unknown', 'draining'].includes(text) ? 'yellow' : 'red', text);
}

/** How many digits of a hash are shown where space is short; `get` and the others take 8 or more. */
const SHORT_HASH_LENGTH = 12;

export function shortHash(hash: string): string {
  return hash.slice(0, SHORT_HASH_LENGTH);
}
