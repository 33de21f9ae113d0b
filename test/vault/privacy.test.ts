/** Whoever holds the buckets and the catalog, but no password, learns no content, no file name and no exact size. */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TABLE_NAMES } from '../../src/catalog/sql/schema.ts';
import { CODEC_STORED, framePayload, payloadSize } from '../../src/format/chunk.ts';
import { sealPutMarker } from '../../src/crypto/put-marker.ts';
import { catalogFiles, catalogRows } from '../support/catalog-place.ts';
import type { CatalogValue } from '../support/catalog-place.ts';
import { CHUNK_SIZE, PASSWORD, putBytes, testVault } from './harness.ts';
import type { TestVault } from './harness.ts';

const NAMES = ['merger-plan-Acme-Globex.pdf', 'Röntgenbild – Frau Müller.png'];
const CONTENTS = [
  text('The merger of Acme and Globex is signed. ', 123_457),
  text('Befund: unauffällig. ', 70_001),
];

const SMALL = text('Small, and in the manifest itself. ', 700);

function text(sentence: string, size: number): Buffer {
  return Buffer.alloc(size, sentence);
}

/** A vault that has been through everything which leaves a trace: files small and large, versions, removals, a sweep, a put that died. */
async function busyVault(): Promise<TestVault> {
  const made = await testVault();
  for (const [i, name] of NAMES.entries()) {
    await putBytes(made.vault, CONTENTS[i] ?? Buffer.alloc(0), { name, expiresAtMs: Date.now() + 1e9 });
  }
  await putBytes(made.vault, SMALL, { name: `${NAMES[0]}.small` });
  for (const name of [`${NAMES[0]}.removed`, `${NAMES[0]}.swept`]) {
    await putBytes(made.vault, Buffer.concat([Buffer.from(name), CONTENTS[0] ?? Buffer.alloc(0)]), { name });
  }
  await made.session.guard.end();
  await made.vault.remove([`${NAMES[0]}.swept`], { graceMs: 0 });
  await made.vault.sweep({ waitMs: 0 });
  await made.vault.remove([`${NAMES[0]}.removed`]);
  await made.catalog.setup.putNote('a note', Buffer.from('sealed by whoever writes it'));
  await made.vault.tokens.add({ label: NAMES[0] ?? '', scopes: ['read'], expiresAtMs: Date.now() + 1e9 });
  const file = await made.vault.resolve(NAMES[0] ?? '');
  const link = { expiresAtMs: null, mostDownloads: 3, password: null, lockPassword: null };
  await made.vault.links.add(file, link);
  // A marker that names chunks, as one does that has been renewed.
  const ids = (await Array.fromAsync(made.catalog.chunks.walk())).map(({ id }) => id);
  const [bucket] = made.buckets;
  bucket?.storage.set(`puts/00000000000001.${'ab'.repeat(8)}`, sealPutMarker(made.session.keys, ids));
  return made;
}

let made: TestVault;
/** Everything that is stored somewhere, as bytes, by the place it is in. */
let everything: ReadonlyMap<string, Uint8Array>;
beforeAll(async () => {
  made = await busyVault();
  const found = new Map<string, Uint8Array>();
  for (const { url, storage } of made.buckets) {
    for (const [name, bytes] of storage) {
      found.set(`the name ${name} in ${url}`, Buffer.from(name));
      found.set(`${name} in ${url}`, bytes);
    }
  }
  for (const { table, column, value } of await cells(made.db)) {
    const place = `${table}.${column}`;
    found.set(place, Buffer.concat([found.get(place) ?? new Uint8Array(0), bytesOf(value)]));
  }
  for (const [name, bytes] of await catalogFiles(made.db)) found.set(`catalog's ${name}`, bytes);
  everything = found;
});
afterAll(async () => made[Symbol.asyncDispose]());

interface Cell {
  readonly table: string;
  readonly column: string;
  readonly value: CatalogValue;
}

/** Every column of every row of every table of a catalog. */
async function cells(db: string): Promise<Cell[]> {
  return [...(await catalogRows(db))].flatMap(([table, rows]) =>
    rows.flatMap((row) => Object.entries(row).map(([column, value]) => ({ table, column, value }))),
  );
}

function bytesOf(value: CatalogValue): Uint8Array {
  return value instanceof Uint8Array ? value : Buffer.from(String(value ?? ''));
}

/** A secret in the shapes in which it may have been written down. */
function shapes(secret: Uint8Array): Buffer[] {
  const bytes = Buffer.from(secret);
  // Base64 of something in the middle of a text has three forms; their ends depend on what is around.
  const base64 = [0, 1, 2].map((skipped) => bytes.subarray(skipped).toString('base64').slice(0, -4));
  const texts = [bytes.toString('hex'), ...base64.filter(({ length }) => length >= 6)];
  return [bytes, ...texts.map((form) => Buffer.from(form))];
}

