/**
 * What this machine remembers of a folder or a large file that it has stored: of each group of files which ones they were, and the
 * chunks that they went into. What is unchanged since is stored by referring to those, without being read.
 *
 * A log is a cache. One that is absent, cut off, unreadable or somebody else's says nothing, or less, and what it does not
 * say is read. Whoever uses its chunks makes sure that the buckets have them.
 *
 * File: salt (32) | frames of 64 KiB, the last one shorter, each sealed. In them, one after another, records (`log-record.ts`).
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { open as openFile, readdir, rename, rm, stat } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { FRAME_OVERHEAD, LOG_SALT_SIZE, localLogTag, LogSeal } from '../../crypto/local-log.ts';
import type { VaultKeys } from '../../crypto/keys.ts';
import { makeFolder, syncFolder } from '../../disk/folders.ts';
import { messageOf } from '../../errors.ts';
import { comparePaths } from '../../format/folder-index.ts';
import type { ChunkRef } from '../../format/manifest.ts';
import {
  decodeRecord,
  encodeFacts,
  encodeRecord,
  firstPathOf,
  lastPathOf,
  placesOf,
  recordSize,
  RefRuns,
} from './log-record.ts';
import type { DataPlace, FileFacts, LoggedGroup } from './log-record.ts';

export { isWhole } from './log-record.ts';
export type { DataPlace, FileFacts, LoggedGroup } from './log-record.ts';

/** Which log. */
export interface LogPlace {
  /** The folder of all logs; made when one is written. */
  readonly folder: string;
  readonly keys: Pick<VaultKeys, 'vaultId' | 'writer'>;
  /** What the stored folder goes by. */
  readonly name: string;
}

/** Bytes of a frame, unsealed. */
const FRAME_SIZE = 64 * 1024;
/** Chunks of a file that a log keeps, 68 bytes each: those of about 1 TiB. Larger files are read each time. */
const MOST_CHUNKS = 1024 * 1024;
const MOST_RECORD_SIZE = 128 * 1024 * 1024;
/**
 * A file that was changed less than this before it was read may change again without any of its times changing, and is not
 * relied on: clocks of file systems go by steps, at most of two seconds (FAT).
 */
const SETTLED_NS = 2_000_000_000n;
/** Milliseconds after which an unfinished log is one that was left behind. */
const LEFT_BEHIND_MS = 24 * 60 * 60 * 1000;

function fileName({ keys, name }: LogPlace): string {
  return `${localLogTag(keys, name)}.log`;
}

/** What a log says of a group of files. */
export interface Remembered {
  /** If they were a group, and all of them are unchanged. */
  readonly whole: LoggedGroup | null;
  /** Else of each file where its data is, if it is unchanged and all of that is in one chunk. */
  readonly places: readonly (DataPlace | null)[];
}

/** Looks up groups in the order of the index, in which a log has them, too: it is read once, beside the folder. */
export class LoggedGroups {
  /** Null at the end. */
  #groups: AsyncGenerator<LoggedGroup, void, undefined> | null;
  #next: LoggedGroup | null = null;

  /** @param place null for no log: nothing is known */
  constructor(place: LogPlace | null) {
    this.#groups = place === null ? null : readLog(place);
  }

  /**
   * What was stored of some files.
   *
   * @param files those with content of one group; later groups may be asked for later, earlier ones never again
   */
  async find(files: readonly FileFacts[]): Promise<Remembered> {
    const [first, last] = [files[0], files.at(-1)];
    if (first === undefined || last === undefined) return { whole: null, places: [] };
    const wanted = encodeFacts(files);
    const places = new Map<string, DataPlace>();
    for (;;) {
      const next = (this.#next ??= await this.#read());
      if (next === null || comparePaths(firstPathOf(next.facts), last.path) > 0) break;
      if (wanted.equals(next.facts)) {
        this.#next = null;
        return { whole: next, places: [] };
      }
      for (const { facts, place } of placesOf(next)) places.set(facts.toString('latin1'), place);
      // Of the others some may be in the group after.
      if (comparePaths(lastPathOf(next), last.path) > 0) break;
      this.#next = null;
    }
    return {
      whole: null,
      places: files.map((file) => places.get(encodeFacts([file]).toString('latin1')) ?? null),
    };
  }

  async close(): Promise<void> {
    await this.#groups?.return();
  }

  async #read(): Promise<LoggedGroup | null> {
    const read = await this.#groups?.next();
    if (read?.done === false) return read.value;
    this.#groups = null;
    return null;
  }
}

