/**
 * What lies under earlier roots is stored anew under the last one, and then removed as `rm` removes: first the new version stands, then
 * the old one goes, so that nothing is lost wherever it is cut short. What was stored anew already is found by its content when it is
 * repeated.
 */
import { randomBytes } from 'node:crypto';
import type { FileRow } from '../../catalog/catalog.ts';
import { drawId, requireFull } from '../../crypto/keys.ts';
import { manifestHash, type OpenedManifest } from '../../crypto/manifest.ts';
import { labelIn, sealLabel } from '../../crypto/texts.ts';
import { isVaultError, type VaultError } from '../../errors.ts';
import type { Keyring } from '../../format/keyring.ts';
import { lineagesOf } from '../../format/lineage.ts';
import type { DeletionRecord } from '../../format/removal.ts';
import { forEachBounded } from '../../concurrency/map-ordered.ts';
import { tooFewBuckets } from '../buckets/bucket-set.ts';
import type { CallOptions } from '../call.ts';
import { readManifest, readManifestBytes } from '../files/manifests.ts';
import { contentDigestOf, openFileRowIfIntact, sealFileRow, tagsOf } from '../files/records.ts';
import type { FileRecord } from '../files/records.ts';
import { changeKeyring } from '../keys/keyring-store.ts';
import { manifestKeys } from '../keys/session-keys.ts';
import { BucketClocks } from '../protocol/clocks.ts';
import { GRACE_MS, readDeletion } from '../protocol/deletions.ts';
import type { Guarded } from '../protocol/guarded.ts';
import { syncFiles } from '../recover/recover.ts';
import { removeFiles, type RemoveOptions } from '../remove/rm.ts';
import type { Session } from '../session.ts';
import { NOTHING_STORED, type StoredContent } from '../write/content.ts';
import { listFile, storeManifest } from '../write/finish-put.ts';
import { doublesAmong, factsOf, isSameContent } from './doubles.ts';
import { storeAnew } from './store-anew.ts';

export interface ResealOptions extends CallOptions {
  /** Told of each version that was stored anew, once the one before is removed; and of each that is removed since it was there twice. */
  readonly onResealed?: ((file: Resealed) => void | Promise<void>) | undefined;
}

export interface Resealed {
  readonly name: string;
  readonly version: number;
  /** Of the version that stands now, 64 hex digits. */
  readonly hash: string;
  /** Of the one that it replaces, which is removed. */
  readonly replaces: string;
}

export interface ResealResult {
  /** Versions that were stored anew, or were there twice. */
  readonly resealed: number;
  /** Those that stay as they were, and why: repeating it tries them again. */
  readonly left: readonly { readonly hash: string; readonly name: string; readonly error: VaultError }[];
}

/** Files under way at once: of small ones most of the time is waiting. */
const IN_FLIGHT = 8;
/** More than a name has versions. */
const MANY = 100_000;
/** By a millisecond more than users give, a record of a removal says in every bucket that another version stands for this one. */
const REPLACED_GRACE_MS = GRACE_MS + 1;

/** See `Roots.reseal`. */
export async function resealFiles(session: Session, options: ResealOptions): Promise<ResealResult> {
  const { signal, onWarning } = options;
  const { rootOf } = requireFull(session.keys, 'storing files again');
  await standIn(session, signal);
  await syncFiles(session, { signal, onWarning });
  const { failed } = await session.buckets.check(session.buckets.active, signal);
  if (failed.length > 0) {
    throw tooFewBuckets(
      'Nothing was stored again, since it would be less safe while a bucket is away.',
      failed,
    );
  }
  const isOld = ({ writer }: FileRow): boolean => rootOf(writer) < session.keys.rootNumber;
  let totalBytes = 0;
  for await (const row of session.catalog.files.list({ all: true, signal })) {
    if (isOld(row)) totalBytes += openFileRowIfIntact(session, row)?.info.size ?? 0;
  }
  const run = new Reseal(session, options, totalBytes);
  const old = async function* (): AsyncGenerator<FileRow> {
    for await (const row of session.catalog.files.list({ all: true, signal })) if (isOld(row)) yield row;
  };
  await forEachBounded(old(), (row, aborted) => run.take(row, aborted), { inFlight: IN_FLIGHT, signal });
  await run.removeDoubles(signal);
  return { resealed: run.resealed, left: run.left };
}

