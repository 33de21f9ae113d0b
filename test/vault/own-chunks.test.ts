/** Which listed chunks a put relies on unread where somebody can only store: those that its own live files need. */
import { describe, expect, test } from 'vitest';
import { bodyHash, chunkTag } from '../../src/crypto/chunk.ts';
import { VaultError } from '../../src/errors.ts';
import { encodeIds } from '../../src/format/manifest.ts';
import type { IdsTable } from '../../src/format/manifest.ts';
import { ID_ENTRY_SIZE } from '../../src/format/tables.ts';
import { openFileRow, sealFileRow } from '../../src/vault/files/records.ts';
import { idOfRef } from '../../src/vault/files/tables.ts';
import { writeDeletion } from '../../src/vault/protocol/deletions.ts';
import type { Session } from '../../src/vault/session.ts';
import { ownChunks } from '../../src/vault/write/own-chunks.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { CHUNK_SIZE, getBytes, putBytes, testVault } from './harness.ts';
import type { TestVault, TestVaultOptions } from './harness.ts';
import { failing, flip, forge, present, wipe, withFiles } from './scene.ts';

const random = seededRandom(61);
const FORGER = 'ab'.repeat(16);
const ID = 'cd'.repeat(32);
const OTHER_ID = 'ce'.repeat(32);
const HASH = 'ef'.repeat(32);
const NOW_MS = Date.UTC(2030, 0, 1);
const { signal } = new AbortController();
const unneeded = async (): Promise<void> => undefined;

/** A session as a key has it that can only store. */
function putting(session: Session, writer = session.keys.writer): Session {
  return { ...session, keys: { ...session.keys, role: 'put', writer, full: null } };
}

/** A vault of whose keys one can only store. */
async function vaultWithPutter(options: TestVaultOptions = {}): Promise<TestVault> {
  const made = await testVault({ now: () => NOW_MS, ...options });
  const { keyring, bytes } = made.session.keyring;
  const [slot] = keyring.slots;
  const slots = [present(slot), { ...present(slot), writer: FORGER, role: 'put' as const }];
  made.session.keyring = { bytes, keyring: { ...keyring, slots } };
  return made;
}

/** Lists a file that needs a chunk. @param by who writes its row */
async function listFile(
  { session, catalog, buckets, vault }: TestVault,
  {
    by = session,
    writer = session.keys.writer.id,
    ids = { depth: 0, ids: [{ id: ID, padded: CHUNK_SIZE }] },
  }: { readonly by?: Session; readonly writer?: string; readonly ids?: IdsTable } = {},
): Promise<void> {
  const { hash } = await putBytes(vault, random.bytes(10), { name: 'like it' });
  const { info } = openFileRow(session, present((await catalog.files.byHashes([hash])).get(hash)));
  const chunks = ids.depth === 0 ? ids.ids.length : 300;
  const head = { ...info, chunks, size: chunks * CHUNK_SIZE };
  const part = { head, ids, access: { content: Buffer.alloc(32) } };
  await catalog.files.put([sealFileRow(by, { hash: HASH, writer, part, contentDigest: null })]);
  for (const { storage } of buckets) storage.set(`manifests/${HASH}`, Buffer.from('its manifest'));
}

/** Whether a chunk is relied on, under a marker of its own. */
async function isReliedOn({ session }: Pick<TestVault, 'session'>, id = ID): Promise<boolean> {
  await session.guard.end();
  return session.guard.run(async (guarded) => ownChunks(session, guarded).has(id, signal));
}

const remove = async ({ session }: TestVault, graceMs: number, live = false): Promise<unknown> =>
  writeDeletion(session, { hash: HASH, live, graceMs });

