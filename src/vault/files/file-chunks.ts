/** The chunks of a stored file, those that hold its tables first. */
import { isVaultError, throwIfAborted } from '../../errors.ts';
import type { ManifestHead } from '../../format/manifest.ts';
import type { WantedChunk } from '../chunks/chunk-source.ts';
import { entriesAtDepth } from '../read/get.ts';
import { readManifest } from './manifests.ts';
import { withSignal } from '../session.ts';
import type { Session } from '../session.ts';

export interface ChunkRun {
  readonly head: ManifestHead;
  readonly entries: readonly WantedChunk[];
}

/**
 * Every chunk that a file needs, in runs.
 *
 * @param options `most`: chunks in a run
 * @throws as reading the file's manifest and tables
 */
export async function* fileChunks(
  session: Session,
  hash: string,
  { most, signal }: { readonly most: number; readonly signal: AbortSignal | undefined },
): AsyncGenerator<ChunkRun, void, undefined> {
  const manifest = await readManifest(session, hash, withSignal(signal));
  const { head } = manifest;
  for (let depth = head.tableDepth; depth >= 0; depth -= 1) {
    let entries: WantedChunk[] = [];
    for await (const entry of entriesAtDepth(session, manifest, depth, withSignal(signal))) {
      entries.push(entry);
      if (entries.length < most) continue;
      yield { head, entries };
      entries = [];
    }
    if (entries.length > 0) yield { head, entries };
  }
}

/**
 * What an error while reading a manifest or a table says of the file.
 *
 * @throws the error, if it says nothing of that
 */
export function unreadableAs(error: unknown, signal: AbortSignal | undefined): 'lost' | 'unknown' {
  throwIfAborted(signal);
  if (!isVaultError(error, 'damaged', 'unavailable', 'denied', 'unsupported')) throw error;
  return error.code === 'damaged' ? 'lost' : 'unknown';
}
