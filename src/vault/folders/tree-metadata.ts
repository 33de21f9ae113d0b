/** What restored entries have beside their bytes. */
import type { BigIntStats } from 'node:fs';
import { ask, take } from '../../concurrency/steps.ts';
import type { Answer, Steps } from '../../concurrency/steps.ts';
import { isVaultError } from '../../errors.ts';
import { fileTimeOfNs } from '../../format/file-time.ts';
import { IDS_LOST, NO_TIME, reasonOf, secondsForUtimes, SET_IDS, timeAsSet } from '../read/attributes.ts';
import type { NotKept } from '../read/attributes.ts';
import { readAccounts } from './accounts.ts';
import type { Accounts } from './accounts.ts';
import { diskCalls } from './disk-calls.ts';
import type { DiskCalls } from './disk-calls.ts';
import type { DiskPath } from './disk-path.ts';
import type { FolderEntry } from '../../format/folder-index.ts';

/** Sets what entries have, as far as the file system takes it. All of it returns what was not taken. */
export class Metadata {
  readonly #calls: DiskCalls;
  readonly #accounts: Accounts;
  /** Whether owners are set; otherwise they are left as they are. */
  readonly #owners: boolean;
  /** Whose the files are that are made here, as the first one showed. */
  #made: { readonly uid: number; readonly gid: number } | null = null;

  constructor(calls: DiskCalls, accounts: Accounts, owners: boolean) {
    this.#calls = calls;
    this.#accounts = accounts;
    this.#owners = owners;
  }

