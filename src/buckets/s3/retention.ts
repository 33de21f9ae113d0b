import { createHash } from 'node:crypto';
import {
  GetBucketVersioningCommand,
  GetObjectLockConfigurationCommand,
  GetObjectRetentionCommand,
  PutObjectRetentionCommand,
} from '@aws-sdk/client-s3';
import { invalidInput, isVaultError } from '../../errors.ts';
import { NO_RETENTION } from '../bucket.ts';
import type { BucketCall, LockMode, Retention, RetentionPolicy } from '../bucket.ts';
import { sendOptions, type S3Place } from './client.ts';
import { answerCodeOf, isUnknownThere, translateS3Error, type S3Attempt } from './errors.ts';

const DAY_MS = 86_400_000;
/** Periods are whole days; of years the service counts 365. */
const YEAR_MS = 365 * DAY_MS;

interface Lock {
  readonly mode: 'GOVERNANCE' | 'COMPLIANCE';
  readonly untilMs: number;
}

/**
 * Object Lock. It keeps versions of objects: a plain removal hides a locked one behind a delete marker, and the version goes on costing.
 */
export class S3Retention implements Retention {
  readonly #place: S3Place;
  /** The mode that the URL asks for; null: the bucket's own. */
  readonly #mode: LockMode | null;
  #known: RetentionPolicy | null = null;
  /** Whether these credentials may not ask for it. */
  #isDenied = false;

  constructor(place: S3Place, mode: LockMode | null) {
    this.#place = place;
    this.#mode = mode;
  }

  async policy(call: BucketCall = {}): Promise<RetentionPolicy> {
    this.#known ??= await this.#ask(call);
    return this.#known;
  }

  async until(name: string, call: BucketCall = {}): Promise<number | null> {
    return (await this.#lockOf(name, call))?.untilMs ?? null;
  }

  async extend(name: string, untilMs: number, call: BucketCall = {}): Promise<boolean> {
    const before = await this.#lockOf(name, call);
    if (before !== null && before.untilMs >= untilMs) return false;
    const { client, bucket, root, payer } = this.#place;
    const attempt = this.#attempt('extend', name, call);
    const retention = { Mode: before?.mode ?? (await this.mode(call)), RetainUntilDate: new Date(untilMs) };
    const command = new PutObjectRetentionCommand({
      Bucket: bucket,
      Key: root + name,
      Retention: retention,
      ...payer,
    });
    command.middlewareStack.add(withMd5, { step: 'build', priority: 'low' });
    try {
      await client.send(command, sendOptions(call.signal));
      return true;
    } catch (error) {
      throw translateS3Error(error, attempt);
    }
  }

  /** How new locks are made. @throws `invalid-input` for a bucket that has no Object Lock */
  async mode(call: BucketCall): Promise<Lock['mode']> {
    const { lock } = await this.policy(call);
    if (lock !== null) return lock === 'compliance' ? 'COMPLIANCE' : 'GOVERNANCE';
    throw invalidInput(`${this.#place.label} has no Object Lock.`);
  }

  /** Whether a removal would hide what is locked; not known, and so false, where these credentials may not ask for the bucket's policy. */
  async hides(call: BucketCall): Promise<boolean> {
    if (this.#isDenied) return false;
    try {
      return (await this.policy(call)).lock !== null;
    } catch (error) {
      if (!isVaultError(error, 'denied')) throw error;
      this.#isDenied = true;
      return false;
    }
  }

  /** Until when an object is kept, for who is about to remove it; null where a removal would not hide it. */
  async keeping(name: string, call: BucketCall): Promise<number | null> {
    if (!(await this.hides(call))) return null;
    try {
      return await this.until(name, call);
    } catch (error) {
      if (!isVaultError(error, 'object-missing')) throw error;
      return null;
    }
  }

  async #ask(call: BucketCall): Promise<RetentionPolicy> {
    const { client, bucket } = this.#place;
    const command = new GetObjectLockConfigurationCommand({ Bucket: bucket });
    try {
      const { ObjectLockConfiguration: has } = await client.send(command, sendOptions(call.signal));
      if (has?.ObjectLockEnabled === 'Enabled') {
        const { Mode, Days = 0, Years = 0 } = has.Rule?.DefaultRetention ?? {};
        const everyMs = Days * DAY_MS + Years * YEAR_MS;
        const lock = this.#mode ?? (Mode === 'COMPLIANCE' ? 'compliance' : 'governance');
        // Object Lock takes versioning, which cannot be suspended any more.
        return { lock, everyMs: everyMs === 0 ? null : everyMs, versioning: true, softDeleteMs: null };
      }
    } catch (error) {
      if (!isUnknownThere(error)) throw translateS3Error(error, this.#attempt('policy', '', call));
    }
    return { ...NO_RETENTION, versioning: await this.#isVersioned(call) };
  }

  async #isVersioned(call: BucketCall): Promise<boolean | null> {
    const { client, bucket } = this.#place;
    try {
      const command = new GetBucketVersioningCommand({ Bucket: bucket });
      return (await client.send(command, sendOptions(call.signal))).Status === 'Enabled';
    } catch (error) {
      if (isUnknownThere(error)) return false;
      const failure = translateS3Error(error, this.#attempt('policy', '', call));
      if (failure.code === 'denied') return null;
      throw failure;
    }
  }

  async #lockOf(name: string, call: BucketCall): Promise<Lock | null> {
    const { client, bucket, root, payer } = this.#place;
    const attempt = this.#attempt('look', name, call);
    const command = new GetObjectRetentionCommand({ Bucket: bucket, Key: root + name, ...payer });
    try {
      const { Retention: has } = await client.send(command, sendOptions(call.signal));
      if (has?.RetainUntilDate === undefined) return null;
      return { mode: has.Mode ?? 'GOVERNANCE', untilMs: has.RetainUntilDate.getTime() };
    } catch (error) {
      // The object has none, or the bucket has no Object Lock at all.
      if (['NoSuchObjectLockConfiguration', 'InvalidRequest'].includes(answerCodeOf(error))) return null;
      throw translateS3Error(error, attempt);
    }
  }

  #attempt(action: S3Attempt['action'], name: string, { signal }: BucketCall): S3Attempt {
    const { label, isForeign } = this.#place;
    return { action, name, label, isForeign, signal };
  }
}

/** Middleware: the checksum of a request that every service knows, in place of the SDK's own, which some refuse. */
export function withMd5<Args extends { readonly request: unknown }, Result>(
  next: (args: Args) => Promise<Result>,
) {
  return (args: Args): Promise<Result> => {
    const request = Object(args.request);
    if (typeof request.body === 'string') {
      for (const name of Object.keys(request.headers))
        if (/^x-amz-(?:sdk-)?checksum-/i.test(name)) delete request.headers[name];
      request.headers['content-md5'] = createHash('md5').update(request.body).digest('base64');
    }
    return next(args);
  };
}
