/** Whoever holds the buckets and the catalog, but no password, learns no content, no file name and no exact size. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import Sqlite from 'better-sqlite3';
import { describe, expect, test } from 'vitest';
import { CHUNK_SIZE, PASSWORD, putBytes, testVault } from './harness.ts';
import type { TestVault } from './harness.ts';

const NAMES = ['merger-plan-Acme-Globex.pdf', 'Röntgenbild – Frau Müller.png'];
const CONTENTS = [
  text('The merger of Acme and Globex is signed. ', 123_457),
  text('Befund: unauffällig. ', 70_001),
];

function text(sentence: string, size: number): Buffer {
  return Buffer.alloc(size, sentence);
}

/** A vault that has been through everything which leaves a trace: files, versions, removals, a put that died. */
async function busyVault(): Promise<TestVault> {
  const made = await testVault();
  for (const [i, name] of NAMES.entries()) {
    await putBytes(made.vault, CONTENTS[i] ?? Buffer.alloc(0), { name, expiresAtMs: Date.now() + 1e9 });
  }
  await putBytes(made.vault, CONTENTS[0] ?? Buffer.alloc(0), { name: `${NAMES[0]}.removed` });
  const [bucket] = made.buckets;
  bucket?.storage.set('chunks/stray', Buffer.from('stray'));
  await made.vault.sweep();
  await made.catalog.beginPut({ generation: 'ab'.repeat(8), owner: 'test' });
  // A debt stays, as one bucket does not let anything be removed.
  const removal = made.buckets[1];
  if (removal !== undefined) {
    removal.wrap = (plain) => ({ ...plain, remove: () => Promise.reject(new TypeError('never')) });
  }
  await made.vault.remove([`${NAMES[0]}.removed`]).catch(() => undefined);
  return made;
}

/** Everything that is stored somewhere, as bytes, with the place it is in. */
async function everything(made: TestVault): Promise<Map<string, Buffer>> {
  const found = new Map<string, Buffer>();
  for (const { url, storage } of made.buckets) {
    for (const [name, bytes] of storage) {
      found.set(`the name ${name} in ${url}`, Buffer.from(name));
      found.set(`${name} in ${url}`, Buffer.from(bytes));
    }
  }
  for (const { table, column, value } of cells(made.db)) {
    found.set(
      `${table}.${column}`,
      Buffer.concat([found.get(`${table}.${column}`) ?? Buffer.alloc(0), bytesOf(value)]),
    );
  }
  // What SQLite keeps besides: free pages and the log.
  for (const suffix of ['', '-wal']) {
    found.set(`catalog file${suffix}`, await readFile(`${made.db}${suffix}`).catch(() => Buffer.alloc(0)));
  }
  return found;
}

interface Cell {
  readonly table: string;
  readonly column: string;
  readonly value: unknown;
}

function cells(db: string): Cell[] {
  const database = new Sqlite(db, { readonly: true });
  try {
    const tables = database
      .prepare<[], { name: string }>("select name from sqlite_master where type = 'table'")
      .all()
      .map(({ name }) => name);
    return tables.flatMap((table) =>
      database
        .prepare<[], Record<string, unknown>>(`select * from "${table}"`)
        .all()
        .flatMap((row) => Object.entries(row).map(([column, value]) => ({ table, column, value }))),
    );
  } finally {
    database.close();
  }
}

function bytesOf(value: unknown): Buffer {
  if (value instanceof Uint8Array) return Buffer.from(value);
  return Buffer.from(typeof value === 'string' || typeof value === 'number' ? String(value) : '');
}

/** A secret in the shapes in which it may have been written down. */
function shapes(secret: Uint8Array): Buffer[] {
  const bytes = Buffer.from(secret);
  // Base64 of something in the middle of a text has three forms; their ends depend on what is around.
  const base64 = [0, 1, 2].map((skipped) => bytes.subarray(skipped).toString('base64').slice(0, -4));
  const texts = [bytes.toString('hex'), ...base64.filter(({ length }) => length >= 6)];
  return [bytes, ...texts.map((form) => Buffer.from(form))];
}

