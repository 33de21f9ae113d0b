import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  DEFAULT_KDF_COST,
  deriveSubkeys,
  drawGeneration,
  drawId,
  drawMasterKey,
  unwrapMasterKey,
  wrapMasterKey,
} from '../../src/crypto/keys.ts';
import { KDF_LIMITS } from '../../src/format/keyslot.ts';
import type { Keyslot } from '../../src/format/keyslot.ts';

/** The least that the format admits: this is no test of Argon2. */
const CHEAP = { memoryKib: KDF_LIMITS.memoryKib.least, passes: 1, lanes: 1 };
const MASTER_KEY = Buffer.alloc(32, 0x42);
const VAULT_ID = '0f'.repeat(16);

function wrap(password: string): Promise<Keyslot> {
  return wrapMasterKey(MASTER_KEY, password, { vaultId: VAULT_ID, createdAtMs: 1, cost: CHEAP });
}

describe('a keyslot', () => {
  test('gives the master key to its password', async () => {
    const passwords = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(passwords, async (password) => {
        expect(await unwrapMasterKey(await wrap(password), password)).toEqual(MASTER_KEY);
      }),
      { numRuns: 20 },
    );
  });

  test('gives nothing to any other password', async () => {
    const slot = await wrap('password');
    for (const other of ['', 'Password', 'password ', 'password\n', 'passwor', 'passwordpassword']) {
      expect(await unwrapMasterKey(slot, other)).toBeNull();
    }
  });

  test('opens whichever way a keyboard composes an accent', async () => {
    const slot = await wrap('caf\u00e9 \u1e69');
    expect(await unwrapMasterKey(slot, 'cafe\u0301 s\u0307\u0323')).toEqual(MASTER_KEY);
  });

  test('does not take letters for the same that only look alike', async () => {
    // Compatibility normalisation would make a ligature and its letters one password.
    expect(await unwrapMasterKey(await wrap('\ufb01x'), 'fix')).toBeNull();
  });

  test('takes a password of 4 KiB with zero bytes, and all of it counts', async () => {
    const long = `a\0${'b'.repeat(4094)}`;
    const slot = await wrap(long);
    expect(await unwrapMasterKey(slot, long)).toEqual(MASTER_KEY);
    expect(await unwrapMasterKey(slot, 'a')).toBeNull();
    expect(await unwrapMasterKey(slot, `${long.slice(0, -1)}c`)).toBeNull();
  });

  test('differs each time, also for the same password', async () => {
    const [one, other] = [await wrap('password'), await wrap('password')];
    for (const field of ['id', 'salt', 'nonce', 'wrapped'] as const)
      expect(one[field]).not.toEqual(other[field]);
  });

  test('costs by default what the format advises, within its limits', async () => {
    expect(DEFAULT_KDF_COST).toEqual({ memoryKib: 131_072, passes: 3, lanes: 4 });
    const slot = await wrapMasterKey(MASTER_KEY, 'password', { vaultId: VAULT_ID, createdAtMs: 1 });
    expect(slot.cost).toEqual(DEFAULT_KDF_COST);
  });

  test('whose function cannot run says so, and is not taken for a wrong password', async () => {
    // Less memory than Argon2 can work in fails as too much does; decoding would refuse either.
    const slot = { ...(await wrap('password')), cost: { memoryKib: 1, passes: 1, lanes: 1 } };
    await expect(unwrapMasterKey(slot, 'password')).rejects.toMatchObject({ code: 'unavailable' });
  });
});

describe('subkeys', () => {
  test('are all different', () => {
    const { vaultId: _, ...keys } = deriveSubkeys(MASTER_KEY, VAULT_ID);
    const all = Object.values(keys).map((key) => key.toString('hex'));
    expect(new Set(all).size).toBe(5);
    expect(all.every((key) => key.length === 64)).toBe(true);
  });

  test('differ for another vault id and for another master key', () => {
    const own = deriveSubkeys(MASTER_KEY, VAULT_ID);
    const others = [deriveSubkeys(MASTER_KEY, 'f0'.repeat(16)), deriveSubkeys(Buffer.alloc(32), VAULT_ID)];
    for (const other of others) {
      for (const key of ['chunkId', 'chunkSeal', 'manifest', 'name', 'catalog'] as const) {
        expect(other[key]).not.toEqual(own[key]);
      }
    }
  });
});

describe('what is drawn', () => {
  test.each([
    ['a master key', () => drawMasterKey().toString('hex'), 64],
    ['an id', drawId, 32],
    ['a generation', drawGeneration, 16],
  ])('%s is hex of its length and never the same', (_, draw, digits) => {
    const drawn = new Set(Array.from({ length: 100 }, draw));
    expect(drawn.size).toBe(100);
    for (const one of drawn) expect(one).toMatch(new RegExp(`^[0-9a-f]{${digits}}$`));
  });
});