/** Names writers of the last root for those of earlier ones with whose names nobody goes on: what they stored is kept as theirs. */
async function standIn(session: Session, signal: AbortSignal | undefined): Promise<void> {
  const { keys } = session;
  const change = (keyring: Keyring): Keyring | null => {
    const heads = keyring.former.filter(({ root, next }) => root < keyring.root && next === null);
    if (heads.length === 0) return null;
    const nextOf = new Map(heads.map(({ writer }) => [writer, drawId()]));
    const added = heads.map((one) => {
      const writer = nextOf.get(one.writer) ?? '';
      // Nobody has a key of it: only holders of full ones seal as it.
      const role = 'full' as const;
      return {
        writer,
        root: keyring.root,
        role,
        label: sealLabel(keys, writer, labelIn(keys, one)),
        next: null,
      };
    });
    const former = keyring.former.map((one) => ({ ...one, next: nextOf.get(one.writer) ?? one.next }));
    return { ...keyring, former: [...former, ...added] };
  };
  if (change(session.keyring.keyring) !== null) await changeKeyring(session, change, { all: false, signal });
}

class Reseal {
  readonly #session: Session;
  readonly #options: ResealOptions;
  readonly #totalBytes: number;
  #doneBytes = 0;
  /** As the writers whose files are stored. */
  readonly #sessions = new Map<string, Session>();
  /** What is under way of a name: its versions follow each other, the newest first. */
  readonly #names = new Map<string, Promise<void>>();
  resealed = 0;
  readonly left: ResealResult['left'][number][] = [];

  constructor(session: Session, options: ResealOptions, totalBytes: number) {
    this.#session = session;
    this.#options = options;
    this.#totalBytes = totalBytes;
    this.#tell(0);
  }

