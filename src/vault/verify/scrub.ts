/** Checking a bucket without any key: every object has its checksum in itself or in its name. */
import type { Bucket, ListedObject } from '../../buckets/bucket.ts';
import { manifestHash } from '../../crypto/manifest.ts';
import { isVaultError, VaultError } from '../../errors.ts';
import { decodeKeyring, parseKeyringObjectName } from '../../format/keyring.ts';
import { MAX_JSON_SIZE, MAX_KEYRING_SIZE } from '../../format/limits.ts';
import { decodeManifestObject } from '../../format/manifest-object.ts';
import { MAX_MANIFEST_SIZE, parseManifestObjectName } from '../../format/manifest.ts';
import { decodeMarker, MARKER_NAME } from '../../format/marker.ts';
import {
  decodeDeletion,
  decodePutMarkerObject,
  decodeSweepList,
  MAX_DELETION_SIZE,
  MAX_PUT_MARKER_SIZE,
  MAX_SWEEP_SIZE,
  parseDeletionObjectName,
  parsePutMarkerName,
  parseSweepObjectName,
} from '../../format/removal.ts';
import {
  isShardIntact,
  MAX_SEALED_SIZE,
  parseNamedShard,
  parseShardObjectName,
  shardObjectSize,
} from '../../format/shard.ts';
import type { ShardName } from '../../format/shard.ts';
import {
  MAX_SHARE_NOTE_SIZE,
  MAX_SHARE_PAGE_SIZE,
  parseShareObjectName,
  SHARE_PART_SIZE,
} from '../../format/share.ts';
import { decodeSigned } from '../../format/signed.ts';
import { Budget } from '../../concurrency/semaphore.ts';
import { mapOrdered } from '../../concurrency/map-ordered.ts';
import { ofOtherVersion } from '../buckets/bucket-set.ts';
import type { CallOptions } from '../call.ts';

export interface ScrubOptions extends CallOptions {
  /** The fraction of objects to read, 0 to 1; default 1. */
  readonly sample?: number | undefined;
  /** Chance, for the sample: 0 up to 1, as `Math.random`. */
  readonly random?: (() => number) | undefined;
}

export interface ScrubResult {
  /** Objects of the vault that were read, and their bytes. */
  readonly objects: number;
  readonly bytes: number;
  /** Objects that are not what their names say, by name. */
  readonly problems: readonly ScrubProblem[];
  /** Objects of a newer version, which only that can judge. */
  readonly tooNew: number;
  /** Objects with names that no vault gives. */
  readonly foreignObjects: number;
  /** Of the vault and the bucket, by its marker; null if it does not say. */
  readonly vaultId: string | null;
  readonly bucketId: string | null;
}

export interface ScrubProblem {
  readonly name: string;
  readonly message: string;
}

const IN_FLIGHT = 16;
/** Bytes of the objects in flight. */
const MEMORY = 64 * 1024 * 1024;

/**
 * Reads the objects of a bucket and compares each with its own checksum. What somebody has forged with a right checksum is found
 * only with the password, and so is whether what is signed was signed by this vault.
 *
 * @throws what the bucket says if it cannot be listed or read; `unsupported` if its marker is of another version; `bucket-missing` if it has no marker and nothing else of a vault
 */
export async function scrubBucket(bucket: Bucket, options: ScrubOptions = {}): Promise<ScrubResult> {
  const { signal } = options;
  const scrub = new Scrub(bucket, options);
  const objects = mapOrdered(bucket.list('', { signal }), (object, aborted) => scrub.look(object, aborted), {
    inFlight: IN_FLIGHT,
    signal,
  });
  const problems: ScrubProblem[] = [];
  for await (const problem of objects) {
    if (problem !== null) problems.push(problem);
    options.onProgress?.({ doneBytes: scrub.bytes, totalBytes: null });
  }
  const { marker, isMarked } = scrub;
  if (!isMarked) {
    const message = `${bucket.label} has no ${MARKER_NAME}. Is its disk mounted, is the URL right?`;
    if (scrub.objects === 0) throw new VaultError('bucket-missing', message);
    problems.push({ name: MARKER_NAME, message });
  }
  problems.push(...scrub.ofOtherVaults());
  return {
    objects: scrub.objects,
    bytes: scrub.bytes,
    problems,
    tooNew: scrub.tooNew,
    foreignObjects: scrub.foreignObjects,
    vaultId: marker?.vaultId ?? null,
    bucketId: marker?.bucketId ?? null,
  };
}

class Scrub {
  readonly #bucket: Bucket;
  readonly #options: ScrubOptions;
  readonly #budget = new Budget(MEMORY);
  /** A name of each vault that objects say they are of, by its id. */
  readonly #vaults = new Map<string, string>();
  objects = 0;
  bytes = 0;
  tooNew = 0;
  foreignObjects = 0;
  isMarked = false;
  marker: { readonly vaultId: string; readonly bucketId: string } | null = null;

  constructor(bucket: Bucket, options: ScrubOptions) {
    this.#bucket = bucket;
    this.#options = options;
  }

