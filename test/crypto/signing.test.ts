import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { sign } from 'node:crypto';
import {
  objectDigest,
  openDeletion,
  openSweepList,
  signDeletion,
  signKeyring,
  signSweepList,
  verifyKeyring,
} from '../../src/crypto/signing.ts';
import { KDF_LIMITS } from '../../src/format/limits.ts';
import {
  decodeKeyring,
  encodeKeyring,
  keyringObjectName,
  parseKeyringObjectName,
} from '../../src/format/keyring.ts';
import type { Keyring } from '../../src/format/keyring.ts';
import {
  deletionObjectName,
  encodeDeletion,
  parseDeletionObjectName,
  parseSweepObjectName,
  sweepObjectName,
} from '../../src/format/removal.ts';
import type { DeletionRecord, SweepList } from '../../src/format/removal.ts';
import { encodeSigned } from '../../src/format/signed.ts';
import {
  CHEAP,
  acceptedChanges,
  outcome,
  sampleKeyring,
  sampleKeys,
  sampleSlot,
  VAULT_ID,
} from './samples.ts';

const keys = sampleKeys();
const HASH = 'ab'.repeat(32);
const ID = 'cd'.repeat(16);
const keyring = sampleKeyring([sampleSlot(), sampleSlot({ writer: 'f1'.repeat(16), role: 'put' })]);
const record: DeletionRecord = {
  hash: HASH,
  serial: 1,
  live: false,
  atMs: 1_700_000_000_000,
  graceMs: 604_800_000,
};
const shardNamed = (id: string): string => `chunks/${id.padStart(64, '0')}.01234567.0of2+1.${'0'.repeat(16)}`;

const list: SweepList = {
  id: ID,
  atMs: 1_700_000_000_000,
  doneAtMs: null,
  waitsFor: ['puts/01700000000000.0123456789abcdef'],
  objects: [shardNamed('ab'), `manifests/${'0'.repeat(64)}`],
};

/** Signs a text as whoever has the vault's key can. */
function signText(kind: string, text: string | Uint8Array): Buffer {
  const { full } = keys;
  if (full === null) throw new Error('These are full keys.');
  const signed = Buffer.from(text);
  const message = Buffer.concat([Buffer.from(`vault/2 ${kind}\n`), signed]);
  return encodeSigned({ signed, signature: sign(null, message, full.signing) });
}

const bytes = (size: number): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ minLength: size, maxLength: size }).map((drawn) => Buffer.from(drawn));
const hexId = bytes(16).map((id) => id.toString('hex'));
const time = fc.integer({ min: -8_640_000_000_000_000, max: 8_640_000_000_000_000 });

const FORMER = {
  writer: '101112131415161718191a1b1c1d1e1f',
  root: 1,
  role: 'put' as const,
  label: Buffer.alloc(284),
  next: null,
};

const STEP = { key: Buffer.alloc(32, 1), signature: Buffer.alloc(64), before: Buffer.alloc(48) };

const anyKeyring: fc.Arbitrary<Keyring> = fc.record({
  vaultId: fc.constant(VAULT_ID),
  epoch: fc.integer({ min: 2, max: 9_999_999_999 }),
  previous: bytes(32).map((digest) => digest.toString('hex')),
  root: fc.constant(1),
  roots: fc.constant([]),
  redundancy: fc.constantFrom({ k: 1, m: 0 }, { k: 2, m: 1 }, { k: 10, m: 6 }, { k: 16, m: 0 }),
  chunkSize: fc.integer({ min: 65_536, max: 67_108_864 }),
  compression: fc.oneof(fc.constantFrom('auto' as const, 'off' as const), fc.integer({ min: 1, max: 19 })),
  buckets: fc.uniqueArray(
    fc.record({
      id: hexId,
      state: fc.constantFrom('active' as const, 'draining' as const),
      url: fc.integer({ min: 284, max: 5120 }).chain(bytes),
    }),
    { minLength: 1, maxLength: 5, selector: ({ id }) => id },
  ),
  slots: fc.uniqueArray(
    fc.record({
      writer: hexId,
      role: fc.constantFrom('full' as const, 'full' as const),
      createdAtMs: time,
      by: hexId,
      cost: fc.record({
        memoryKib: fc.integer({ min: 8192, max: 262_144 }),
        passes: fc.integer({ min: 1, max: 16 }),
        lanes: fc.integer({ min: 1, max: 16 }),
      }),
      salt: bytes(32),
      commitment: bytes(32),
      wrapped: bytes(93),
      label: bytes(284),
    }),
    { minLength: 1, maxLength: 4, selector: ({ writer }) => writer },
  ),
  former: fc.uniqueArray(
    fc.record({
      writer: hexId,
      root: fc.integer({ min: 1, max: 64 }),
      role: fc.constantFrom('full' as const, 'put' as const),
      label: bytes(284),
      next: fc.option(hexId),
    }),
    { maxLength: 2, selector: ({ writer }) => writer },
  ),
});

