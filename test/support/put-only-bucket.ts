/** What a machine that can only store may do in a bucket: create objects, list names, and read what tells it how. */
import { VaultError } from '../../src/errors.ts';
import type { Bucket } from '../../src/buckets/bucket.ts';

const READABLE = /^(vault\.json$|keyring\/|sweep\/|puts\/)/;

/**
 * A bucket that grants those rights and no others.
 *
 * @param refused told of each call that was refused: what, and of which object
 */
export function putOnly(bucket: Bucket, refused: (call: string) => void = () => undefined): Bucket {
  const refuse = (call: string, name: string): never => {
    refused(`${call} ${name}`);
    throw new VaultError('denied', `The test lets nobody ${call} ${name}.`);
  };
  return {
    label: bucket.label,
    async put(name, bytes, call) {
      if (call?.replace === true) return refuse('replace', name);
      for await (const found of bucket.list(name)) if (found.name === name) refuse('replace', name);
      return bucket.put(name, bytes, call);
    },
    get: async (name, call) => (READABLE.test(name) ? bucket.get(name, call) : refuse('get', name)),
    remove: async (name) => refuse('remove', name),
    list: (prefix, call) => bucket.list(prefix, call),
    close: () => bucket.close(),
  };
}
