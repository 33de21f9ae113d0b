// Makes must-fail.json: objects that every reader of the format must refuse, and how. Run it with
//     node test/vectors/must-fail.ts
// All are changes to the objects of format-example.json, signed and sealed with the example's keys where that is needed.
import { writeFileSync } from 'node:fs';
import { INPUTS, shown } from './format-example.ts';
import {
  finishShardObject,
  parseShardHeader,
  parseShardObjectName,
  shardObjectName,
  shardObjectSize,
} from '../../src/format/shard.ts';
import { brokenJson, object, swap } from './broken-json.ts';
import type { Change, Kind, MustFail } from './broken-json.ts';
import { chunks, tables, withBytes } from './must-fail-chunks.ts';
import { cutTables, folderManifests, indexes } from './must-fail-folders.ts';
import { locks, manifests, rotatedManifests } from './must-fail-manifests.ts';
import {
  deletions,
  firstKeyrings,
  keyrings,
  keyslots,
  markers,
  rotatedKeyrings,
  rotations,
  sweeps,
  texts,
} from './must-fail-signed.ts';
import { manifestByHand, padded, paddingCases, putMarkerByHand } from './sealed-by-hand.ts';

function under(kind: Kind, place: string | null, changes: readonly Change[]): MustFail[] {
  return changes.map(([name, expect, bytes]) => ({
    kind,
    name,
    expect,
    ...(place === null ? {} : { object: place }),
    ...shown(bytes),
  }));
}

/** Computes all cases. */
export function computeMustFail(): MustFail[] {
  return [
    ...under('marker', 'vault.json', markers()),
    ...under('keyring', 'keyring/0000000002', keyrings()),
    ...under('keyring', 'keyring/0000000001', firstKeyrings()),
    ...under('keyring', 'keyring/0000000003', rotations()),
    ...under('rotated keyring', 'keyring/0000000003', rotatedKeyrings()),
    ...under('deletion', object('deleted/').name, deletions()),
    ...under('sweep', object('sweep/').name, sweeps()),
    ...under('put marker', object('puts/').name, putMarkers()),
    ...under('manifest', null, [...manifests(), ...folderManifests()]),
    ...under('rotated manifest', null, rotatedManifests()),
    ...under('manifest', object('manifests/').name, [
      ['under the hash of another', 'damaged', manifestByHand({})],
    ]),
    ...under('shard', object('chunks/').name, shards()),
    ...misnamedShards(),
    ...chunks(),
    ...tables(),
    ...cutTables(),
    ...indexes(),
    ...under('keyslot', 'keyring/0000000002', keyslots()),
    ...under('lock', null, locks()),
    ...under('label', null, texts('label', INPUTS.writer)),
    ...under('url', null, texts('bucket', INPUTS.bucketId)),
  ];
}

// --- sealed objects -----------------------------------------------------------------------------------

function putMarkers(): Change[] {
  const whole = object('puts/').bytes;
  const id = '00'.repeat(32);
  const text = JSON.stringify({ format: 'vault/2', vault: INPUTS.vaultId, ids: [id] });
  const changed = (at: number, value: number): Buffer => {
    const bytes = Buffer.from(whole);
    bytes[at] = value;
    return bytes;
  };
  return [
    ...brokenJson(text).map(([name, expect, json]): Change => [name, expect, putMarkerByHand(padded(json))]),
    [
      'of another vault',
      'damaged',
      putMarkerByHand(padded(Buffer.from(swap(text, INPUTS.vaultId, INPUTS.bucketId)))),
    ],
    [
      'that names an id in upper case',
      'damaged',
      putMarkerByHand(padded(Buffer.from(swap(text, id, 'AB'.repeat(32))))),
    ],
    ['that does not start like one', 'damaged', changed(0, 0)],
    ['of a newer format by its start', 'unsupported', changed(3, 0x33)],
    ['of root 0', 'damaged', changed(11, 0)],
    ['of another root', 'unsupported', changed(11, 2)],
    ['of another writer', 'damaged', changed(12, 0)],
    ['with another salt', 'damaged', changed(28, 0)],
    ['with another commitment', 'damaged', changed(60, 0)],
    ['with another ciphertext', 'damaged', changed(92, 0)],
    ['smaller than any', 'damaged', putMarkerByHand(Buffer.alloc(255))],
    ['without anything but its header', 'damaged', whole.subarray(0, 92)],
    ['whose last byte is missing', 'damaged', whole.subarray(0, -1)],
    ['with something behind it', 'damaged', Buffer.concat([whole, Buffer.alloc(1)])],
    ...paddingCases((payload) => putMarkerByHand(payload), Buffer.from(text)),
  ];
}

// --- shards -------------------------------------------------------------------------------------------

function shards(): Change[] {
  const { bytes } = object('chunks/');
  const changed = (at: number, value: number): Buffer => {
    const copy = Buffer.from(bytes);
    copy[at] = value;
    return copy;
  };
  return [
    ['that does not start like one', 'damaged', changed(0, 0)],
    ['of a newer format by its start', 'unsupported', changed(3, 0x33)],
    ['of k = 0', 'damaged', changed(8, 0)],
    ['of more than 16', 'damaged', changed(9, 15)],
    ['of an index beyond k + m', 'damaged', changed(10, 3)],
    ['with something in the byte that is zero', 'damaged', changed(11, 1)],
    ['of another sealed size', 'damaged', changed(15, 0)],
    ['of a sealed size that none has', 'damaged', shardOf(20)],
    ['with another nonce', 'damaged', changed(20, 0xff)],
    ['with another checksum', 'damaged', changed(28, (bytes[28] ?? 0) ^ 1)],
    ['with another byte in it', 'damaged', changed(40, (bytes[40] ?? 0) ^ 1)],
    ['that is cut short', 'damaged', bytes.subarray(0, -1)],
    ['shorter than its header', 'damaged', bytes.subarray(0, 31)],
    ['with something behind it', 'damaged', Buffer.concat([bytes, Buffer.alloc(1)])],
  ];
}

/** A shard of a chunk of a sealed size, with a right checksum. */
function shardOf(sealedSize: number): Buffer {
  const { name, bytes } = object('chunks/');
  const { k, m, index, nonce } = parseShardHeader(bytes);
  const made = Buffer.alloc(shardObjectSize(sealedSize, k));
  finishShardObject(made, parseShardObjectName(name)?.chunkId ?? '', { k, m, index, nonce, sealedSize });
  return made;
}

/** A whole shard under names that are nearly its own. */
function misnamedShards(): MustFail[] {
  const { name, bytes } = object('chunks/');
  const parts = parseShardObjectName(name);
  if (parts === null) throw new Error('The example has shards.');
  const changes: readonly (readonly [string, Partial<typeof parts>])[] = [
    ['k', { k: 1 }],
    ['m', { m: 2 }],
    ['index', { index: 1 }],
    ['sealing', { sealing: '00000000' }],
    ['id', { chunkId: '00'.repeat(32) }],
  ];
  return changes.map(([what, change]) => {
    const misnamed = shardObjectName({ ...parts, ...change });
    const title = `of another ${what} than its name says`;
    return withBytes({ kind: 'shard', name: title, expect: 'damaged', object: misnamed }, bytes);
  });
}

if (import.meta.main) {
  const path = new URL('must-fail.json', import.meta.url);
  writeFileSync(path, `${JSON.stringify(computeMustFail(), null, 2)}\n`);
}