describe('a keyring', () => {
  test('is read as it was written', () => {
    fc.assert(
      fc.property(anyKeyring, (any) => {
        expect(verifyKeyring(keys, signKeyring(keys, any))).toEqual(any);
      }),
      { numRuns: 30 },
    );
  });

  test('lies under the name of its epoch', () => {
    const object = signKeyring(keys, keyring);
    expect(verifyKeyring(keys, object, 1)).toEqual(keyring);
    expect(outcome(() => verifyKeyring(keys, object, 2))).toBe('damaged');
  });

  test('is as large as it may be', () => {
    const slots = Array.from({ length: 64 }, (_, i) =>
      sampleSlot({
        writer: Buffer.alloc(16, i).toString('hex'),
        wrapped: Buffer.alloc(1000),
        label: Buffer.alloc(1500),
      }),
    );
    const largest = sampleKeyring(slots);
    expect(verifyKeyring(keys, signKeyring(keys, largest))).toEqual(largest);
  });

  test('is refused with any byte of it changed or missing', () => {
    const small = signKeyring(keys, sampleKeyring([sampleSlot()]));
    expect(acceptedChanges(small, (changed) => verifyKeyring(keys, changed))).toEqual([]);
  });

  test.each([
    ['signed by another vault', () => signKeyring(sampleKeys({ root: 2 }), keyring)],
    [
      "under this vault's key but another id",
      () => signText('keyring', encodeKeyring({ ...keyring, vaultId: ID })),
    ],
    ['signed as something else', () => signText('deleted', encodeKeyring(keyring))],
    ['empty', () => Buffer.alloc(0)],
    ['larger than a keyring may be', () => Buffer.alloc(1024 * 1024 + 1, '{')],
  ])('%s is damaged', (_, make) => {
    expect(outcome(() => verifyKeyring(keys, make()))).toBe('damaged');
  });

  test('of another root is not taken for that of the vault', () => {
    const other = sampleKeys({ vaultId: 'f0'.repeat(16) });
    const foreign = signKeyring(other, { ...keyring, vaultId: 'f0'.repeat(16) });
    expect(outcome(() => verifyKeyring(keys, foreign))).toBe('damaged');
  });

  test.each<[string, Partial<Keyring>]>([
    ['no buckets', { buckets: [] }],
    [
      'a bucket twice',
      {
        buckets: [
          { id: ID, state: 'active', url: Buffer.alloc(284) },
          { id: ID, state: 'draining', url: Buffer.alloc(284) },
        ],
      },
    ],
    ['no keyslots', { slots: [] }],
    [
      '65 keyslots',
      {
        slots: Array.from({ length: 65 }, (_, i) =>
          sampleSlot({ writer: Buffer.alloc(16, i).toString('hex') }),
        ),
      },
    ],
    [
      '1,025 buckets',
      {
        buckets: Array.from({ length: 1025 }, (_, i) => ({
          id: i.toString(16).padStart(32, '0'),
          state: 'active' as const,
          url: Buffer.alloc(284),
        })),
      },
    ],
    ['two keyslots of one writer', { slots: [sampleSlot(), sampleSlot({ role: 'put' })] }],
    ['a former writer that has a keyslot', { former: [FORMER] }],
    ['a former writer of root 0', { former: [{ ...FORMER, writer: ID, root: 0 }] }],
    [
      '1,025 former writers',
      {
        former: Array.from({ length: 1025 }, (_, i) => ({
          ...FORMER,
          writer: i.toString(16).padStart(32, '0'),
        })),
      },
    ],
    ['no full keyslot', { slots: [sampleSlot({ role: 'put' })] }],
    ['epoch 0', { epoch: 0 }],
    ['an epoch of eleven digits', { epoch: 10_000_000_000, previous: HASH }],
    ['a first epoch with a predecessor', { previous: HASH }],
    ['a later epoch without a predecessor', { epoch: 2 }],
    ['a predecessor that is no digest', { epoch: 2, previous: 'AB'.repeat(32) }],
    ['root 0', { root: 0 }],
    ['root 65', { root: 65, roots: Array.from({ length: 64 }, () => STEP) }],
    ['a root that no step leads to', { root: 2 }],
    ['a step beyond its root', { roots: [STEP] }],
    ['more than 16 shards', { redundancy: { k: 16, m: 1 } }],
    ['chunks that are too small', { chunkSize: 65_535 }],
    ['chunks that are too large', { chunkSize: 67_108_865 }],
    ['compression level 0', { compression: 0 }],
    ['compression level 20', { compression: 20 }],
    ['a writer that is no id', { slots: [sampleSlot({ writer: 'f1' })] }],
    ['a salt that is too short', { slots: [sampleSlot({ salt: Buffer.alloc(31) })] }],
    ['a time that is none', { slots: [sampleSlot({ createdAtMs: 8_640_000_000_000_001 })] }],
    ['too little memory', { slots: [sampleSlot({ cost: { ...CHEAP, memoryKib: 8191 } })] }],
    ['too much memory', { slots: [sampleSlot({ cost: { ...CHEAP, memoryKib: 1_048_577 } })] }],
    ['no pass', { slots: [sampleSlot({ cost: { ...CHEAP, passes: 0 } })] }],
    ['too many passes', { slots: [sampleSlot({ cost: { ...CHEAP, passes: 17 } })] }],
    ['too many lanes', { slots: [sampleSlot({ cost: { ...CHEAP, lanes: 17 } })] }],
    ['too much work', { slots: [sampleSlot({ cost: { memoryKib: 1_048_576, passes: 5, lanes: 1 } })] }],
    ['wrapped secrets that are too long', { slots: [sampleSlot({ wrapped: Buffer.alloc(4097) })] }],
    ['a label that is too short', { slots: [sampleSlot({ label: Buffer.alloc(283) })] }],
  ])('with %s is neither written nor read', (_, change) => {
    const bad = { ...keyring, ...change };
    expect(outcome(() => signKeyring(keys, bad))).toBe('invalid-input');
    expect(outcome(() => verifyKeyring(keys, signText('keyring', encodeKeyring(bad))))).toBe('damaged');
  });

  test('whose keyslot asks for the most work that is allowed is read', () => {
    const { memoryKib } = KDF_LIMITS;
    const hard = sampleKeyring([sampleSlot({ cost: { memoryKib: memoryKib.most, passes: 4, lanes: 16 } })]);
    expect(verifyKeyring(keys, signKeyring(keys, hard))).toEqual(hard);
  });

  test('that requires what is not known is unsupported, whatever else it says', () => {
    const text = encodeKeyring(keyring).toString();
    const required = text.replace('"requires":[]', '"requires":["folders"]').replace('"auto"', '"brotli"');
    expect(outcome(() => verifyKeyring(keys, signText('keyring', required)))).toBe('unsupported');
  });

  test.each([
    ['an unknown field', (text: string) => text.replace('"epoch":1', '"epoch":1,"extra":1'), 'damaged'],
    [
      'an unknown field in a keyslot',
      (text: string) => text.replace('"lanes":1', '"lanes":1,"x":1'),
      'damaged',
    ],
    ['a missing field', (text: string) => text.replace('"root":1,', ''), 'damaged'],
    ['an unknown role', (text: string) => text.replace('"role":"put"', '"role":"get"'), 'damaged'],
    ['an unknown state', (text: string) => text.replace('"draining"', '"gone"'), 'damaged'],
    ['white space', (text: string) => text.replace(':', ': '), 'damaged'],
    ['another format', (text: string) => text.replace('vault/2', 'vault/3'), 'unsupported'],
    ['an older format', (text: string) => text.replace('vault/2', 'vault/1'), 'unsupported'],
    ['no format', (text: string) => text.replace('"format":"vault/2",', ''), 'damaged'],
  ])('with %s is refused though it is signed', (_, change, code) => {
    const text = change(encodeKeyring(keyring).toString());
    expect(outcome(() => verifyKeyring(keys, signText('keyring', text)))).toBe(code);
  });

  test('can be looked into before it is verified, for the keyslot that a password opens', () => {
    const { keyring: read, signed } = decodeKeyring(signKeyring(keys, keyring));
    expect(read).toEqual(keyring);
    expect(Buffer.from(signed)).toEqual(encodeKeyring(keyring));
  });

  test('has its epoch in its name', () => {
    expect(keyringObjectName(7)).toBe('keyring/0000000007');
    expect(parseKeyringObjectName('keyring/9999999999')).toBe(9_999_999_999);
    const others = [
      'keyring/7',
      'keyring/0000000000',
      'keyring/00000000007',
      'keyring/000000000x',
      'keyring/',
    ];
    expect(others.filter((name) => parseKeyringObjectName(name) !== null)).toEqual([]);
  });
});

