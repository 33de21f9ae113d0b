import { VaultError, throwIfAborted } from '../errors.ts';
import { DEFAULT_MAX_OBJECT_SIZE, isNamePrefix, isObjectName } from './bucket.ts';
import type { Bucket } from './bucket.ts';

/** What a bucket in memory holds: object names to bytes. Two handles on one map are two handles on one bucket. */
export type MemoryStorage = Map<string, Uint8Array>;

/**
 * A bucket that lives in this process, for tests and for trying the library out. It keeps the whole
 * contract, except that nothing is durable.
 *
 * @param label what to call it in messages
 * @param storage where the objects are; a second handle with the same map sees the same objects
 * @param options `now`: the bucket's own clock; it has none unless given
 */
export function memoryBucket(
  label: string,
  storage: MemoryStorage = new Map(),
  { now }: { readonly now?: () => number } = {},
): Bucket {
  const checkName = (name: string): void => {
    if (!isObjectName(name)) {
      throw new VaultError(
        'invalid-input',
        `${JSON.stringify(name)} is not a name that an object in ${label} can have.`,
      );
    }
  };

  return {
    label,

    async put(name, bytes, call = {}) {
      checkName(name);
      await begin(call.signal);
      if (now !== undefined) call.onDate?.(now());
      const existing = storage.get(name);
      if (existing !== undefined && call.replace !== true) {
        if (Buffer.compare(existing, bytes) === 0) return;
        throw new VaultError('already-exists', `${label} holds ${name} already, with different content.`);
      }
      storage.set(name, new Uint8Array(bytes));
    },

    async get(name, call = {}) {
      checkName(name);
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
      checkName(name);
      await begin(call.signal);
      storage.delete(name);
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

// One turn of the microtask queue, so that a signal aborted right after the call still counts, as with a
// bucket that is reached over a wire.
async function begin(signal: AbortSignal | undefined): Promise<void> {
  throwIfAborted(signal);
  await Promise.resolve();
  throwIfAborted(signal);
}
