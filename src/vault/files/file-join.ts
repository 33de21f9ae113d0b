/** The one join of what the buckets list with what the catalog says of files: for verify, sweep, repair and recover. */
import type { FileRow } from '../../catalog/catalog.ts';
import { MANIFEST_PREFIX, parseManifestObjectName } from '../../format/manifest.ts';
import type { ReadBucket } from '../buckets/bucket-set.ts';
import { mergedListing, type Holder, type MergeOptions } from '../buckets/merged-listing.ts';
import type { ReadSession } from '../session.ts';

/** One file, as either side knows it. */
export interface JoinedFile {
  readonly hash: string;
  /** Buckets that list its manifest. */
  readonly holders: readonly Holder[];
  /** The catalog's row, hidden or not; null if it has none. */
  readonly row: FileRow | null;
}

/**
 * Every file that a bucket or the catalog knows, by hash.
 *
 * @throws what the listings and the catalog throw, see `mergedListing`
 */
export async function* joinFiles(
  session: ReadSession,
  buckets: readonly ReadBucket[],
  options: MergeOptions = {},
): AsyncGenerator<JoinedFile, void, undefined> {
  const rows = session.catalog.files.walk({ signal: options.signal })[Symbol.asyncIterator]();
  const next = async (): Promise<FileRow | null> => {
    const result = await rows.next();
    return result.done === true ? null : result.value;
  };
  try {
    let row = await next();
    for await (const { name, holders } of mergedListing(buckets, MANIFEST_PREFIX, options)) {
      const hash = parseManifestObjectName(name);
      if (hash === null) continue;
      while (row !== null && row.hash < hash) {
        yield { hash: row.hash, holders: [], row };
        row = await next();
      }
      const same = row?.hash === hash ? row : null;
      if (same !== null) row = await next();
      yield { hash, holders, row: same };
    }
    while (row !== null) {
      yield { hash: row.hash, holders: [], row };
      row = await next();
    }
  } finally {
    await rows.return?.();
  }
}
