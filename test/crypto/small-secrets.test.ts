/** What grants, links, shares and a machine's own log are sealed with, and how a password is asked for. */
import { Decrypter, identityToRecipient } from 'age-encryption';
import { describe, expect, test } from 'vitest';
import { openAsking } from '../../src/crypto/asked-password.ts';
import { gearTable, lotOf } from '../../src/crypto/cutting.ts';
import {
  drawSecret,
  fitsCheck,
  idOfSecret,
  openForSecret,
  passwordCheck,
  sealForSecret,
} from '../../src/crypto/grants.ts';
import { FRAME_OVERHEAD, localLogTag, LogSeal } from '../../src/crypto/local-log.ts';
import { drawShareKey } from '../../src/crypto/share.ts';
import { drawKeyText, isKeyText } from '../../src/crypto/keys.ts';
import type { VaultKeys } from '../../src/crypto/keys.ts';
import { ManifestOpener } from '../../src/crypto/manifest.ts';
import { signKeyring } from '../../src/crypto/signing.ts';
import { MAX_LABEL_SIZE, openLabel, sealLabel } from '../../src/crypto/texts.ts';
import { VaultError } from '../../src/errors.ts';
import { sampleKeyring, sampleKeys, WRITER } from './samples.ts';

async function* content(): AsyncGenerator<Uint8Array> {
  const memory = Buffer.alloc(4);
  // A run's memory is used again.
  for (const text of ['once', 'more']) {
    memory.write(text);
    yield memory;
  }
}

const wrong = new VaultError('wrong-password', 'It is wrong.');
function asked(answers: readonly (string | VaultError)[], tries?: number) {
  const seen: unknown[] = [];
  const work = openAsking(
    {
      give: (refused) => {
        seen.push(refused);
        return Promise.resolve(String(seen.length));
      },
      tries,
    },
    (password) => {
      const answer = answers[Number(password) - 1] ?? 'too often';
      return answer instanceof VaultError ? Promise.reject(answer) : Promise.resolve(answer);
    },
  );
  return { seen, work };
}

describe('a secret of a token or a link', () => {
  test('is 256 bits as text, and is found by its digest, each kind by another', () => {
    const secret = drawSecret();
    expect(secret).toMatch(/^[A-Za-z0-9_-]{43}$/);
    expect(drawSecret()).not.toBe(secret);
    const fixed = 'A'.repeat(43);
    expect(idOfSecret(fixed, 'token')).toBe(
      '22b7bbf06303069ab99499be0b60c6a8a13cf13b1ed81c2b970f62236b4b924c',
    );
    expect(idOfSecret(fixed, 'link')).not.toBe(idOfSecret(fixed, 'token'));
    expect(idOfSecret(`${'A'.repeat(42)}B`, 'token')).not.toBe(idOfSecret(fixed, 'token'));
    for (const text of ['', 'A'.repeat(42), 'A'.repeat(44), `${'A'.repeat(42)}+`, `${fixed}\n`])
      expect(idOfSecret(text, 'link')).toBeNull();
  });

  test('opens what was sealed for it, and no other does', () => {
    const secret = drawSecret();
    const sealed = sealForSecret(secret, 'a text');
    expect(openForSecret(secret, sealed)).toBe('a text');
    expect(() => openForSecret(drawSecret(), sealed)).toThrow(expect.objectContaining({ code: 'damaged' }));
    expect(sealForSecret(secret, 'a text')).not.toBe(sealed);
    // Links that are out must stay what they are.
    const out =
      'lAbLPKGd85oF0RgyIt5+ryEtheHwhx3Jv02kiaAi1TP8FOhB4y0BpoWkmC6bIW+4tAIFiaI5lz1Z8zS5DYNiL07xqCzaH54lT71/VyqYOnDR6iaJQmboM3L7EM7XDGrMkYfjlJkxNId14c09BV+16rXuM22RGVSE2i926NVQPMg+1oRDcdYvV3ZjKSrVbe+50YO2Alej5fOX2zpg';
    expect(openForSecret('A'.repeat(43), out)).toBe('a text');
  });

  test('a password is checked by its commitment', async () => {
    const check = await passwordCheck('correct');
    expect(await fitsCheck('correct', check)).toBe(true);
    expect(await fitsCheck('wrong', check)).toBe(false);
  });
});