/** Where a secret is written down. */
function placesWith(secret: Uint8Array): string[] {
  return [...everything].flatMap(([place, bytes]) => {
    const haystack = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return shapes(secret).some((shape) => haystack.includes(shape)) ? [place] : [];
  });
}

/** What is sealed of a chunk: whoever guesses the content can work it out too. */
function payloadOf(body: Uint8Array): Buffer {
  const payload = Buffer.alloc(payloadSize(body.length, body.length === CHUNK_SIZE));
  payload.set(body);
  framePayload(payload, CODEC_STORED, body.length);
  return payload;
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}

describe('Without the password, catalog and buckets tell', () => {
  test('no file name, whole or in part', () => {
    for (const name of NAMES) {
      expect(placesWith(Buffer.from(name))).toEqual([]);
      expect(placesWith(sha256(Buffer.from(name)))).toEqual([]);
      for (const part of name.split(/[^\p{L}]+/u).filter(({ length }) => length >= 5)) {
        expect(placesWith(Buffer.from(part))).toEqual([]);
      }
    }
  });

  test('no content', () => {
    for (const content of [...CONTENTS, SMALL]) {
      for (const at of [0, 500, CHUNK_SIZE - 8, CHUNK_SIZE, content.length - 24]) {
        if (at + 24 > content.length) continue;
        expect(placesWith(content.subarray(at, at + 24))).toEqual([]);
      }
    }
  });

  test('no digest that somebody who guesses the content could compare', () => {
    for (const content of [...CONTENTS, SMALL]) {
      expect(placesWith(sha256(content))).toEqual([]);
      for (let at = 0; at < content.length; at += CHUNK_SIZE) {
        const body = content.subarray(at, at + CHUNK_SIZE);
        expect(placesWith(sha256(body))).toEqual([]);
        expect(placesWith(sha256(payloadOf(body)))).toEqual([]);
      }
    }
  });

  test('not the password, nor a key', () => {
    const { writer, full } = made.session.keys;
    const { id, ...keys } = writer;
    expect(id).toHaveLength(32);
    for (const secret of [Buffer.from(PASSWORD), full?.root ?? Buffer.alloc(0), ...Object.values(keys)]) {
      expect(placesWith(secret)).toEqual([]);
    }
  });

  test('no exact size', async () => {
    const sizes = CONTENTS.flatMap(({ length }) => [length, length % CHUNK_SIZE]);
    const encoded = sizes.flatMap((size) => {
      const bytes = Buffer.alloc(8);
      bytes.writeBigUInt64BE(BigInt(size));
      return [bytes, Buffer.from(bytes.toReversed())];
    });
    for (const { table, column, value } of await cells(made.db)) {
      let tells = false;
      if (typeof value === 'number') tells = sizes.includes(value);
      else if (typeof value === 'string') tells = sizes.some((size) => value.includes(String(size)));
      else if (value !== null) tells = encoded.some((size) => Buffer.from(value).includes(size));
      expect({ table, column, tells }).toEqual({ table, column, tells: false });
    }
    // Whole parts of names: what is drawn at random may begin with anything.
    for (const name of made.objects()) {
      const parts = name.split(/[^0-9a-z]+/);
      expect(sizes.filter((size) => parts.includes(String(size)))).toEqual([]);
    }
  });

  test('nothing that tells files of about the same size apart', async () => {
    const profiles: string[][] = [];
    for (const size of [123_457, 123_500]) {
      await using other = await testVault();
      await putBytes(other.vault, Buffer.alloc(size, 1), { name: 'x'.repeat(1 + (size % 7)) });
      const objects = other.buckets.flatMap(({ storage }) =>
        [...storage].flatMap(([name, { length }]) =>
          name.includes('/') ? [`${name.split('/')[0]} ${length}`] : [],
        ),
      );
      const columns = (await cells(other.db)).flatMap(({ table, column, value }) =>
        value instanceof Uint8Array ? [`${table}.${column} ${value.length}`] : [],
      );
      profiles.push([...objects, ...columns].toSorted());
    }
    expect(profiles[0]).toEqual(profiles[1]);
  });
});

test('Every table has been looked at with something in it', async () => {
  const seen = new Set((await cells(made.db)).map(({ table }) => table));
  expect([...seen]).toEqual(expect.arrayContaining([...TABLE_NAMES]));
  const columns = [...everything.keys()];
  for (const column of ['files.record', 'files.name_tag', 'chunks.shards', 'buckets.record']) {
    expect(columns).toContain(column);
  }
});

test('What lies in rows and files is found where it is looked for', async () => {
  const [row] = (await catalogRows(made.db)).get('buckets') ?? [];
  const { record = null } = row ?? {};
  const places = placesWith(bytesOf(record));
  expect(places).toContain('buckets.record');
  expect(places.some((place) => place.startsWith("catalog's "))).toBe(true);
});
