// What a full key can sign and no program of ours writes: the greatest numbers, and names that no object has.
import { expect, test } from 'vitest';
import { sealPutMarker } from '../../src/crypto/put-marker.ts';
import { openDeletion, signDeletion } from '../../src/crypto/signing.ts';
import { MAX_EPOCH } from '../../src/format/limits.ts';
import { deletionObjectName, putMarkerName, sweepObjectName } from '../../src/format/removal.ts';
import { signed } from '../vectors/must-fail-signed.ts';
import { readMarkedIds } from '../../src/vault/protocol/markers.ts';
import { all, CHEAP_KDF, putBytes, testVault } from './harness.ts';
import type { TestVault } from './harness.ts';

const GREATEST = Number.MAX_SAFE_INTEGER;
const ID = 'ab'.repeat(16);

function plant({ buckets }: TestVault, name: string, bytes: Uint8Array): void {
  for (const { storage } of buckets) storage.set(name, bytes);
}

async function withRecord(made: TestVault, live: boolean): Promise<string> {
  const { hash } = await putBytes(made.vault, Buffer.alloc(100, 1), { name: 'file' });
  const record = { hash, serial: GREATEST, live, atMs: Date.now(), graceMs: 86_400_000 };
  plant(made, deletionObjectName(hash), signDeletion(made.session.keys, record));
  await made.vault.sync();
  return hash;
}

test('a record of the greatest serial that keeps a file is overruled by a removal', async () => {
  await using made = await testVault();
  const hash = await withRecord(made, true);
  expect(await made.vault.remove([hash])).toMatchObject({ removed: [{ hash }] });
  const bytes = made.buckets[0]?.storage.get(deletionObjectName(hash)) ?? Buffer.of();
  expect(openDeletion(made.session.keys, bytes, hash)).toMatchObject({ serial: GREATEST, live: false });
});

test('a removal of the greatest serial stays, and the file and what helps are told', async () => {
  await using made = await testVault();
  const hash = await withRecord(made, false);
  await expect(made.vault.undelete([hash])).rejects.toMatchObject({
    code: 'damaged',
    message: expect.stringMatching(new RegExp(`deleted/${hash}.*vault get ${hash}`)),
  });
});

test('a keyring of the greatest epoch is not changed', async () => {
  await using made = await testVault();
  const { session, vault } = made;
  session.keyring = {
    ...session.keyring,
    keyring: { ...session.keyring.keyring, epoch: MAX_EPOCH, previous: 'ab'.repeat(32) },
  };
  const key = { secret: 'a password', label: 'ann', kdfCost: CHEAP_KDF };
  await expect(vault.addKey(key)).rejects.toMatchObject({
    code: 'damaged',
    message: expect.stringContaining('vault init'),
  });
});

test('a list of removal that names what no object is called holds up no sweep, and goes', async () => {
  await using made = await testVault();
  const { keys, vaultId } = made.session;
  const list = {
    format: 'vault/2',
    vault: vaultId,
    sweep: ID,
    at: Date.now(),
    doneAt: null,
    waitsFor: [],
    objects: ['chunks/../vault.json'],
  };
  plant(made, sweepObjectName(ID), signed('sweep', Buffer.from(JSON.stringify(list)), keys));
  await made.vault.sweep();
  expect(made.buckets.map(({ storage }) => storage.has(sweepObjectName(ID)))).toEqual([false, false, false]);
  expect(made.buckets.every(({ storage }) => storage.has('vault.json'))).toBe(true);
});

test('a marker of a newer version is named, unless another bucket has it intact', async () => {
  await using made = await testVault();
  const { session, buckets } = made;
  const name = putMarkerName(session.clock.now(), '0'.repeat(16));
  const newer = Buffer.from('vlt3puts, and something');
  const ids = ['ab'.repeat(32)];
  const read = (): Promise<unknown> => all(readMarkedIds(session, session.buckets.all, {}));
  plant(made, name, newer);
  await expect(read()).rejects.toMatchObject({
    code: 'unsupported',
    message: expect.stringMatching(new RegExp(`${name}.*newer version`)),
  });
  buckets[2]?.storage.set(name, sealPutMarker(session.keys, ids));
  expect(await read()).toEqual([ids]);
});