  /**
   * The permissions to make a file with: its own where a file that is made here has its owner from the beginning, so that nobody is
   * let in who shall not be.
   */
  modeToMake(entry: FolderEntry): number {
    const owner = this.#ownerToSet(entry);
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
    yield* this.#giveOwner(notKept, entry, (uid, gid) => this.#calls.fchown(fd, uid, gid));
    const { mode } = entry;
    if (mode !== null) {
      const look = (): Answer<BigIntStats> => this.#calls.fstat(fd);
      const mayHave = (mode & SET_IDS) === 0 || this.#mayRunAs(yield* ask(look()), entry);
      const bits = mayHave ? mode : mode & ~SET_IDS;
      yield* permit(notKept, mode, { set: () => this.#calls.fchmod(fd, bits), look });
    }
    yield* this.#dateFile(notKept, fd, entry);
    return notKept;
  }

  /**
   * Of a folder that nothing is made in any more. Its set-group-ID starts no program as somebody else, and stays whosever the folder is.
   *
   * @param base it, open or safe from being exchanged
   */
  *setOnFolder(base: DiskPath, entry: FolderEntry): Steps<NotKept[]> {
    const notKept: NotKept[] = [];
    const self = `${base}/.`;
    yield* this.#giveOwner(notKept, entry, (uid, gid) => this.#calls.lchown(self, uid, gid));
    yield* this.date(notKept, self, entry);
    const { mode } = entry;
    if (mode !== null) {
      const look = (): Answer<BigIntStats> => this.#calls.stat(base);
      yield* permit(notKept, mode, { set: () => this.#calls.chmod(self, mode), look });
    }
    return notKept;
  }

  /** Of a symbolic link itself. */
  *setOnLink(path: DiskPath, entry: FolderEntry): Steps<NotKept[]> {
    const notKept: NotKept[] = [];
    yield* this.#giveOwner(notKept, entry, (uid, gid) => this.#calls.lchown(path, uid, gid));
    yield* this.date(notKept, path, entry);
    return notKept;
  }

  /** Whether what is there has the permissions that are stored, and the owner that it would get. */
  isSetOn(facts: BigIntStats, entry: FolderEntry): boolean {
    const owner = this.#ownerToSet(entry);
    if (owner !== null && !isOf(facts, owner)) return false;
    // A link's own permissions mean nothing.
    return entry.mode === null || entry.kind === 'symlink' || (Number(facts.mode) & 0o7777) === entry.mode;
  }

  *#giveOwner(
    notKept: NotKept[],
    entry: FolderEntry,
    set: (uid: number, gid: number) => Answer<void>,
  ): Steps<void> {
    const owner = this.#ownerToSet(entry);
    if (owner !== null) yield* attempt(notKept, 'owner', () => set(owner.uid, owner.gid));
  }

  *#dateFile(notKept: NotKept[], fd: number, { modified }: FolderEntry): Steps<void> {
    if (modified === null) return void notKept.push(NO_TIME);
    const seconds = String(secondsForUtimes(modified));
    yield* attempt(notKept, 'modification time', () => this.#calls.futimes(fd, seconds));
  }

  /** Of anything by its path; a link is not followed. */
  *date(notKept: NotKept[], path: DiskPath, { modified }: FolderEntry): Steps<void> {
    if (modified === null) return void notKept.push(NO_TIME);
    const seconds = String(secondsForUtimes(modified));
    yield* attempt(notKept, 'modification time', () => this.#calls.lutimes(path, seconds));
  }

  #ownerToSet({ owner }: FolderEntry): Owner | null {
    return owner === null || !this.#owners ? null : this.#ownerHere(owner);
  }

  /** By name where this machine has it, as its numbers may be others. */
  #ownerHere({ user, group, uid, gid }: NonNullable<FolderEntry['owner']>): Owner {
    return {
      uid: (user === null ? null : this.#accounts.uid(user)) ?? uid,
      gid: (group === null ? null : this.#accounts.gid(group)) ?? gid,
    };
  }

  /**
   * Whether a program may run as whoever has the file: if that is whose it was. Where owners are not set that must be sure, since a
   * number may be somebody else's here, and it must not be root.
   */
  #mayRunAs(facts: BigIntStats, { owner }: FolderEntry): boolean {
    if (owner === null || !isOf(facts, this.#ownerHere(owner))) return false;
    if (this.#owners) return true;
    const { user, group } = owner;
    const isKnown =
      (user === null || this.#accounts.uid(user) !== null) &&
      (group === null || this.#accounts.gid(group) !== null);
    return isKnown && facts.uid !== 0n;
  }
}

interface Owner {
  readonly uid: number;
  readonly gid: number;
}

function isOf(facts: BigIntStats, { uid, gid }: Owner): boolean {
  return facts.uid === BigInt(uid) && facts.gid === BigInt(gid);
}

/** Sets what an entry has on a regular file that stands by itself. @param path where it is; @returns what was not taken */
export async function setOnEntry(
  fd: number,
  entry: FolderEntry,
  {
    path,
    owners,
    signal,
  }: { readonly path: string; readonly owners: boolean; readonly signal: AbortSignal | undefined },
): Promise<NotKept[]> {
  const calls = await diskCalls(path, signal);
  return take(new Metadata(calls, await readAccounts(), owners).setOnFile(fd, entry));
}

/** Whether what is there has the time that an entry gets. A regular file with an equal size counts as the same then. */
export function hasTimeOf(facts: BigIntStats, { modified }: FolderEntry): boolean {
  const found = fileTimeOfNs(facts.mtimeNs);
  if (modified === null || found === null) return false;
  return [modified, timeAsSet(modified)].some(
    ({ seconds, nanoseconds }) => found.seconds === seconds && found.nanoseconds === nanoseconds,
  );
}

/** Sets permissions, and looks: a system drops set-group-ID without a word where this user is not of the group. */
function* permit(
  notKept: NotKept[],
  mode: number,
  { set, look }: { readonly set: () => Answer<void>; readonly look: () => Answer<BigIntStats> },
): Steps<void> {
  if (!(yield* attempt(notKept, 'permissions', set)) || (mode & SET_IDS) === 0) return;
  const facts = yield* ask(look());
  if ((mode & SET_IDS & ~Number(facts.mode)) !== 0) notKept.push(IDS_LOST);
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
