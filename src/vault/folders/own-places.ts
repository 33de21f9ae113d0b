/** What of this machine's disks is the vault's own: in a folder that is stored it would make each version hold those before. */
import type { BigIntStats } from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { untilAborted } from '../../concurrency/until-aborted.ts';
import { invalidInput, throwIfAborted } from '../../errors.ts';
import { KEYRING_PREFIX } from '../../format/keyring.ts';
import { MANIFEST_PREFIX } from '../../format/manifest.ts';
import { MARKER_NAME } from '../../format/marker.ts';
import { DELETED_PREFIX, PUTS_PREFIX, SWEEP_PREFIX } from '../../format/removal.ts';
import { CHUNK_PREFIX } from '../../format/shard.ts';
import { SHARES_PREFIX } from '../../format/share.ts';
import type { Session } from '../session.ts';
import { diskPath } from './disk-path.ts';
import type { DiskPath } from './disk-path.ts';
import { identityOf } from './tree-place.ts';

/** By device and inode of a folder, so that it does not matter by which path one comes to it. */
export type OwnEntries = ReadonlyMap<string, OwnNames>;

export interface OwnNames {
  /** What is the vault's of what lies right in the folder; the rest is the user's. */
  readonly names: ReadonlySet<DiskPath>;
  readonly isBucket: boolean;
}

/** What objects lie in at the top of a bucket. */
const OF_OBJECTS = [
  KEYRING_PREFIX,
  MANIFEST_PREFIX,
  CHUNK_PREFIX,
  DELETED_PREFIX,
  SWEEP_PREFIX,
  PUTS_PREFIX,
  SHARES_PREFIX,
].map((prefix) => prefix.slice(0, -1));

/** What SQLite keeps beside a database, and when it likes. */
const OF_CATALOG = ['', '-wal', '-shm', '-journal'];

/** Milliseconds in which a folder's disk answers; one that does not is away, and nothing in it is stored either. */
const LOOK_MS = 10_000;

/**
 * What to leave out of a folder that is stored.
 *
 * @param root the folder
 * @throws `invalid-input` if the folder itself is a bucket of the vault, or what is the vault's in one
 */
export async function ownEntries(
  { places, buckets }: Pick<Session, 'places' | 'buckets'>,
  root: string,
  signal: AbortSignal | undefined,
): Promise<OwnEntries> {
  const { catalog, log, inBuckets } = places;
  const folders = buckets.all.flatMap(({ url }) => places.bucketFolder(url) ?? []);
  const [database, remembered] = await Promise.all([resolved(catalog, signal), resolved(log, signal)]);
  const found = new Map<string, { readonly names: Set<DiskPath>; isBucket: boolean }>();
  const add = async (folder: string, names: readonly string[], isBucket: boolean): Promise<void> => {
    const facts = await attempt(stat(folder, { bigint: true }), signal);
    if (facts === null) return;
    const known = found.get(identityOf(facts));
    const all = [...(known?.names ?? []), ...names.map((name) => diskPath(name))];
    found.set(identityOf(facts), { names: new Set(all), isBucket: isBucket || known?.isBucket === true });
  };
  const ofBucket = [MARKER_NAME, ...OF_OBJECTS, ...inBuckets];
  await Promise.all([
    ...(database === null
      ? []
      : [
          add(
            dirname(database),
            OF_CATALOG.map((end) => basename(database) + end),
            false,
          ),
        ]),
    ...(remembered === null ? [] : [add(dirname(remembered), [basename(remembered)], false)]),
    ...folders.map(async (folder) => add(folder, ofBucket, true)),
  ]);
  await refuseOwn(root, found, signal);
  return found;
}

async function refuseOwn(root: string, own: OwnEntries, signal: AbortSignal | undefined): Promise<void> {
  // What is wrong with the folder is said when it is read.
  let at = await attempt(realpath(root), signal);
  for (let name: string | null = null; at !== null; [at, name] = [dirname(at), basename(at)]) {
    const facts: BigIntStats | null = await attempt(stat(at, { bigint: true }), signal);
    const names = facts === null ? undefined : own.get(identityOf(facts));
    if (name === null ? names?.isBucket === true : names?.names.has(diskPath(name)) === true) {
      throw invalidInput(
        `${root} is a bucket of this vault, or lies in what it keeps: it cannot be stored in itself. Name another folder.`,
      );
    }
    if (dirname(at) === at) return;
  }
}

/** A path without links, also of what is not there yet; null if there is none. */
async function resolved(path: string | null, signal: AbortSignal | undefined): Promise<string | null> {
  if (path === null) return null;
  const whole = await attempt(realpath(path), signal);
  if (whole !== null) return whole;
  const folder = await attempt(realpath(dirname(path)), signal);
  return folder === null ? null : join(folder, basename(path));
}

/** What a look at a disk tells; null if it fails, or takes so long that the disk counts as away. @throws `interrupted` */
async function attempt<T>(look: Promise<T>, signal: AbortSignal | undefined): Promise<T | null> {
  const late = AbortSignal.timeout(LOOK_MS);
  try {
    return await untilAborted(look, signal === undefined ? late : AbortSignal.any([signal, late]));
  } catch {
    throwIfAborted(signal);
    return null;
  }
}
