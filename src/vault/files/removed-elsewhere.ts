/** Files that the catalog shows and no bucket lists. Others may have removed them, which only the buckets can know. */
import type { FileRow } from '../../catalog/catalog.ts';
import { isVaultError } from '../../errors.ts';
import { manifestObjectName } from '../../format/manifest.ts';
import type { ReadBucket } from '../buckets/bucket-set.ts';
import type { Take } from '../buckets/steps.ts';
import { readDeletion } from '../protocol/deletions.ts';
import { readLists, rootsOfNamed } from '../protocol/lists.ts';
import type { ReadSession } from '../session.ts';
import { hideAsRecorded } from './catch-up.ts';
import { readManifestBytes } from './manifests.ts';

/**
 * Why no bucket has listed a file that the catalog shows. What is found `removed` it shows no longer.
 *
 * - `removed`  by a record of its removal or, once that has gone, the list of the sweep, which stays for three days
 * - `changed`  it was stored, or removed here, since
 *
 * @returns null for what may be lost. @throws what a bucket says
 */
export type WhyAbsent = (hash: string) => Promise<'removed' | 'changed' | null>;

/** @param options `from`: buckets that answer */
export function absences(
  session: ReadSession,
  take: Take,
  { from, signal }: { readonly from: readonly ReadBucket[]; readonly signal?: AbortSignal | undefined },
): WhyAbsent {
  let swept: Promise<ReadonlyMap<string, number>> | null = null;
  const isSwept = async ({ hash, writer }: FileRow): Promise<boolean> => {
    swept ??= readLists(session, from, signal).then(rootsOfNamed);
    // Whoever has kept an older root must not have a loss taken for a removal.
    const root = session.keys.full?.rootOf(writer) ?? 1;
    return ((await swept).get(manifestObjectName(hash)) ?? 0) >= root;
  };
  return async (hash) => {
    const row = (await session.catalog.files.byHashes([hash])).get(hash);
    if (row === undefined || row.hiddenAtMs !== null) return 'changed';
    const { record } = await readDeletion(session, hash, { from, signal });
    if (record?.live === false) {
      await take([], undefined, (writing) => hideAsRecorded(writing, hash, record, signal));
      return 'removed';
    }
    try {
      await readManifestBytes(session, hash, { from, signal });
      return 'changed';
    } catch (error) {
      if (!isVaultError(error, 'object-missing')) throw error;
    }
    // What was brought back since a list named it was not removed by that.
    if (record !== null || !(await isSwept(row))) return null;
    await take([], undefined, ({ catalog }) => catalog.files.forget([hash]));
    return 'removed';
  };
}
