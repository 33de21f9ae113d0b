/**
 * The keyring in the buckets: one object an epoch, in every bucket. The highest valid epoch counts; a change is the next epoch,
 * created where it is absent, bucket by bucket in the order that the keyring names them, so that of two changes at once one meets
 * the other and begins anew upon it.
 */
import type { VaultKeys } from '../../crypto/keys.ts';
import { openEarlier } from '../../crypto/roots.ts';
import { coalesced } from '../../concurrency/coalesced.ts';
import { objectDigest, signKeyring } from '../../crypto/signing.ts';
import { isVaultError, VaultError, type ErrorCode } from '../../errors.ts';
import { keyringRank } from '../../format/keyring.ts';
import type { Keyring } from '../../format/keyring.ts';
import { MAX_EPOCH } from '../../format/limits.ts';
import { CLOCK_NAME } from '../../format/removal.ts';
import { checkEach, tooFewBuckets } from '../buckets/bucket-set.ts';
import type { BucketCheck, BucketFailure, VaultBucket } from '../buckets/bucket-set.ts';
import type { CallOptions, SecretOptions } from '../call.ts';
import type { KeyringState, Session } from '../session.ts';
import { bucketsOf } from './bucket-places.ts';
import { afterChange, keptKeyring, notEverywhere, warnOfLacking, withLacking } from './change-outcome.ts';
import { createKeyring } from './create-keyring.ts';
import { keyringNames, noteKeyring, readNamed, refuseNewer } from './keyring-copies.ts';
import { verifiedOrNewer, verifiedOrNull, type NewerKeyring } from './keyring-copies.ts';
import { manifestKeys } from './session-keys.ts';
import { drop, endRotation, settleKeyring } from './settle-keyring.ts';

/** How often a change that meets another one begins anew. */
const MOST_TRIES = 16;

/** A keyring, and how many buckets show it. */
interface Shown extends KeyringState {
  readonly digest: string;
  votes: number;
}

/**
 * Of several keyrings the one that counts: the highest root, then the highest epoch. Two of one epoch are changes that have not met, since neither reached
 * the other's buckets: then it is what more buckets show, and then chance, the same for everybody.
 */
function newestOf(shown: readonly Shown[]): Shown | null {
  const [first] = shown.toSorted(
    (a, b) =>
      keyringRank(b.keyring) - keyringRank(a.keyring) || b.votes - a.votes || (a.digest < b.digest ? 1 : -1),
  );
  return first ?? null;
}

export interface RefreshedKeyring extends BucketCheck {
  /** Buckets that have no keyring at all: they may have been taken out of the vault and emptied. */
  readonly without: readonly VaultBucket[];
}

/** What to say of a bucket that has no keyring. */
export function withoutKeyring(bucket: VaultBucket): BucketFailure {
  const message = `${bucket.url} has no keyring, so it may have been taken out of the vault. If not: vault repair`;
  return { bucket, error: new VaultError('bucket-missing', message) };
}

interface KeysInUse extends Pick<Session, 'keys'> {
  readonly keyring: Pick<KeyringState, 'keyring'>;
}

/** Stops a process that goes on after its key was removed: it could, and should not. @throws `wrong-password` */
export function requireKey({ keys, keyring: { keyring } }: KeysInUse): void {
  if (!keyring.former.some(({ writer }) => writer === keys.writer.id)) return;
  throw new VaultError(
    'wrong-password',
    'The key that opened the vault was removed meanwhile, so nothing is changed with it any more. Open the vault with another one.',
  );
}

/**
 * Whether this session's key still opens the vault, by what the catalog has heard of others' changes.
 *
 * @throws `wrong-password` if it does not; `no-vault` if the catalog describes this vault no more; what the catalog says
 */
export async function requireStanding({ catalog, vaultId, keys, keyring }: Session): Promise<void> {
  const row = await catalog.setup.vault();
  if (row?.id !== vaultId) {
    throw new VaultError(
      'no-vault',
      `${catalog.label} describes another vault now, or none: it was emptied or replaced. Start this again.`,
    );
  }
  const known = row.epoch > keyringRank(keyring.keyring) ? verifiedOrNull(keys, row.keyring) : null;
  if (known !== null && known.root !== keys.rootNumber) throw rotated();
  requireKey({ keys, keyring: { keyring: known ?? keyring.keyring } });
}

