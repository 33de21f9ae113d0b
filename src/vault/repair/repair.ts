/** Making everything whole again that can be: markers, keyrings, records, manifests, chunks, and the catalog's knowledge of them. */
import { invalidInput } from '../../errors.ts';
import { MAX_SWEEP_OBJECTS } from '../../format/limits.ts';
import { BucketSet, describeFailure, tooFewBuckets, VaultBucket } from '../buckets/bucket-set.ts';
import type { BucketFailure } from '../buckets/bucket-set.ts';
import { doing, telling } from '../buckets/steps.ts';
import { changeDefaults, requireBuckets } from '../keys/defaults.ts';
import { refreshKeyring } from '../keys/keyring-store.ts';
import { settleKeyringBy } from '../keys/settle-keyring.ts';
import { listDeletions } from '../protocol/deletions.ts';
import { listForRemoval } from '../protocol/lists.ts';
import { resolveFile } from '../files/resolve.ts';
import type { ReadSession, Session } from '../session.ts';
import { repairChunks } from './chunks.ts';
import { repairDeletions } from './deletions.ts';
import type { FileState } from './files.ts';
import { actingHands, tellingHands } from './ground.ts';
import type { Ground, Hands } from './ground.ts';
import { repairManifests } from './manifests.ts';
import { restoreMarkers } from './markers.ts';
import { retainFiles, retainingFor } from './retain.ts';
import type { RetainedFiles } from './retain.ts';
import type { RepairOptions } from './options.ts';

export interface RepairResult {
  /** How the vault stands now (with `dryRun`: would stand): `degraded` also if a bucket could not be asked. */
  readonly outcome: 'whole' | 'degraded' | 'lost';
  /** Chunks made whole, moved or coded anew (with `dryRun`: that would be). */
  readonly chunksRepaired: number;
  /** Chunks that are readable and still lack something: too few buckets can be used. */
  readonly chunksDegraded: number;
  /** Chunks that cannot be had while a bucket does not answer. */
  readonly chunksUnknown: number;
  /** Chunks that no k shards give, though every bucket has answered. */
  readonly chunksLost: number;
  /** Chunks looked at that cannot be opened here, being of locked files: their shards are as good as their checksums. */
  readonly chunksNotOpened: number;
  readonly shardsStored: number;
  readonly manifestsStored: number;
  readonly keyringsStored: number;
  readonly markersStored: number;
  /** Records of removal that were given to buckets which lacked them. */
  readonly deletionsStored: number;
  /** Rows of files in the catalog that were made anew from their manifests. */
  readonly recordsRepaired: number;
  /** Files of this key that nobody has removed and that the catalog did not list. It lists them from now on. */
  readonly filesUnlisted: number;
  /** Rows of the catalog that named shards where there are none. */
  readonly placesRepaired: number;
  /** Bytes of shards and manifests sent to buckets. */
  readonly bytesStored: number;
  /** Objects that were replaced, and go with the next sweep. */
  readonly objectsReplaced: number;
  /** What was locked; null if that was not asked for. */
  readonly retention: RetainedFiles | null;
  /** Hashes of files that cannot be read any more. */
  readonly filesLost: readonly string[];
  /** Hashes of files that can be read, and of which something is missing still. */
  readonly filesDegraded: readonly string[];
  /** Hashes of files of which it is not known, since a bucket could not be asked, or they are of a newer version. */
  readonly filesUnknown: readonly string[];
  /** URLs of buckets that could not be used, or not to the end. */
  readonly unreachable: readonly string[];
}

export async function repairVault(session: Session, options: RepairOptions = {}): Promise<RepairResult> {
  const { signal, redundancy, retainUntilMs, dryRun = false } = options;
  if (redundancy !== undefined) {
    if (options.references !== undefined) {
      throw invalidInput('Redundancy is the whole vault’s: name no files with it.');
    }
    requireBuckets(session.keyring.keyring, redundancy);
  }
  if (dryRun && retainUntilMs !== undefined) {
    throw invalidInput('What would be locked is not told beforehand: leave out either option.');
  }
  // Their markers as they are now. Who has shown it is not asked again.
  await session.buckets.check(session.buckets.all, signal, { anew: true });
  const retaining = await retainingFor(session, options);
  const { marked, failed: unmarked } = await restoreMarkers(
    session,
    dryRun ? telling(options.onPlanned) : doing(session),
    signal,
  );
  const known = dryRun && marked.size > 0 ? asMarked(session, marked) : session;
  try {
    await refreshKeyring(known, signal, { thorough: true, dry: dryRun });
    const hands = dryRun ? tellingHands(known, options) : actingHands(known, signal);
    return await repairMarked(known, hands, { ...options, retaining, unmarked, markersStored: marked.size });
  } finally {
    if (known !== session) await known.buckets.close();
  }
}

/** The session as it will be once buckets have their markers again. Its buckets are others than the session's, which must not be written to yet. */
function asMarked(session: Session, marked: ReadonlySet<string>): Session {
  const { vaultId, opener } = session;
  const buckets = session.buckets.all.map(
    (bucket) => new VaultBucket(bucket, { vaultId, opener, willBeMarked: marked.has(bucket.id) }),
  );
  return { ...session, buckets: new BucketSet(buckets) };
}