/** @returns bytes of a log; 0 if there is none */
export async function logSize(place: LogPlace): Promise<number> {
  return stat(join(place.folder, fileName(place))).then(
    ({ size }) => size,
    () => 0,
  );
}

/** The groups of a log, as far as it goes. */
async function* readLog(place: LogPlace): AsyncGenerator<LoggedGroup, void, undefined> {
  let handle: FileHandle | null = null;
  try {
    // Without waiting, should it be a pipe.
    handle = await openFile(join(place.folder, fileName(place)), constants.O_RDONLY | constants.O_NONBLOCK);
    if (!(await handle.stat()).isFile()) return;
    // Frames are put together only when there is a whole record: one of a large file takes many of them.
    let frames: Buffer[] = [];
    let have = 0;
    let wanted = 0;
    for await (const frame of framesOf(handle, place)) {
      frames.push(frame);
      have += frame.length;
      if (have < wanted) continue;
      let bytes = Buffer.concat(frames);
      for (wanted = recordSize(bytes); wanted <= bytes.length; wanted = recordSize(bytes)) {
        const group = decodeRecord(bytes.subarray(0, wanted));
        if (group === null) return;
        yield group;
        bytes = bytes.subarray(wanted);
      }
      if (wanted > MOST_RECORD_SIZE) return;
      frames = [bytes];
      have = bytes.length;
    }
  } catch {
    // It says nothing more, then.
  } finally {
    await handle?.close().catch(() => undefined);
  }
}

async function* framesOf(handle: FileHandle, place: LogPlace): AsyncGenerator<Buffer, void, undefined> {
  const salt = Buffer.alloc(LOG_SALT_SIZE);
  await handle.read(salt, 0, LOG_SALT_SIZE, 0);
  const seal = new LogSeal(place.keys, place.name, salt);
  const sealed = Buffer.alloc(FRAME_SIZE + FRAME_OVERHEAD);
  for (let index = 0; ; index += 1) {
    const { bytesRead } = await handle.read(sealed, 0, sealed.length, LOG_SALT_SIZE + index * sealed.length);
    const frame = seal.open(index, sealed.subarray(0, bytesRead));
    if (frame === null) return;
    yield frame;
  }
}

/** A group of files, and what of its chunks is theirs. */
export interface ReadGroup extends Pick<LoggedGroup, 'extents' | 'gaps'> {
  readonly files: readonly FileFacts[];
  /** When the first of them was opened, at the latest; of a group that was not read, when that was found out. */
  readonly readAtMs: number;
}

/** Writes a log anew, beside the one before, which it replaces when it is whole. What fails is told at the end, and harms nothing. */
export class LocalLogWriter {
  readonly #place: LogPlace;
  readonly #unfinished: string;
  readonly #seal: LogSeal;
  readonly #salt: Buffer;
  readonly #refs = new RefRuns();
  /** What is to be sealed once it is a frame. */
  #waiting: Buffer[] = [];
  #waitingSize = 0;
  #frames = 0;
  #at = 0;
  #handle: FileHandle | null = null;
  /** Whether there is an unfinished file. */
  #begun = false;
  #failure: { readonly error: unknown } | null = null;

  constructor(place: LogPlace) {
    this.#place = place;
    this.#salt = randomBytes(LOG_SALT_SIZE);
    this.#seal = new LogSeal(place.keys, place.name, this.#salt);
    const random = randomBytes(6).toString('hex');
    this.#unfinished = join(place.folder, `${fileName(place)}.${random}.partial`);
  }

