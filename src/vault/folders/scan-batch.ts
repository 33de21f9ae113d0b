/** Entries of a scan on their way between threads: in columns, since so many objects would take longer to send than to find. */
import type { EntryKind, EntryOwner } from '../../format/folder-index.ts';
import type { Accounts } from './accounts.ts';
import type { ScannedEntry } from './scan.ts';

/** What a scan has found, without the disk's calls, which no message can have. */
export type FoundEntry = Pick<ScannedEntry, 'entry' | 'state'>;

export interface ScanBatch {
  /** `FIELDS` of each entry. */
  readonly numbers: Float64Array<ArrayBuffer>;
  /** `STATE` of each entry. */
  readonly state: BigInt64Array<ArrayBuffer>;
  /** Path and target of each entry. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

const KINDS: readonly EntryKind[] = ['file', 'folder', 'symlink', 'fifo', 'block-device', 'char-device'];
/** Kind, path's and target's bytes, size, mode, uid, gid, seconds, nanoseconds, link group, major, minor. */
const FIELDS = 12;
/** Device, inode, ctime, mtime. */
const STATE = 4;
/** For a field that an entry has not. */
const NONE = Number.NaN;
/** The same for all: there are many. */
const NO_ATTRIBUTES: FoundEntry['entry']['attributes'] = [];

export function packBatch(entries: readonly FoundEntry[]): ScanBatch {
  const numbers = new Float64Array(entries.length * FIELDS);
  const state = new BigInt64Array(entries.length * STATE);
  let size = 0;
  for (const { entry } of entries) size += entry.path.length + (entry.target?.length ?? 0);
  const bytes = new Uint8Array(size);
  let end = 0;
  let at = 0;
  const write = (value: number | null | undefined): void => {
    numbers[at++] = value ?? NONE;
  };
  entries.forEach(({ entry, state: { device, inode, ctimeNs, mtimeNs, size: fileSize } }, index) => {
    const { path, kind, target, mode, owner, modified, linkGroup } = entry;
    bytes.set(path, end);
    end += path.length;
    if (target !== null) bytes.set(target, end);
    end += target?.length ?? 0;
    write(KINDS.indexOf(kind));
    write(path.length);
    write(target?.length);
    write(fileSize);
    write(mode);
    write(owner?.uid);
    write(owner?.gid);
    write(modified?.seconds);
    write(modified?.nanoseconds);
    write(linkGroup);
    write(entry.device?.major);
    write(entry.device?.minor);
    // They wrap round where they are read, too.
    state[index * STATE] = device;
    state[index * STATE + 1] = inode;
    state[index * STATE + 2] = ctimeNs;
    state[index * STATE + 3] = mtimeNs;
  });
  return { numbers, state, bytes };
}

/** @param accounts the names of owners */
export function* unpackBatch(
  { numbers, state, bytes }: ScanBatch,
  accounts: Accounts,
): Generator<FoundEntry, void, undefined> {
  const all = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  let end = 0;
  const take = (size: number): Buffer => all.subarray(end, (end += size));
  let last: EntryOwner | null = null;
  const ownerOf = (uid: number, gid: number): EntryOwner => {
    if (last?.uid === uid && last.gid === gid) return last;
    return (last = { uid, gid, user: accounts.user(uid), group: accounts.group(gid) });
  };
  const count = state.length / STATE;
  for (let index = 0; index < count; index += 1) {
    const number = (field: number): number => numbers[index * FIELDS + field] ?? 0;
    const orNull = (field: number): number | null => (Number.isNaN(number(field)) ? null : number(field));
    const part = (field: number): bigint => state[index * STATE + field] ?? 0n;
    const [uid, seconds, major, targetSize] = [orNull(5), orNull(7), orNull(10), orNull(2)];
    yield {
      entry: {
        path: take(number(1)),
        kind: KINDS[number(0)] ?? 'file',
        mode: orNull(4),
        owner: uid === null ? null : ownerOf(uid, number(6)),
        modified: seconds === null ? null : { seconds, nanoseconds: number(8) },
        content: null,
        target: targetSize === null ? null : take(targetSize),
        linkGroup: orNull(9),
        device: major === null ? null : { major, minor: number(11) },
        attributes: NO_ATTRIBUTES,
      },
      state: {
        device: BigInt.asUintN(64, part(0)),
        inode: BigInt.asUintN(64, part(1)),
        ctimeNs: part(2),
        mtimeNs: part(3),
        size: number(3),
      },
    };
  }
}
