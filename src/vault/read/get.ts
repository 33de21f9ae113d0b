/** Reading a file back. */
import { openAsking } from '../../crypto/asked-password.ts';
import type { OpenedContent, OpenedManifest } from '../../crypto/manifest.ts';
import { invalidInput, isVaultError, throwIfAborted, VaultError } from '../../errors.ts';
import { mostBody, type ChunkRef, type ContentTable } from '../../format/manifest.ts';
import { mapOrdered } from '../../concurrency/map-ordered.ts';
import { Lender } from '../../concurrency/semaphore.ts';
import { allocateChunkMemory, chunkMemorySize, chunksInFlight } from '../chunks/chunk-memory.ts';
import { ChunkReader } from '../chunks/chunk-reader.ts';
import { telling } from '../buckets/steps.ts';
import type { CallOptions } from '../call.ts';
import { readManifest } from '../files/manifests.ts';
import type { FileInfo } from '../files/records.ts';
import { absences } from '../files/removed-elsewhere.ts';
import { notFound, resolveFile } from '../files/resolve.ts';
import { contentRefs } from '../files/tables.ts';
import { isDeleted } from '../protocol/deletions.ts';
import type { Session } from '../session.ts';

export interface GetOptions extends CallOptions {
  /** Gives the password of a locked file; asked only for one, and told why the one before was refused. */
  readonly lockPassword?: ((file: FileInfo, refused: VaultError | null) => Promise<string>) | undefined;
  /** How often it is asked for while it is wrong; once unless given. */
  readonly lockPasswordTries?: number | undefined;
}

export interface StoredFile extends FileInfo {
  /** Bytes, also of a locked file. */
  readonly contentSize: number;
  /**
   * The file's bytes in order, each run verified before it is yielded. A run's memory is only valid until the next one is asked for.
   *
   * @throws `damaged` if a chunk cannot be had from any k shards, naming which bucket lacks what; `unavailable` if it
   *   could be had from a bucket that is down; `file-not-found` if the file is removed meanwhile; what came before was right
   */
  content(options?: ContentOptions): AsyncIterable<Uint8Array>;
}

export interface ContentOptions extends CallOptions {
  /** The first byte wanted, and the one behind the last; the whole content unless given. Both within it. */
  readonly start?: number | undefined;
  readonly end?: number | undefined;
  /** Most chunks that are read at once; as many as the vault's limits allow unless given. */
  readonly chunksInFlight?: number | undefined;
}

/** A file or folder whose manifest has been read, and unlocked if need be. */
export interface OpenedStored {
  readonly info: FileInfo;
  readonly content: OpenedContent;
  /** What to say of an error that reading it has thrown. */
  readonly explain: (error: unknown) => Promise<unknown>;
}

export async function getFile(
  session: Session,
  reference: string,
  options: GetOptions = {},
): Promise<StoredFile> {
  const opened = await openStored(session, reference, options);
  if (opened.info.kind === 'file') return storedFile(session, opened);
  throw invalidInput(`"${opened.info.name}" is a folder: it cannot be read as a file.`);
}

/** Reads the manifest of what a reference means. @throws as `getFile` */
export async function openStored(
  session: Session,
  reference: string,
  options: GetOptions,
): Promise<OpenedStored> {
  const found = await findFile(session, reference, options);
  const { hash } = found;
  // Threads start while the manifest comes.
  if (found.kind === 'file') session.workers.warm(found.chunks, 'open', found.size ?? 0);
  const explain = (error: unknown): Promise<unknown> => whyUnreadable(session, found, error);
  try {
    const manifest = await readManifest(session, hash, options);
    const info = { hash, ...manifest.head };
    return { info, content: manifest.content ?? (await unlockContent(manifest, info, options)), explain };
  } catch (error) {
    throw await explain(error);
  }
}

export function storedFile(session: Session, { info, content, explain }: OpenedStored): StoredFile {
  const { table } = content;
  return {
    ...info,
    contentSize: table.size,
    async *content(call) {
      try {
        yield* readContent(session, { table, chunks: info.chunks }, call);
      } catch (error) {
        throw await explain(error);
      }
    },
  };
}