describe('a chunk is relied on', () => {
  const cases: readonly [boolean, string, (made: TestVault) => Promise<unknown>][] = [
    [false, 'of no file', unneeded],
    [true, 'of a file of its own', async (made) => listFile(made)],
    [false, 'of a file that another writer has stored', async (made) => listFile(made, { writer: FORGER })],
    [
      false,
      'of a row that a key has written that can only store',
      async (made) => listFile(made, { by: putting(made.session) }),
    ],
    [
      false,
      'of a row that somebody has changed',
      async (made) => {
        await listFile(made);
        const row = present((await made.catalog.files.byHashes([HASH])).get(HASH));
        await made.catalog.files.put([{ ...row, createdAtMs: 1 }]);
      },
    ],
    [
      false,
      'of a file whose manifest no bucket has',
      async (made) => {
        await listFile(made);
        for (const { storage } of made.buckets) storage.delete(`manifests/${HASH}`);
      },
    ],
    [
      true,
      'beside a manifest that the catalog does not know',
      async (made) => {
        await listFile(made);
        present(made.buckets[0]).storage.set(`manifests/${'0'.repeat(64)}`, Buffer.from('another one'));
      },
    ],
    [
      false,
      'of a file whose removal can be undone no more',
      async (made) => {
        await listFile(made);
        await remove(made, 0);
      },
    ],
    [
      true,
      'of a file whose removal can be undone',
      async (made) => {
        await listFile(made);
        await remove(made, 1);
      },
    ],
    [
      true,
      'of a file that was brought back',
      async (made) => {
        await listFile(made);
        await remove(made, 0);
        await remove(made, 0, true);
      },
    ],
    [
      true,
      'though a bucket cannot be listed',
      async (made) => {
        await listFile(made);
        failing(
          present(made.buckets[0]),
          ({ operation, name }) => operation === 'list' && /^(deleted|manifests)/.test(name),
        );
      },
    ],
  ];
  test.each(cases)('%s: %s', async (expected, _, arrange) => {
    await using made = await vaultWithPutter();
    await arrange(made);
    expect(await isReliedOn(made)).toBe(expected);
    expect(await isReliedOn(made, OTHER_ID)).toBe(false);
  });

  test('also of no file, if nobody can only store, or it is the one that can', async () => {
    await using made = await testVault();
    expect(await isReliedOn(made)).toBe(true);
    await using shared = await vaultWithPutter();
    const { session } = shared;
    await session.guard.run(async (guarded) => {
      expect(await ownChunks(putting(session), guarded).has(ID, signal)).toBe(true);
    });
  });
});

test.each(['damaged', 'unavailable', 'denied'] as const)(
  'of a table of ids that cannot be read (%s) only it itself is relied on',
  async (code) => {
    await using made = await vaultWithPutter();
    const body = encodeIds(
      Array.from({ length: 300 }, (_, i) => ({ id: i.toString(16).padStart(64, '0'), padded: CHUNK_SIZE })),
    );
    const hash = bodyHash(body);
    const ref = { tag: chunkTag(made.session.keys.writer.table, hash), hash, length: body.length };
    await listFile(made, { ids: { depth: 1, refs: [ref] } });
    if (code !== 'damaged') {
      for (const bucket of made.buckets)
        failing(bucket, ({ operation, name }) => operation !== 'put' && name.startsWith('chunks/'), code);
    }
    expect(await isReliedOn(made)).toBe(false);
    expect(await isReliedOn(made, idOfRef(ref).id)).toBe(true);
  },
);

test('a bug that shows while a table of ids is read is told', async () => {
  await using made = await vaultWithPutter();
  const hash = Buffer.alloc(32, 1);
  const ref = { tag: chunkTag(made.session.keys.writer.table, hash), hash, length: 300 * ID_ENTRY_SIZE };
  await listFile(made, { ids: { depth: 1, refs: [ref] } });
  const bug = new TypeError('undefined is not a function');
  for (const bucket of made.buckets) {
    bucket.wrap = (plain) => ({
      ...plain,
      list(prefix, call) {
        if (prefix.startsWith('chunks/')) throw bug;
        return plain.list(prefix, call);
      },
    });
  }
  await expect(isReliedOn(made)).rejects.toBe(bug);
});

test('what the catalog says is told, and it is asked again', async () => {
  const error = new VaultError('unavailable', 'The catalog is away.');
  let fails = true;
  await using made = await vaultWithPutter({
    wrapCatalog: (catalog) =>
      withFiles(catalog, {
        walk(options) {
          if (!fails) return catalog.files.walk(options);
          fails = false;
          throw error;
        },
      }),
  });
  await listFile(made);
  const { session } = made;
  await session.guard.run(async (guarded) => {
    const own = ownChunks(session, guarded);
    expect(ownChunks(session, guarded)).toBe(own);
    // What this process has stored itself is no question.
    own.note(OTHER_ID);
    expect(await own.has(OTHER_ID, signal)).toBe(true);
    await expect(own.has(ID, signal)).rejects.toBe(error);
    expect(await own.has(ID, signal)).toBe(true);
  });
});

