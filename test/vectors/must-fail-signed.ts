// The cases of must-fail.json that are text: markers, and what is signed.
import { sign } from 'node:crypto';
import { keysOfRoot } from '../../src/crypto/keys.ts';
import type { VaultKeys } from '../../src/crypto/keys.ts';
import { encodeSigned, SIGNATURE_FRAME_SIZE } from '../../src/format/signed.ts';
import { brokenJson, object, swap } from './broken-json.ts';
import type { Change } from './broken-json.ts';
import { sealOnce } from '../../src/crypto/sealing.ts';
import { count, FULL, INPUTS, NEXT } from './format-example.ts';
import { padded, paddingCases } from './sealed-by-hand.ts';

/** The key that the example's password gives its first keyslot; FORMAT.md shows it. */
const SLOT_KEK = Buffer.from('ce78206239cd795f577a431fe60dfc7ba2d4abe299710168fe0e1826f58a9b0c', 'hex');
/** The same vault id with another root. */
const OTHER = keysOfRoot(count(1, 32), { vaultId: INPUTS.vaultId, rootNumber: 1, writer: INPUTS.writer });

export function markers(): Change[] {
  const text = object('vault.json').bytes.toString();
  const changed = (from: string | RegExp, to: string): Buffer => Buffer.from(swap(text, from, to));
  return [
    ...brokenJson(text),
    ['without a vault', 'damaged', changed(/"vault":"[^"]*",/, '')],
    ['with a vault id in upper case', 'damaged', changed(/2a/, '2A')],
    ['with a bucket id that is too short', 'damaged', changed(/"bucket":"../, '"bucket":"')],
    ['with a bucket id that is a number', 'damaged', changed(/"bucket":"[^"]*"/, '"bucket":1')],
    [
      'larger than any, whatever its format',
      'damaged',
      changed(/vault\/2".*\}/, `vault/3","more":"${'x'.repeat(65_536)}"}`),
    ],
  ];
}

/** A text as a signed object, whatever it says. */
export function signed(kind: string, json: Buffer, by: VaultKeys = FULL): Buffer {
  if (by.full === null) throw new Error('These are full keys.');
  const message = Buffer.concat([Buffer.from(`vault/2 ${kind}\n`), json]);
  return encodeSigned({ signed: json, signature: sign(null, message, by.full.signing) });
}

function jsonOf(bytes: Buffer): string {
  return bytes.subarray(0, -SIGNATURE_FRAME_SIZE).toString();
}

/** What no signed object may be; `fields` are changes to its text, all `damaged`. */
function signedCases(
  kind: string,
  other: string,
  whole: Buffer,
  fields: readonly (readonly [string, string | RegExp, string])[],
): Change[] {
  const text = jsonOf(whole);
  const flipped = Buffer.from(whole);
  flipped.writeUInt8(flipped.readUInt8(whole.length - 2) ^ 1, whole.length - 2);
  return [
    ...brokenJson(text).map(([name, expect, json]): Change => [name, expect, signed(kind, json)]),
    ...fields.map(([name, from, to]): Change => [
      name,
      'damaged',
      signed(kind, Buffer.from(swap(text, from, to))),
    ]),
    ['with another signature', 'damaged', flipped],
    ['signed with the key of another vault', 'damaged', signed(kind, Buffer.from(text), OTHER)],
    // What is not signed says nothing, not even of what version it is.
    ...(kind === 'keyring'
      ? []
      : [
          [
            'of a newer format, signed with the key of another vault',
            'damaged',
            signed(kind, Buffer.from(swap(text, 'vault/2', 'vault/3')), OTHER),
          ] as const,
        ]),
    ['signed as another kind', 'damaged', signed(other, Buffer.from(text))],
    [
      'with a signature in upper case',
      'damaged',
      Buffer.from(whole.toString().replace(/[0-9a-f]{128}/, (hex) => hex.toUpperCase())),
    ],
    ['without the last line feed', 'damaged', whole.subarray(0, -1)],
    ['with something behind it', 'damaged', Buffer.concat([whole, Buffer.from('\n')])],
    ['changed after it was signed', 'damaged', Buffer.from(swap(whole.toString(), /17000000/, '17000001'))],
    ['of another vault', 'damaged', signed(kind, Buffer.from(swap(text, INPUTS.vaultId, INPUTS.bucketId)))],
  ];
}

export function keyrings(): Change[] {
  const whole = object('keyring/0000000002').bytes;
  const text = jsonOf(whole);
  const slot = /\{"writer":"4041[^}]*\}[^}]*\}/.exec(text)?.[0] ?? '';
  const bucket = /\{"id":"3031[^}]*\}/.exec(text)?.[0] ?? '';
  return [
    ...signedCases('keyring', 'sweep', whole, [
      ['of epoch 0', '"epoch":2', '"epoch":0'],
      ['of another epoch than its name', '"epoch":2', '"epoch":3'],
      ['without its predecessor', /"previous":"[^"]*"/, '"previous":null'],
      ['of root 0', '"root":1', '"root":0'],
      ['of a root that no step leads to', '"root":1', '"root":2'],
      ['with more than 16 shards', '"2+1"', '"16+1"'],
      ['with redundancy 0+1', '"2+1"', '"0+1"'],
      ['with a redundancy written oddly', '"2+1"', '"02+1"'],
      ['with chunks that are too small', '"chunkSize":65536', '"chunkSize":65535'],
      ['with chunks that are too large', '"chunkSize":65536', '"chunkSize":67108865'],
      ['with a fraction', '"chunkSize":65536', '"chunkSize":65536.0'],
      ['with an unknown compression', '"compression":"3"', '"compression":"20"'],
      ['with a compression that is a number', '"compression":"3"', '"compression":3'],
      ['without buckets', `[${bucket}]`, '[]'],
      ['with a bucket twice', bucket, `${bucket},${bucket}`],
      ['with a bucket of an unknown state', '"active"', '"gone"'],
      ['with a bucket without a URL', /,"url":"[^"]*"/, ''],
      ['with a URL that is too short to be sealed', /"url":"../, '"url":"'],
      ['with a keyslot twice', slot, `${slot},${slot}`],
      ['without keyslots', /"slots":.*\]/, '"slots":[]'],
      ['with a former writer that has a keyslot', `"${INPUTS.sweep}"`, `"${INPUTS.writer}"`],
      ['with a former writer of root 0', '"root":1,"role"', '"root":0,"role"'],
      ['with a successor that is none', '"next":null', '"next":""'],
      ['with a former writer that says nothing of a successor', ',"next":null', ''],
      ['without former writers', /,"former":\[.*\]/, ''],
      ['with a keyslot that nobody made', /"by":"[^"]*",/, ''],
      ['without a full keyslot', `${slot},`, ''],
      ['with an unknown role', '"role":"put"', '"role":"get"'],
      ['with too little memory', '"memory":8192', '"memory":8191'],
      ['with too much memory', '"memory":8192', '"memory":1048577'],
      ['with no pass', '"passes":1', '"passes":0'],
      ['with too many passes', '"passes":1', '"passes":17'],
      ['with too many lanes', '"lanes":1', '"lanes":17'],
      ['with too much work', '"memory":8192,"passes":1', '"memory":1048576,"passes":5'],
      ['with a salt that is too short', /"salt":"../, '"salt":"'],
      ['with a commitment that is too long', /"commitment":"/, '"commitment":"00'],
      ['with wrapped secrets that are too short', /"wrapped":"[^"]*"/, `"wrapped":"${'00'.repeat(16)}"`],
      ['with wrapped secrets that are too long', /"wrapped":"[^"]*"/, `"wrapped":"${'00'.repeat(4097)}"`],
      ['with a label that is too short', /"label":"../, '"label":"'],
      ['with a label that is too long', /"label":"[^"]*"/, `"label":"${'00'.repeat(2049)}"`],
      ['with a URL that is too long', /"url":"[^"]*"/, `"url":"${'00'.repeat(5121)}"`],
      ['that requires what is no text', '"requires":[]', '"requires":[1]'],
      ['that requires more than may be', '"requires":[]', `"requires":[${'"new",'.repeat(64)}"new"]`],
    ]),
    [
      'that requires something',
      'unsupported',
      signed('keyring', Buffer.from(swap(text, '"requires":[]', '"requires":["new"]'))),
    ],
  ];
}

const wrap = (secrets: string, { vault = INPUTS.vaultId, role = 'full', number = 1 } = {}): Buffer => {
  const aad = Buffer.from(`vault/2 keyslot\n${vault}\n${INPUTS.writer}\n${role}\n${number}`);
  return sealOnce(SLOT_KEK, aad, Buffer.from(secrets));
};

/** The keyring with another thing wrapped in its first keyslot, under the right password. */
export function keyslots(): Change[] {
  const text = jsonOf(object('keyring/0000000002').bytes);
  const root = INPUTS.root.toString('hex');
  const whole = `{"root":"${root}"}`;
  const changed = wrap(whole);
  changed.writeUInt8(changed.readUInt8(0) ^ 1, 0);
  const cases: readonly (readonly [string, Buffer])[] = [
    ['that was changed', changed],
    ['that was copied from another vault', wrap(whole, { vault: INPUTS.bucketId })],
    ['that was of another role', wrap(whole, { role: 'put' })],
    ['that was of another root', wrap(whole, { number: 2 })],
    ['that wraps a root that is too short', wrap(`{"root":"${root.slice(2)}"}`)],
    ['that wraps something more', wrap(`{"root":"${root}","more":1}`)],
    ['that wraps what is not strict JSON', wrap(`{"root": "${root}"}`)],
    ['that wraps the secrets of another role', wrap(`{"psk":"${root}"}`)],
    ['that wraps no JSON', wrap('root')],
  ];
  return cases.map(([name, wrapped]): Change => [
    name,
    'damaged',
    signed('keyring', Buffer.from(swap(text, /"wrapped":"[^"]*"/, `"wrapped":"${wrapped.toString('hex')}"`))),
  ]);
}

/** Labels (of a writer) and URLs (of a bucket) that nobody has sealed so. */
export function texts(kind: 'label' | 'bucket', of: string): Change[] {
  const nonce = count(0xc0, 12);
  const seal = (payload: Buffer, aad = `vault/2 ${kind}\n${INPUTS.vaultId}\n${of}`): Buffer =>
    Buffer.concat([nonce, sealOnce(FULL.urls, Buffer.from(aad), payload, nonce)]);
  const whole = seal(padded(Buffer.from('text')));
  const changed = Buffer.from(whole);
  changed.writeUInt8(changed.readUInt8(12) ^ 1, 12);
  return [
    ['that was changed', 'damaged', changed],
    [
      'of another',
      'damaged',
      seal(padded(Buffer.from('text')), `vault/2 ${kind}\n${INPUTS.vaultId}\n${'00'.repeat(16)}`),
    ],
    ['that is not UTF-8', 'damaged', seal(padded(Buffer.from([0xff])))],
    ['smaller than any', 'damaged', whole.subarray(0, 283)],
    ...paddingCases(seal, Buffer.from('text')),
  ];
}

export function firstKeyrings(): Change[] {
  const text = jsonOf(object('keyring/0000000001').bytes);
  const followed = swap(text, '"previous":null', `"previous":"${'00'.repeat(32)}"`);
  return [
    ['with a predecessor, though it is the first', 'damaged', signed('keyring', Buffer.from(followed))],
  ];
}

/** Changes to the keyring with a new root, read by whoever knows the root before alone. */
export function rotations(): Change[] {
  const text = jsonOf(object('keyring/0000000003').bytes);
  const step = /"roots":\[(.*?)\]/.exec(text)?.[1] ?? '';
  const changed = (from: string | RegExp, to: string): Buffer =>
    signed('keyring', Buffer.from(swap(text, from, to)), NEXT);
  const fields: readonly (readonly [string, string | RegExp, string])[] = [
    ['whose root another key has signed for', /"signature":"[^"]*"/, `"signature":"${'00'.repeat(64)}"`],
    ['whose step gives another key', step, step.replace(/"key":"[^"]*"/, `"key":"${'01'.repeat(32)}"`)],
    ['without the step to its root', step, ''],
    ['with a step too many', step, `${step},${step}`],
    ['without steps', `"roots":[${step}],`, ''],
    ['with a key that is too short', /"key":"../, '"key":"'],
    ['with a signature that is too long', '"signature":"', '"signature":"00'],
    ['with a root before that is too short', /"before":"../, '"before":"'],
    ['with a step that says more', '"before"', '"more":1,"before"'],
    [
      'of too late a root',
      `"root":2,"roots":[${step}]`,
      `"root":65,"roots":[${Array(64).fill(step).join(',')}]`,
    ],
  ];
  return [
    ...fields.map(([name, from, to]): Change => [name, 'damaged', changed(from, to)]),
    ['that the root before has signed', 'damaged', signed('keyring', Buffer.from(text))],
  ];
}

/** The same, read with the new root. */
export function rotatedKeyrings(): Change[] {
  const text = jsonOf(object('keyring/0000000003').bytes);
  const before = jsonOf(object('keyring/0000000002').bytes);
  const changed = swap(text, /"before":"../, '"before":"ff');
  return [
    ['whose root before does not open', 'damaged', signed('keyring', Buffer.from(changed), NEXT)],
    ['of the root before', 'damaged', signed('keyring', Buffer.from(swap(before, '"epoch":2', '"epoch":3')))],
    [
      'of the root before, signed with the new one',
      'damaged',
      signed('keyring', Buffer.from(swap(before, '"epoch":2', '"epoch":3')), NEXT),
    ],
  ];
}

export function deletions(): Change[] {
  return signedCases('deleted', 'sweep', object('deleted/').bytes, [
    ['of another hash than its name', /"deleted":"....../, '"deleted":"000000'],
    ['with serial 0', '"serial":1', '"serial":0'],
    ['with a flag that is a number', '"live":false', '"live":0'],
    ['with a time that is none', /"at":\d+/, '"at":8640000000000001'],
    ['with a negative grace', /"graceMs":\d+/, '"graceMs":-1'],
    ['with a grace of minus zero', /"graceMs":\d+/, '"graceMs":-0'],
    ['with too long a grace', /"graceMs":\d+/, '"graceMs":3162240000001'],
    ['with a fraction', /"at":\d+/, '"at":1700000000000.0'],
    ['with an exponent', /"at":\d+/, '"at":17e11'],
    ['with a leading zero', /"at":\d+/, '"at":01700000000000'],
    ['with what is no number', /"at":\d+/, '"at":NaN'],
    ['with an integer beyond 2^53 - 1', '"serial":1', '"serial":9007199254740992'],
    ['with an escape in upper case', '"live":false', String.raw`"live":"\u001F"`],
  ]);
}

export function sweeps(): Change[] {
  return signedCases('sweep', 'deleted', object('sweep/').bytes, [
    ['of another id than its name', /"sweep":"..../, '"sweep":"0000'],
    ['that names neither shard nor manifest', '"chunks/', '"keyring/'],
    ['without what it waits for', '"waitsFor":null,', ''],
    [
      'that waits for no put marker',
      '"waitsFor":null',
      '"waitsFor":["sweep/01700000000000.0123456789abcdef"]',
    ],
    ['that names no text', /"objects":\[/, '"objects":[1,'],
    ['done at no time', '"doneAt":null', '"doneAt":""'],
    ['that names nothing below a prefix', /"chunks\/[^"]*"/, '"chunks/"'],
    ['that names what lies elsewhere', /"chunks\/[^"]*"/, '"chunks/../vault.json"'],
    ['that names no shard', /"chunks\/[^"]*"/, '"chunks/one"'],
    ['that names a shard of more than there are', '.0of2+1.', '.3of2+1.'],
    ['that names no manifest', /"chunks\/[^"]*"/, `"manifests/${'0'.repeat(63)}"`],
    ['that names what no object is called', /"chunks\/[^"]*"/, '"chunks/a b"'],
    ['that names too long a name', /"chunks\/[^"]*"/, `"chunks/${'a'.repeat(241)}"`],
  ]);
}