  async take(row: FileRow, signal: AbortSignal): Promise<void> {
    const tag = Buffer.from(row.nameTag).toString('hex');
    const before = this.#names.get(tag);
    const taking = (before ?? Promise.resolve()).catch(() => undefined).then(() => this.#try(row, signal));
    this.#names.set(tag, taking);
    await taking;
    if (this.#names.get(tag) === taking) this.#names.delete(tag);
  }

  async #try(row: FileRow, signal: AbortSignal): Promise<void> {
    const { hash } = row;
    try {
      const now = (await this.#session.catalog.files.byHashes([hash])).get(hash);
      if (now?.hiddenAtMs !== null) return;
      const { isOwn, ...file } = await this.#reseal(hash, signal);
      // A user has removed it meanwhile: that is meant of what took its place, too. If it was stored anew by somebody else, what that one
      // relies on may be the very version that is here. What others have made is theirs to remove.
      const { record: earlier } = await readDeletion(this.#session, hash, { signal });
      if (earlier !== null && isUsers(earlier)) {
        // Their record stays: it is what the next one goes by if this is cut short.
        if (isOwn) await this.#remove(file.hash, { graceMs: earlier.graceMs, signal });
        return;
      }
      let isByUser = false;
      const onOverruled = (before: DeletionRecord): void => void (isByUser = isUsers(before));
      const isRemoved = await this.#remove(hash, { signal, onOverruled });
      const { record } = await readDeletion(this.#session, hash, { signal });
      isByUser ||= record !== null && isUsers(record);
      if (isOwn && isByUser) await this.#remove(file.hash, { signal });
      else if (isRemoved) await this.#done({ ...file, replaces: hash });
    } catch (error) {
      // The others can be had all the same.
      if (!isVaultError(error, 'damaged', 'unavailable', 'denied', 'unsupported', 'object-missing', 'stale'))
        throw error;
      const name = openFileRowIfIntact(this.#session, row)?.info.name ?? hash;
      this.left.push({ hash, name, error });
    }
  }

  async #done(file: Resealed): Promise<void> {
    this.resealed += 1;
    await this.#options.onResealed?.(file);
  }

  /** Removes what others have stored anew, too. */
  async removeDoubles(signal: AbortSignal | undefined): Promise<void> {
    const { catalog, keys } = this.#session;
    const { rootOf } = requireFull(keys, 'this');
    const resealed = async function* (): AsyncGenerator<FileRow> {
      for await (const row of catalog.files.list({ all: true, signal }))
        if (rootOf(row.writer) === keys.rootNumber) yield row;
    };
    for await (const { record, kept } of doublesAmong(this.#session, resealed(), signal)) {
      const { hash, name, version } = kept.info;
      if (!(await this.#remove(record.info.hash, { signal }))) continue;
      await this.#done({ name, version, hash, replaces: record.info.hash });
    }
  }

  /** @returns whether it was there to be removed */
  async #remove(
    hash: string,
    options: Pick<RemoveOptions, 'graceMs' | 'signal' | 'onOverruled'>,
  ): Promise<boolean> {
    const { onWarning } = this.#options;
    try {
      await removeFiles(this.#session, [hash], { graceMs: REPLACED_GRACE_MS, onWarning, ...options });
      return true;
    } catch (error) {
      if (!isVaultError(error, 'file-not-found')) throw error;
      return false;
    }
  }

  /** Stores a version anew, unless it was before. @throws `unavailable` if it is less safe than with every bucket at hand */
  async #reseal(
    hash: string,
    signal: AbortSignal,
  ): Promise<Omit<Resealed, 'replaces'> & { readonly isOwn: boolean }> {
    const { onWarning } = this.#options;
    const manifest = await readManifest(this.#session, hash, { signal, onWarning });
    const session = this.#as(lineagesOf(this.#session.keyring.keyring).headOf(manifest.writer));
    const { head } = manifest;
    const file = { session, hash, manifest, signal, others: await this.#others(session, head.name) };
    const isSmall = manifest.content === null || head.chunks + head.indexChunks === 0;
    // Small files, too: one marker serves all, and whom they are stored for has no key in the keyring that could be looked for.
    const found = await session.guard.run(async (guarded) => {
      const { content } = manifest;
      if (content === null || isSmall) return this.#finish(file, guarded, contentOf(manifest));
      const onBytes = (count: number): void => this.#tell(count);
      const call = { guarded, signal, onWarning, onBytes };
      return this.#finish(file, guarded, await storeAnew(session, { head, content }, call));
    }, signal);
    if (isSmall) this.#tell(head.size ?? 0);
    return { name: head.name, ...found };
  }

  async #finish(
    file: ResealedFile,
    guarded: Guarded,
    content: StoredContent | null,
  ): Promise<{ readonly hash: string; readonly version: number; readonly isOwn: boolean }> {
    const { session, signal } = file;
    const made = (await this.#found(file, content)) ?? (await sealed(file, content));
    const { hash, bytes, version, row } = made;
    const clocks = new BucketClocks(session.clock);
    const { copies } = await storeManifest(session, {
      hash,
      bytes,
      guarded,
      clocks,
      isNew: row !== null,
      signal,
    });
    if (row !== null) await listFile(session, row);
    if ((content?.degradedChunks ?? 0) > 0 || copies < session.buckets.active.length) {
      throw tooFewBuckets('It was stored again, but not in every bucket: what it replaces stays.', []);
    }
    return { hash, version, isOwn: row !== null };
  }

  /** What was stored anew of this version before, though maybe not in every bucket. */
  async #found(
    { session, manifest: { head }, hash, others, signal }: ResealedFile,
    content: StoredContent | null,
  ): Promise<Made | null> {
    const digest = content === null ? null : contentDigestOf(content);
    const bytesOf = async (of: string): Promise<Uint8Array> =>
      (await readManifestBytes(session, of, { signal })).bytes;
    for (const { info, contentDigest } of others) {
      if (contentDigest !== digest || factsOf(info) !== factsOf(head)) continue;
      try {
        const bytes = await bytesOf(info.hash);
        if (content !== null || isSameContent(bytes, await bytesOf(hash))) {
          return { hash: info.hash, version: info.version, bytes, row: null };
        }
      } catch (error) {
        // It deserves another one.
        if (!isVaultError(error, 'damaged', 'object-missing')) throw error;
      }
    }
    return null;
  }

  /** What the last root has of a name, as far as it stands. */
  async #others(session: Session, name: string): Promise<readonly FileRecord[]> {
    const rows = await session.catalog.files.byName(tagsOf(session, session.keys.writer.id, name), MANY);
    const rootOf = requireFull(session.keys, 'this').rootOf;
    return rows.flatMap((row) =>
      rootOf(row.writer) === session.keys.rootNumber ? (openFileRowIfIntact(session, row) ?? []) : [],
    );
  }

  /** A session that stores as another writer. */
  #as(id: string): Session {
    const { keys } = this.#session;
    if (id === keys.writer.id) return this.#session;
    const writer = requireFull(keys, 'storing as another').writer(id);
    const known = this.#sessions.get(id) ?? { ...this.#session, ...manifestKeys({ ...keys, writer }) };
    this.#sessions.set(id, known);
    return known;
  }

  #tell(bytes: number): void {
    this.#doneBytes += bytes;
    this.#options.onProgress?.({ doneBytes: this.#doneBytes, totalBytes: this.#totalBytes });
  }
}

/** Whether a record says that a user has removed a file, and not that another version stands for it. */
function isUsers({ live, graceMs }: DeletionRecord): boolean {
  return !live && graceMs !== REPLACED_GRACE_MS;
}

/** A version that is stored anew. */
interface ResealedFile {
  /** Of the writer whose it is to be. */
  readonly session: Session;
  /** Of the version under the root before. */
  readonly hash: string;
  readonly manifest: OpenedManifest;
  /** What the last root has of its name. */
  readonly others: readonly FileRecord[];
  readonly signal: AbortSignal;
}

/** A content that has no chunks; null for a locked one. */
function contentOf({ content }: OpenedManifest): StoredContent | null {
  if (content === null) return null;
  const { table, folder } = content;
  return { table, folder, ids: { depth: 0, ids: [] }, chunks: 0, indexChunks: 0, ...NOTHING_STORED };
}

/**
 * The number of a version that was stored before all others of the last root: its own, unless one of those has it or a lower one. So
 * whatever number somebody has given who has kept the root before, it does not become the newest.
 */
function versionBefore(others: readonly FileRecord[], version: number): number {
  const lowest = Math.min(Infinity, ...others.map(({ info }) => info.version));
  return Math.max(1, Math.min(version, lowest - 1));
}

/** A manifest under the last root; `row`: what the catalog shall have of it, null if it has that already. */
interface Made {
  readonly hash: string;
  readonly version: number;
  readonly bytes: Uint8Array;
  readonly row: FileRow | null;
}

/**
 * @param content null for a locked file, of which nothing is known: its chunks stay what they are, since they have keys of their own,
 *   which the lock gives
 */
async function sealed(file: ResealedFile, content: StoredContent | null): Promise<Made> {
  const { session, hash: before, manifest, others, signal } = file;
  const { epoch, redundancy } = session.keyring.keyring;
  const version = versionBefore(others, manifest.head.version);
  const head = { ...manifest.head, version, epoch, ...(content !== null && { redundancy }) };
  const contentKey = randomBytes(32);
  let part = { head, ids: manifest.ids, access: manifest.access };
  let bytes: Buffer;
  if (content === null) {
    bytes = session.sealer.reseal((await readManifestBytes(session, before, { signal })).bytes, part);
  } else {
    const { ids, table, folder } = content;
    part = { head, ids, access: { content: contentKey } };
    const how = { content: table, folder: folder ?? undefined, contentKey, lock: null };
    bytes = session.sealer.seal({ head, ids, ...how });
  }
  const hash = manifestHash(bytes);
  const contentDigest = content === null ? null : contentDigestOf(content);
  const row = sealFileRow(session, { hash, writer: session.keys.writer.id, part, contentDigest });
  return { hash, version, bytes, row };
}
