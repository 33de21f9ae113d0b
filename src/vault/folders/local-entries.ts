/** The entries of a folder as they are compared: of this machine as far as they can be told without reading files, and of an index. */
import type { FolderEntry } from '../../format/folder-index.ts';
import { readAccounts } from './accounts.ts';
import type { Compared } from './compare.ts';
import { bytesOfPath, diskPath, type DiskPath } from './disk-path.ts';
import { makeExcludes } from './excludes.ts';
import type { FolderSource } from './folder-source.ts';
import { isLoss, scan } from './scan.ts';
import type { ScanOptions } from './scan.ts';

/** @throws as `scan` */
export async function* localEntries(
  source: FolderSource,
  { signal, onMissed }: Pick<ScanOptions, 'signal' | 'onMissed'>,
): AsyncGenerator<Compared, void, undefined> {
  const accounts = await readAccounts();
  const excludes = await makeExcludes(source.excludes ?? []);
  const seen = new Set<number>();
  const leftOut: DiskPath[] = [];
  let last: Buffer | null = null;
  for await (const { entry, state } of scan(source.root, {
    ...source,
    excludes,
    accounts,
    signal,
    onMissed: (missed) => {
      const path = diskPath(missed.path);
      // What could not be looked at is not known to be gone; of a folder that has come already, what is in it.
      if (isLoss(missed)) leftOut.push(last?.equals(missed.path) === true ? `${path}/` : path);
      onMissed?.(missed);
    },
    onLeftOut: (path) => leftOut.push(path),
  })) {
    // What is left out of all of it is told before it comes itself.
    if (entry.path.length > 0) for (const path of leftOut.splice(0)) yield { leftOut: bytesOfPath(path) };
    last = entry.path;
    const { kind, linkGroup } = entry;
    const hasContent = kind === 'file' && (linkGroup === null || !seen.has(linkGroup));
    if (linkGroup !== null) seen.add(linkGroup);
    yield hasContent ? { ...entry, content: { size: state.size, offset: 0, extents: null } } : entry;
  }
  for (const path of leftOut) yield { leftOut: bytesOfPath(path) };
}

/** The entries of an index, less those that patterns and the size leave out. */
export async function* storedEntries(
  entries: AsyncIterable<FolderEntry>,
  { excludes = [], largest = Infinity }: Pick<FolderSource, 'excludes' | 'largest'>,
): AsyncGenerator<Compared, void, undefined> {
  const matcher = await makeExcludes(excludes);
  const groups = new Set<number>();
  for await (const entry of entries) {
    const { path, kind, content, linkGroup } = entry;
    const isLarge = (content?.size ?? 0) > largest;
    if (isLarge && linkGroup !== null) groups.add(linkGroup);
    const isLeftOut =
      isLarge ||
      (linkGroup !== null && groups.has(linkGroup)) ||
      (path.length > 0 && matcher?.excludes(diskPath(path), { isFolder: kind === 'folder' }) === true);
    yield isLeftOut ? { leftOut: path } : entry;
  }
}
