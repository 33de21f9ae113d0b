import { createCipheriv, createHash, createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import stored from '../vectors/format-example.json' with { type: 'json' };
import { computeExample, EXAMPLE_INPUTS } from '../vectors/make-format-example.ts';
import type { FormatExample } from '../vectors/make-format-example.ts';

const example: FormatExample = stored;
const document = readFileSync(new URL('../../FORMAT.md', import.meta.url), 'utf8');
const printed = document.slice(document.indexOf('## 12. Worked example'));

function bytes(name: string): Buffer {
  const hex = example.bytes[name];
  if (hex === undefined) throw new Error(`The example has no ${name}`);
  return Buffer.from(hex, 'hex');
}

/** The contents of the example's code blocks of one language. */
function blocks(language: string): string[] {
  return [...printed.matchAll(/^```(\w+)\n(.*?)\n```$/gms)]
    .filter((match) => match[1] === language)
    .map((match) => match[2] ?? '');
}

/** AES-256-GCM as FORMAT.md writes it: ciphertext, then tag. */
function gcm(key: Buffer, nonce: Buffer, aad: Buffer, plain: Buffer): Buffer {
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(aad);
  return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

function hmac(key: Buffer, ...parts: readonly (Buffer | string)[]): Buffer {
  const mac = createHmac('sha256', key);
  for (const part of parts) mac.update(part);
  return mac.digest();
}

/** 2 times a byte in GF(2^8): a shift, reduced by 0x11D. */
function twice(byte: number): number {
  return ((byte << 1) ^ (byte >= 0x80 ? 0x11d : 0)) & 0xff;
}

const ZERO_NONCE = Buffer.alloc(12);

describe('the worked example', () => {
  test('is what the code makes from the same inputs', async () => {
    expect(await computeExample()).toEqual(example);
  });

  test('is printed in FORMAT.md with every byte string, and nothing else', () => {
    const found = new Map<string, string>();
    for (const block of blocks('hex')) {
      for (const [, name = '', lines = ''] of block.matchAll(/^(\S.*)\n((?: {2}[0-9a-f]+(?:\n|$))+)/gm)) {
        found.set(name, lines.replaceAll(/\s/g, ''));
      }
    }
    expect(Object.fromEntries(found)).toEqual(example.bytes);
  });

  test('is printed in FORMAT.md with every text', () => {
    const texts = Object.values(example.texts).map((text) => text.trimEnd());
    expect(blocks('text').toSorted()).toEqual(texts.toSorted());
  });

  test('wraps the master key as the document says', () => {
    const wrapped = gcm(bytes('KEK'), bytes('wrap nonce'), bytes('keyslot AAD'), bytes('master key'));
    expect(wrapped).toEqual(bytes('wrap key'));
  });

  test('derives its subkeys by the two steps of RFC 5869', () => {
    const pseudorandom = hmac(bytes('vault id'), bytes('master key'));
    expect(hmac(pseudorandom, 'vault/1 chunk id', Buffer.of(1))).toEqual(bytes('K_id'));
    expect(hmac(pseudorandom, 'vault/1 chunk seal', Buffer.of(1))).toEqual(bytes('K_seal'));
    expect(hmac(pseudorandom, 'vault/1 manifest', Buffer.of(1))).toEqual(bytes('K_mnfs'));
  });

  test('seals its chunk as the document says', () => {
    const payload = Buffer.concat([Buffer.of(0, 0, 0, 1, 44), EXAMPLE_INPUTS.file, Buffer.alloc(15)]);
    const id = hmac(bytes('K_id'), payload);
    const aad = Buffer.from('vault/1 chunk\n000102030405060708090a0b0c0d0e0f');
    expect(id).toEqual(bytes('chunk id'));
    expect(gcm(hmac(bytes('K_seal'), id), ZERO_NONCE, aad, payload)).toEqual(bytes('sealed chunk'));
  });

  test('cuts its chunk into shard objects with a checksum over header and shard', () => {
    const sealed = bytes('sealed chunk');
    const objects = [0, 1, 2].map((index) => bytes(`shard object ${index}`));
    const [first, second, parity] = objects.map((object) => object.subarray(80));
    expect(Buffer.concat([first ?? sealed, second ?? sealed])).toEqual(sealed);
    const sum = first?.map((byte, i) => twice(byte) ^ byte ^ twice(second?.[i] ?? 0));
    expect(parity).toEqual(sum);
    for (const object of objects) {
      const checked = createHash('sha256').update(object.subarray(0, 48)).update(object.subarray(80));
      expect(object.subarray(48, 80)).toEqual(checked.digest());
    }
  });

  test('seals its manifest as the document says', () => {
    const pseudorandom = hmac(bytes('manifest salt'), bytes('K_mnfs'));
    const key = hmac(pseudorandom, 'vault/1 manifest seal', Buffer.of(1));
    const commitment = hmac(pseudorandom, key, 'vault/1 manifest seal', Buffer.of(2));
    expect(key).toEqual(bytes('manifest key'));
    expect(commitment).toEqual(bytes('manifest commitment'));
    const head = Buffer.from(example.texts['head'] ?? '');
    const payload = Buffer.alloc(272);
    Buffer.concat([bytes('first 9 bytes of the manifest payload'), head, bytes('table')]).copy(payload);
    const header = Buffer.concat([Buffer.from('vlt1mnfs'), bytes('manifest salt'), commitment]);
    const sealed = Buffer.concat([header, gcm(key, ZERO_NONCE, header, payload)]);
    expect(sealed).toEqual(bytes('manifest'));
    expect(createHash('sha256').update(sealed).digest()).toEqual(bytes('hash'));
  });
});