function rotated(lacking: readonly BucketFailure[] = []): VaultError {
  const message =
    'The vault’s root was changed (vault key rotate) since it was opened here, and every key from before was taken away. Open it again with a new one.';
  return new VaultError('wrong-password', withLacking(message, lacking));
}

interface LookOptions {
  /** Also looks for another keyring of the epoch that is known, as two changes at once may have left. */
  readonly thorough?: boolean;
  /** Whom to ask; all of the vault's unless given. */
  readonly from?: readonly VaultBucket[];
  /** Digests of keyrings that do not count. */
  readonly except?: ReadonlySet<string>;
  /** Stores nothing in the buckets: for a dry run. */
  readonly dry?: boolean;
}

/**
 * Takes over the newest keyring that any bucket has, and the set of buckets with it.
 *
 * @returns which buckets could be asked
 * @throws `unsupported` if only a newer version can read the newest keyring; `wrong-password` if by that the session's key was removed;
 *   the catalog and, but for a dry run, all buckets know it then
 */
export async function refreshKeyring(
  session: Session,
  signal?: AbortSignal,
  options: LookOptions = {},
): Promise<RefreshedKeyring> {
  const refreshed = await takeNewest(session, signal, options);
  if (options.dry === true) requireKey(session);
  else await answering(session, () => requireKey(session), { signal });
  return refreshed;
}

/** Errors that say of a change that it cannot be made, or was made before; what does not work has others. */
const ANSWERS: readonly ErrorCode[] = ['already-exists', 'file-not-found', 'invalid-input', 'wrong-password'];

/**
 * Does what may answer that a change cannot be made, as one that was cut short and is repeated is told. Before that every bucket gets
 * the keyring that counts, so that a key that it has removed opens nothing.
 */
export async function answering<T>(
  session: Session,
  work: () => Promise<T> | T,
  options: AnswerOptions = {},
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!isVaultError(error, ...ANSWERS)) throw error;
    throw await answer(session, error, options);
  }
}

type AnswerOptions = Pick<LookOptions, 'except'> & Pick<CallOptions, 'signal'>;

/** The same for an error that is there. @returns it, which names the buckets that could not be given the keyring */
export async function answer(
  session: Session,
  error: VaultError,
  { except, signal }: AnswerOptions = {},
): Promise<VaultError> {
  // A key that can only store cannot have begun one, and takes nothing away.
  if (session.keys.full === null) return error;
  const { without } = await takeNewest(session, signal, { thorough: true, ...(except && { except }) });
  // Where there is none no key opens anything.
  const holders = session.buckets.all.filter(({ id }) => !without.some((one) => one.id === id));
  const { failed } = await settleKeyring(session, holders, { signal });
  if (failed.length === 0) return error;
  return new VaultError(error.code, withLacking(error.message, failed), { cause: error });
}

/** As `refreshKeyring`, also for a session whose key was removed: by itself, or without having stored anything yet. */
async function takeNewest(
  session: Session,
  signal?: AbortSignal,
  options: LookOptions = {},
): Promise<RefreshedKeyring> {
  const known = session.keyring;
  const { newest, ...found } = await findNewest(session, signal, options);
  if (newest !== null && newest.bytes !== known.bytes)
    await adoptKeyring(session, newest, { ...options, signal });
  else session.buckets.replace(await bucketsOf(session, session.keyring.keyring));
  return found;
}