describe('a share', () => {
  test('is an age file that its fragment opens', async () => {
    const key = await drawShareKey(null);
    expect(key.fragment).toMatch(/^AGE-SECRET-KEY-1/);
    expect((await drawShareKey(null)).fragment).not.toBe(key.fragment);
    const decrypter = new Decrypter();
    decrypter.addIdentity(key.fragment);
    expect(await decrypter.decrypt(await key.sealText('page'), 'text')).toBe('page');
    const sealed = Buffer.concat(await Array.fromAsync(await key.seal(content())));
    expect(await decrypter.decrypt(sealed, 'text')).toBe('oncemore');
    await expect(identityToRecipient(key.fragment)).resolves.toMatch(/^age1/);
  });
});

test('a share has no password with half a character', async () => {
  await expect(drawShareKey('p\uD800')).rejects.toThrow(expect.objectContaining({ code: 'invalid-input' }));
});

test('a share’s password opens its key whichever way it is composed', async () => {
  const key = await drawShareKey('Pässwört'.normalize('NFD'));
  expect(key.fragment).toMatch(/^([\w-]{4})+$/);
  const lock = new Decrypter();
  lock.addPassphrase('Pässwört'.normalize('NFC'));
  const identity = await lock.decrypt(Buffer.from(key.fragment, 'base64url'), 'text');
  const decrypter = new Decrypter();
  decrypter.addIdentity(identity.trim());
  expect(await decrypter.decrypt(await key.sealText('page'), 'text')).toBe('page');
});

describe('a machine’s log', () => {
  const writer = { names: Buffer.alloc(32, 1), catalog: Buffer.alloc(32, 2) };
  const sample = sampleKeys().writer;
  const keysOf = (vaultId: string, by = writer): Pick<VaultKeys, 'vaultId' | 'writer'> => ({
    vaultId,
    writer: { ...sample, ...by },
  });
  const keys = keysOf('aa');
  const salt = Buffer.alloc(32, 3);

  test('is called by vault, name and writer, which it does not tell', () => {
    const tag = localLogTag(keys, 'folder');
    expect(tag).toMatch(/^[0-9a-f]{64}$/);
    const others = [
      localLogTag(keysOf('bb'), 'folder'),
      localLogTag(keys, 'folder2'),
      localLogTag(keysOf('aa', { ...writer, names: Buffer.alloc(32, 9) }), 'folder'),
    ];
    expect(new Set([tag, ...others]).size).toBe(4);
    expect(localLogTag(keysOf('aa'), 'folder')).toBe(tag);
  });

  test('opens each frame in its place alone, and in this log alone', () => {
    const seal = new LogSeal(keys, 'folder', salt);
    const frame = Buffer.from('a frame');
    const sealed = seal.seal(7, frame);
    expect(sealed.length).toBe(frame.length + FRAME_OVERHEAD);
    expect(seal.open(7, sealed)).toEqual(frame);
    expect(new LogSeal(keys, 'folder', Buffer.from(salt)).open(7, sealed)).toEqual(frame);
    expect(seal.seal(8, frame)).not.toEqual(sealed);
    const others = [
      new LogSeal(keys, 'folder2', salt),
      new LogSeal(keysOf('bb'), 'folder', salt),
      new LogSeal(keys, 'folder', Buffer.alloc(32, 4)),
      new LogSeal(keysOf('aa', { ...writer, catalog: Buffer.alloc(32, 9) }), 'folder', salt),
    ];
    expect(seal.open(8, sealed)).toBeNull();
    for (const other of others) expect(other.open(7, sealed)).toBeNull();
    // Numbers have 48 bits.
    const far = 2 ** 40 + 7;
    expect(seal.open(far, seal.seal(far, frame))).toEqual(frame);
    expect(seal.open(7, seal.seal(far, frame))).toBeNull();
  });
});

