/** The entries of a folder of this machine as an index would have them, as far as they can be told without reading files. */
import type { FolderEntry } from '../../format/folder-index.ts';
import { readAccounts } from './accounts.ts';
import { makeExcludes } from './excludes.ts';
import type { FolderSource } from './folder-source.ts';
import { scan } from './scan.ts';
import type { ScanOptions } from './scan.ts';

/** @throws as `scan` */
export async function* localEntries(
  source: FolderSource,
  { signal, onMissed }: Pick<ScanOptions, 'signal' | 'onMissed'>,
): AsyncGenerator<FolderEntry, void, undefined> {
  const accounts = await readAccounts();
  const excludes = await makeExcludes(source.excludes ?? []);
  const seen = new Set<number>();
  for await (const { entry, state } of scan(source.root, {
    ...source,
    excludes,
    accounts,
    signal,
    onMissed,
  })) {
    const { kind, linkGroup } = entry;
    const hasContent = kind === 'file' && (linkGroup === null || !seen.has(linkGroup));
    if (linkGroup !== null) seen.add(linkGroup);
    yield hasContent ? { ...entry, content: { size: state.size, offset: 0, extents: null } } : entry;
  }
}
