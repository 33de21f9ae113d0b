/** Rows of the catalog that a writer has forged who can only put: its own keys seal them, and no removal goes by them. */
import { expect, test } from 'vitest';
import { seededRandom } from '../support/seeded-random.ts';
import { sealFileRow } from '../../src/vault/files/records.ts';
import type { ManifestHead } from '../../src/format/manifest.ts';
import { MarkerGuard } from '../../src/vault/protocol/put-guard.ts';
import type { Session } from '../../src/vault/session.ts';
import { planPrune } from '../../src/vault/remove/prune.ts';
import { Vault } from '../../src/vault/vault.ts';
import { all, CHUNK_SIZE, getBytes, putBytes, testVault } from './harness.ts';
import type { TestVault } from './harness.ts';

const random = seededRandom(91);
const BODY = random.bytes(100_000);
const FORGER = 'ab'.repeat(16);

/** A row as that writer can make it: for any hash, under any name, and of a file that needs no chunks. */
async function forge({ session, catalog }: TestVault, hash: string, name: string): Promise<void> {
  const { full } = session.keys;
  if (full === null) throw new Error('The vault was opened with everything.');
  const writer = full.writer(FORGER);
  const forger: Session = { ...session, keys: { ...session.keys, role: 'put', writer, full: null } };
  const head: ManifestHead = {
    kind: 'file',
    name,
    size: 0,
    createdAtMs: 0,
    modified: null,
    mode: null,
    expiresAtMs: null,
    version: 9,
    epoch: 1,
    redundancy: { k: 2, m: 1 },
    chunkSize: CHUNK_SIZE,
    chunks: 0,
    indexChunks: 0,
    entries: null,
    incomplete: false,
    locked: false,
  };
  const part = { head, ids: { depth: 0, ids: [] }, access: { content: Buffer.alloc(32) } } as const;
  const row = sealFileRow(forger, { hash, writer: writer.id, part, contentDigest: null });
  await catalog.files.put([row]);
}

test('a sweep and a repair go by the manifest', async () => {
  await using made = await testVault();
  const { hash } = await putBytes(made.vault, BODY, { name: 'a' });
  await made.session.guard.end();
  await forge(made, hash, 'a');
  const shards = made.objects('chunks/');
  await made.vault.sweep({ waitMs: 0 });
  expect(made.objects('chunks/')).toEqual(shards);
  await forge(made, hash, 'a');
  for (const object of made.objects('chunks/').filter((name) => name.startsWith('memory:1 ')))
    made.buckets[0]?.storage.delete(object.slice('memory:1 '.length));
  await made.vault.repair();
  expect(made.objects('chunks/')).toHaveLength(shards.length);
  expect((await getBytes(made.vault, hash)).equals(BODY)).toBe(true);
});

test('a pruning counts none of them', async () => {
  await using made = await testVault();
  const hashes: string[] = [];
  for (const name of ['a', 'a', 'b'])
    hashes.push((await putBytes(made.vault, random.bytes(20), { name })).hash);
  const [old = '', newest = '', other = ''] = hashes;
  await forge(made, other, 'a');
  const { keyring, ...rest } = made.session.keyring;
  const slots = keyring.slots.flatMap((slot) => [slot, { ...slot, writer: FORGER }]);
  const session: Session = { ...made.session, keyring: { ...rest, keyring: { ...keyring, slots } } };
  const judged = (await all(planPrune(session, { last: 1 }))).flat();
  // Nor is what it says of somebody else's file taken for one of its own.
  expect(other).not.toBe('');
  expect(judged.map(({ version, reasons }) => [version.hash, reasons.join()])).toEqual([
    [newest, 'last'],
    [old, ''],
  ]);
});

test('a row that was read from the manifest is believed from then on', async () => {
  await using made = await testVault();
  const { hash } = await putBytes(made.vault, BODY, { name: 'a' });
  await forge(made, hash, 'a');
  expect(await made.vault.sweep({ waitMs: 0 })).toMatchObject({ filesLearned: 1 });
  expect(await made.vault.sweep({ waitMs: 0 })).toMatchObject({ filesLearned: 0 });
  expect((await all(made.vault.list())).map(({ name, size }) => ({ name, size }))).toEqual([
    { name: 'a', size: BODY.length },
  ]);
});

test('a row that such a writer has written of its own file is no news', async () => {
  await using made = await testVault();
  const { keys } = made.session;
  if (keys.full === null) throw new Error('The vault was opened with everything.');
  const guard = new MarkerGuard();
  const session: Session = {
    ...made.session,
    keys: { ...keys, role: 'put', full: null },
    guard,
    manifests: null,
  };
  guard.attach(session);
  const { hash } = await putBytes(new Vault(session), BODY, { name: 'a' });
  await session.guard.end();
  expect(await made.vault.sweep({ waitMs: 0 })).toMatchObject({ filesLearned: 0, objectsRemoved: 0 });
  expect((await getBytes(made.vault, hash)).equals(BODY)).toBe(true);
});

test('a removal by name removes no file of another name', async () => {
  await using made = await testVault();
  const { hash } = await putBytes(made.vault, BODY, { name: 'precious' });
  await forge(made, hash, 'worthless');
  // The keyring has its keyslot.
  const { keyring, bytes } = made.session.keyring;
  const [slot] = keyring.slots;
  if (slot === undefined) throw new RangeError('There is one.');
  made.session.keyring = {
    bytes,
    keyring: { ...keyring, slots: [slot, { ...slot, writer: FORGER, role: 'put' }] },
  };
  for (const name of ['worthless', `${FORGER}:worthless`])
    await expect(made.vault.remove([name], { graceMs: 0 })).rejects.toMatchObject({ code: 'file-not-found' });
  await made.vault.sweep({ waitMs: 0 });
  expect((await getBytes(made.vault, hash)).equals(BODY)).toBe(true);
});
