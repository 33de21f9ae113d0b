/** Making the catalog's rows of files anew, where somebody has changed them. */
import { startContentTag } from '../../crypto/seal.ts';
import { encodeTable } from '../../format/manifest.ts';
import { unreadableAs } from '../files/file-chunks.ts';
import { isFileRowIntact, sealFileRow } from '../files/files.ts';
import { fileEntries } from '../read/get.ts';
import { filesInOrder } from '../files/manifest-copies.ts';
import { readManifest } from '../files/manifests.ts';
import type { Session } from '../session.ts';
import type { CallOptions } from '../vault.ts';

/**
 * Makes the rows that do not open from the files' manifests, which prove themselves. What cannot be read now is left as it is.
 *
 * @returns how many were made anew
 */
export async function repairRecords(session: Session, call: CallOptions): Promise<number> {
  let repaired = 0;
  for await (const row of filesInOrder(session.catalog, call.signal)) {
    if (isFileRowIntact(session, row)) continue;
    try {
      const manifest = await readManifest(session, row.hash, call);
      const { head } = manifest;
      const tag = startContentTag(session.keys, head.chunkSize);
      for await (const entry of fileEntries(session, manifest, call)) tag.update(encodeTable([entry]));
      const whole = sealFileRow(session, row.hash, head, tag.digest('hex'));
      if (await session.catalog.replaceFile(whole)) repaired += 1;
    } catch (error) {
      // Reported by the look at what has become of everything.
      unreadableAs(error, call.signal);
    }
  }
  return repaired;
}