test('who is interrupted while own files are looked through does not interrupt the others', async () => {
  const abort = new AbortController();
  await using made = await vaultWithPutter({
    wrapCatalog: (catalog) =>
      withFiles(catalog, {
        walk(options) {
          abort.abort();
          return catalog.files.walk(options);
        },
      }),
  });
  await listFile(made);
  const { session } = made;
  await session.guard.run(async (guarded) => {
    const own = ownChunks(session, guarded);
    const [first, second] = await Promise.allSettled([own.has(ID, abort.signal), own.has(ID, signal)]);
    expect(first).toMatchObject({ reason: { code: 'interrupted' } });
    expect(second).toEqual({ status: 'fulfilled', value: true });
  });
});

test('what is read of a chunk are its good shards, of all that there are', async () => {
  await using made = await vaultWithPutter();
  const { session } = made;
  const body = random.bytes(CHUNK_SIZE);
  await putBytes(made.vault, body, { name: 'a' });
  const hash = bodyHash(body);
  const tag = chunkTag(session.keys.writer.content, hash);
  const id = present((await Array.fromAsync(made.catalog.chunks.walk()))[0]).id;
  const read = async (): Promise<readonly number[]> => {
    await session.guard.end();
    return session.guard.run(async (guarded) => {
      const sets = await guarded.presence.sets(id, signal);
      const proof = { tag, hash, length: body.length };
      const proved = await ownChunks(session, guarded).read(sets, proof, signal);
      expect(proved).toMatchObject(sets.map(({ sealing }) => ({ sealing })));
      return proved.map(({ shards }) => shards.length);
    });
  };
  expect(await read()).toEqual([3]);
  const [first, second] = made.objects('chunks/').map((object) => object.split(' '));
  flip(present(made.buckets.find(({ url }) => url === first?.[0])), present(first?.[1]), -1);
  expect(await read()).toEqual([2]);
  flip(present(made.buckets.find(({ url }) => url === second?.[0])), present(second?.[1]), -1);
  expect(await read()).toEqual([0]);
  for (const bucket of made.buckets) wipe(bucket, 'chunks/');
  expect(await read()).toEqual([]);
});

test('what a put has stored or read is not read again under its marker', async () => {
  await using made = await vaultWithPutter();
  const { session, vault } = made;
  const [old, fresh] = [random.bytes(2 * CHUNK_SIZE), random.bytes(2 * CHUNK_SIZE)];
  const { hash } = await putBytes(vault, old, { name: 'gone' });
  await session.guard.end();
  for (const { storage } of made.buckets) storage.delete(`manifests/${hash}`);
  let reads = 0;
  for (const bucket of made.buckets) {
    bucket.wrap = (plain) => ({
      ...plain,
      get(name, call) {
        if (name.startsWith('chunks/')) reads += 1;
        return plain.get(name, call);
      },
    });
  }
  for (const [body, name, expected, chunksStored] of [
    // Who only tells goes by names.
    [old, 'told', 0, 0],
    [old, 'read', 2 * 3, 0],
    [old, 'again', 0, 0],
    [fresh, 'stored', 0, 2],
    [fresh, 'too', 0, 0],
  ] as const) {
    reads = 0;
    const result = await putBytes(vault, body, { name, dryRun: name === 'told' });
    expect({ name, reads, chunksStored: result.chunksStored }).toEqual({
      name,
      reads: expected,
      chunksStored,
    });
  }
});

test('what was read and is not the chunk is not relied on by the next put either, though the first could not store it', async () => {
  await using made = await vaultWithPutter();
  const { session, vault, buckets } = made;
  const body = random.bytes(CHUNK_SIZE);
  const { hash } = await putBytes(vault, body, { name: 'gone' });
  await session.guard.end();
  for (const bucket of buckets) {
    bucket.storage.delete(`manifests/${hash}`);
    for (const name of bucket.storage.keys()) if (name.startsWith('chunks/')) forge(bucket, name);
    failing(bucket, ({ operation, name }) => operation === 'put' && name.startsWith('chunks/'));
  }
  await expect(putBytes(vault, body, { name: 'fails' })).rejects.toMatchObject({ code: 'unavailable' });
  for (const bucket of buckets) bucket.wrap = (plain) => plain;
  expect(await putBytes(vault, body, { name: 'stored' })).toMatchObject({ chunksStored: 1 });
  expect((await getBytes(vault, 'stored')).equals(body)).toBe(true);
});
