// The cases of must-fail.json that are manifests.
import { requireFull } from '../../src/crypto/keys.ts';
import { idEntry, ManifestSealer } from '../../src/crypto/manifest.ts';
import { encodeIds, encodeRefs } from '../../src/format/manifest.ts';
import type { ChunkId } from '../../src/format/manifest.ts';
import { brokenJson, swap } from './broken-json.ts';
import type { Change } from './broken-json.ts';
import {
  chunkFile,
  CONTENT_KEY,
  count,
  EPHEMERAL,
  exampleChunk,
  FULL,
  inlineFile,
  INPUTS,
  NEXT,
  PACKED_BODY,
  STORED_BODY,
} from './format-example.ts';
import { sealOnce } from '../../src/crypto/sealing.ts';
import type { ExampleFile } from './format-example.ts';
import { body, headOf, manifestByHand, paddingCases } from './sealed-by-hand.ts';
import type { Body } from './sealed-by-hand.ts';

function sealedBy(keys: typeof FULL, writer: string): Buffer {
  const own = requireFull(keys, 'the example').writer(writer);
  const sealer = new ManifestSealer({ ...keys, writer: own }, { ephemeral: EPHEMERAL });
  return sealer.seal({ ...inlineFile(), contentKey: CONTENT_KEY, lock: null, fixed: { salt: count(0, 32) } });
}

/** What is sealed under one root for a writer of another. */
export function rotatedManifests(): Change[] {
  const later = sealedBy(NEXT, INPUTS.nextWriter);
  later.writeUInt32BE(3, 8);
  return [
    ['under the root before, of a writer of the last one', 'damaged', sealedBy(FULL, INPUTS.nextWriter)],
    ['under the last root, of a writer from before', 'damaged', sealedBy(NEXT, INPUTS.writer)],
    ['of a later root', 'unsupported', later],
  ];
}

