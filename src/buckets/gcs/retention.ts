import { Buffer } from 'node:buffer';
import { invalidInput, isVaultError, type VaultError } from '../../errors.ts';
import type { BucketCall, LockMode, Retention, RetentionPolicy } from '../bucket.ts';
import type { HttpAnswer } from '../http.ts';
import { failureOf, isRecord, resourceOf, retainedUntilOf, type Task } from './answers.ts';
import type { GcsApi } from './api.ts';

interface Lent {
  readonly send: GcsApi['send'];
  /** The path of the bucket. */
  readonly bucket: string;
  pathOf(name: string): string;
  taskOf(words: string, permission: string, call: BucketCall): Task;
  missing(answer: HttpAnswer, task: Task): Promise<VaultError>;
}

interface Lock {
  readonly mode: 'Unlocked' | 'Locked';
  readonly retainUntilTime: string;
}

/** Object retention, the bucket's own retention policy, versioning and soft delete. */
export class GcsRetention implements Retention {
  readonly #lent: Lent;
  /** The mode that the URL asks for; null: one that can be lifted. */
  readonly #mode: LockMode;
  #known: RetentionPolicy | null = null;
  /** Whether these credentials may not ask for it. */
  #isDenied = false;

  constructor(lent: Lent, mode: LockMode | null) {
    this.#lent = lent;
    this.#mode = mode ?? 'governance';
  }

  async policy(call: BucketCall = {}): Promise<RetentionPolicy> {
    this.#known ??= await this.#ask(call);
    return this.#known;
  }

  async until(name: string, call: BucketCall = {}): Promise<number | null> {
    const task = this.#lent.taskOf(`look at ${name} in`, 'get', call);
    return retainedUntilOf(await this.#resource(name, task));
  }

  async extend(name: string, untilMs: number, call: BucketCall = {}): Promise<boolean> {
    const task = this.#lent.taskOf(`lock ${name} in`, 'update', call);
    const { retention } = await this.#resource(name, { ...task, permission: 'storage.objects.get' });
    const before = isRecord(retention) ? retention : null;
    const beforeMs = before === null ? null : retainedUntilOf({ retention: before });
    if (beforeMs !== null && beforeMs >= untilMs) return false;
    const lock = await this.lockUntil(untilMs, call);
    // A lock that can be lifted stays one: to make it harder takes a right of its own.
    const mode = beforeMs !== null && before?.['mode'] === 'Unlocked' ? 'Unlocked' : lock.mode;
    const answer = await this.#lent.send(
      {
        method: 'PATCH',
        path: `${this.#lent.pathOf(name)}?fields=kind,retention&projection=noAcl`,
        headers: { 'content-type': 'application/json; charset=UTF-8' },
        body: [Buffer.from(JSON.stringify({ retention: { ...lock, mode } }))],
        locks: true,
      },
      { ...task, permission: 'storage.objects.update and storage.objects.setRetention' },
    );
    if (answer.status === 404) throw await this.#lent.missing(answer, task);
    if (answer.status !== 200) throw failureOf(answer, task);
    resourceOf(answer, 'storage#object', task);
    return true;
  }

  /** A new lock. @throws `invalid-input` for a bucket without object retention */
  async lockUntil(untilMs: number, call: BucketCall): Promise<Lock> {
    if ((await this.policy(call)).lock === null) {
      const { task } = this.#lent.taskOf('lock objects in', 'setRetention', call);
      throw invalidInput(`Could not ${task}: it was made without object retention.`);
    }
    return {
      mode: this.#mode === 'compliance' ? 'Locked' : 'Unlocked',
      retainUntilTime: new Date(untilMs).toISOString(),
    };
  }

  /** Whether a removal would only hide what is kept; else the service refuses it by itself. */
  async hides(call: BucketCall): Promise<boolean> {
    if (this.#isDenied) return false;
    try {
      return (await this.policy(call)).versioning === true;
    } catch (error) {
      if (!isVaultError(error, 'denied')) throw error;
      this.#isDenied = true;
      return false;
    }
  }

  /** Until when an object is kept that a removal would only hide; null for others. */
  async keeping(name: string, call: BucketCall): Promise<number | null> {
    if (!(await this.hides(call))) return null;
    try {
      return await this.until(name, call);
    } catch (error) {
      if (!isVaultError(error, 'denied', 'object-missing')) throw error;
      this.#isDenied = error.code === 'denied';
      return null;
    }
  }

  async #ask(call: BucketCall): Promise<RetentionPolicy> {
    const task = this.#lent.taskOf('look at', 'buckets.get', call);
    const fields = 'kind,objectRetention,retentionPolicy,versioning,softDeletePolicy';
    const answer = await this.#lent.send(
      { method: 'GET', path: `${this.#lent.bucket}?fields=${fields}` },
      task,
    );
    if (answer.status === 404) throw await this.#lent.missing(answer, task);
    if (answer.status !== 200) throw failureOf(answer, task);
    const { objectRetention, retentionPolicy, versioning, softDeletePolicy } = resourceOf(
      answer,
      'storage#bucket',
      task,
    );
    return {
      lock: isRecord(objectRetention) && objectRetention['mode'] === 'Enabled' ? this.#mode : null,
      everyMs: periodMs(retentionPolicy, 'retentionPeriod'),
      versioning: isRecord(versioning) && versioning['enabled'] === true,
      softDeleteMs: periodMs(softDeletePolicy, 'retentionDurationSeconds'),
    };
  }

  async #resource(name: string, task: Task): Promise<Record<string, unknown>> {
    const fields = 'kind,retention,retentionExpirationTime';
    const answer = await this.#lent.send(
      { method: 'GET', path: `${this.#lent.pathOf(name)}?fields=${fields}` },
      task,
    );
    if (answer.status === 404) throw await this.#lent.missing(answer, task);
    if (answer.status !== 200) throw failureOf(answer, task);
    return resourceOf(answer, 'storage#object', task);
  }
}

/** A period that a policy gives in seconds; null for none. */
function periodMs(policy: unknown, field: string): number | null {
  const seconds = isRecord(policy) ? Number(policy[field]) : 0;
  return seconds > 0 ? seconds * 1000 : null;
}
