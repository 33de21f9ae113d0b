import type { Bucket, ListedObject } from '../../src/buckets/bucket.ts';
import { VaultError } from '../../src/errors.ts';
import type { ErrorCode } from '../../src/errors.ts';

export type Operation = 'put' | 'get' | 'remove' | 'list';

/** A call that is about to be made. */
export interface FaultyCall {
  readonly operation: Operation;
  /** The object's name, or the prefix of a listing. */
  readonly name: string;
  /** Which call of this operation it is, from 1. */
  readonly nth: number;
  /** Which call of any operation it is, from 1. */
  readonly overall: number;
}

/**
 * What goes wrong with a call.
 *
 * - `fail`: rejects with the error, before anything was done or after all was (an answer that was lost)
 * - `hang`: does nothing and never settles; unless `heedsSignal`, not even when its signal is aborted
 * - `lose`: a put or remove succeeds and does nothing
 * - `change`: a get gives other bytes than are stored
 * - `cut`: a listing fails after that many entries
 * - `hide`: a listing leaves out the names that match, and says nothing
 */
export type Fault =
  | { readonly kind: 'fail'; readonly when: 'before' | 'after'; readonly error: VaultError }
  | { readonly kind: 'hang'; readonly heedsSignal: boolean }
  | { readonly kind: 'lose' }
  | { readonly kind: 'change'; readonly change: (bytes: Uint8Array) => Uint8Array | Promise<Uint8Array> }
  | { readonly kind: 'cut'; readonly after: number; readonly error: VaultError }
  | { readonly kind: 'hide'; readonly names: RegExp };

/** Decides what goes wrong with a call; null: nothing. */
export type FaultPlan = (call: FaultyCall) => Fault | null;

export interface FaultyBucket extends Bucket {
  /** How many calls of each operation there have been. */
  readonly calls: Readonly<Record<Operation, number>>;
  /** Every call, in order. */
  readonly log: readonly FaultyCall[];
  /** Replaces the plan; counting goes on. */
  follow(plan: FaultPlan): void;
}

/** An error as a driver would throw it. */
export function storageError(
  code: ErrorCode = 'unavailable',
  retryAfterMs: number | null = null,
): VaultError {
  return new VaultError(code, `The test says ${code}.`, { retryAfterMs });
}

/** A plan in which nothing goes wrong. */
export function healthy(): null {
  return null;
}

/** A plan in which every call fails with this code before it does anything: a bucket that is down. */
export function always(code: ErrorCode): FaultPlan {
  return () => ({ kind: 'fail', when: 'before', error: storageError(code) });
}

/** A plan in which one call of one operation fails. */
export function failNth(
  operation: Operation,
  nth: number,
  options: { readonly when?: 'before' | 'after'; readonly error?: VaultError } = {},
): FaultPlan {
  const fault: Fault = {
    kind: 'fail',
    when: options.when ?? 'before',
    error: options.error ?? storageError(),
  };
  return (call) => (call.operation === operation && call.nth === nth ? fault : null);
}

/** A plan that changes what is read of the objects whose names match. */
export function corrupt(
  names: RegExp,
  change: (bytes: Uint8Array) => Uint8Array | Promise<Uint8Array>,
): FaultPlan {
  return (call) => (call.operation === 'get' && names.test(call.name) ? { kind: 'change', change } : null);
}

/** Changes for `corrupt`. */
export const damage = {
  /** Flips the lowest bit of one byte; of the middle one by default. */
  flip:
    (at?: number) =>
    (bytes: Uint8Array): Uint8Array => {
      const copy = new Uint8Array(bytes);
      const index = at ?? copy.length >> 1;
      copy[index] = (copy[index] ?? 0) ^ 1;
      return copy;
    },
  /** Leaves only the first bytes; all but one by default. */
  cut:
    (size?: number) =>
    (bytes: Uint8Array): Uint8Array =>
      bytes.slice(0, size ?? Math.max(0, bytes.length - 1)),
  /** Adds a byte. */
  lengthen: (bytes: Uint8Array): Uint8Array => new Uint8Array([...bytes, 0]),
  /** Gives another object's bytes. */
  swap: (bucket: Bucket, name: string) => async (): Promise<Uint8Array> => await bucket.get(name),
} as const;

/** A bucket that goes wrong as planned; the one below it stays what it is, and can be looked at. */
export function faulty(bucket: Bucket, plan: FaultPlan = healthy): FaultyBucket {
  const calls: Record<Operation, number> = { put: 0, get: 0, remove: 0, list: 0 };
  const log: FaultyCall[] = [];
  let current = plan;

  const begin = async (
    operation: Operation,
    name: string,
    signal: AbortSignal | undefined,
  ): Promise<Fault | null> => {
    calls[operation] += 1;
    const call = { operation, name, nth: calls[operation], overall: log.length + 1 };
    log.push(call);
    const fault = current(call);
    if (fault?.kind === 'hang') await hang(fault.heedsSignal ? signal : undefined);
    if (fault?.kind === 'fail' && fault.when === 'before') throw fault.error;
    return fault;
  };
  return {
    label: bucket.label,
    calls,
    log,
    follow(next) {
      current = next;
    },
    async put(name, bytes, call) {
      const fault = await begin('put', name, call?.signal);
      if (fault?.kind !== 'lose') await bucket.put(name, bytes, call);
      finish(fault);
    },
    // One after the other: those before the one that fails are stored.
    async putAll(objects, call) {
      for (const { name, bytes } of objects)
        await this.put(name, bytes, { drawn: call?.replace !== true, ...call });
      return true;
    },
    async get(name, call) {
      const fault = await begin('get', name, call?.signal);
      const bytes = await bucket.get(name, call);
      finish(fault);
      return fault?.kind === 'change' ? await fault.change(bytes) : bytes;
    },
    async remove(name, call) {
      const fault = await begin('remove', name, call?.signal);
      if (fault?.kind !== 'lose') await bucket.remove(name, call);
      finish(fault);
    },
    async *list(prefix, call): AsyncIterable<ListedObject> {
      const fault = await begin('list', prefix, call?.signal);
      let given = 0;
      for await (const object of bucket.list(prefix, call)) {
        if (fault?.kind === 'cut' && given === fault.after) throw fault.error;
        if (fault?.kind === 'hide' && fault.names.test(object.name)) continue;
        given += 1;
        yield object;
      }
      if (fault?.kind === 'cut') throw fault.error;
      finish(fault);
    },
    async close() {
      await bucket.close();
    },
  };
}

/** The end of a call that has done what it does. */
function finish(fault: Fault | null): void {
  if (fault?.kind === 'fail') throw fault.error;
}

async function hang(signal: AbortSignal | undefined): Promise<never> {
  return await new Promise<never>((_, reject) => {
    const onAbort = (): void => {
      reject(new VaultError('interrupted', 'The operation was interrupted.', { cause: signal?.reason }));
    };
    if (signal?.aborted === true) onAbort();
    else signal?.addEventListener('abort', onAbort, { once: true });
  });
}
