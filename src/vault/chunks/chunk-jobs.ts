/**
 * The arithmetic of chunks: identifying, packing, sealing, coding, checking, opening. It holds no state; memory comes with every job,
 * shared between threads, so that no chunk is copied between them.
 */
import {
  bodyHash,
  chunkNonce,
  idOfTag,
  chunkSecrets,
  chunkTag,
  giveBack,
  looksCompressible,
  openChunk,
  packBody,
  sealChunk,
} from '../../crypto/chunk.ts';
import { encodeParity, reconstructData } from '../../crypto/erasure.ts';
import { manifestHash, sealManifest } from '../../crypto/manifest.ts';
import type { NewManifest, SealingSession } from '../../crypto/manifest.ts';
import { isVaultError } from '../../errors.ts';
import {
  CODEC_STORED,
  CODEC_ZSTD,
  framePayload,
  payloadSize,
  SEAL_OVERHEAD,
  unpackPayload,
} from '../../format/chunk.ts';
import type { Compression } from '../../format/keyring.ts';
import {
  finishShardObject,
  isShardIntact,
  sealingOf,
  SHARD_HEADER_SIZE,
  shardSize,
} from '../../format/shard.ts';
import type { Redundancy } from '../../format/shard.ts';
import { objectsOf, payloadOf } from './chunk-memory.ts';
import type { ChunkMemory } from './chunk-memory.ts';

/** What a sealed chunk is known by beside its id. */
export interface SealedChunk {
  /** 8 hex digits. */
  readonly sealing: string;
  /** Bytes. */
  readonly sealedSize: number;
}

/** What proves a chunk's body. */
export interface ChunkProof {
  /** t and h of the chunk, 32 bytes each. */
  readonly tag: Uint8Array;
  readonly hash: Uint8Array;
  /** Bytes of the body. */
  readonly length: number;
}

/** Shard objects of one sealing, by index; others are null. */
export interface CodedObjects extends Redundancy {
  readonly sealedSize: number;
  /** 12 bytes. */
  readonly nonce: Uint8Array;
  readonly objects: readonly (Uint8Array | null)[];
}

/** A job, and beside it what it answers. */
export type Job =
  /** Identifies the body that lies in memory. Answers `Identity`. */
  | {
      readonly kind: 'identify';
      readonly memory: ChunkMemory;
      readonly length: number;
      readonly dedupKey: Uint8Array;
    }
  /** Seals the body that lies in memory into shard objects in memory. Answers `SealedChunk`. */
  | {
      readonly kind: 'seal';
      readonly memory: ChunkMemory;
      readonly length: number;
      /** Whether it is a full chunk of a fixed size. */
      readonly full: boolean;
      readonly tag: Uint8Array;
      readonly compression: Compression;
      readonly redundancy: Redundancy;
    }
  /** Opens a chunk from k or more of its shard objects; the body then lies in memory. Answers `OpenAnswer`. */
  | {
      readonly kind: 'open';
      readonly memory: ChunkMemory;
      readonly proof: ChunkProof;
      readonly coded: CodedObjects;
      readonly objects: readonly (Uint8Array | null)[];
    }
  /** Makes shard objects of a redundancy, in memory, from k or more of a sealing's. Answers `OpenAnswer`. */
  | {
      readonly kind: 'recode';
      readonly memory: ChunkMemory;
      readonly id: string;
      /** Null for a chunk that cannot be opened here (of a locked file). */
      readonly proof: ChunkProof | null;
      readonly coded: CodedObjects;
      readonly objects: readonly (Uint8Array | null)[];
      readonly redundancy: Redundancy;
    }
  /** Seals manifests of unlocked files that have their content inside. Answers `SealedManifest`s. */
  | {
      readonly kind: 'manifests';
      readonly session: SealingSession;
      readonly manifests: readonly NewManifest[];
    }
  /** Checks shard objects' own checksums. Answers `CheckAnswer`. */
  | { readonly kind: 'check'; readonly objects: readonly Uint8Array[]; readonly ids: readonly string[] };

