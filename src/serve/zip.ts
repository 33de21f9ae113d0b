/** A stored folder as a zip archive, for those who have no tar. Nothing is packed: what is worth it is packed where it is stored. */
import { makeZip } from 'client-zip';
import { msOfFileTime } from '../format/file-time.ts';
import type { FolderEntry } from '../format/folder-index.ts';
import { wholeFile, type ReadContent } from '../vault/folders/with-holes.ts';

/** What a zip archive can say of times: 1980 to 2107, in local time. */
const [FIRST_MS, LAST_MS] = [Date.UTC(1980, 0, 2), Date.UTC(2107, 11, 30)];
const SYMLINK = 0o120777;

type Members = Parameters<typeof makeZip>[0];
type Member = Members extends AsyncIterable<infer M> | Iterable<unknown> ? M : never;

/**
 * The archive's bytes. Each path of a hard link is a file of its own; devices and pipes are left out.
 *
 * @param prefix the name of the folder in the archive
 * @throws as reading content; what came before is no whole archive then
 */
export async function* zipStream(
  entries: AsyncIterable<FolderEntry>,
  readContent: ReadContent,
  { prefix, signal }: { readonly prefix: string; readonly signal: AbortSignal },
): AsyncGenerator<Uint8Array, void, undefined> {
  yield* makeZip(members(entries, readContent, { prefix, signal }));
}

async function* members(
  entries: AsyncIterable<FolderEntry>,
  readContent: ReadContent,
  { prefix, signal }: { readonly prefix: string; readonly signal: AbortSignal },
): AsyncGenerator<Member, void, undefined> {
  const groups = new Map<number | null, FolderEntry['content']>();
  for await (const entry of entries) {
    const { path, kind, mode, modified, target, linkGroup } = entry;
    const name = path.length === 0 ? Buffer.from(prefix) : Buffer.concat([Buffer.from(`${prefix}/`), path]);
    const ms = modified === null ? FIRST_MS : msOfFileTime(modified);
    const facts = { name, lastModified: new Date(Math.min(LAST_MS, Math.max(FIRST_MS, ms))) };
    const permissions = mode === null ? {} : { mode };
    if (kind === 'folder') yield { ...facts, ...permissions };
    if (kind === 'symlink') yield { ...facts, mode: SYMLINK, input: target ?? '' };
    if (kind !== 'file') continue;
    const whole = { ...entry, content: entry.content ?? groups.get(linkGroup) ?? null };
    groups.set(linkGroup, whole.content);
    yield { ...facts, ...permissions, input: copies(wholeFile(whole, readContent(whole, signal))) };
  }
}

/** The archive is made ahead of what is sent of it, and the memory of a run is soon that of the next one. */
async function* copies(runs: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const run of runs) yield Uint8Array.from(run);
}