/** What a reference means; a whole hash that the catalog does not know is asked for in the buckets. */
async function findFile(
  session: Session,
  reference: string,
  { signal }: CallOptions,
): Promise<Pick<FileInfo, 'hash' | 'name' | 'kind' | 'size' | 'chunks'>> {
  try {
    return (await resolveFile(session, reference, { signal })).info;
  } catch (error) {
    const hash = reference.toLowerCase();
    const isLost = isVaultError(error, 'file-not-found', 'damaged') && /^[0-9a-f]{64}$/.test(hash);
    if (!isLost || (await isDeleted(session, hash, signal))) throw error;
    try {
      const { head } = await readManifest(session, hash, { signal });
      return { hash, ...head };
    } catch (cause) {
      if (isVaultError(cause, 'damaged')) throw notFound(reference);
      throw cause;
    }
  }
}

async function unlockContent(
  manifest: OpenedManifest,
  info: FileInfo,
  { lockPassword, lockPasswordTries: tries }: GetOptions,
): Promise<OpenedContent> {
  if (lockPassword === undefined) {
    throw new VaultError(
      'wrong-password',
      `"${info.name}" has a password of its own, and none was given for it.`,
    );
  }
  return openAsking({ give: (refused) => lockPassword(info, refused), tries }, async (password) => {
    const content = await manifest.unlock(password);
    if (content !== null) return content;
    throw new VaultError('wrong-password', `This password does not open the lock of "${info.name}".`);
  });
}

/** What to say of a file that cannot be read: if it has been removed, nothing is damaged. */
async function whyUnreadable(
  session: Session,
  { hash, name }: { readonly hash: string; readonly name: string },
  error: unknown,
): Promise<unknown> {
  if (!isVaultError(error, 'damaged')) return error;
  const whyAbsent = absences(session, telling(), { from: session.buckets.all });
  try {
    if (!(await isDeleted(session, hash)) && (await whyAbsent(hash)) !== 'removed') return error;
  } catch {
    return error;
  }
  const message = `"${name}" was removed, elsewhere or while it was read. "vault sync" tells the catalog of what others remove.`;
  return new VaultError('file-not-found', message, { cause: error });
}

/** The bytes of a content, run by run; see `StoredFile.content`. */
export async function* readContent(
  session: Session,
  content: { readonly table: ContentTable; readonly chunks: number },
  options: ContentOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const { size, inline } = content.table;
  const { start = 0, end = size } = options;
  options.onProgress?.({ doneBytes: 0, totalBytes: size });
  if (inline !== null) {
    yield inline.subarray(start, end);
    options.onProgress?.({ doneBytes: size, totalBytes: size });
    return;
  }
  const reader = new ChunkReader(session);
  const largest = mostBody(content.table);
  const most = chunksInFlight(session.limits, chunkMemorySize(largest, null) * 2);
  const inFlight = Math.min(most, options.chunksInFlight ?? most);
  // Chunks are fetched while those before them are opened and used, so that network and threads do not wait for each other.
  // What is being opened takes its shards and its body, what is fetched its shards alone: twice as many chunks in all.
  const opening = Math.ceil(inFlight / 2);
  const lender = new Lender(opening + 1, () => allocateChunkMemory(largest, null));
  let doneBytes = 0;
  session.workers.warm(content.chunks, 'open', end - start);
  const fetched = (signal: AbortSignal) =>
    mapOrdered(
      refsWithin(contentRefs(session, content, options), start, end),
      async ({ ref, at }, aborted) => ({ chunk: await reader.fetch(ref, aborted), at }),
      { inFlight, signal },
    );
  const bodies = mapOrdered(
    fetched,
    async ({ chunk, at }, signal) => {
      const memory = await lender.borrow();
      const whole = await reader.open(memory, chunk, signal);
      return { memory, body: whole.subarray(Math.max(0, start - at), end - at) };
    },
    { inFlight: opening, signal: options.signal },
  );
  for await (const { memory, body } of bodies) {
    yield body;
    lender.giveBack(memory);
    throwIfAborted(options.signal);
    doneBytes += body.length;
    options.onProgress?.({ doneBytes, totalBytes: size });
  }
  for (const warning of reader.problems.warnings()) options.onWarning?.(warning);
}

/** The chunks that have bytes between two places, each with the place where it begins. A file without bytes keeps its only one. */
async function* refsWithin(
  refs: AsyncIterable<ChunkRef>,
  start: number,
  end: number,
): AsyncGenerator<{ readonly ref: ChunkRef; readonly at: number }, void, undefined> {
  let at = 0;
  for await (const ref of refs) {
    if (at >= end && at > 0) return;
    if (at + ref.length > start || ref.length === 0) yield { ref, at };
    at += ref.length;
  }
}
