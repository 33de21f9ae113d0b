/** Files by what a user calls them, joined as `joinFiles` joins all. */
import { isVaultError } from '../../errors.ts';
import { MANIFEST_PREFIX, parseManifestObjectName } from '../../format/manifest.ts';
import type { ReadBucket } from '../buckets/bucket-set.ts';
import { mergedListing, type MergeOptions } from '../buckets/merged-listing.ts';
import type { JoinedFile } from '../files/file-join.ts';
import { notFound, resolveFile } from '../files/resolve.ts';
import type { Session } from '../session.ts';

/**
 * The files that references mean, each once.
 *
 * @param options `references`: hashes, prefixes or names
 * @throws `file-not-found`, before the first file
 */
export async function* givenFiles(
  session: Session,
  buckets: readonly ReadBucket[],
  options: MergeOptions & { readonly references: readonly string[] },
): AsyncGenerator<JoinedFile, void, undefined> {
  const { references, signal, onFailure } = options;
  const files = new Map<string, JoinedFile>();
  for (const reference of references) {
    const hash = await hashOf(session, reference);
    const row = (await session.catalog.files.byHashes([hash])).get(hash) ?? null;
    let holders: JoinedFile['holders'] = [];
    for await (const entry of mergedListing(buckets, `${MANIFEST_PREFIX}${hash}`, { signal, onFailure })) {
      if (parseManifestObjectName(entry.name) === hash) ({ holders } = entry);
    }
    if (row === null && holders.length === 0) throw notFound(reference);
    files.set(hash, { hash, holders, row });
  }
  yield* files.values();
}

async function hashOf(session: Session, reference: string): Promise<string> {
  try {
    return (await resolveFile(session, reference)).info.hash;
  } catch (error) {
    // What the catalog does not know, or has changed, the buckets may have.
    const hash = reference.toLowerCase();
    if (isVaultError(error, 'file-not-found', 'damaged') && /^[0-9a-f]{64}$/.test(hash)) return hash;
    throw error;
  }
}