  /** Notes a chunk of the group under way, in order. */
  chunk(ref: ChunkRef): void {
    if (this.#refs.count <= MOST_CHUNKS) this.#refs.add(ref);
  }

  /**
   * Ends a group.
   *
   * @param group its files as they were before they were read, or what the log before says of all of them; null for one that is not
   *   to be relied on, as one of its files changed meanwhile
   */
  async endGroup(group: ReadGroup | LoggedGroup | null): Promise<void> {
    const { count } = this.#refs;
    const refs = this.#refs.take();
    if (group === null || count > MOST_CHUNKS || this.#failure !== null) return;
    const facts = 'facts' in group ? group.facts : settledFacts(group);
    if (facts === null) return;
    const record = encodeRecord(facts, group, refs);
    if (record.length > MOST_RECORD_SIZE) return;
    this.#waiting.push(record);
    this.#waitingSize += record.length;
    if (this.#waitingSize >= FRAME_SIZE) await this.#attempt(async () => this.#writeFrames(false));
  }

  /**
   * Puts the new log in the place of the old one, durably.
   *
   * @returns why it could not be kept; null if it was
   */
  async commit(): Promise<string | null> {
    await this.#attempt(async () => {
      await this.#writeFrames(true);
      await this.#handle?.sync();
      await this.#handle?.close();
      this.#handle = null;
      await rename(this.#unfinished, join(this.#place.folder, fileName(this.#place)));
      this.#begun = false;
      await syncFolder(this.#place.folder);
    });
    if (this.#failure === null) return null;
    await this.discard();
    return messageOf(this.#failure.error);
  }

  /** Leaves the log before as it is, unless the new one is in its place. */
  async discard(): Promise<void> {
    await this.#handle?.close().catch(() => undefined);
    this.#handle = null;
    if (this.#begun) await rm(this.#unfinished, { force: true }).catch(() => undefined);
    this.#begun = false;
  }

  /** Does something with the file, unless that has failed before. */
  async #attempt(work: () => Promise<void>): Promise<void> {
    if (this.#failure !== null) return;
    try {
      await work();
    } catch (error) {
      this.#failure = { error };
      this.#waiting = [];
    }
  }

  /** Seals and writes whole frames; with `all` also the rest. */
  async #writeFrames(all: boolean): Promise<void> {
    const handle = (this.#handle ??= await this.#create());
    const bytes = Buffer.concat(this.#waiting);
    const end = all ? bytes.length : bytes.length - (bytes.length % FRAME_SIZE);
    for (let at = 0; at < end; at += FRAME_SIZE) {
      await this.#append(handle, this.#seal.seal(this.#frames, bytes.subarray(at, at + FRAME_SIZE)));
      this.#frames += 1;
    }
    this.#waiting = [bytes.subarray(end)];
    this.#waitingSize = bytes.length - end;
  }

  async #append(handle: FileHandle, bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length;) {
      const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, this.#at);
      done += bytesWritten;
      this.#at += bytesWritten;
    }
  }

  async #create(): Promise<FileHandle> {
    await makeFolder(this.#place.folder, { mode: 0o700 });
    const handle = await openFile(this.#unfinished, 'wx', 0o600);
    this.#begun = true;
    this.#handle = handle;
    // By the clock of its file system.
    await removeLeftBehind(this.#place, (await handle.stat()).mtimeMs);
    await this.#append(handle, this.#salt);
    return handle;
  }
}

/** Facts to rely on; null if there are none, or a file might have changed again. */
function settledFacts({ files, readAtMs }: ReadGroup): Buffer | null {
  const latest = BigInt(Math.floor(readAtMs)) * 1_000_000n - SETTLED_NS;
  const isSettled = files.length > 0 && files.every(({ ctimeNs }) => ctimeNs <= latest);
  return isSettled ? encodeFacts(files) : null;
}

/** Removes what killed puts have left of this log. */
async function removeLeftBehind(place: LogPlace, nowMs: number): Promise<void> {
  for (const name of await readdir(place.folder)) {
    if (!name.startsWith(`${fileName(place)}.`) || !name.endsWith('.partial')) continue;
    const path = join(place.folder, name);
    const { mtimeMs } = await stat(path);
    if (nowMs - mtimeMs > LEFT_BEHIND_MS) await rm(path, { force: true });
  }
}
