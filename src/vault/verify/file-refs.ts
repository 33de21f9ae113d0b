/** Every chunk of a file or folder that is not locked, with what proves it: for checks that read everything. */
import type { OpenedManifest } from '../../crypto/manifest.ts';
import type { ChunkRef, ContentPart } from '../../format/manifest.ts';
import { contentProof, contentsOf, provingRefs, type ProvingRef } from '../files/tables.ts';
import type { Session } from '../session.ts';

/**
 * Its content's chunks in order, a folder's index's, then those of its tables; what a part of a table lists comes once.
 *
 * @throws `damaged` if the tables contradict the manifest; as reading the chunks of the tables
 */
export async function* everyRef(
  session: Session,
  { head, ids }: Pick<OpenedManifest, 'head' | 'ids'>,
  content: ContentPart,
  signal: AbortSignal | undefined,
): AsyncGenerator<ProvingRef, void, undefined> {
  const tables: ChunkRef[] = [];
  for (const one of contentsOf(head, content)) {
    if (one.table.inline !== null) continue;
    for await (const found of contentProof(session, one, { signal })) {
      if (found.isTable) tables.push(found.ref);
      else yield found;
    }
  }
  for (const ref of tables) yield { ref, isTable: true };
  if (ids.depth === 0) return;
  const parts = provingRefs(session, ids.refs, ids.depth - 1, { signal });
  for await (const ref of parts) yield { ref, isTable: true };
}