function placesWith(haystacks: ReadonlyMap<string, Buffer>, secret: Uint8Array): string[] {
  return [...haystacks].flatMap(([place, bytes]) =>
    shapes(secret).some((shape) => bytes.includes(shape)) ? [place] : [],
  );
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}

describe('Without the password, catalog and buckets tell', () => {
  test('no file name, whole or in part', async () => {
    await using made = await busyVault();
    const all = await everything(made);
    for (const name of NAMES) {
      expect(placesWith(all, Buffer.from(name))).toEqual([]);
      expect(placesWith(all, sha256(Buffer.from(name)))).toEqual([]);
      for (const part of name.split(/[^\p{L}]+/u).filter(({ length }) => length >= 5)) {
        expect(placesWith(all, Buffer.from(part))).toEqual([]);
      }
    }
  });

  test('no content', async () => {
    await using made = await busyVault();
    const all = await everything(made);
    for (const content of CONTENTS) {
      for (const at of [0, 1000, CHUNK_SIZE - 8, CHUNK_SIZE, content.length - 24]) {
        expect(placesWith(all, content.subarray(at, at + 24))).toEqual([]);
      }
    }
  });

  test('no digest that somebody who guesses the content could compare', async () => {
    await using made = await busyVault();
    const all = await everything(made);
    for (const content of CONTENTS) {
      expect(placesWith(all, sha256(content))).toEqual([]);
      for (let at = 0; at < content.length; at += CHUNK_SIZE) {
        expect(placesWith(all, sha256(content.subarray(at, at + CHUNK_SIZE)))).toEqual([]);
      }
    }
  });

  test('not the password, nor a key', async () => {
    await using made = await busyVault();
    const all = await everything(made);
    const { keys } = made.session;
    for (const secret of [
      Buffer.from(PASSWORD),
      keys.chunkId,
      keys.chunkSeal,
      keys.manifest,
      keys.name,
      keys.catalog,
    ]) {
      expect(placesWith(all, secret)).toEqual([]);
    }
  });

  test('no exact size', async () => {
    await using made = await busyVault();
    const sizes = CONTENTS.flatMap(({ length }) => [length, length % CHUNK_SIZE]);
    for (const { table, column, value } of cells(made.db)) {
      const isNumber = typeof value === 'number' || typeof value === 'bigint';
      const isSize = isNumber && sizes.includes(Number(value));
      const tells = typeof value === 'string' && sizes.some((size) => value.includes(String(size)));
      expect({ table, column, isSize, tells }).toEqual({ table, column, isSize: false, tells: false });
    }
    for (const name of made.objects()) {
      expect(sizes.filter((size) => name.includes(`.${size}`))).toEqual([]);
    }
  });

  test('nothing that tells files of about the same size apart', async () => {
    const profiles: string[][] = [];
    for (const size of [123_457, 123_500]) {
      await using made = await testVault();
      await putBytes(made.vault, Buffer.alloc(size, 1), { name: 'x'.repeat(1 + (size % 7)) });
      const objects = made.buckets.flatMap(({ storage }) =>
        [...storage].flatMap(([name, { length }]) =>
          name.includes('/') ? [`${name.split('/')[0]} ${length}`] : [],
        ),
      );
      const columns = cells(made.db).flatMap(({ table, column, value }) =>
        value instanceof Uint8Array ? [`${table}.${column} ${value.length}`] : [],
      );
      profiles.push([...objects, ...columns].filter((line) => !line.startsWith('keyslots')).toSorted());
    }
    expect(profiles[0]).toEqual(profiles[1]);
  });
});

test('Every table has been looked at with something in it', async () => {
  await using made = await busyVault();
  const seen = new Set(cells(made.db).map(({ table }) => table));
  for (const table of ['vault', 'keyslots', 'buckets', 'files', 'chunks', 'refs', 'garbage', 'strays']) {
    expect(seen).toContain(table);
  }
});
