import { describe, expect, test } from 'vitest';
import { isShardIntact, openChunk } from '../../src/crypto/chunk.ts';
import { deriveSubkeys, unwrapMasterKey } from '../../src/crypto/keys.ts';
import { openManifest } from '../../src/crypto/seal.ts';
import { VaultError } from '../../src/errors.ts';
import { payloadBody, SEAL_OVERHEAD } from '../../src/format/chunk.ts';
import { decodeKeyslot, decodeMarker } from '../../src/format/keyslot.ts';
import { parseShardHeader, SHARD_HEADER_SIZE } from '../../src/format/shard.ts';
import example from '../vectors/format-example.json' with { type: 'json' };
import { EXAMPLE_INPUTS } from '../vectors/make-format-example.ts';
import { computeMustFail } from '../vectors/make-must-fail.ts';
import type { MustFail } from '../vectors/make-must-fail.ts';
import cases from '../vectors/must-fail.json' with { type: 'json' };

const keys = deriveSubkeys(EXAMPLE_INPUTS.masterKey, EXAMPLE_INPUTS.vaultId);
const trueShard = Buffer.from(example.bytes['shard object 1'], 'hex').subarray(SHARD_HEADER_SIZE);

/** Reads an object as a reader of the format would. @throws what the code throws */
const readers: Readonly<Record<MustFail['kind'], (bytes: Buffer, hash: string) => unknown>> = {
  marker: decodeMarker,
  payload: payloadBody,
  manifest: (bytes, hash) => openManifest(keys, bytes, hash),
  async keyslot(bytes) {
    const masterKey = await unwrapMasterKey(decodeKeyslot(bytes), EXAMPLE_INPUTS.password);
    if (masterKey === null) throw new VaultError('wrong-password', 'It does not open.');
  },
  shard(bytes) {
    const header = parseShardHeader(bytes);
    const isTheOne = header.k === 2 && header.m === 1 && header.index === 0;
    if (!isTheOne || header.chunkId !== example.bytes['chunk id'] || !isShardIntact(bytes)) {
      throw new VaultError('damaged', 'It is not the shard that was asked for.');
    }
    const { sealedSize } = header;
    const parts = [bytes.subarray(SHARD_HEADER_SIZE), trueShard];
    const payload = Buffer.alloc(sealedSize - SEAL_OVERHEAD);
    if (!openChunk(keys, Buffer.from(header.chunkId, 'hex'), parts, { sealedSize, payload })) {
      throw new VaultError('damaged', 'It is not the chunk that was asked for.');
    }
  },
};

const goodObjects: Readonly<Record<MustFail['kind'], Buffer>> = {
  marker: Buffer.from(example.texts['vault.json']),
  keyslot: Buffer.from(example.texts['keyslots/101112131415161718191a1b1c1d1e1f.json']),
  payload: Buffer.from([0, 0, 0, 0, 1, 7, 0, 0]),
  shard: Buffer.from(example.bytes['shard object 0'], 'hex'),
  manifest: Buffer.from(example.bytes.manifest, 'hex'),
};

async function outcome(kind: MustFail['kind'], bytes: Buffer, hash: string): Promise<string> {
  try {
    await readers[kind](bytes, hash);
    return 'success';
  } catch (error) {
    if (error instanceof VaultError) return error.code;
    throw error;
  }
}

test('the stored cases are those that the generator makes', () => {
  expect(cases).toEqual(computeMustFail());
});

describe.each(['marker', 'keyslot', 'payload', 'shard', 'manifest'] as const)('a %s', (kind) => {
  test('of the worked example is read', async () => {
    expect(await outcome(kind, goodObjects[kind], example.bytes.hash)).toBe('success');
  });

  const own = cases.filter((one) => one.kind === kind);
  test.each(own)('$name is refused as $expect', async ({ expect: code, bytes, hash }) => {
    expect(await outcome(kind, Buffer.from(bytes, 'hex'), hash ?? '')).toBe(code);
  });
});