export interface Identity {
  /** 64 hex digits. */
  readonly id: string;
  readonly tag: Uint8Array;
  readonly hash: Uint8Array;
}

/** Whether the chunk opened, and the objects back again, since sending them took them from the sender. */
export interface OpenAnswer {
  readonly opened: boolean;
  /** Whether it did not because only a newer version knows its codec. */
  readonly tooNew: boolean;
  readonly objects: readonly (Uint8Array | null)[];
}

/** Whether each object's checksum is right, and the objects back again. */
export interface CheckAnswer {
  readonly intact: readonly boolean[];
  readonly objects: readonly Uint8Array[];
}

/** Null for one that cannot be sealed. */
export type SealedManifest = { readonly bytes: Uint8Array; readonly hash: string } | null;

export interface Answers {
  manifests: readonly SealedManifest[];
  identify: Identity;
  seal: SealedChunk;
  open: OpenAnswer;
  recode: OpenAnswer;
  check: CheckAnswer;
}

type Kind = Job['kind'];
export type JobOf<K extends Kind> = Extract<Job, { kind: K }>;

const JOBS: { readonly [K in Kind]: (job: JobOf<K>) => Answers[K] } = {
  identify: ({ memory, length, dedupKey }) => {
    const hash = bodyHash(payloadOf(memory, length));
    const tag = chunkTag(dedupKey, hash);
    return { id: idOfTag(tag), tag, hash };
  },
  seal,
  open: ({ memory, proof, coded, objects }) => ({
    ...answerOf(open(memory, proof, { ...coded, objects })),
    objects,
  }),
  recode: (job) => ({ ...answerOf(recode(job)), objects: job.objects }),
  manifests: ({ session, manifests }) => manifests.map((manifest) => sealOne(session, manifest)),
  check: ({ objects, ids }) => ({
    intact: objects.map((object, i) => isShardIntact(object, ids[i] ?? '')),
    objects,
  }),
};

/** Does a job, in the thread that asks. */
export function work<K extends Kind>(kind: K, job: JobOf<K>): Answers[K] {
  return JOBS[kind](job);
}

/** Structured cloning has made plain bytes of its keys. */
function sealOne(session: SealingSession, manifest: NewManifest): SealedManifest {
  const { enc, secret } = session;
  try {
    const bytes = sealManifest(
      { ...session, enc: asBuffer(enc), secret: asBuffer(secret) },
      { ...manifest, contentKey: asBuffer(manifest.contentKey) },
    );
    return { bytes, hash: manifestHash(bytes) };
  } catch (error) {
    if (isVaultError(error)) return null;
    throw error;
  }
}

function seal(job: JobOf<'seal'>): SealedChunk {
  const { memory, length, full, redundancy } = job;
  const secrets = chunkSecrets(asBuffer(job.tag));
  const size = pack(job) ?? storedAsIs(memory, length, full);
  const payload = payloadOf(memory, size);
  const nonce = chunkNonce(secrets, payload);
  const sealedSize = size + SEAL_OVERHEAD;
  code(memory, secrets.id.toString('hex'), { ...redundancy, sealedSize, nonce }, (data) =>
    sealChunk(secrets, nonce, payload, data),
  );
  return { sealing: sealingOf(nonce, sealedSize), sealedSize };
}

/** Makes the shard objects of a sealing, where they lie in memory. @param fill writes the data shards */
function code(
  memory: ChunkMemory,
  id: string,
  sealing: Redundancy & { readonly sealedSize: number; readonly nonce: Buffer },
  fill: (data: Uint8Array[]) => void,
): void {
  const { k, m, sealedSize } = sealing;
  const objects = objectsOf(memory, k + m, shardSize(sealedSize, k));
  const shards = objects.map((object) => object.subarray(SHARD_HEADER_SIZE));
  fill(shards.slice(0, k));
  encodeParity(k, m, shards);
  for (const [index, object] of objects.entries()) finishShardObject(object, id, { ...sealing, index });
}

