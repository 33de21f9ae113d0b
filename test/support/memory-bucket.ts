import { VaultError, throwIfAborted } from '../../src/errors.ts';
import {
  DEFAULT_MAX_OBJECT_SIZE,
  isNamePrefix,
  isObjectName,
  NO_RETENTION,
  retainedError,
} from '../../src/buckets/bucket.ts';
import type { Bucket, Retention, RetentionPolicy } from '../../src/buckets/bucket.ts';

/** What a bucket in memory holds: object names to bytes. Two handles on one map are two handles on one bucket. */
export type MemoryStorage = Map<string, Uint8Array>;

/** Locks of objects in memory: until when, by name, and what the bucket has. It keeps no versions. */
export interface MemoryLocks {
  readonly policy: RetentionPolicy;
  readonly until: Map<string, number>;
  readonly now: () => number;
}

/**
 * A bucket that lives in this process. It keeps the whole
 * contract, except that nothing is durable.
 *
 * @param label what to call it in messages
 * @param storage where the objects are; a second handle with the same map sees the same objects
 * @param options `now`: the bucket's own clock; it has none unless given. `locks`: what keeps its objects
 */
export function memoryBucket(
  label: string,
  storage: MemoryStorage = new Map(),
  { now, locks }: { readonly now?: () => number; readonly locks?: MemoryLocks | undefined } = {},
): Bucket {
  const checkFree = (name: string, tried: string): void => {
    const untilMs = locks?.until.get(name) ?? 0;
    if (locks !== undefined && storage.has(name) && untilMs > locks.now())
      throw retainedError(`Could not ${tried} ${name} in ${label}`, untilMs);
  };

  return {
    label,
    retention: locks === undefined ? undefined : memoryRetention(label, storage, locks),

    async put(name, bytes, call = {}) {
      checkName(label, name);
      await begin(call.signal);
      if (now !== undefined) call.onDate?.(now());
      const existing = storage.get(name);
      if (existing !== undefined && call.replace !== true) {
        if (Buffer.compare(existing, bytes) === 0) return;
        throw new VaultError('already-exists', `${label} holds ${name} already, with different content.`);
      }
      checkFree(name, 'replace');
      storage.set(name, new Uint8Array(bytes));
      if (locks !== undefined) keep(name, locks, call.retainUntilMs ?? 0);
    },

    // By whatever puts there: a bucket around this one that goes wrong does so here, too.
    async putAll(objects, call = {}) {
      const [folder = ''] = objects.map(({ name }) => folderOf(name));
      if (!objects.every(({ name }) => isObjectName(name) && folderOf(name) === folder)) return false;
      for (const { name, bytes } of objects)
        await this.put(name, bytes, { drawn: call.replace !== true, ...call });
      return true;
    },

    async get(name, call = {}) {
      checkName(label, name);
      await begin(call.signal);
      const bytes = storage.get(name);
      if (bytes === undefined) throw new VaultError('object-missing', `${label} has no object ${name}.`);
      const maxSize = call.maxSize ?? DEFAULT_MAX_OBJECT_SIZE;
      if (bytes.length > maxSize) {
        throw new VaultError(
          'damaged',
          `${name} in ${label} has ${bytes.length} bytes, more than the ${maxSize} it can have.`,
        );
      }
      call.onBytes?.(bytes.length);
      return new Uint8Array(bytes);
    },

    async remove(name, call = {}) {
      checkName(label, name);
      await begin(call.signal);
      checkFree(name, 'remove');
      storage.delete(name);
      locks?.until.delete(name);
    },

    async *list(prefix, call = {}) {
      if (!isNamePrefix(prefix)) {
        throw new VaultError(
          'invalid-input',
          `${JSON.stringify(prefix)} starts no name that an object can have.`,
        );
      }
      await begin(call.signal);
      const after = call.after ?? '';
      // Names are ASCII, so the order of UTF-16 units, which sort() uses, is byte order.
      const names = [...storage.keys()].filter((name) => name.startsWith(prefix) && name > after).toSorted();
      for (const name of names) {
        throwIfAborted(call.signal);
        const bytes = storage.get(name);
        if (bytes !== undefined) yield { name, size: bytes.length };
      }
      throwIfAborted(call.signal);
    },

    async close() {
      // Nothing is held open.
    },
  };
}

function folderOf(name: string): string {
  return name.slice(0, name.lastIndexOf('/') + 1);
}

/** @throws `invalid-input` */
function checkName(label: string, name: string): void {
  if (isObjectName(name)) return;
  throw new VaultError(
    'invalid-input',
    `${JSON.stringify(name)} is not a name that an object in ${label} can have.`,
  );
}

/** Notes until when a new object is kept. */
function keep(name: string, { policy: { everyMs }, until, now }: MemoryLocks, askedMs: number): void {
  const untilMs = Math.max(askedMs, everyMs === null ? 0 : now() + everyMs);
  if (untilMs > 0) until.set(name, untilMs);
}

function memoryRetention(label: string, storage: MemoryStorage, { policy, until }: MemoryLocks): Retention {
  const check = (name: string): void => {
    if (!storage.has(name)) throw new VaultError('object-missing', `${label} has no object ${name}.`);
  };
  return {
    policy: async () => ({ ...NO_RETENTION, ...policy }),
    async until(name) {
      check(name);
      return until.get(name) ?? null;
    },
    async extend(name, untilMs) {
      check(name);
      if (policy.lock === null) throw new VaultError('invalid-input', `${label} locks no objects.`);
      if ((until.get(name) ?? 0) >= untilMs) return false;
      until.set(name, untilMs);
      return true;
    },
  };
}

// One turn of the microtask queue, so that a signal aborted right after the call still counts, as with a
// bucket that is reached over a wire.
async function begin(signal: AbortSignal | undefined): Promise<void> {
  throwIfAborted(signal);
  await Promise.resolve();
  throwIfAborted(signal);
}
