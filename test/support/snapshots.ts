import { createHash } from 'node:crypto';
import type { Bucket, ListedObject } from '../../src/buckets/bucket.ts';
import { memoryBucket } from './memory-bucket.ts';
import { isVaultError } from '../../src/errors.ts';
import type { VaultError } from '../../src/errors.ts';

/** One call of a bucket, with all that its answer depends on but the bucket. */
export interface Operation {
  /** All of it, in words. */
  readonly key: string;
  readonly call: 'put' | 'get' | 'remove' | 'list';
  /** The bucket. */
  readonly where: string;
  /** The object's name or the prefix of a listing. */
  readonly name: string;
  /** What a put stores. */
  readonly bytes?: Uint8Array;
  readonly replace?: boolean;
  /** See `ListCall` and `GetCall`. */
  readonly after?: string | undefined;
  readonly maxSize?: number | undefined;
}

export type Answer =
  | { readonly error: VaultError }
  | { readonly error: null; readonly value: undefined | Uint8Array | readonly ListedObject[] };

/** What comes of an operation. */
export interface Outcome {
  readonly answer: Answer;
  /** Answers that differ in nothing have one digest. */
  readonly digest: string;
  readonly next: Snapshot;
}

type Storages = ReadonlyMap<string, ReadonlyMap<string, Uint8Array>>;

/** What all buckets hold at one moment: of equal content there is one. */
export interface Snapshot {
  readonly id: number;
  readonly storages: Storages;
  /** What came of operations upon it, by the operations' keys. */
  readonly outcomes: Map<string, Outcome>;
  /** Digests of listings, likewise. */
  readonly listings: Map<string, string>;
}

/** Snapshots of a few buckets, and what operations make of them, worked out by buckets in memory once. */
export class Snapshots {
  readonly #known = new Map<string, Snapshot>();

  of(storages: Storages): Snapshot {
    const lines = [...storages].flatMap(([where, objects]) =>
      [...objects].map(([name, bytes]) => `${where} ${name} ${hashOf(bytes)}`),
    );
    const key = lines.toSorted().join('\n');
    const known = this.#known.get(key) ?? {
      id: this.#known.size,
      storages,
      outcomes: new Map(),
      listings: new Map(),
    };
    this.#known.set(key, known);
    return known;
  }

  /** The digest of what a listing would show. */
  listed({ storages, listings }: Snapshot, { where, name: prefix, key }: Operation): string {
    let digest = listings.get(key);
    if (digest !== undefined) return digest;
    const objects = [...(storages.get(where) ?? [])].filter(([name]) => name.startsWith(prefix));
    const value = objects.map(([name, { length: size }]) => ({ name, size }));
    digest = digestOf({ error: null, value: value.toSorted((a, b) => (a.name < b.name ? -1 : 1)) });
    listings.set(key, digest);
    return digest;
  }

  async perform(snapshot: Snapshot, operation: Operation): Promise<Outcome> {
    const { where } = operation;
    const objects = new Map(snapshot.storages.get(where));
    const answer = await attempt(memoryBucket(where, objects), operation);
    const changes = operation.call === 'put' || operation.call === 'remove';
    const next = changes ? this.of(new Map(snapshot.storages).set(where, objects)) : snapshot;
    const outcome = { answer, digest: digestOf(answer), next };
    snapshot.outcomes.set(operation.key, outcome);
    return outcome;
  }
}

export function operationOf(call: Omit<Operation, 'key'>): Operation {
  const { bytes, replace = false, after = '', maxSize = '' } = call;
  const stored = bytes === undefined ? '' : `${hashOf(bytes)} ${replace}`;
  return { ...call, key: `${call.call} ${call.name} ${call.where} ${stored} ${after} ${maxSize}`.trimEnd() };
}

async function attempt(bucket: Bucket, operation: Operation): Promise<Answer> {
  const { call, name, bytes = new Uint8Array(), replace, after, maxSize } = operation;
  try {
    if (call === 'get') return { error: null, value: await bucket.get(name, { maxSize }) };
    if (call === 'list') return { error: null, value: await Array.fromAsync(bucket.list(name, { after })) };
    await (call === 'put' ? bucket.put(name, bytes, { replace }) : bucket.remove(name));
    return { error: null, value: undefined };
  } catch (error) {
    if (!isVaultError(error)) throw error;
    return { error };
  }
}

function digestOf(answer: Answer): string {
  if (answer.error !== null) return answer.error.code;
  const { value } = answer;
  if (value === undefined) return '';
  if (value instanceof Uint8Array) return hashOf(value);
  return value.map(({ name, size }) => `${name} ${size}`).join();
}

const hashes = new WeakMap<Uint8Array, string>();

/** Of bytes that nobody changes any more. */
export function hashOf(bytes: Uint8Array): string {
  const known = hashes.get(bytes) ?? createHash('sha1').update(bytes).digest('base64');
  hashes.set(bytes, known);
  return known;
}
