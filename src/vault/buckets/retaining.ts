/** Keeping what a put or a repair relies on from being removed: which buckets can, new objects, and the locks of those that are there. */
import { momentOf, type RetentionPolicy } from '../../buckets/bucket.ts';
import { isFailure, VaultError } from '../../errors.ts';
import type { CallOptions } from '../call.ts';
import { checkEach, describeFailure } from './bucket-set.ts';
import type { BucketFailure, ReadBucket, VaultBucket } from './bucket-set.ts';

/** An object in one bucket. */
export interface HeldObject {
  readonly bucket: ReadBucket;
  readonly name: string;
  /** As a listing has told it. */
  readonly retainedUntilMs?: number | undefined;
}

export class Retaining {
  readonly untilMs: number;
  readonly #policies: ReadonlyMap<VaultBucket, RetentionPolicy>;
  readonly #onWarning: CallOptions['onWarning'];
  readonly #failed = new Set<VaultBucket>();
  /** Objects that are locked until then, of those that were there; and those of them whose lock was to end earlier. */
  kept = 0;
  extended = 0;
  /** Objects whose lock could not be made longer. */
  unkept = 0;

  /** @param policies of the buckets that can lock */
  constructor(
    untilMs: number,
    policies: ReadonlyMap<VaultBucket, RetentionPolicy>,
    onWarning: CallOptions['onWarning'],
  ) {
    this.untilMs = untilMs;
    this.#policies = policies;
    this.#onWarning = onWarning;
  }

  /** Buckets that can lock. */
  get buckets(): readonly VaultBucket[] {
    return [...this.#policies.keys()];
  }

  /**
   * What a put of a new object into a bucket is told.
   *
   * @param nowMs a lock that is asked for takes the place of the bucket's own, which may be longer
   */
  putCall(bucket: VaultBucket, nowMs: number): { readonly retainUntilMs?: number } {
    const policy = this.#policies.get(bucket);
    if (policy === undefined) return {};
    return { retainUntilMs: Math.max(this.untilMs, wholeSeconds(nowMs + (policy.everyMs ?? 0))) };
  }

  /** Makes the lock of an object longer, if it ends earlier, where its bucket can lock. One that has vanished meanwhile has none. */
  async extend(
    { bucket: holder, name, retainedUntilMs }: HeldObject,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const bucket = this.buckets.find((each) => each === holder);
    if (bucket === undefined) return;
    try {
      if ((retainedUntilMs ?? 0) < this.untilMs) {
        const { retention } = await bucket.checked(signal);
        if ((await retention?.extend(name, this.untilMs, { signal })) === true) this.extended += 1;
      }
      this.kept += 1;
    } catch (error) {
      if (!isFailure(error)) throw error;
      if (error.code === 'object-missing') return;
      this.unkept += 1;
      if (this.#failed.has(bucket)) return;
      this.#failed.add(bucket);
      const message = `${describeFailure({ bucket, error })} What is stored there already is not locked until ${momentOf(this.untilMs)}.`;
      this.#onWarning?.({ kind: 'not-retained', message, bucket: bucket.url });
    }
  }

  /** The same of what every file needs: the names that a bucket is known by and opened with, where they can still be taken out of the way. */
  async extendShared(names: readonly string[], signal: AbortSignal | undefined): Promise<void> {
    for (const [bucket, { versioning }] of this.#policies) {
      // Keyrings are replaced: one that could not even be hidden would keep an old password in force.
      if (versioning !== true) continue;
      for (const name of names) {
        await this.extend({ bucket, name, retainedUntilMs: bucket.retained.get(name) }, signal);
        bucket.retained.set(name, this.untilMs);
      }
    }
  }
}

/** The first whole second that is not before it. */
export function wholeSeconds(ms: number): number {
  return Math.ceil(ms / 1000) * 1000;
}

/**
 * Asks buckets whether they can lock, and warns of those that cannot.
 *
 * @param wanted `untilMs`; `spare`: how many buckets may be lost without losing a file
 * @returns `isEnough`: whether what is locked gives every file back
 * @throws `invalid-input` if none can, or what they said
 */
export async function startRetaining(
  buckets: readonly VaultBucket[],
  wanted: { readonly untilMs: number; readonly spare: number },
  { signal, onWarning }: CallOptions,
): Promise<{ readonly retaining: Retaining; readonly isEnough: boolean }> {
  const policies = new Map<VaultBucket, RetentionPolicy>();
  const without: VaultBucket[] = [];
  const { failed } = await checkEach(buckets, async (bucket) => {
    const policy = await bucket.policy(signal);
    if (policy.lock === null) without.push(bucket);
    else policies.set(bucket, policy);
  });
  if (policies.size === 0) throw cannotRetain(without, failed);
  const isEnough = without.length + failed.length <= wanted.spare;
  if (without.length + failed.length > 0) {
    const urls = [...without, ...failed.map(({ bucket }) => bucket)].map(({ url }) => url).join(', ');
    const rest = isEnough
      ? 'The others are enough to get every file back.'
      : 'What the others lock is not enough to get every file back.';
    const message = `Nothing is locked in ${urls}, which ${failed.length === 0 ? 'cannot do that' : 'could not be asked or cannot do that'}. ${rest} ${failed.map(describeFailure).join(' ')}`;
    onWarning?.({ kind: 'not-retained', message: message.trim(), bucket: null });
  }
  for (const [bucket, { versioning }] of policies) {
    if (versioning === true) continue;
    const message = `${bucket.url} keeps no older versions, so its keyring is not locked: whoever may remove objects can remove it. Turn versioning on there.`;
    onWarning?.({ kind: 'not-retained', message, bucket: bucket.url });
  }
  const untilMs = wholeSeconds(wanted.untilMs);
  return { retaining: new Retaining(untilMs, policies, onWarning), isEnough };
}

function cannotRetain(without: readonly VaultBucket[], failed: readonly BucketFailure[]): VaultError {
  const [first] = failed;
  const reasons = failed.map(describeFailure);
  if (without.length > 0) reasons.unshift(`${without.map(({ url }) => url).join(', ')} cannot lock objects.`);
  return new VaultError(
    first?.error.code ?? 'invalid-input',
    `Nothing was stored or locked, since no bucket can keep objects from being removed. ${reasons.join(' ')} It takes S3 Object Lock or the object retention of Google Cloud Storage, and the right to ask for them: see docs/retention.md.`,
    { cause: first?.error },
  );
}
