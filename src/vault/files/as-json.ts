/** A file's facts as one line of JSON has them; names and meanings are an interface. */
import { isUtf8 } from 'node:buffer';
import type { FolderEntry } from '../../format/folder-index.ts';
import type { FileInfo } from './records.ts';
import { msOfFileTime } from '../../format/file-time.ts';

export function fileAsJson(file: FileInfo): Record<string, unknown> {
  return {
    hash: file.hash,
    kind: file.kind,
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
    ...(file.kind === 'folder' && { entries: file.entries, incomplete: file.incomplete }),
  };
}

/** An entry of a folder as one line of JSON has it. */
export function entryAsJson(entry: FolderEntry): Record<string, unknown> {
  const { path, kind, content, mode, owner, target, linkGroup, device } = entry;
  return {
    path: path.toString(),
    ...bytesUnlessUtf8('pathBytes', path),
    kind,
    size: content?.size ?? null,
    modifiedAt: asTime(modifiedMs(entry)),
    mode: mode === null ? null : mode.toString(8).padStart(4, '0'),
    owner,
    ...(target !== null && { target: target.toString(), ...bytesUnlessUtf8('targetBytes', target) }),
    ...(linkGroup !== null && { linkGroup }),
    ...(device !== null && { device }),
  };
}

/** What is not UTF-8 is not to be had from text. */
function bytesUnlessUtf8(name: string, bytes: Buffer): Record<string, string> {
  return isUtf8(bytes) ? {} : { [name]: bytes.toString('hex') };
}

/** When the source was last modified, in milliseconds since 1970; null if it did not say. */
export function modifiedMs({ modified }: Pick<FileInfo, 'modified'>): number | null {
  return modified === null ? null : msOfFileTime(modified);
}

/** ISO 8601, in UTC; null stays null, and so is a moment that no calendar has. */
export function asTime(ms: number | null): string | null {
  if (ms === null) return null;
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? null : date.toISOString();
}