describe('a deletion record', () => {
  const anyRecord = fc.record({
    hash: bytes(32).map((hash) => hash.toString('hex')),
    serial: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
    live: fc.boolean(),
    atMs: time,
    graceMs: fc.integer({ min: 0, max: 3_162_240_000_000 }),
  });

  test('is read as it was written, under its own name only', () => {
    fc.assert(
      fc.property(anyRecord, (any) => {
        const object = signDeletion(keys, any);
        expect(openDeletion(keys, object, any.hash)).toEqual(any);
        expect(outcome(() => openDeletion(keys, object, HASH))).toBe('damaged');
      }),
      { numRuns: 30 },
    );
  });

  test('is refused with any byte of it changed or missing', () => {
    expect(
      acceptedChanges(signDeletion(keys, record), (changed) => openDeletion(keys, changed, HASH)),
    ).toEqual([]);
  });

  test.each([
    ['signed by another vault', () => signDeletion(sampleKeys({ root: 2 }), record)],
    ['of another vault', () => signText('deleted', encodeDeletion('f0'.repeat(16), record))],
    ['signed as something else', () => signText('sweep', encodeDeletion(VAULT_ID, record))],
  ])('%s is damaged', (_, make) => {
    expect(outcome(() => openDeletion(keys, make(), HASH))).toBe('damaged');
  });

  test.each<[string, Partial<DeletionRecord>]>([
    ['serial 0', { serial: 0 }],
    ['a hash that is none', { hash: 'ab' }],
    ['a negative grace', { graceMs: -1 }],
    ['an endless grace', { graceMs: 1e13 }],
    ['a time that is none', { atMs: NaN }],
  ])('with %s is not written', (_, change) => {
    expect(outcome(() => signDeletion(keys, { ...record, ...change }))).toBe('invalid-input');
  });

  test('has its hash in its name', () => {
    expect(parseDeletionObjectName(deletionObjectName(HASH))).toBe(HASH);
    const others = ['deleted/', `deleted/${HASH}0`, `deleted/${HASH.toUpperCase()}`, HASH];
    expect(others.filter((name) => parseDeletionObjectName(name) !== null)).toEqual([]);
  });
});

