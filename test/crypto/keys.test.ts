import { diffieHellman, generateKeyPairSync, sign, verify } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  DEFAULT_KDF_COST,
  drawId,
  drawRoot,
  drawUpload,
  kdfWork,
  keysOfRoot,
  MAX_UNLOCK_WORK,
  passwordKeys,
  publicKey,
  unwrapKeys,
  wrapKeys,
} from '../../src/crypto/keys.ts';
import type { VaultKeys } from '../../src/crypto/keys.ts';
import { ManifestOpener } from '../../src/crypto/manifest.ts';
import { openPutMarker, sealPutMarker } from '../../src/crypto/put-marker.ts';
import { sealOnce } from '../../src/crypto/sealing.ts';
import { openLabel } from '../../src/crypto/texts.ts';
import { signDeletion, signKeyring } from '../../src/crypto/signing.ts';
import type { Keyslot } from '../../src/format/keyring.ts';
import { CHEAP, sampleKeyring, sampleKeys, VAULT_ID, WRITER, refusal } from './samples.ts';

const keys = sampleKeys();
const place = { vaultId: VAULT_ID, rootNumber: 1 };
const PURPOSES = ['psk', 'content', 'table', 'index', 'names', 'catalog', 'markers', 'cut'] as const;

async function wrap(role: 'full' | 'put', password = 'password', label = 'office'): Promise<Keyslot> {
  return wrapKeys(keys, password, { role, createdAtMs: 1, label, cost: CHEAP });
}

async function unwrap(slot: Keyslot, password = 'password'): Promise<VaultKeys> {
  const opened = await unwrapKeys(slot, password, place);
  if (opened === null) throw new Error('It does not open.');
  return opened;
}

/** All keys that every keyslot gives, as hex. */
function keysIn(of: VaultKeys): string[] {
  const own = PURPOSES.map((purpose) => of.writer[purpose]);
  return [of.readPublic, of.verification, of.urls, ...own].map((key) => key.toString('hex'));
}

describe('keys of a root', () => {
  test('are all different, and differ for another root, vault and writer', () => {
    const others = [keys, sampleKeys({ root: 2 }), sampleKeys({ vaultId: 'f0'.repeat(16) })].flatMap((of) =>
      keysIn(of),
    );
    expect(new Set(others).size).toBe(3 * 11);
    const colleague = sampleKeys({ writer: 'f1'.repeat(16) });
    expect(colleague.readPublic).toEqual(keys.readPublic);
    for (const purpose of PURPOSES) expect(colleague.writer[purpose]).not.toEqual(keys.writer[purpose]);
  });

  test('give any writer', () => {
    const id = 'f1'.repeat(16);
    expect(keys.full?.writer(id)).toEqual(sampleKeys({ writer: id }).writer);
    expect(keys.full?.writer(id)).toBe(keys.full?.writer(id));
    expect(keys.full?.writer(WRITER)).toBe(keys.writer);
  });

  test('of writers are remembered, and not of all the writers that objects can name', () => {
    const { full } = sampleKeys();
    const first = full?.writer(WRITER);
    for (let i = 0; i < 1022; i += 1) full?.writer(i.toString(16).padStart(32, '0'));
    expect(full?.writer(WRITER)).toBe(first);
    for (const id of ['e1', 'e2']) full?.writer(id.repeat(16));
    expect(full?.writer(WRITER)).not.toBe(first);
    expect(full?.writer(WRITER)).toEqual(first);
  });

  test('have public keys that fit the private ones', () => {
    const { full } = keys;
    if (full === null) throw new Error('These are full keys.');
    const other = generateKeyPairSync('x25519');
    expect(diffieHellman({ privateKey: full.readPrivate, publicKey: other.publicKey })).toEqual(
      diffieHellman({ privateKey: other.privateKey, publicKey: publicKey('x25519', keys.readPublic) }),
    );
    const signature = sign(null, Buffer.from('message'), full.signing);
    expect(verify(null, Buffer.from('message'), publicKey('ed25519', keys.verification), signature)).toBe(
      true,
    );
  });
});

