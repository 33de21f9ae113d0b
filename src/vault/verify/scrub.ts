/** Checking a bucket without any key: every object has its checksum in itself or in its name. */
import type { Bucket, ListedObject } from '../../buckets/bucket.ts';
import { isShardIntact } from '../../crypto/chunk.ts';
import { manifestHash } from '../../crypto/seal.ts';
import { isVaultError, VaultError } from '../../errors.ts';
import { decodeKeyslot, decodeMarker, KEYSLOT_PREFIX, keyslotObjectName } from '../../format/keyslot.ts';
import { MARKER_NAME, MAX_JSON_OBJECT_SIZE } from '../../format/keyslot.ts';
import { MAX_MANIFEST_SIZE, parseManifestObjectName } from '../../format/manifest.ts';
import {
  MAX_SEALED_SIZE,
  parseShardHeader,
  parseShardObjectName,
  shardObjectSize,
} from '../../format/shard.ts';
import { Budget } from '../../concurrency/semaphore.ts';
import { mapOrdered } from '../../concurrency/map-ordered.ts';
import { withSignal } from '../session.ts';
import type { CallOptions } from '../vault.ts';

export interface ScrubOptions extends CallOptions {
  /** The fraction of objects to read, 0 to 1; default 1. */
  readonly sample?: number;
  /** Chance, for the sample: 0 up to 1, as `Math.random`. */
  readonly random?: () => number;
}

export interface ScrubResult {
  /** Objects of the vault that were read, and their bytes. */
  readonly objects: number;
  readonly bytes: number;
  /** Objects that are not what their names say, by name. */
  readonly problems: readonly ScrubProblem[];
  /** Objects with names that no vault gives. */
  readonly strangers: number;
  /** Id of the vault that the bucket belongs to; null if its marker does not say. */
  readonly vaultId: string | null;
}

export interface ScrubProblem {
  readonly name: string;
  readonly message: string;
}

/** Objects in flight. */
const IN_FLIGHT = 16;
/** Bytes of the objects in flight. */
const MEMORY = 64 * 1024 * 1024;

/**
 * Reads the objects of a bucket and compares each with its own checksum. What a stranger has forged with a right
 * checksum is found only with the password.
 *
 * @throws what the bucket says if it cannot be listed or read; `bucket-missing` if it has no marker and nothing else of a vault
 */
export async function scrubBucket(bucket: Bucket, options: ScrubOptions = {}): Promise<ScrubResult> {
  const { signal, sample = 1, random = Math.random } = options;
  const budget = new Budget(MEMORY);
  const problems: ScrubProblem[] = [];
  const totals = { objects: 0, bytes: 0, strangers: 0 };
  let vaultId: string | null = null;
  let marked = false;
  const scrub = async (object: ListedObject, aborted: AbortSignal): Promise<ScrubProblem | null> => {
    const judge = judgeOf(object.name);
    if (judge === null) {
      totals.strangers += 1;
      return null;
    }
    marked ||= object.name === MARKER_NAME;
    if (random() >= sample) return null;
    return budget.spend(Math.min(object.size, judge.maxSize), async () => {
      try {
        const bytes = await bucket.get(object.name, { maxSize: judge.maxSize, signal: aborted });
        totals.objects += 1;
        totals.bytes += bytes.length;
        const found = judge.check(bytes);
        if (found !== null) vaultId = found;
        return null;
      } catch (error) {
        // Removed since it was listed.
        if (isVaultError(error, 'object-missing')) return null;
        if (!isVaultError(error, 'damaged', 'unsupported')) throw error;
        return { name: object.name, message: error.message };
      }
    });
  };
  const objects = mapOrdered(bucket.list('', withSignal(signal)), scrub, { inFlight: IN_FLIGHT, signal });
  for await (const problem of objects) {
    if (problem !== null) problems.push(problem);
    options.onProgress?.({ doneBytes: totals.bytes, totalBytes: null });
  }
  if (!marked) {
    const message = `${bucket.label} has no ${MARKER_NAME}. Is its disk mounted, is the URL right?`;
    if (totals.objects === 0) throw new VaultError('bucket-missing', message);
    problems.push({ name: MARKER_NAME, message });
  }
  return { ...totals, problems, vaultId };
}

interface Judge {
  /** Bytes that such an object has at most. */
  readonly maxSize: number;
  /** @returns the vault's id, if the object tells it. @throws `damaged`, `unsupported` */
  readonly check: (bytes: Uint8Array) => string | null;
}

/** How to tell whether an object is what its name says; null if the name is none of a vault's. */
function judgeOf(name: string): Judge | null {
  const shard = parseShardObjectName(name);
  if (shard !== null) {
    const check = (bytes: Uint8Array): null => {
      const { chunkId, index, k, m } = parseShardHeader(bytes);
      const same = chunkId === shard.chunkId && index === shard.index && k === shard.k && m === shard.m;
      if (!same) throw new VaultError('damaged', 'Another shard is in this one’s place.');
      if (!isShardIntact(bytes)) throw new VaultError('damaged', 'The shard does not match its checksum.');
      return null;
    };
    return { maxSize: shardObjectSize(MAX_SEALED_SIZE, shard.k), check };
  }
  const hash = parseManifestObjectName(name);
  if (hash !== null) {
    const check = (bytes: Uint8Array): null => {
      if (manifestHash(bytes) === hash) return null;
      throw new VaultError('damaged', 'The manifest does not have the hash that is its name.');
    };
    return { maxSize: MAX_MANIFEST_SIZE, check };
  }
  if (name === MARKER_NAME) {
    return { maxSize: MAX_JSON_OBJECT_SIZE, check: (bytes) => decodeMarker(bytes).vaultId };
  }
  if (name.startsWith(KEYSLOT_PREFIX)) {
    const check = (bytes: Uint8Array): string => {
      const { id, vaultId } = decodeKeyslot(bytes);
      if (keyslotObjectName(id) === name) return vaultId;
      throw new VaultError('damaged', 'The keyslot does not have the id that is its name.');
    };
    return { maxSize: MAX_JSON_OBJECT_SIZE, check };
  }
  return null;
}