/** Frames the body as it is; the payload's bytes. */
function storedAsIs(memory: ChunkMemory, length: number, full: boolean): number {
  const size = payloadSize(length, full);
  framePayload(payloadOf(memory, size), CODEC_STORED, length);
  return size;
}

/** Replaces the body by a smaller frame; the payload's bytes, or null if that saves nothing. */
function pack({ memory, length, full, compression }: JobOf<'seal'>): number | null {
  if (compression === 'off') return null;
  const body = payloadOf(memory, length);
  if (compression === 'auto' && !looksCompressible(body)) return null;
  const packed = packBody(body, compression === 'auto' ? AUTO_LEVEL : compression);
  if (packed === null) return null;
  if (payloadSize(packed.length, false) >= payloadSize(length, full)) {
    giveBack(packed);
    return null;
  }
  const size = payloadSize(packed.length, false);
  const { length: packedLength } = packed;
  body.set(packed);
  giveBack(packed);
  framePayload(payloadOf(memory, size), CODEC_ZSTD, packedLength);
  return size;
}

/** zstd's own default. */
const AUTO_LEVEL = 3;

type Outcome = 'opened' | 'damaged' | 'too-new';

function answerOf(outcome: Outcome): Pick<OpenAnswer, 'opened' | 'tooNew'> {
  return { opened: outcome === 'opened', tooNew: outcome === 'too-new' };
}

/** Opens a chunk: the body then lies at the beginning of the memory, proved by its hash. */
function open(memory: ChunkMemory, proof: ChunkProof, coded: CodedObjects): Outcome {
  const { k, m, sealedSize } = coded;
  const parts = reconstructData(k, m, bodiesOf(coded.objects));
  const payload = payloadOf(memory, sealedSize - SEAL_OVERHEAD);
  if (!openChunk(chunkSecrets(asBuffer(proof.tag)), coded.nonce, parts, { sealedSize, payload }))
    return 'damaged';
  try {
    const body = unpackPayload(payload, proof.length);
    // Chunk keys are known to whoever once had the bytes: the tag of the cipher alone proves nothing.
    if (!bodyHash(body).equals(proof.hash)) return 'damaged';
    if (body.buffer !== memory.buffer) {
      payloadOf(memory, proof.length).set(body);
      giveBack(body);
    }
    return 'opened';
  } catch (error) {
    if (isVaultError(error, 'damaged')) return 'damaged';
    // Perhaps a lie of whoever once had the bytes: then other shards give the chunk.
    if (isVaultError(error, 'unsupported')) return 'too-new';
    throw error;
  }
}

function recode(job: JobOf<'recode'>): Outcome {
  const { memory, proof, redundancy, id } = job;
  const coded = { ...job.coded, objects: job.objects };
  const outcome = proof === null ? 'opened' : open(memory, proof, coded);
  if (outcome !== 'opened') return outcome;
  const { k, m, sealedSize, nonce } = coded;
  const sealed = Buffer.concat(reconstructData(k, m, bodiesOf(coded.objects)), sealedSize);
  code(memory, id, { ...redundancy, sealedSize, nonce: asBuffer(nonce) }, (data) => {
    for (const [index, shard] of data.entries()) {
      const part = sealed.subarray(index * shard.length, (index + 1) * shard.length);
      shard.set(part);
      shard.fill(0, part.length);
    }
  });
  return 'opened';
}

function bodiesOf(objects: readonly (Uint8Array | null)[]): (Uint8Array | null)[] {
  return objects.map((object) => object?.subarray(SHARD_HEADER_SIZE) ?? null);
}

/** Structured cloning turns Buffers into plain arrays of bytes. */
function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