export function manifests(): Change[] {
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
    ['smaller than any', 'damaged', whole.subarray(0, 707)],
    ['with something behind it', 'damaged', Buffer.concat([whole, Buffer.alloc(1)])],
    ...headCases('vault'),
    ...headCases('content'),
    [
      'with a larger head than any, whatever its kind',
      'damaged',
      manifestByHand({
        content: headOf('content', '"kind":"file"', `"kind":"tree","more":"${'x'.repeat(131_072)}"`),
      }),
    ],
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
      manifestByHand({ [part]: headOf(part, '"kind":"file"', '"kind":"tree"') }),
    ],
    [
      'whose kind is no text',
      'damaged',
      manifestByHand({ [part]: headOf(part, '"kind":"file"', '"kind":1') }),
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
    ['a lock beside its size', /"key":\{.*$/, `"key":{"lock":${LOCK}}}`],
    ['a lock beside its content key', /"size":300(.*)"key":\{/, `"size":null$1"key":{"lock":${LOCK},`],
    ['too large an inline content', /"size":300(.*)"chunks":1/, '"size":65537$1"chunks":0'],
  ];
  const ids = headOf('vault').binary;
  return [
    ...fields.map(([name, from, to]): Change => [
      `with ${name}`,
      'damaged',
      manifestByHand({ vault: headOf('vault', from, to) }),
    ]),
    ...lockedCases().map(([name, vault]): Change => [name, 'damaged', manifestByHand({ vault })]),
    [
      'with half an entry of ids',
      'damaged',
      manifestByHand({ vault: { ...headOf('vault'), binary: ids.subarray(0, 35) } }),
    ],
  ];
}

/** Of a locked file: so nothing of the content part can be what is wrong. */
const LOCK = JSON.stringify({
  kdf: { memory: 8192, passes: 1, lanes: 1, salt: '00'.repeat(32) },
  commitment: '00'.repeat(32),
  wrapped: '00'.repeat(48),
});

function locked(from: string | RegExp, to: string, binary = headOf('vault').binary): Body {
  const { head } = headOf('vault', '"size":300', '"size":null');
  return { head: swap(head.replace(/"key":\{.*$/, `"key":{"lock":${LOCK}}}`), from, to), binary };
}

function entry(padded: number): Buffer {
  return encodeIds([{ id: '00'.repeat(32), padded }]);
}

function tableChunk(length: number): Buffer {
  const { ref } = exampleChunk(FULL.writer.content, STORED_BODY);
  return encodeRefs([{ ...ref, length }]);
}

function lockedCases(): (readonly [string, Body])[] {
  const name = ['"name":"stored"', '"name":"locked"'] as const;
  const deep = ['"idsDepth":0', '"idsDepth":1'] as const;
  const deeper = ['"idsDepth":0', '"idsDepth":2'] as const;
  return [
    ['of a locked file with ids of no content', locked('"chunks":1', '"chunks":0')],
    ['of a locked file with too few ids', locked('"chunks":1', '"chunks":2')],
    ['of a locked file with a padded length below the least', locked(...name, entry(255))],
    ['of a locked file with a padded length beyond the most', locked(...name, entry(69_206_017))],
    ['of a locked file with an empty table of tables', locked(...deep, Buffer.alloc(0))],
    ['of a locked file with a table of no bytes', locked(...deep, tableChunk(0))],
    [
      'of a locked file with more than 2,048 ids',
      locked(
        '"chunks":1',
        '"chunks":2049',
        encodeIds(Array.from({ length: 2_049 }, () => ({ id: '00'.repeat(32), padded: 256 }))),
      ),
    ],
    ['of a locked file with half an entry in a chunk', locked(...deep, tableChunk(54))],
    ['of a locked file with too large a table chunk', locked(...deep, tableChunk(4097 * 36))],
    [
      'of a locked file with too short a table of ids',
      locked(/"chunks":1(.*)"idsDepth":0/, '"chunks":2$1"idsDepth":1', tableChunk(36)),
    ],
    ['of a locked file with ids in a table of tables', locked(...deeper, tableChunk(36))],
    [
      'of a locked file with too much work for its lock',
      locked('"memory":8192,"passes":1', '"memory":1048576,"passes":5'),
    ],
    ['of a locked file with a wrapped key of another length', locked('"wrapped":"00', '"wrapped":"')],
  ];
}

/** The key that the password of the example's lock gives, its salt and commitment; FORMAT.md shows them. */
const LOCK_KEK = Buffer.from('dec3376e331163b32266c3e069587ac966704cdb1f31840cac08d17e413a7d20', 'hex');
const LOCK_COMMITMENT = '789b7f8e47362d061b8e1705213dd0573ef570e3408f21cc50f1160637a50b5a';

const wrap = (key: Buffer, vault: string = INPUTS.vaultId): Buffer =>
  sealOnce(LOCK_KEK, Buffer.from(`vault/2 lock\n${vault}`), key);

/** Locked manifests with another thing wrapped, under the right password. */
export function locks(): Change[] {
  const file = inlineFile();
  const { head, binary } = headOf('vault', /"size":\d+/, '"size":null', file);
  const wrapping = (wrapped: Buffer): Buffer => {
    const kdf = { memory: 8192, passes: 1, lanes: 1, salt: count(0xd0, 32).toString('hex') };
    const lock = JSON.stringify({ kdf, commitment: LOCK_COMMITMENT, wrapped: wrapped.toString('hex') });
    return manifestByHand({
      file,
      vault: { head: head.replace(/"key":\{.*$/, `"key":{"lock":${lock}}}`), binary },
    });
  };
  return [
    ['copied from another vault', 'damaged', wrapping(wrap(CONTENT_KEY, INPUTS.bucketId))],
    ['that wraps another content key', 'damaged', wrapping(wrap(Buffer.alloc(32)))],
    ['that was changed', 'damaged', wrapping(Buffer.alloc(48))],
  ];
}

function contentCases(): Change[] {
  const fields: readonly (readonly [string, string | RegExp, string])[] = [
    ['another number of entries', '"entries":1', '"entries":2'],
    ['no entries', '"entries":1', '"entries":0'],
    ['more entries than any', '"entries":1', '"entries":2049'],
    ['a digest of no inline body', '"digest":null', `"digest":"${'00'.repeat(32)}"`],
    ['an inline body that is a table', '"inline":false', '"inline":true'],
    ['tables too deep', '"depth":0', '"depth":4'],
    ['a depth that its table does not have', '"depth":0', '"depth":1'],
    ['more bytes than its chunks', '"size":300', '"size":301'],
    ['more chunks than its entries', '"size":300', '"size":65537'],
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
    ...(
      [
        ['entries', '"entries":0', '"entries":1'],
        ['a depth', '"depth":0', '"depth":1'],
        ['no digest', /"digest":"[^"]*"/, '"digest":null'],
      ] as const
    ).map(([name, from, to]): Change => [
      `with an inline body with ${name}`,
      'damaged',
      manifestByHand({ file: small, content: headOf('content', from, to, small) }),
    ]),
    ...tableCases(),
  ];
}

/** Contents whose table lies in a chunk, with all ids in the manifest. */
function tableCases(): Change[] {
  const chunk = exampleChunk(FULL.writer.content, STORED_BODY);
  const table = exampleChunk(FULL.writer.table, encodeRefs([chunk.ref]));
  const file: ExampleFile = chunkFile('deep', chunk);
  const listing = (length: number): ExampleFile => ({
    ...file,
    ids: { depth: 0, ids: [chunk.id, idEntry({ ...table.ref, length }, null)] },
    content: { ...file.content, depth: 1, refs: [{ ...table.ref, length }] },
  });
  const deep = listing(table.ref.length);
  const ids = headOf('vault', '', '', deep);
  const withIds = (...listed: readonly ChunkId[]): Buffer =>
    manifestByHand({ file: deep, vault: { ...ids, binary: encodeIds(listed) } });
  const id = idEntry(table.ref, null);
  return [
    ['with half an entry in a table chunk', 'damaged', manifestByHand({ file: listing(102) })],
    ['with too large a table chunk', 'damaged', manifestByHand({ file: listing(4097 * 68) })],
    ['with a table chunk of another number of entries', 'damaged', manifestByHand({ file: listing(136) })],
    ['whose parts differ in a table chunk', 'damaged', withIds(chunk.id, { ...id, id: chunk.id.id })],
    ['whose ids lack the table chunk', 'damaged', withIds(chunk.id)],
    ['whose ids end with another chunk than the table', 'damaged', withIds(id, chunk.id)],
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