/** Looks for the newest keyring in the buckets, and leaves it there. @returns `newest`: perhaps the session's own; null if none counts */
export async function findNewest(
  session: Session,
  signal?: AbortSignal,
  { thorough = false, from = session.buckets.all, except }: Omit<LookOptions, 'dry'> = {},
): Promise<RefreshedKeyring & { readonly newest: KeyringState | null }> {
  const known = session.keyring;
  const shown = new Map<string, Shown>();
  const own: Shown = { ...known, digest: objectDigest(known.bytes), votes: 0 };
  shown.set(own.digest, own);
  const least = known.keyring.epoch + (thorough ? 0 : 1);
  const without: VaultBucket[] = [];
  const newer: NewerKeyring[] = [];
  const check = await checkEach(from, async (bucket) => {
    const names = await bucket.read(keyringNames, signal);
    if (names.length === 0) without.push(bucket);
    // All of them: a lower epoch of a later root counts for more, and whoever has kept an old root makes any epoch of that.
    let best: Shown | null = null;
    const storage = await bucket.checked(signal);
    for await (const { epoch, bytes } of readNamed(storage, names, { least, signal })) {
      const keyring = verifiedOrNewer(session.keys, bytes, epoch);
      if (keyring !== null && 'rank' in keyring) {
        newer.push(keyring);
        continue;
      }
      const digest = objectDigest(bytes);
      if (keyring === null || except?.has(digest) === true) continue;
      const seen = shown.get(digest) ?? { keyring, bytes, digest, votes: 0 };
      if (best === null || keyringRank(keyring) > keyringRank(best.keyring)) best = seen;
      shown.set(digest, seen);
    }
    if (best !== null) best.votes += 1;
  });
  const newest = newestOf([...shown.values()]);
  refuseNewer(newer, newest?.keyring ?? null);
  return { ...check, without, newest };
}

/** Looks at the keyrings of some buckets, by the session that they are for. */
const looks = new WeakMap<
  Session,
  { readonly from: readonly VaultBucket[]; readonly look: ReturnType<typeof coalesced<RefreshedKeyring>> }
>();

/**
 * As `refreshKeyring`, and one look for all who ask the same buckets at once: many small files are put at a time, each of which needs one
 * that began after it was stored. Whether the key was removed is for them to see, who have to take that back.
 */
export function lookAtKeyring(
  session: Session,
  from: readonly VaultBucket[],
  signal: AbortSignal | undefined,
): Promise<RefreshedKeyring> {
  let shared = looks.get(session);
  if (shared?.from.length !== from.length || !from.every((bucket, at) => bucket === shared?.from[at])) {
    shared = { from, look: coalesced((wanted) => takeNewest(session, wanted, { from })) };
    looks.set(session, shared);
  }
  return shared.look(signal);
}

/**
 * @throws `wrong-password` if somebody has made a new root, which this session's keys do not lead to; the catalog knows it then, and the
 *   buckets before it: nobody could repeat a rotation that was cut short with a key that the catalog does not know any more
 */
async function adoptKeyring(
  session: Session,
  next: KeyringState,
  { dry = false, signal }: Pick<LookOptions, 'dry'> & Pick<CallOptions, 'signal'>,
): Promise<void> {
  const { keyring, bytes } = next;
  const isRotated = keyring.root !== session.keys.rootNumber;
  const buckets = isRotated ? [] : await bucketsOf(session, keyring);
  const isEnding = isRotated && !dry && session.keys.full !== null;
  const lacking = isEnding ? await endRotation(session, next, signal) : [];
  try {
    await noteKeyring(session, next);
  } catch (error) {
    // A database may let whoever can only store add files alone.
    if (session.keys.full !== null || !isVaultError(error, 'denied')) throw error;
  }
  if (isRotated) throw rotated(lacking);
  session.keyring = { keyring, bytes };
  session.buckets.replace(buckets);
}

/**
 * Makes a change to the keyring: the next epoch, in every bucket.
 *
 * @param change from the newest keyring to what it shall be; called again when somebody else was quicker. Null: nothing to change
 * @param options `all`: whether every bucket must take it (else a bucket that cannot be reached gets it from `repair`). `keys`: of the new
 *   root that the change makes; the session's own once it stands in a bucket. `onStoring`: told before a bucket is given the new keyring.
 *   `onWarning`: of each bucket that does not have it in the end
 * @returns whether anything was changed
 * @throws what a bucket says that cannot be used, before anything was changed
 */