async function repairMarked(
  session: ReadSession,
  hands: Hands,
  options: RepairOptions & {
    readonly retaining: Awaited<ReturnType<typeof retainingFor>>;
    /** Buckets that could not be marked. */
    readonly unmarked: readonly BucketFailure[];
    readonly markersStored: number;
  },
): Promise<RepairResult> {
  const { signal, redundancy, retaining, unmarked, markersStored } = options;
  const { usable, failed } = await session.buckets.check(session.buckets.all, signal);
  if (usable.length === 0) throw tooFewBuckets("None of the vault's buckets can be used.", failed);
  const told = new Set<string>();
  /** Of each bucket the first reason, which the others follow from. */
  const warn = (failures: readonly BucketFailure[]): void => {
    for (const failure of failures) {
      const { id, url } = failure.bucket;
      if (told.has(id)) continue;
      told.add(id);
      options.onWarning?.({ kind: 'bucket-down', message: describeFailure(failure), bucket: url });
    }
  };
  warn(failed.map((failure) => unmarked.find(({ bucket: { id } }) => id === failure.bucket.id) ?? failure));
  let keyrings = await settleKeyringBy(hands.take, session, usable, signal);
  // New files get it from now on.
  if (redundancy !== undefined) {
    keyrings = await hands.take([], keyrings, async (writing) => {
      await changeDefaults(writing, { redundancy }, { signal });
      return { ...(await settleKeyringBy(hands.take, session, usable, signal)), stored: keyrings.stored };
    });
  }
  const work = await hands.onGround(usable, {}, (ground) => repairAll(session, ground, options));
  warn([...keyrings.failed, ...work.refusing, ...work.failed]);
  // Last, so that what has been stored now is locked, too.
  const retention = await hands.take<RetainedFiles | null>([], null, async (writing) =>
    retaining === null ? null : retainFiles(writing, usable, { ...options, ...retaining }),
  );
  const refusing = work.chunks.degraded > 0 || work.manifests.refused ? work.refusing : [];
  const unreachable = new Set(
    [...failed, ...keyrings.failed, ...work.failed, ...refusing].map(({ bucket }) => bucket.url),
  );
  return resultOf(work, { markersStored, keyringsStored: keyrings.stored, retention, unreachable });
}

async function repairAll(session: ReadSession, ground: Ground, options: RepairOptions) {
  const { signal, references } = options;
  const deletions = await listDeletions(session, ground.sources, { signal, onFailure: ground.noteFailure });
  const only = references === undefined ? null : await hashesOf(session, references);
  const deletionsStored = only === null ? await repairDeletions(session, ground, deletions, signal) : 0;
  const replaced: string[] = [];
  const leaveToSweep = async (): Promise<void> => {
    const names = replaced.splice(0);
    if (names.length === 0) return;
    const list = (writing: Session) => listForRemoval(writing, ground.sources, names, signal);
    (await ground.take([], [], list)).forEach(ground.noteFailure);
  };
  const onReplaced = async (name: string): Promise<void> => {
    replaced.push(name);
    if (replaced.length >= MAX_SWEEP_OBJECTS) await leaveToSweep();
  };
  const chunks = await repairChunks(session, ground, { ...options, deletions, onReplaced });
  await leaveToSweep();
  const reads = options.depth === 'data';
  const manifests = await repairManifests(session, ground, { ...options, reads, deletions, only });
  const { failed, refusing } = ground;
  return { chunks, manifests, deletionsStored, failed, refusing };
}

async function hashesOf(session: ReadSession, references: readonly string[]): Promise<ReadonlySet<string>> {
  const hashes = new Set<string>();
  for (const reference of references) hashes.add((await resolveFile(session, reference)).info.hash);
  return hashes;
}

function resultOf(
  { chunks, manifests, deletionsStored }: Awaited<ReturnType<typeof repairAll>>,
  {
    unreachable,
    ...stored
  }: {
    readonly markersStored: number;
    readonly keyringsStored: number;
    readonly retention: RetainedFiles | null;
    readonly unreachable: ReadonlySet<string>;
  },
): RepairResult {
  const states = new Map(chunks.states);
  for (const [hash, state] of manifests.states) {
    if (states.get(hash) !== 'lost')
      states.set(hash, state === 'unknown' ? (states.get(hash) ?? state) : state);
  }
  const filesIn = (wanted: FileState): string[] =>
    [...states].flatMap(([hash, state]) => (state === wanted ? [hash] : [])).toSorted();
  const isWhole = states.size === 0 && unreachable.size === 0 && chunks.degraded === 0;
  return {
    outcome: filesIn('lost').length > 0 ? 'lost' : isWhole ? 'whole' : 'degraded',
    chunksRepaired: chunks.repaired,
    chunksDegraded: chunks.degraded,
    chunksUnknown: chunks.unknown,
    chunksLost: chunks.lost,
    chunksNotOpened: chunks.notOpened,
    shardsStored: chunks.shardsStored,
    manifestsStored: manifests.stored,
    ...stored,
    deletionsStored,
    recordsRepaired: chunks.learned,
    filesUnlisted: chunks.unlisted,
    placesRepaired: chunks.placesRepaired,
    bytesStored: chunks.bytesStored + manifests.bytes,
    objectsReplaced: chunks.objectsReplaced,
    filesLost: filesIn('lost'),
    filesDegraded: filesIn('degraded'),
    filesUnknown: filesIn('unknown'),
    unreachable: [...unreachable].toSorted(),
  };
}