describe('a full keyslot', () => {
  test('gives everything back, to its password only', async () => {
    const slot = await wrap('full');
    const opened = await unwrap(slot);
    expect({ ...opened, full: null }).toEqual({ ...keys, full: null });
    expect(opened.full?.root).toEqual(keys.full?.root);
    expect(openLabel(opened, slot)).toBe('office');
    for (const password of ['Password', 'password ', '', 'passwor']) {
      expect(await unwrapKeys(slot, password, place)).toBeNull();
    }
  });

  test('has no password with half a character, which would be that with any other half', async () => {
    const refused = expect.objectContaining({ code: 'invalid-input' });
    await expect(wrap('full', 'p\uD800')).rejects.toThrow(refused);
    const slot = await wrap('full', 'p\uFFFD');
    await expect(unwrapKeys(slot, 'p\uDFFF', place)).rejects.toThrow(refused);
  });

  test('opens whichever way the password is composed, and however long it is', async () => {
    const slot = await wrap('full', 'caf\u00e9');
    await unwrap(slot, 'cafe\u0301');
    const long = 'a'.repeat(2000);
    const longSlot = await wrap('full', `${long}b`);
    await unwrap(longSlot, `${long}b`);
    expect(await unwrapKeys(longSlot, `${long}c`, place)).toBeNull();
  });

  test('differs each time, also for the same password', async () => {
    const [one, other] = [await wrap('full'), await wrap('full')];
    for (const field of ['salt', 'commitment', 'wrapped', 'label'] as const) {
      expect(one[field]).not.toEqual(other[field]);
    }
  });

  test.each<[string, (slot: Keyslot) => Keyslot]>([
    ['another writer', (slot) => ({ ...slot, writer: 'f1'.repeat(16) })],
    ['another role', (slot) => ({ ...slot, role: 'put' })],
    ['other wrapped secrets', (slot) => ({ ...slot, wrapped: Buffer.alloc(slot.wrapped.length) })],
    ['wrapped secrets cut short', (slot) => ({ ...slot, wrapped: slot.wrapped.subarray(0, 15) })],
  ])('with %s is damaged', async (_, change) => {
    await expect(unwrapKeys(change(await wrap('full')), 'password', place)).rejects.toEqual(
      refusal('damaged'),
    );
  });

  test.each([
    ['no JSON', 'none'],
    ['no root', '{}'],
    ['the secrets of the other role', `{"readKey":"${'00'.repeat(32)}"}`],
    ['more than a root', `{"root":"${'00'.repeat(32)}","more":1}`],
    ['a root that is too short', `{"root":"${'00'.repeat(31)}"}`],
  ])('that wraps %s is damaged', async (_, text) => {
    const slot = await wrap('full');
    const { kek } = await passwordKeys('password', slot);
    const aad = Buffer.from(`vault/2 keyslot\n${VAULT_ID}\n${WRITER}\nfull\n1`);
    const forged = { ...slot, wrapped: sealOnce(kek, aad, Buffer.from(text)) };
    await expect(unwrapKeys(forged, 'password', place)).rejects.toMatchObject({ code: 'damaged' });
  });

  test.each([
    ['vault', { ...place, vaultId: 'f0'.repeat(16) }],
    ['root', { ...place, rootNumber: 2 }],
  ])('of another %s is damaged', async (_, elsewhere) => {
    await expect(unwrapKeys(await wrap('full'), 'password', elsewhere)).rejects.toEqual(refusal('damaged'));
  });

  test.each<[string, (slot: Keyslot) => Keyslot]>([
    ['salt', (slot) => ({ ...slot, salt: Buffer.alloc(32) })],
    ['commitment', (slot) => ({ ...slot, commitment: Buffer.alloc(32) })],
    ['costs', (slot) => ({ ...slot, cost: { ...CHEAP, passes: 2 } })],
  ])('with another %s looks like another password', async (_, change) => {
    expect(await unwrapKeys(change(await wrap('full')), 'password', place)).toBeNull();
  });

  test.each(['full', 'put'] as const)(
    'of role %s with any byte of its secrets changed is damaged',
    async (role) => {
      const slot = await wrap(role);
      const changes = fc.record({
        at: fc.nat(slot.wrapped.length - 1),
        by: fc.integer({ min: 1, max: 255 }),
      });
      await fc.assert(
        fc.asyncProperty(changes, async ({ at, by }) => {
          const wrapped = Buffer.from(slot.wrapped);
          wrapped.writeUInt8(wrapped.readUInt8(at) ^ by, at);
          for (const other of [wrapped, slot.wrapped.subarray(0, at)]) {
            const read = unwrapKeys({ ...slot, wrapped: other }, 'password', place);
            await expect(read).rejects.toMatchObject({ code: 'damaged' });
          }
        }),
        { numRuns: 15 },
      );
    },
  );

  test('does not say how long its label is', async () => {
    const [short, long] = [await wrap('full', 'p', ''), await wrap('full', 'p', 'x'.repeat(200))];
    expect(short.label).toHaveLength(long.label.length);
  });

  test.each([
    ['too long', 'x'.repeat(1025)],
    ['no text', '\ud800'],
  ])('has no label that is %s', async (_, label) => {
    await expect(wrap('full', 'p', label)).rejects.toEqual(refusal('invalid-input'));
  });
});