export async function changeKeyring(
  session: Session,
  change: (keyring: Keyring) => Promise<Keyring | null> | Keyring | null,
  options: {
    readonly all: boolean;
    readonly keys?: VaultKeys;
  } & Pick<SecretOptions, 'onStoring' | 'onWarning' | 'signal'>,
): Promise<boolean> {
  const { all, keys, onStoring, onWarning, signal } = options;
  // What this has made and given up, since it met what somebody else has made.
  const given = new Set<string>();
  for (let tries = 1; tries <= MOST_TRIES; tries += 1) {
    const { usable, failed } = await takeNewest(session, signal, {
      thorough: true,
      except: given,
    });
    if (usable.length === 0 || (all && failed.length > 0)) {
      throw keptKeyring(failed);
    }
    const next = await answering(session, () => nextKeyring(session, change, keys), {
      except: given,
      signal,
    });
    if (next === null) {
      // It may have been made before, by somebody who was cut short.
      const { stored, failed: lacking } = await settleKeyring(session, session.buckets.all, { signal });
      if (all && lacking.length > 0) throw notEverywhere(lacking);
      if (stored > 0) warnOfLacking(lacking, [], onWarning);
      // Whoever met what this has made may have made it part of theirs.
      return given.size > 0;
    }
    if (tries === 1) await requireWritable(session, all ? usable : [], signal);
    const outcome = await createKeyring(session, next, { usable, all, onStoring, signal });
    if (outcome.met !== null) {
      // Somebody else has changed the same keyring. What both want is made upon theirs, which they believe to stand.
      await adoptKeyring(session, outcome.met, { signal });
      if (outcome.taken.length > 0) given.add(objectDigest(next.bytes));
      continue;
    }
    if (outcome.taken.length === 0) {
      throw tooFewBuckets('The keyring could not be changed. Repeat this.', outcome.failed);
    }
    if (keys !== undefined) Object.assign(session, manifestKeys(openEarlier(keys, next.keyring)));
    const lacking = await establish(session, next, signal);
    if (lacking === null) {
      given.add(objectDigest(next.bytes));
      continue;
    }
    if (all && lacking.length > 0) throw notEverywhere(lacking);
    warnOfLacking(lacking, outcome.taken, onWarning);
    return true;
  }
  throw new VaultError('unavailable', 'Others change the vault’s keyring at the same time. Try again.');
}

/**
 * Has session, catalog and all buckets go by a keyring that stands in some of them.
 *
 * @returns the buckets that do not have it in the end; null if somebody has made a newer one by now
 * @throws as `afterChange`; the buckets have it all the same
 */
function establish(
  session: Session,
  next: KeyringState,
  signal: AbortSignal | undefined,
): Promise<readonly BucketFailure[] | null> {
  const isNewest = async (): Promise<boolean> => {
    await takeNewest(session, signal);
    return session.keyring.keyring.epoch <= next.keyring.epoch;
  };
  const settle = async (): Promise<readonly BucketFailure[]> => {
    const { failed } = await settleKeyring({ ...session, keyring: next }, session.buckets.all, { signal });
    return failed;
  };
  return afterChange(async () => {
    // A bucket that has dropped the epochs before takes a late one: then there is a newer one by now.
    if (!(await isNewest())) return null;
    await adoptKeyring(session, next, { signal });
    const lacking = await settle();
    // Until the keyrings before were gone, somebody else could take this for a change that was cut short, and overrule it.
    return (await isNewest()) ? lacking : null;
  }, settle);
}

/** A catalog or a bucket that can only be read would be found when others have the new keyring. @throws `keptKeyring`; what the catalog says */
async function requireWritable(
  session: Session,
  buckets: readonly VaultBucket[],
  signal: AbortSignal | undefined,
): Promise<void> {
  // It has this one already, so that it changes nothing.
  await noteKeyring(session, session.keyring);
  const { failed } = await checkEach(buckets, async (bucket) => {
    const storage = await bucket.checked(signal);
    await storage.put(CLOCK_NAME, new Uint8Array(), { signal });
    await drop(storage, CLOCK_NAME, signal);
  });
  if (failed.length > 0) throw keptKeyring(failed);
}

async function nextKeyring(
  session: Session,
  change: (keyring: Keyring) => Promise<Keyring | null> | Keyring | null,
  keys: VaultKeys = session.keys,
): Promise<KeyringState | null> {
  const { keyring, bytes } = session.keyring;
  const changed = await change(keyring);
  if (changed === null) return null;
  requireKey(session);
  if (keyring.epoch === MAX_EPOCH) {
    throw new VaultError(
      'damaged',
      `The keyring has the last epoch that there is, ${MAX_EPOCH}, which no vault reaches by itself: somebody with a full key has set it. It can be changed no more. Make another vault (vault init), and store there what this one has.`,
    );
  }
  const next = { ...changed, epoch: keyring.epoch + 1, previous: objectDigest(bytes) };
  return { keyring: next, bytes: signKeyring(keys, next) };
}
