import type { Bucket, ListedObject } from '../../src/buckets/bucket.ts';
import type { Catalog } from '../../src/catalog/catalog.ts';

/** One call that a vault makes of its catalog or of a bucket. */
export interface Step {
  /** Which call it is, from 1, of all that one handle makes. */
  readonly nth: number;
  /** `catalog`, or the bucket's label. */
  readonly where: string;
  /** The method's name. */
  readonly call: string;
  /** The object's name or the prefix of a listing; empty for the catalog. */
  readonly name: string;
}

/**
 * Stands around every step: may do something before and after it, or throw.
 *
 * @param proceed makes the call; its answer reaches the caller
 */
export type Around = (step: Step, proceed: () => Promise<void>) => Promise<void>;

/** Numbers the steps of one handle, over its catalog and all its buckets. */
export class Steps {
  readonly log: Step[] = [];
  readonly #around: Around;

  constructor(around: Around) {
    this.#around = around;
  }

  async take<T>(where: string, call: string, name: string, proceed: () => Promise<T>): Promise<T> {
    const step = { nth: this.log.length + 1, where, call, name };
    this.log.push(step);
    const answers: { readonly value: T }[] = [];
    await this.#around(step, async () => {
      answers.push({ value: await proceed() });
    });
    const [answer] = answers;
    if (answer === undefined) throw new Error(`The test left out ${call} without an error.`);
    return answer.value;
  }

  /** The bucket, with every call a step. */
  bucket(bucket: Bucket): Bucket {
    const { label } = bucket;
    return {
      label,
      // A step, and one for each of the objects: so all of them can fail, or the answer be lost, or some be stored.
      putAll:
        bucket.putAll &&
        ((objects, call) =>
          this.take(label, 'putAll', objects[0]?.name ?? '', async () => {
            const how = { drawn: call?.replace !== true, ...call };
            for (const { name, bytes } of objects)
              await this.take(label, 'put', name, () => bucket.put(name, bytes, how));
            return true;
          })),
      put: (name, bytes, call) => this.take(label, 'put', name, () => bucket.put(name, bytes, call)),
      get: (name, call) => this.take(label, 'get', name, () => bucket.get(name, call)),
      remove: (name, call) => this.take(label, 'remove', name, () => bucket.remove(name, call)),
      list: (prefix, call) =>
        later<ListedObject>(() =>
          this.take(label, 'list', prefix, () => Array.fromAsync(bucket.list(prefix, call))),
        ),
      close: () => bucket.close(),
    };
  }

  /** The catalog, with every call of each of its nouns a step, `files.put` and the like. */
  catalog(catalog: Catalog): Catalog {
    return {
      label: catalog.label,
      setup: this.#noun('setup', catalog.setup),
      files: this.#noun('files', catalog.files),
      chunks: this.#noun('chunks', catalog.chunks),
      grants: this.#noun('grants', catalog.grants),
      requireWritable: () => catalog.requireWritable(),
      close: () => catalog.close(),
    };
  }

  #noun<N extends object>(noun: string, part: N): N {
    return new Proxy(part, {
      get: (target, key): unknown => {
        const member: unknown = Reflect.get(target, key);
        if (typeof member !== 'function' || typeof key !== 'string') return member;
        return (...args: unknown[]): unknown => {
          const call = async (): Promise<unknown> => {
            const answer: unknown = Reflect.apply(member, target, args);
            return isIterable(answer) ? Array.fromAsync(answer) : answer;
          };
          const name = `${noun}.${key}`;
          return LISTINGS.has(name)
            ? later(async () => asList(await this.take('catalog', name, '', call)))
            : this.take('catalog', name, '', call);
        };
      },
    });
  }
}

/** Methods of the catalog that give iterables. */
const LISTINGS: ReadonlySet<string> = new Set([
  'files.list',
  'files.walk',
  'files.expired',
  'chunks.walk',
  'grants.list',
]);

async function* later<T>(entries: () => Promise<readonly T[]>): AsyncGenerator<T, void, undefined> {
  yield* await entries();
}

function isIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value;
}

function asList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
