/** What restored entries have beside their bytes. */
import type { BigIntStats } from 'node:fs';
import { ask } from '../../concurrency/steps.ts';
import type { Answer, Steps } from '../../concurrency/steps.ts';
import { isVaultError } from '../../errors.ts';
import { fileTimeOfNs } from '../../format/file-time.ts';
import { reasonOf, secondsForUtimes, timeAsSet } from '../read/attributes.ts';
import type { NotKept } from '../read/attributes.ts';
import type { Accounts } from './accounts.ts';
import type { DiskCalls } from './disk-calls.ts';
import type { DiskPath } from './disk-path.ts';
import type { FolderEntry } from '../../format/folder-index.ts';

const SET_USER_ID = 0o4000;
const SET_GROUP_ID = 0o2000;

/** Of an entry whose time could not be stored. */
const NO_TIME: NotKept = 'modification time (none is stored)';

/** Sets what entries have, as far as the file system takes it. All of it returns what was not taken. */
export class Metadata {
  readonly #calls: DiskCalls;
  /** null: owners are left as they are. */
  readonly #owners: Accounts | null;
  /** Whose the files are that are made here, as the first one showed. */
  #made: { readonly uid: number; readonly gid: number } | null = null;

  constructor(calls: DiskCalls, owners: Accounts | null) {
    this.#calls = calls;
    this.#owners = owners;
  }

  /**
   * The permissions to make a file with: its own where a file that is made here has its owner from the beginning, so that nobody is
   * let in who shall not be.
   */
  modeToMake(entry: FolderEntry): number {
    const owner = this.#ownerOf(entry);
    const made = this.#made;
    const isOwned = owner === null || (owner.uid === made?.uid && owner.gid === made.gid);
    return isOwned && entry.mode !== null ? entry.mode & 0o777 : 0o600;
  }

  /** Of a regular file that was made just now with `modeToMake`, and that no bytes are written to any more. */
  *setOnNewFile(fd: number, entry: FolderEntry): Steps<NotKept[]> {
    // To look is several times cheaper than to set what is set already.
    const facts = yield* ask(this.#calls.fstat(fd));
    this.#made ??= { uid: Number(facts.uid), gid: Number(facts.gid) };
    if (!this.isSetOn(facts, entry)) return yield* this.setOnFile(fd, entry);
    const notKept: NotKept[] = [];
    yield* this.#dateFile(notKept, fd, entry);
    return notKept;
  }

  /** Of a regular file that no bytes are written to any more. */
  *setOnFile(fd: number, entry: FolderEntry): Steps<NotKept[]> {
    const notKept: NotKept[] = [];
    const owner = this.#ownerOf(entry);
    const isOwned =
      owner !== null &&
      (yield* attempt(notKept, 'owner', () => this.#calls.fchown(fd, owner.uid, owner.gid)));
    const { mode } = entry;
    if (mode !== null) {
      yield* attempt(notKept, 'permissions', () => this.#calls.fchmod(fd, fileMode(mode, isOwned)));
    }
    yield* this.#dateFile(notKept, fd, entry);
    return notKept;
  }

  /** Of a folder that nothing is made in any more. @param base it, open or safe from being exchanged */
  *setOnFolder(base: DiskPath, entry: FolderEntry): Steps<NotKept[]> {
    const notKept: NotKept[] = [];
    const self = `${base}/.`;
    const owner = this.#ownerOf(entry);
    const isOwned =
      owner !== null &&
      (yield* attempt(notKept, 'owner', () => this.#calls.lchown(self, owner.uid, owner.gid)));
    yield* this.#date(notKept, self, entry);
    const { mode } = entry;
    if (mode !== null) {
      const bits = isOwned ? mode : mode & ~SET_USER_ID;
      yield* attempt(notKept, 'permissions', () => this.#calls.chmod(self, bits));
    }
    return notKept;
  }

  /** Of a symbolic link itself. */
  *setOnLink(path: DiskPath, entry: FolderEntry): Steps<NotKept[]> {
    const notKept: NotKept[] = [];
    const owner = this.#ownerOf(entry);
    if (owner !== null) {
      yield* attempt(notKept, 'owner', () => this.#calls.lchown(path, owner.uid, owner.gid));
    }
    yield* this.#date(notKept, path, entry);
    return notKept;
  }

  /** Whether a file that is there has the permissions and the owner that it would get. */
  isSetOn(facts: BigIntStats, entry: FolderEntry): boolean {
    const owner = this.#ownerOf(entry);
    const isOwned = owner === null || (facts.uid === BigInt(owner.uid) && facts.gid === BigInt(owner.gid));
    const { mode } = entry;
    return isOwned && (mode === null || (Number(facts.mode) & 0o7777) === fileMode(mode, owner !== null));
  }

  *#dateFile(notKept: NotKept[], fd: number, { modified }: FolderEntry): Steps<void> {
    if (modified === null) return void notKept.push(NO_TIME);
    const seconds = String(secondsForUtimes(modified));
    yield* attempt(notKept, 'modification time', () => this.#calls.futimes(fd, seconds));
  }

  *#date(notKept: NotKept[], path: DiskPath, { modified }: FolderEntry): Steps<void> {
    if (modified === null) return void notKept.push(NO_TIME);
    const seconds = String(secondsForUtimes(modified));
    yield* attempt(notKept, 'modification time', () => this.#calls.lutimes(path, seconds));
  }

  /** By name where this machine has it, as its numbers may be others. */
  #ownerOf({ owner }: FolderEntry): { readonly uid: number; readonly gid: number } | null {
    if (owner === null || this.#owners === null) return null;
    const uid = owner.user === null ? null : this.#owners.uid(owner.user);
    const gid = owner.group === null ? null : this.#owners.gid(owner.group);
    return { uid: uid ?? owner.uid, gid: gid ?? owner.gid };
  }
}

/** Whether a regular file has the time that an entry's file gets, so that with an equal size it counts as the same. */
export function hasTimeOf(facts: BigIntStats, { modified }: FolderEntry): boolean {
  const found = fileTimeOfNs(facts.mtimeNs);
  if (modified === null || found === null) return false;
  return [modified, timeAsSet(modified)].some(
    ({ seconds, nanoseconds }) => found.seconds === seconds && found.nanoseconds === nanoseconds,
  );
}

/** With another owner a program must not run as that one. */
function fileMode(mode: number, isOwned: boolean): number {
  return isOwned ? mode : mode & ~(SET_USER_ID | SET_GROUP_ID);
}

function* attempt(notKept: NotKept[], what: string, set: () => Answer<void>): Steps<boolean> {
  try {
    yield* ask(set());
    return true;
  } catch (error) {
    if (isVaultError(error)) throw error;
    notKept.push(`${what} (${reasonOf(error)})`);
    return false;
  }
}
