// Makes must-fail.json: objects that every reader of the format must refuse, and how. Run it with
//     node test/vectors/must-fail.ts
// All are changes to the objects of format-example.json, signed and sealed with the example's keys where that is needed.
import { writeFileSync } from 'node:fs';
import { encodeIds } from '../../src/format/manifest.ts';
import { exampleChunk, FULL, INPUTS, PACKED_BODY, STORED_BODY, inlineFile, shown } from './format-example.ts';
import { brokenJson, object, swap } from './broken-json.ts';
import type { Change, Kind, MustFail } from './broken-json.ts';
import { deletions, keyrings, markers, sweeps } from './must-fail-signed.ts';
import { body, headOf, manifestByHand, padded, putMarkerByHand } from './sealed-by-hand.ts';

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
    ...under('deletion', object('deleted/').name, deletions()),
    ...under('sweep', object('sweep/').name, sweeps()),
    ...under('put marker', object('puts/').name, putMarkers()),
    ...under('manifest', null, manifests()),
    ...under('manifest', object('manifests/').name, [
      ['under the hash of another', 'damaged', manifestByHand({})],
    ]),
    ...under('shard', object('chunks/').name, shards()),
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
    ['whose last byte is missing', 'damaged', whole.subarray(0, -1)],
    ...paddingCases((payload) => putMarkerByHand(payload), Buffer.from(text)),
  ];
}

function paddingCases(seal: (payload: Buffer) => Buffer, plain: Buffer): Change[] {
  const changed = (from: number, value: number): Buffer => {
    const payload = padded(plain);
    payload.writeUInt8(value, payload.length - from);
    return seal(payload);
  };
  return [
    ['with padding that is not zero', 'damaged', changed(6, 1)],
    ['that says to be compressed', 'damaged', changed(5, 1)],
    ['of an unknown codec', 'unsupported', changed(5, 2)],
    ['longer than its payload', 'damaged', changed(3, 0xff)],
    ['with more padding than there must be', 'damaged', seal(padded(plain, 512))],
  ];
}

function manifests(): Change[] {
  const whole = manifestByHand({});
  const at = (offset: number, bytes: readonly number[]): Buffer => {
    const changed = Buffer.from(whole);
    changed.set(bytes, offset);
    return changed;
  };
  const part = 4 + 32;
  const contentAt = 92 + 4 + 32 + whole.readUInt32BE(92);
  return [
    ['that does not start like one', 'damaged', at(0, [0])],
    ['of a newer format by its start', 'unsupported', at(3, [0x33])],
    ['of an older format by its start', 'unsupported', at(3, [0x31])],
    ['of root 0', 'damaged', at(8, [0, 0, 0, 0])],
    ['of another root', 'unsupported', at(8, [0, 0, 0, 2])],
    ['of another writer', 'damaged', at(12, [0])],
    ['with another encapsulated key', 'damaged', at(28, [0])],
    [
      'with an encapsulated key of small order',
      'damaged',
      at(
        28,
        Array.from({ length: 32 }, () => 0),
      ),
    ],
    ['with another salt', 'damaged', at(60, [0xff])],
    ['with another length of the vault part', 'damaged', at(92, [0, 0, 1, 0])],
    ['with a length beyond its end', 'damaged', at(92, [0x7f, 0xff, 0xff, 0xff])],
    ['with another commitment of the vault part', 'damaged', at(96, [0, 0])],
    ['with another ciphertext of the vault part', 'damaged', at(92 + part, [0, 0])],
    ['with another commitment of the content part', 'damaged', at(contentAt + 4, [0, 0])],
    ['with another ciphertext of the content part', 'damaged', at(contentAt + part, [0, 0])],
    ['with the content part of another', 'damaged', mixedParts()],
    ['whose last byte is missing', 'damaged', whole.subarray(0, -1)],
    ['with something behind it', 'damaged', Buffer.concat([whole, Buffer.alloc(1)])],
    ...headCases('vault'),
    ...headCases('content'),
    ...vaultCases(),
    ...contentCases(),
    ...agreementCases(),
  ];
}

/** Vault part and content part of two manifests with the same keys and header, which differ in a body's SHA-256 only. */
function mixedParts(): Buffer {
  const content = headOf('content');
  const changed = Buffer.from(content.binary);
  changed.writeUInt8(changed.readUInt8(32) ^ 1, 32);
  const one = manifestByHand({});
  const other = manifestByHand({ content: { ...content, binary: changed } });
  const end = 92 + 36 + one.readUInt32BE(92);
  return Buffer.concat([one.subarray(0, end), other.subarray(end)]);
}

function headCases(part: 'vault' | 'content'): Change[] {
  const text = headOf(part).head;
  const named = (name: string): string => `whose ${part} part is one ${name}`;
  const cases: Change[] = [
    ...brokenJson(text).map(([name, expect, head]): Change => [
      name,
      expect,
      manifestByHand({ [part]: { ...headOf(part), bytes: head } }),
    ]),
    [
      'of another kind',
      'unsupported',
      manifestByHand({ [part]: headOf(part, '"kind":"file"', '"kind":"folder"') }),
    ],
    [
      'with a head longer than itself',
      'damaged',
      manifestByHand({ [part]: { ...headOf(part), length: 65_536 } }),
    ],
    ...paddingCases((payload) => manifestByHand({ [`${part}Payload`]: payload }), body(headOf(part))),
  ];
  return cases.map(([name, expect, bytes]) => [named(name), expect, bytes]);
}