  /** Looks at one object. @returns what is wrong with it; null if nothing is */
  async look({ name, size }: ListedObject, signal: AbortSignal): Promise<ScrubProblem | null> {
    const { sample = 1, random = Math.random } = this.#options;
    const judge = judgeOf(name);
    if (judge === null) {
      this.foreignObjects += 1;
      return null;
    }
    this.isMarked ||= name === MARKER_NAME;
    // The marker says whose bucket it is.
    if (name !== MARKER_NAME && random() >= sample) return null;
    return this.#budget.spend(Math.min(size, judge.maxSize), async () => {
      try {
        const bytes = await this.#bucket.get(name, { maxSize: judge.maxSize, signal });
        this.objects += 1;
        this.bytes += bytes.length;
        const vaultId = judge.check(bytes);
        if (vaultId !== null && !this.#vaults.has(vaultId)) this.#vaults.set(vaultId, name);
        if (name === MARKER_NAME) this.marker = decodeMarker(bytes);
        return null;
      } catch (error) {
        // Removed since it was listed.
        if (isVaultError(error, 'object-missing')) return null;
        if (isVaultError(error, 'unsupported')) {
          // Of another version is everything here then.
          if (name === MARKER_NAME) throw ofOtherVersion(this.#bucket, error);
          this.tooNew += 1;
          return null;
        }
        if (!isVaultError(error, 'damaged')) throw error;
        return { name, message: error.message };
      }
    });
  }

  /** A problem for each vault but the marker's that has objects here. */
  ofOtherVaults(): ScrubProblem[] {
    const [first] = this.#vaults.keys();
    const mine = this.marker?.vaultId ?? first;
    return [...this.#vaults].flatMap(([id, name]) =>
      id === mine ? [] : [{ name, message: 'Objects of another vault are in this bucket.' }],
    );
  }
}

interface Judge {
  /** Bytes that such an object has at most. */
  readonly maxSize: number;
  /** @returns the vault's id, if the object tells it. @throws `damaged`, `unsupported` */
  readonly check: (bytes: Uint8Array) => string | null;
}

/** Of a share, only an age file says what it is. */
function judgeOfShare(name: string): Judge | null {
  const what = parseShareObjectName(name)?.what;
  if (what === undefined) return null;
  const check = (bytes: Uint8Array): null => {
    const isSealed = Buffer.from(bytes.subarray(0, AGE_FILE.length)).equals(AGE_FILE);
    requireName(what !== 0 || isSealed, 'What is shared is not an age file.');
    return null;
  };
  if (typeof what === 'number') return { maxSize: SHARE_PART_SIZE, check };
  return { maxSize: what === 'page' ? MAX_SHARE_PAGE_SIZE : MAX_SHARE_NOTE_SIZE, check };
}

const AGE_FILE = Buffer.from('age-encryption.org/v1\n');

/** How to tell whether an object is what its name says; null if the name is none of a vault's. */
function judgeOf(name: string): Judge | null {
  const shard = parseShardObjectName(name);
  if (shard !== null) return judgeOfShard(shard);
  const hash = parseManifestObjectName(name);
  if (hash !== null) return judgeOfManifest(hash);
  if (name === MARKER_NAME) return { maxSize: MAX_JSON_SIZE, check: (bytes) => decodeMarker(bytes).vaultId };
  const epoch = parseKeyringObjectName(name);
  if (epoch !== null) {
    const check = (bytes: Uint8Array): string => {
      const { keyring } = decodeKeyring(bytes);
      requireName(keyring.epoch === epoch, 'A keyring does not have the epoch that is its name.');
      return keyring.vaultId;
    };
    return { maxSize: MAX_KEYRING_SIZE, check };
  }
  return judgeOfRemoval(name);
}

function judgeOfShard(shard: ShardName): Judge {
  const check = (bytes: Uint8Array): null => {
    parseNamedShard(bytes, shard);
    requireName(isShardIntact(bytes, shard.chunkId), 'The shard does not match its checksum.');
    return null;
  };
  return { maxSize: shardObjectSize(MAX_SEALED_SIZE, shard.k), check };
}

function judgeOfManifest(hash: string): Judge {
  const check = (bytes: Uint8Array): null => {
    requireName(manifestHash(bytes) === hash, 'The manifest does not have the hash that is its name.');
    decodeManifestObject(bytes);
    return null;
  };
  return { maxSize: MAX_MANIFEST_SIZE, check };
}

/** Of deletion records, sweep lists, the markers of puts, and shares. */
function judgeOfRemoval(name: string): Judge | null {
  const deleted = parseDeletionObjectName(name);
  if (deleted !== null) {
    const check = (bytes: Uint8Array): string => {
      const { signed } = decodeSigned(bytes, 'A deletion record', MAX_DELETION_SIZE);
      const { vaultId, record } = decodeDeletion(signed);
      requireName(record.hash === deleted, 'A deletion record lies under another name.');
      return vaultId;
    };
    return { maxSize: MAX_DELETION_SIZE, check };
  }
  const sweep = parseSweepObjectName(name);
  if (sweep !== null) {
    const check = (bytes: Uint8Array): string => {
      const { signed } = decodeSigned(bytes, 'A sweep list', MAX_SWEEP_SIZE);
      const { vaultId, list } = decodeSweepList(signed);
      requireName(list.id === sweep, 'A sweep list lies under another name.');
      return vaultId;
    };
    return { maxSize: MAX_SWEEP_SIZE, check };
  }
  if (parsePutMarkerName(name) === null) return judgeOfShare(name);
  return { maxSize: MAX_PUT_MARKER_SIZE, check: checkPutMarker };
}

function checkPutMarker(bytes: Uint8Array): null {
  decodePutMarkerObject(bytes);
  return null;
}

function requireName(holds: boolean, message: string): void {
  if (!holds) throw new VaultError('damaged', message);
}