describe('a put keyslot', () => {
  test("gives its writer's secrets and public keys, and nothing that reads or signs", async () => {
    const opened = await unwrap(await wrap('put'));
    expect(opened).toEqual({ ...keys, role: 'put', full: null });
    expect(() => new ManifestOpener(opened)).toThrow(refusal('denied'));
    expect(() => signKeyring(opened, sampleKeyring([]))).toThrow(refusal('denied'));
    const record = { hash: '00'.repeat(32), serial: 1, live: false, atMs: 1, graceMs: 1 };
    expect(() => signDeletion(opened, record)).toThrow(refusal('denied'));
    const marker = sealPutMarker(opened, []);
    expect(() => openPutMarker(opened, marker)).toThrow(refusal('denied'));
    expect(openPutMarker(keys, marker)).toEqual({ writer: WRITER, ids: [] });
  });

  test('holds no secret of the root, nor of another writer', async () => {
    const opened = await unwrap(await wrap('put'));
    const has = JSON.stringify(opened, (_, value: unknown) =>
      value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value,
    );
    const others = sampleKeys({ writer: 'f1'.repeat(16) }).writer;
    const secrets = [Buffer.alloc(32, 1), ...PURPOSES.map((purpose) => others[purpose])];
    for (const secret of secrets) expect(has).not.toContain(secret.toString('hex'));
  });

  test('cannot be made a full one', async () => {
    const opened = await unwrap(await wrap('put'));
    await expect(
      wrapKeys(opened, 'password', { role: 'full', createdAtMs: 1, label: '', cost: CHEAP }),
    ).rejects.toEqual(refusal('denied'));
  });
});

describe('costs', () => {
  test('are by default what the format advises', () => {
    expect(DEFAULT_KDF_COST).toEqual({ memoryKib: 131_072, passes: 3, lanes: 4 });
    expect(kdfWork(DEFAULT_KDF_COST)).toBe(393_216);
    expect(MAX_UNLOCK_WORK).toBe(64 * 1024 * 1024);
  });

  test.each([
    { memoryKib: 8191, passes: 1, lanes: 1 },
    { memoryKib: 1_048_577, passes: 1, lanes: 1 },
    { memoryKib: 1_048_576, passes: 5, lanes: 1 },
    { memoryKib: 8192, passes: 0, lanes: 1 },
    { memoryKib: 8192, passes: 17, lanes: 1 },
    { memoryKib: 8192, passes: 1, lanes: 17 },
    { memoryKib: 8192.5, passes: 1, lanes: 1 },
  ])('of %o are never spent', async (cost) => {
    const options = { role: 'full', createdAtMs: 1, label: '', cost } as const;
    await expect(wrapKeys(keys, 'password', options)).rejects.toEqual(refusal('invalid-input'));
    const slot = { ...(await wrap('full')), cost };
    await expect(unwrapKeys(slot, 'password', place)).rejects.toEqual(refusal('invalid-input'));
  });
});

test.each([
  ['a root', () => drawRoot().toString('hex'), 64],
  ['an id', drawId, 32],
  ["an upload's random", drawUpload, 16],
])('%s is drawn: hex of its length and never the same', (_, draw, digits) => {
  const drawn = new Set(Array.from({ length: 100 }, draw));
  expect(drawn.size).toBe(100);
  for (const one of drawn) expect(one).toMatch(new RegExp(`^[0-9a-f]{${digits}}$`));
});

test('the keys of one root are always the same', () => {
  const p = { vaultId: VAULT_ID, rootNumber: 1, writer: WRITER };
  expect({ ...keysOfRoot(Buffer.alloc(32, 1), p), full: null }).toEqual({ ...keys, full: null });
});