describe('what a writer cuts by', () => {
  const key = Buffer.alloc(32, 5);

  test('is its own, and always the same', () => {
    const table = gearTable(key);
    expect(table).toHaveLength(256);
    expect(new Set(table).size).toBeGreaterThan(250);
    expect(gearTable(Buffer.from(key))).toEqual(table);
    expect(gearTable(Buffer.alloc(32, 6))).not.toEqual(table);
    expect([...table.subarray(0, 2)]).toEqual([-341571129, 1956598348]);
  });

  test('draws a lot for each name, from 0 to less than 1, evenly', () => {
    const lot = lotOf(key);
    const lots = Array.from({ length: 4_000 }, (_, i) => lot(Buffer.from(`name ${i}`)));
    for (const one of lots) expect(one >= 0 && one < 1).toBe(true);
    for (let tenth = 0; tenth < 10; tenth += 1) {
      const share = lots.filter((one) => Math.floor(one * 10) === tenth).length / lots.length;
      expect(share).toBeGreaterThan(0.07);
      expect(share).toBeLessThan(0.13);
    }
    expect(lotOf(Buffer.from(key))(Buffer.from('x'))).toBe(lot(Buffer.from('x')));
    expect(lotOf(Buffer.alloc(32, 6))(Buffer.from('x'))).not.toBe(lot(Buffer.from('x')));
    expect(lot(Buffer.from('ab'))).not.toBe(lot(Buffer.from('ba')));
    expect([lot(Buffer.from('')), lot(Buffer.from('some name'))]).toEqual([0, 0.7870959448628128]);
  });
});

describe('a password that is asked for', () => {
  test('is asked for again while it is wrong, as often as there are tries, with what was wrong', async () => {
    const third = asked([wrong, wrong, 'open'], 3);
    expect(await third.work).toBe('open');
    expect(third.seen).toEqual([null, wrong, wrong]);
    const never = asked([wrong, wrong, wrong, 'open'], 3);
    await expect(never.work).rejects.toBe(wrong);
    expect(never.seen).toHaveLength(3);
    const once = asked([wrong, 'open']);
    await expect(once.work).rejects.toBe(wrong);
    expect(once.seen).toEqual([null]);
  });

  test('is not asked for again where something else is wrong', async () => {
    const damaged = new VaultError('damaged', 'No password opens it.');
    const tried = asked([damaged, 'open'], 3);
    await expect(tried.work).rejects.toBe(damaged);
    expect(tried.seen).toEqual([null]);
  });
});

describe('what is refused', () => {
  const keys = sampleKeys();

  test('to a key that can only store is told, with what needs a full one', () => {
    expect(() => new ManifestOpener({ ...keys, role: 'put', full: null })).toThrow(
      expect.objectContaining({
        code: 'denied',
        message: 'This key can only store; reading manifests needs a full one.',
      }),
    );
  });

  test('of a keyring that readers would refuse is told, and why', () => {
    const keyring = sampleKeyring([], { compression: 99 });
    expect(() => signKeyring(keys, keyring)).toThrow(
      expect.objectContaining({
        code: 'invalid-input',
        message: expect.stringMatching(/^A keyring cannot be written so: /),
        cause: expect.objectContaining({ code: 'damaged' }),
      }),
    );
  });

  test('of a label is what is too long', () => {
    const label = 'a'.repeat(MAX_LABEL_SIZE);
    expect(openLabel(keys, { writer: WRITER, label: sealLabel(keys, WRITER, label) })).toBe(label);
    for (const text of [`${label}a`, 'half \ud800'])
      expect(() => sealLabel(keys, WRITER, text)).toThrow(
        expect.objectContaining({
          code: 'invalid-input',
          message: `A keyslot's label must be text of at most ${MAX_LABEL_SIZE} bytes.`,
        }),
      );
  });
});

test('a drawn key is known by its look, and no other password is taken for one', () => {
  expect(isKeyText(drawKeyText())).toBe(true);
  const key = `vault_key_${'A'.repeat(43)}`;
  expect(isKeyText(key)).toBe(true);
  for (const text of [
    '',
    'vault_key_A',
    `${key}A`,
    key.slice(0, -1),
    ` ${key}`,
    key.replace('_key_', '-key-'),
  ])
    expect(isKeyText(text)).toBe(false);
});
