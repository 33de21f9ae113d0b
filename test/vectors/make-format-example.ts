// Makes format-example.json: the worked example of FORMAT.md, by the real code from fixed inputs. Run it with
//     node test/vectors/make-format-example.ts
// It changes only if the format does, and then the example in FORMAT.md has to change with it.
import { createHmac, hkdfSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { hashRaw } from '@node-rs/argon2';
import { chunkId, finishShardObject, sealChunk } from '../../src/crypto/chunk.ts';
import { deriveSubkeys, wrapMasterKey } from '../../src/crypto/keys.ts';
import { manifestHash, sealManifest } from '../../src/crypto/seal.ts';
import { encodeParity } from '../../src/crypto/erasure.ts';
import { framePayload, PAYLOAD_PREFIX_SIZE, payloadSize, SEAL_OVERHEAD } from '../../src/format/chunk.ts';
import {
  encodeKeyslot,
  encodeMarker,
  keyslotAad,
  keyslotObjectName,
  MARKER_NAME,
} from '../../src/format/keyslot.ts';
import { encodeManifest, MANIFEST_HEADER_SIZE, manifestObjectName } from '../../src/format/manifest.ts';
import type { ManifestHead } from '../../src/format/manifest.ts';
import { SHARD_HEADER_SIZE, shardObjectName, shardObjectSize, shardSize } from '../../src/format/shard.ts';

const EXAMPLE_FILE = new URL('format-example.json', import.meta.url);

/** Where the example comes from. Bytes are runs of consecutive values, so that they are easy to retype. */
export const EXAMPLE_INPUTS = {
  // Decomposed on purpose: the key is derived from the composed form.
  password: 'cafe\u0301 au lait',
  vaultId: run(0x00, 16).toString('hex'),
  keyslotId: run(0x10, 16).toString('hex'),
  bucketId: run(0xa0, 16).toString('hex'),
  masterKey: run(0x40, 32),
  keyslotCreatedAtMs: 1_700_000_000_000,
  cost: { memoryKib: 65_536, passes: 3, lanes: 4 },
  kdfSalt: run(0x20, 16),
  wrapNonce: run(0x30, 12),
  file: Buffer.from(Array.from({ length: 300 }, (_, i) => i % 251)),
  generation: run(0x60, 8).toString('hex'),
  manifestSalt: run(0x80, 32),
  redundancy: { k: 2, m: 1 },
} as const;

export const EXAMPLE_HEAD: ManifestHead = {
  name: 'notes/\u00e9t\u00e9.txt',
  size: EXAMPLE_INPUTS.file.length,
  createdAtMs: 1_700_000_001_000,
  modifiedAtMs: 1_690_000_000_123,
  mode: 0o644,
  expiresAtMs: null,
  chunkSize: 65_536,
  redundancy: EXAMPLE_INPUTS.redundancy,
  chunks: 1,
  tableDepth: 0,
};

/** The example: byte strings in hex, and texts as they are, by the names that FORMAT.md gives them. */
export interface FormatExample {
  readonly bytes: Readonly<Record<string, string>>;
  readonly texts: Readonly<Record<string, string>>;
}

/** Computes the whole example. */
export async function computeExample(): Promise<FormatExample> {
  const { vaultId, masterKey, cost, kdfSalt, wrapNonce, file, generation, redundancy } = EXAMPLE_INPUTS;
  const password = Buffer.from(EXAMPLE_INPUTS.password.normalize('NFC'));
  const keyslot = await wrapMasterKey(masterKey, EXAMPLE_INPUTS.password, {
    vaultId,
    createdAtMs: EXAMPLE_INPUTS.keyslotCreatedAtMs,
    cost,
    fixed: { id: EXAMPLE_INPUTS.keyslotId, salt: kdfSalt, nonce: wrapNonce },
  });
  const kek = await hashRaw(password, {
    memoryCost: cost.memoryKib,
    timeCost: cost.passes,
    parallelism: cost.lanes,
    salt: kdfSalt,
    outputLen: 32,
  });
  const keys = deriveSubkeys(masterKey, vaultId);

  const payload = Buffer.alloc(payloadSize(file.length, { chunkSize: EXAMPLE_HEAD.chunkSize, isLast: true }));
  payload.set(file, PAYLOAD_PREFIX_SIZE);
  framePayload(payload, file.length);
  const id = chunkId(keys, payload);
  const sealedSize = payload.length + SEAL_OVERHEAD;
  const { k, m } = redundancy;
  const objects = Array.from({ length: k + m }, () => Buffer.alloc(shardObjectSize(sealedSize, k)));
  const shards = objects.map((object) => object.subarray(SHARD_HEADER_SIZE));
  sealChunk(keys, id, payload, shards.slice(0, k));
  encodeParity(k, m, shards);
  const chunkIdHex = id.toString('hex');
  for (const [index, object] of objects.entries()) {
    finishShardObject(object, { k, m, index, sealedSize, chunkId: chunkIdHex });
  }
  const shardNames = objects.map((_, index) =>
    shardObjectName({ chunkId: chunkIdHex, index, k, m, generation }),
  );

  const manifest = { head: EXAMPLE_HEAD, table: [{ chunkId: chunkIdHex, length: file.length }] };
  const body = encodeManifest(manifest);
  const sealed = sealManifest(keys, manifest, EXAMPLE_INPUTS.manifestSalt);
  const manifestKeys = Buffer.from(
    hkdfSync('sha256', keys.manifest, EXAMPLE_INPUTS.manifestSalt, 'vault/1 manifest seal', 64),
  );
  const hash = manifestHash(sealed);

  const bytes = {
    'password bytes': password,
    'vault id': Buffer.from(vaultId, 'hex'),
    'master key': masterKey,
    'kdf salt': kdfSalt,
    'wrap nonce': wrapNonce,
    'keyslot AAD': keyslotAad(keyslot),
    KEK: kek,
    'wrap key': keyslot.wrapped,
    K_id: keys.chunkId,
    K_seal: keys.chunkSeal,
    K_mnfs: keys.manifest,
    'first 8 bytes of the payload': payload.subarray(0, 8),
    'last 16 bytes of the payload': payload.subarray(-16),
    'chunk id': id,
    'seal key': createHmac('sha256', keys.chunkSeal).update(id).digest(),
    'chunk AAD': Buffer.from(`vault/1 chunk\n${vaultId}`),
    'sealed chunk': Buffer.concat(shards.slice(0, k)).subarray(0, sealedSize),
    'shard object 0': bufferAt(objects, 0),
    'shard object 1': bufferAt(objects, 1),
    'shard object 2': bufferAt(objects, 2),
    'manifest salt': EXAMPLE_INPUTS.manifestSalt,
    'manifest key': manifestKeys.subarray(0, 32),
    'manifest commitment': manifestKeys.subarray(32),
    'manifest AAD': sealed.subarray(0, MANIFEST_HEADER_SIZE),
    table: body.subarray(4 + body.readUInt32BE(0)),
    'first 9 bytes of the manifest payload': Buffer.concat([
      Buffer.of(0),
      uint32(body.length),
      body.subarray(0, 4),
    ]),
    manifest: sealed,
    hash: Buffer.from(hash, 'hex'),
  };
  const texts = {
    [MARKER_NAME]: encodeMarker({ vaultId, bucketId: EXAMPLE_INPUTS.bucketId }).toString(),
    [keyslotObjectName(keyslot.id)]: encodeKeyslot(keyslot).toString(),
    head: body.toString('utf8', 4, 4 + body.readUInt32BE(0)),
    'object names': [...shardNames, manifestObjectName(hash)].join('\n'),
    sizes: [
      `payload ${payload.length}`,
      `sealed chunk ${sealedSize}`,
      `shard ${shardSize(sealedSize, k)}`,
      `manifest body ${body.length}`,
      `manifest payload ${sealed.length - MANIFEST_HEADER_SIZE - SEAL_OVERHEAD}`,
    ].join('\n'),
  };
  const hex = Object.entries(bytes).map(([name, value]) => [name, Buffer.from(value).toString('hex')]);
  return { bytes: Object.fromEntries(hex), texts };
}

/** `length` bytes that count up from `first`. */
function run(first: number, length: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, i) => first + i));
}

function bufferAt(list: readonly Buffer[], index: number): Buffer {
  return list[index] ?? Buffer.alloc(0);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

if (import.meta.main) writeFileSync(EXAMPLE_FILE, `${JSON.stringify(await computeExample(), null, 2)}\n`);