describe('a sweep list', () => {
  const anyList = fc.record({
    id: hexId,
    atMs: time,
    doneAtMs: fc.option(time),
    waitsFor: fc.option(fc.array(bytes(8).map((random) => `puts/01700000000000.${random.toString('hex')}`))),
    objects: fc.array(
      bytes(20).map((name) => shardNamed(name.toString('hex'))),
      { maxLength: 20 },
    ),
  });

  test('is read as it was written, under its own name only', () => {
    fc.assert(
      fc.property(anyList, (any) => {
        const object = signSweepList(keys, any);
        expect(openSweepList(keys, object, any.id)).toEqual(any);
        expect(outcome(() => openSweepList(keys, object, ID))).toBe('damaged');
      }),
      { numRuns: 30 },
    );
  });

  test('names 10,000 objects, no more', () => {
    const objects = Array.from({ length: 10_001 }, (_, i) => shardNamed(String(i)));
    const full = { ...list, objects: objects.slice(1) };
    expect(openSweepList(keys, signSweepList(keys, full), ID)).toEqual(full);
    expect(outcome(() => signSweepList(keys, { ...list, objects }))).toBe('invalid-input');
  });

  test('waits for 10,000 puts, no more', () => {
    const waitsFor = Array.from(
      { length: 10_001 },
      (_, i) => `puts/${String(i).padStart(14, '0')}.${'0'.repeat(16)}`,
    );
    const full = { ...list, waitsFor: waitsFor.slice(1) };
    expect(openSweepList(keys, signSweepList(keys, full), ID)).toEqual(full);
    expect(outcome(() => signSweepList(keys, { ...list, waitsFor }))).toBe('invalid-input');
  });

  test('is refused with any byte of it changed or missing', () => {
    expect(acceptedChanges(signSweepList(keys, list), (changed) => openSweepList(keys, changed, ID))).toEqual(
      [],
    );
  });

  test.each([
    'keyring/0000000001',
    'vault.json',
    'chunks/',
    'chunks/a b',
    'chunks/\u00e4',
    `chunks/${'a'.repeat(241)}`,
    'chunks/../vault.json',
    'manifests/../vault.json',
    shardNamed('').replace('0of', '3of'),
    `${shardNamed('')}0`,
    `manifests/${'0'.repeat(63)}`,
  ])('never names %s', (name) => {
    expect(outcome(() => signSweepList(keys, { ...list, objects: [name] }))).toBe('invalid-input');
  });

  test('has its id in its name', () => {
    expect(parseSweepObjectName(sweepObjectName(ID))).toBe(ID);
    const others = ['sweep/', `sweep/${ID}0`, `sweep/${ID.toUpperCase()}`];
    expect(others.filter((name) => parseSweepObjectName(name) !== null)).toEqual([]);
  });
});

test('the digest of an object is its SHA-256', () => {
  expect(objectDigest(Buffer.from('abc'))).toBe(
    'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
  );
});
