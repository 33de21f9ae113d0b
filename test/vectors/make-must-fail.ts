// Makes must-fail.json: objects that every reader of the format must refuse, and how. Run it with
//     node test/vectors/make-must-fail.ts
// All are changes to the worked example of FORMAT.md, made under its keys.
import { createCipheriv, createHash, hkdfSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { deriveSubkeys } from '../../src/crypto/keys.ts';
import example from './format-example.json' with { type: 'json' };
import { EXAMPLE_INPUTS } from './make-format-example.ts';

export interface MustFail {
  /**
   * What the bytes are given as. `keyslot`: to the password of the example. `shard`: as shard 0 of the example's
   * chunk, beside its true shard 1. `manifest`: under `hash`.
   */
  readonly kind: 'marker' | 'keyslot' | 'payload' | 'shard' | 'manifest';
  /** What is wrong with it; unique within its kind. */
  readonly name: string;
  readonly expect: 'damaged' | 'unsupported' | 'wrong-password';
  /** Hex. */
  readonly bytes: string;
  /** Only for a manifest: the hash in its name, in hex. */
  readonly hash?: string;
}

type Change = readonly [name: string, expect: MustFail['expect'], bytes: Uint8Array];
type Json = Readonly<Record<string, unknown>>;

/** Computes all cases. */
export function computeMustFail(): MustFail[] {
  const of = (kind: Exclude<MustFail['kind'], 'manifest'>, changes: readonly Change[]): MustFail[] =>
    changes.map(([name, expect, bytes]) => ({ kind, name, expect, bytes: hex(bytes) }));
  return [
    ...of('marker', markers()),
    ...of('keyslot', keyslots()),
    ...of('payload', payloads()),
    ...of('shard', shards()),
    ...manifests(),
  ];
}

// --- JSON objects -------------------------------------------------------------------------------------

function markers(): Change[] {
  const marker = parse(example.texts['vault.json']);
  return [
    ...brokenJson(marker, 'vault/2 bucket'),
    ['without a vault', 'damaged', json(without(marker, 'vault'))],
    ['with a vault id in upper case', 'damaged', json({ ...marker, vault: 'A'.repeat(32) })],
    ['with a vault id that is too short', 'damaged', json({ ...marker, vault: '0'.repeat(30) })],
    ['with a vault id that is no text', 'damaged', json({ ...marker, vault: 0 })],
    ['without a bucket', 'damaged', json(without(marker, 'bucket'))],
    ['with a bucket id that is not hex', 'damaged', json({ ...marker, bucket: 'g'.repeat(32) })],
  ];
}

function keyslots(): Change[] {
  const slot = parse(example.texts['keyslots/101112131415161718191a1b1c1d1e1f.json']);
  const kdf = parse(JSON.stringify(slot['kdf']));
  const wrap = parse(JSON.stringify(slot['wrap']));
  const withKdf = (change: Json): Buffer => json({ ...slot, kdf: { ...kdf, ...change } });
  const withWrap = (change: Json): Buffer => json({ ...slot, wrap: { ...wrap, ...change } });
  const costs = {
    memoryKib: [8191, 2_097_153, 4_294_967_296, 8192.5, '65536', null],
    passes: [0, 17, -1, 1.5, '3'],
    lanes: [0, 17, -1, 1.5, '4'],
  };
  const other = '0123456789abcdef'.repeat(2);
  return [
    ...brokenJson(slot, 'vault/2 keyslot'),
    ['without kdf', 'damaged', json(without(slot, 'kdf'))],
    ['without wrap', 'damaged', json(without(slot, 'wrap'))],
    ['with wrap null', 'damaged', json({ ...slot, wrap: null })],
    ['of another kdf', 'unsupported', withKdf({ name: 'argon2i' })],
    ['of an older argon2', 'unsupported', withKdf({ version: 16 })],
    ['of another cipher', 'unsupported', withWrap({ name: 'aes-128-gcm' })],
    ...Object.entries(costs).flatMap(([cost, values]) =>
      values.map((value): Change => [
        `with ${cost} ${JSON.stringify(value)}`,
        'damaged',
        withKdf({ [cost]: value }),
      ]),
    ),
    ...Object.keys(costs).map((cost): Change => [
      `without ${cost}`,
      'damaged',
      json({ ...slot, kdf: without(kdf, cost) }),
    ]),
    ['with a salt that is too short', 'damaged', withKdf({ salt: '00'.repeat(15) })],
    ['with a nonce that is too long', 'damaged', withWrap({ nonce: '00'.repeat(13) })],
    ['with a key in upper case', 'damaged', withWrap({ key: 'AB'.repeat(48) })],
    ['with a key that is too short', 'damaged', withWrap({ key: '00'.repeat(47) })],
    ['without an id', 'damaged', json(without(slot, 'id'))],
    ['without a time', 'damaged', json(without(slot, 'createdAt'))],
    ['with a time that is no integer', 'damaged', json({ ...slot, createdAt: 0.5 })],
    ['with another id', 'wrong-password', json({ ...slot, id: other })],
    ['with another vault id', 'wrong-password', json({ ...slot, vault: other })],
    ['with another time', 'wrong-password', json({ ...slot, createdAt: 1_700_000_000_001 })],
    ['with more memory', 'wrong-password', withKdf({ memoryKib: 65_537 })],
    ['with fewer passes', 'wrong-password', withKdf({ passes: 2 })],
    ['with fewer lanes', 'wrong-password', withKdf({ lanes: 3 })],
    ['with another salt', 'wrong-password', withKdf({ salt: other })],
    ['with another nonce', 'wrong-password', withWrap({ nonce: other.slice(0, 24) })],
    ['with another key', 'wrong-password', withWrap({ key: other.repeat(3) })],
  ];
}

function brokenJson(whole: Json, newer: string): Change[] {
  return [
    ['empty', 'damaged', Buffer.alloc(0)],
    ['cut short', 'damaged', json(whole).subarray(0, -3)],
    ['with something behind it', 'damaged', Buffer.concat([json(whole), Buffer.from('{}')])],
    ['not UTF-8 in a field that counts for nothing', 'damaged', notUtf8({ ...whole, comment: '\u00ff' })],
    ['null', 'damaged', Buffer.from('null')],
    ['an array', 'damaged', Buffer.from('[]')],
    ['a text', 'damaged', Buffer.from('"vault/1"')],
    ['without a format', 'damaged', json(without(whole, 'format'))],
    ['of another format', 'damaged', json({ ...whole, format: 'something else' })],
    ['of a newer format', 'unsupported', json({ ...whole, format: newer })],
  ];
}

/** JSON in Latin-1. */
function notUtf8(value: Json): Buffer {
  return Buffer.from(JSON.stringify(value), 'latin1');
}

// --- payloads and shards ------------------------------------------------------------------------------

function payloads(): Change[] {
  return [
    ['empty', 'damaged', Buffer.alloc(0)],
    ['shorter than its prefix', 'damaged', Buffer.alloc(4)],
    ['of codec 1', 'unsupported', Buffer.from([1, 0, 0, 0, 1, 7, 0, 0])],
    ['of codec 255', 'unsupported', Buffer.from([255, 0, 0, 0, 1, 7, 0, 0])],
    ['with a body of one byte more than there are', 'damaged', Buffer.from([0, 0, 0, 0, 4, 7, 0, 0])],
    ['with a body of 4 GiB', 'damaged', Buffer.from([0, 255, 255, 255, 255, 7, 0, 0])],
    ['with padding that begins with 1', 'damaged', Buffer.from([0, 0, 0, 0, 1, 7, 1, 0])],
    ['with padding that ends in 128', 'damaged', Buffer.from([0, 0, 0, 0, 1, 7, 0, 128])],
    ['with padding alone, not zero', 'damaged', Buffer.from([0, 0, 0, 0, 0, 1])],
  ];
}

function shards(): Change[] {
  const object = Buffer.from(example.bytes['shard object 0'], 'hex');
  const header = (offset: number, ...values: readonly number[]): Buffer =>
    checked(changed(object, offset, ...values));
  return [
    ['empty', 'damaged', Buffer.alloc(0)],
    ['shorter than a header', 'damaged', object.subarray(0, 79)],
    ['a header alone', 'damaged', object.subarray(0, 80)],
    ['cut by a byte', 'damaged', checked(object.subarray(0, -1))],
    ['longer by a byte', 'damaged', checked(Buffer.concat([object, Buffer.of(0)]))],
    ['with another magic', 'damaged', header(0, 0x56)],
    ['of a newer format', 'unsupported', header(3, 0x32)],
    ['with k 0', 'damaged', header(8, 0)],
    ['with k 3', 'damaged', header(8, 3)],
    ['with k 32 and m 1', 'damaged', header(8, 32)],
    ['with m 31', 'damaged', header(9, 31)],
    ['with an index beyond k + m', 'damaged', header(10, 3)],
    ['with byte 11 set', 'damaged', header(11, 1)],
    ['with sealed size 16', 'damaged', checked(changed(object.subarray(0, 88), 12, 0, 0, 0, 16))],
    ['with the largest sealed size and one', 'damaged', header(12, 4, 0, 0, 22)],
    ['with sealed size 4 GiB', 'damaged', header(12, 255, 255, 255, 255)],
    ['with another chunk id', 'damaged', header(16, 0)],
    ['with another checksum', 'damaged', changed(object, 48, 0)],
    ['with another shard and the old checksum', 'damaged', changed(object, 80, 0)],
    ['with another shard and its true checksum', 'damaged', header(80, 0)],
    ['shard 1 under its own header', 'damaged', Buffer.from(example.bytes['shard object 1'], 'hex')],
    [
      'shard 1 under the header of shard 0',
      'damaged',
      checked(changed(Buffer.from(example.bytes['shard object 1'], 'hex'), 10, 0)),
    ],
  ];
}

/** A shard object with the checksum that it should have. */
function checked(object: Uint8Array): Buffer {
  const hash = createHash('sha256').update(object.subarray(0, 48)).update(object.subarray(80));
  return changed(object, 48, ...hash.digest());
}

// --- manifests ----------------------------------------------------------------------------------------

function manifests(): MustFail[] {
  const sealed = Buffer.from(example.bytes.manifest, 'hex');
  const head = parse(example.texts.head);
  const table = Buffer.from(example.bytes.table, 'hex');
  const inside = (name: string, newHead: Json, newTable: Uint8Array = table): Change => [
    name,
    'damaged',
    seal(framed(body(json(newHead), newTable))),
  ];
  const unsupported = (name: string, newHead: Json): Change => [
    name,
    'unsupported',
    seal(framed(body(json(newHead), table))),
  ];
  const entry = (length: number): Buffer => {
    const bytes = Buffer.from(table);
    bytes.writeUInt32BE(length, 32);
    return bytes;
  };
  const bad = {
    name: ['', 7, '\ud800', 'n'.repeat(16_385), '\u00e9'.repeat(8193)],
    size: [-1, 300.5, '300', 2 ** 53, 299, 301],
    createdAt: [-1, 8_640_000_000_000_001, null],
    modifiedAt: [0.5, -8_640_000_000_000_001, 'yesterday'],
    mode: [-1, 4096, '644'],
    expiresAt: [-1, 8_640_000_000_000_001, false],
    chunkSize: [65_535, 67_108_865, null],
    redundancy: ['', '2', '0+1', '2+31', '02+1', '2+1 ', '2+-1', 21, null],
    chunks: [0, 2, 1.5, null],
    tableDepth: [-1, 1, 4, null],
  };
  const depthOne = { ...head, tableDepth: 1, size: 65_536 * 2000, chunks: 2000 };
  const changes: Change[] = [
    ['empty', 'damaged', Buffer.alloc(0)],
    ['shorter than header and tag', 'damaged', sealed.subarray(0, 87)],
    ['cut by a byte', 'damaged', sealed.subarray(0, -1)],
    ['longer by a byte', 'damaged', Buffer.concat([sealed, Buffer.of(0)])],
    ['with another magic', 'damaged', changed(sealed, 0, 0x56)],
    ['of a newer format', 'unsupported', changed(sealed, 3, 0x32)],
    ['with another salt', 'damaged', changed(sealed, 8, 0)],
    ['with another commitment', 'damaged', changed(sealed, 40, 0)],
    ['with another ciphertext', 'damaged', changed(sealed, 72, sealed.readUInt8(72) ^ 1)],
    ['with another tag', 'damaged', changed(sealed, sealed.length - 1, 0)],
    [
      'of another vault',
      'damaged',
      seal(framed(body(json(head), table)), deriveSubkeys(Buffer.alloc(32), EXAMPLE_INPUTS.vaultId).manifest),
    ],
    ['with a payload of 4 bytes', 'damaged', seal(Buffer.alloc(4))],
    ['of codec 1', 'unsupported', seal(changed(framed(body(json(head), table)), 0, 1))],
    [
      'with a body longer than its payload',
      'damaged',
      seal(changed(framed(body(json(head), table)), 1, 0, 0, 2)),
    ],
    ['with padding that is not zero', 'damaged', seal(changed(framed(body(json(head), table)), 271, 1))],
    ['with no body', 'damaged', seal(framed(Buffer.alloc(0)))],
    ['with a body of 3 bytes', 'damaged', seal(framed(Buffer.alloc(3)))],
    ['with a head longer than its body', 'damaged', seal(framed(Buffer.from([0, 0, 1, 0, 0x7b, 0x7d])))],
    ['with a head of 4 GiB', 'damaged', seal(framed(changed(body(json(head), table), 0, 255)))],
    ['with an empty head', 'damaged', seal(framed(body(Buffer.alloc(0), table)))],
    ['with a head that is not JSON', 'damaged', seal(framed(body(Buffer.from('{'), table)))],
    [
      'with a head that is not UTF-8',
      'damaged',
      seal(framed(body(notUtf8({ ...head, name: '\u00ff' }), table))),
    ],
    ['with a head that is a text', 'damaged', seal(framed(body(Buffer.from('"vault/1"'), table)))],
    ['with a head that is null', 'damaged', seal(framed(body(Buffer.from('null'), table)))],
    unsupported('with a head of a newer format', { ...head, format: 'vault/2' }),
    unsupported('with a head of no format', without(head, 'format')),
    unsupported('with a secret of its own', { ...head, secret: {} }),
    unsupported('without a secret field', without(head, 'secret')),
    ...Object.keys(bad).map((field) => inside(`without ${field}`, without(head, field))),
    ...Object.entries(bad).flatMap(([field, values]) =>
      values.map((value) => {
        const shown = typeof value === 'string' && value.length > 20 ? `${value.length} letters` : value;
        return inside(`with ${field} ${JSON.stringify(shown)}`, { ...head, [field]: value });
      }),
    ),
    inside('with no table', head, Buffer.alloc(0)),
    inside('with a table that lacks a byte', head, table.subarray(0, -1)),
    inside('with a table that has a byte more', head, Buffer.concat([table, Buffer.of(0)])),
    inside('with an entry too many', head, Buffer.concat([table, table])),
    inside('with an empty chunk at its end', head, Buffer.concat([table, entry(0)])),
    inside('with an entry of another length', head, entry(299)),
    inside('with an entry longer than the chunk size', head, entry(65_537)),
    inside(
      'with a first chunk that is not full',
      { ...head, size: 65_837, chunks: 2 },
      Buffer.concat([entry(301), entry(65_536)]),
    ),
    inside('with a table of depth 1 without entries', depthOne, Buffer.alloc(0)),
    inside('with a table of depth 1 that is too short', depthOne, entry(65_536)),
    inside(
      'with a table of depth 1 of another length',
      depthOne,
      Buffer.concat([entry(65_536), entry(6500)]),
    ),
  ];
  const hash = createHash('sha256').update(sealed).digest('hex');
  return [
    {
      kind: 'manifest',
      name: 'renamed',
      expect: 'damaged',
      bytes: hex(sealed),
      hash: hash.replace(/^./, 'f'),
    },
    ...changes.map(([name, expect, bytes]): MustFail => ({
      kind: 'manifest',
      name,
      expect,
      bytes: hex(bytes),
      hash: createHash('sha256').update(bytes).digest('hex'),
    })),
  ];
}

/** A manifest object around any payload; written out from FORMAT.md, since the real code seals only what is right. */
function seal(
  payload: Uint8Array,
  manifestKey: Uint8Array = Buffer.from(example.bytes.K_mnfs, 'hex'),
): Buffer {
  const salt = EXAMPLE_INPUTS.manifestSalt;
  const both = Buffer.from(hkdfSync('sha256', manifestKey, salt, 'vault/1 manifest seal', 64));
  const header = Buffer.concat([Buffer.from('vlt1mnfs'), salt, both.subarray(32)]);
  const cipher = createCipheriv('aes-256-gcm', both.subarray(0, 32), Buffer.alloc(12)).setAAD(header);
  return Buffer.concat([header, cipher.update(payload), cipher.final(), cipher.getAuthTag()]);
}

/** A payload around a manifest's body, padded to a multiple of 16, which for bodies of this size is nearly Padmé. */
function framed(manifestBody: Uint8Array): Buffer {
  const payload = Buffer.alloc(Math.max(256, Math.ceil((5 + manifestBody.length) / 16) * 16));
  payload.writeUInt32BE(manifestBody.length, 1);
  payload.set(manifestBody, 5);
  return payload;
}

function body(head: Uint8Array, table: Uint8Array): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(head.length);
  return Buffer.concat([length, head, table]);
}

// --- values -------------------------------------------------------------------------------------------

function parse(text: string): Json {
  const value: unknown = JSON.parse(text);
  return Object.fromEntries(Object.entries(value ?? {}));
}

function json(value: Json): Buffer {
  return Buffer.from(JSON.stringify(value));
}

function without(value: Json, key: string): Json {
  return Object.fromEntries(Object.entries(value).filter(([name]) => name !== key));
}

function changed(bytes: Uint8Array, offset: number, ...values: readonly number[]): Buffer {
  const copy = Buffer.from(bytes);
  copy.set(values, offset);
  return copy;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

if (import.meta.main) {
  const target = new URL('must-fail.json', import.meta.url);
  writeFileSync(target, `${JSON.stringify(computeMustFail(), null, 2)}\n`);
}