function vaultCases(): Change[] {
  const fields: readonly (readonly [string, string | RegExp, string])[] = [
    ['an empty name', /"name":"[^"]*"/, '"name":""'],
    ['NUL in the name', /"name":"/, String.raw`"name":"\u0000`],
    ['half a surrogate pair in the name', /"name":"/, String.raw`"name":"\ud800`],
    ['a name that is too long', /"name":"/, `"name":"${'x'.repeat(16_385)}`],
    ['no size, though there is no lock', /"size":\d+/, '"size":null'],
    ['a negative size', /"size":\d+/, '"size":-1'],
    ['a time of creation that is none', /"created":\d+/, '"created":8640000000000001'],
    ['a time of change that is none', /"modified":\[-1/, '"modified":[8640000000001'],
    ['a second of 10^9 ns', '999999999', '1000000000'],
    ['half a time of change', ',999999999', ''],
    ['a mode of more than 12 bits', /"mode":\d+/, '"mode":4096'],
    ['an expiry that is none', '"expires":null', '"expires":-8640000000000001'],
    ['version 0', '"version":1', '"version":0'],
    ['epoch 0', '"epoch":2', '"epoch":0'],
    ['more than 16 shards', '"2+1"', '"16+1"'],
    ['chunks that are too small', '"chunkSize":65536', '"chunkSize":65535'],
    ['another number of chunks', '"chunks":1', '"chunks":2'],
    ['tables too deep', '"idsDepth":0', '"idsDepth":4'],
    ['no content key', /"key":\{[^}]*\}/, '"key":{}'],
    ['content key and lock', /"key":\{/, '"key":{"lock":null,'],
    ['a content key that is too short', /"content":"../, '"content":"'],
  ];
  const ids = headOf('vault').binary;
  return [
    ...fields.map(([name, from, to]): Change => [
      `with ${name}`,
      'damaged',
      manifestByHand({ vault: headOf('vault', from, to) }),
    ]),
    [
      'with half an entry of ids',
      'damaged',
      manifestByHand({ vault: { ...headOf('vault'), binary: ids.subarray(0, 35) } }),
    ],
  ];
}

function contentCases(): Change[] {
  const fields: readonly (readonly [string, string | RegExp, string])[] = [
    ['another number of entries', '"entries":1', '"entries":2'],
    ['no entries', '"entries":1', '"entries":0'],
    ['a digest of no inline body', '"digest":null', `"digest":"${'00'.repeat(32)}"`],
    ['an inline body that is a table', '"inline":false', '"inline":true'],
    ['tables too deep', '"depth":0', '"depth":4'],
    ['a depth that its table does not have', '"depth":0', '"depth":1'],
  ];
  const small = inlineFile();
  const inline = headOf('content', '', '', small);
  return [
    ...fields.map(([name, from, to]): Change => [
      `with a content part with ${name}`,
      'damaged',
      manifestByHand({ content: headOf('content', from, to) }),
    ]),
    [
      'with another inline body than its digest',
      'damaged',
      manifestByHand({
        file: small,
        content: { ...inline, binary: Buffer.from(inline.binary.map((byte) => byte ^ 1)) },
      }),
    ],
    [
      'with an inline body of another size',
      'damaged',
      manifestByHand({ file: small, content: { ...inline, binary: inline.binary.subarray(1) } }),
    ],
  ];
}

/** Each part is right by itself; only together they are not. */
function agreementCases(): Change[] {
  const chunk = exampleChunk(FULL.writer.content, STORED_BODY);
  const other = exampleChunk(FULL.writer.content, PACKED_BODY);
  const vault = headOf('vault');
  return [
    [
      'whose parts differ in size',
      'damaged',
      manifestByHand({ vault: headOf('vault', '"size":300', '"size":301') }),
    ],
    [
      'whose parts differ in chunk size',
      'damaged',
      manifestByHand({ vault: headOf('vault', '"chunkSize":65536', '"chunkSize":65537') }),
    ],
    [
      'whose parts differ in being inline',
      'damaged',
      manifestByHand({ vault: { ...headOf('vault', '"chunks":1', '"chunks":0'), binary: Buffer.alloc(0) } }),
    ],
    [
      'whose parts differ in a chunk',
      'damaged',
      manifestByHand({ vault: { ...vault, binary: encodeIds([{ ...chunk.id, id: other.id.id }]) } }),
    ],
    [
      'whose parts differ in a length',
      'damaged',
      manifestByHand({ vault: { ...vault, binary: encodeIds([{ ...chunk.id, padded: 305 }]) } }),
    ],
    [
      'whose parts differ in the number of chunks',
      'damaged',
      manifestByHand({ vault: { ...vault, binary: encodeIds([chunk.id, chunk.id]) } }),
    ],
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
    ['with another nonce', 'damaged', changed(20, 0xff)],
    ['with another checksum', 'damaged', changed(28, (bytes[28] ?? 0) ^ 1)],
    ['with another byte in it', 'damaged', changed(40, (bytes[40] ?? 0) ^ 1)],
    ['that is cut short', 'damaged', bytes.subarray(0, -1)],
    ['shorter than its header', 'damaged', bytes.subarray(0, 31)],
    ['with something behind it', 'damaged', Buffer.concat([bytes, Buffer.alloc(1)])],
    [
      'that is that of another chunk',
      'damaged',
      [...exampleChunk(FULL.writer.content, PACKED_BODY).objects.values()][0] ?? bytes,
    ],
  ];
}

if (import.meta.main) {
  const path = new URL('must-fail.json', import.meta.url);
  writeFileSync(path, `${JSON.stringify(computeMustFail(), null, 2)}\n`);
}
