import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import {
  lockContentKey,
  lockedDedupKeys,
  manifestHash,
  ManifestOpener,
  ManifestSealer,
} from '../../src/crypto/manifest.ts';
import { decodeManifestObject } from '../../src/format/manifest-object.ts';
import { CHEAP, outcome, sampleFile, sampleKeys, VAULT_ID, refusal } from './samples.ts';
import type { SampleFile } from './samples.ts';

const keys = sampleKeys();
const sealer = new ManifestSealer(keys);
const opener = new ManifestOpener(keys);

function open(bytes: Uint8Array): ReturnType<ManifestOpener['open']> {
  return opener.open(bytes, manifestHash(bytes));
}

async function lockedFile(): Promise<{ file: SampleFile; bytes: Buffer }> {
  const file = sampleFile(3);
  const lock = await lockContentKey(file.contentKey, 'lock word', { vaultId: VAULT_ID, cost: CHEAP });
  const head = { ...file.head, size: null, locked: true };
  return { file: { ...file, head }, bytes: sealer.seal({ ...file, head, lock }) };
}

describe('a lock', () => {
  const salt = Buffer.alloc(32, 8);

  test('keeps the content from the vault, and gives it to its password', async () => {
    const { file, bytes } = await lockedFile();
    const opened = open(bytes);
    expect(opened.head).toEqual(file.head);
    expect(opened.ids).toEqual(file.ids);
    expect(opened.content).toBeNull();
    expect(await opened.unlock('other word')).toBeNull();
    expect(await opened.unlock('lock word')).toEqual({
      table: file.content,
      folder: null,
      key: file.contentKey,
    });
  });

  test('that is not there opens without asking', async () => {
    const opened = open(sealer.seal(sampleFile(1)));
    expect(await opened.unlock('anything')).toBe(opened.content);
  });

  test('is of one vault', async () => {
    const file = sampleFile(1, { size: null, locked: true });
    const elsewhere = { vaultId: 'f0'.repeat(16), cost: CHEAP };
    const lock = await lockContentKey(file.contentKey, 'lock word', elsewhere);
    const opened = open(sealer.seal({ ...file, lock }));
    await expect(opened.unlock('lock word')).rejects.toEqual(refusal('damaged'));
  });

  test('stays around its content under other keys, each time by a secret of its own', async () => {
    const { file, bytes } = await lockedFile();
    const { head, ids, access } = open(bytes);
    const next = sampleKeys({ root: 9, rootNumber: 2 });
    const nextSealer = new ManifestSealer(next);
    const resealed = [1, 2].map((version) =>
      nextSealer.reseal(bytes, { head: { ...head, version }, ids, access }),
    );
    const objects = resealed.map(decodeManifestObject);
    // One salt for two: with the same secret, one key would seal two vault parts.
    expect(new Set(objects.map(({ enc }) => enc.toString('hex'))).size).toBe(2);
    for (const [at, object] of objects.entries()) {
      expect(object.content.bytes).toEqual(decodeManifestObject(bytes).content.bytes);
      const made = resealed[at] ?? bytes;
      const opened = new ManifestOpener(next).open(made, manifestHash(made));
      expect(opened).toMatchObject({ head: { ...head, version: at + 1 }, ids, writer: next.writer.id });
      expect(await opened.unlock('lock word')).toMatchObject({ table: file.content, key: file.contentKey });
    }
  });

  test('of a content key that is not that of the content part is damaged', async () => {
    const file = sampleFile(1, { size: null, locked: true });
    const lock = await lockContentKey(randomBytes(32), 'lock word', { vaultId: VAULT_ID, cost: CHEAP });
    const opened = open(sealer.seal({ ...file, lock }));
    await expect(opened.unlock('lock word')).rejects.toEqual(refusal('damaged'));
  });

  test('asks for no more work than the format allows', async () => {
    const file = sampleFile(1, { size: null, locked: true });
    const lock = await lockContentKey(file.contentKey, 'lock word', {
      vaultId: VAULT_ID,
      cost: CHEAP,
      fixed: { salt },
    });
    const cost = { memoryKib: 1_048_576, passes: 5, lanes: 1 };
    expect(outcome(() => sealer.seal({ ...file, lock: { ...lock, cost } }))).toBe('invalid-input');
    await expect(lockContentKey(file.contentKey, 'w', { vaultId: VAULT_ID, cost })).rejects.toEqual(
      refusal('invalid-input'),
    );
  });

  test('cannot hide that the vault part tells of another number of chunks', async () => {
    const file = sampleFile(3, { size: null, locked: true });
    const lock = await lockContentKey(file.contentKey, 'lock word', { vaultId: VAULT_ID, cost: CHEAP });
    const ids = { depth: 1, refs: [{ tag: salt, hash: salt, length: 36 * 3 }] } as const;
    expect(outcome(() => sealer.seal({ ...file, ids, lock }))).toBe('success');
    const head = { ...file.head, chunks: 2 };
    expect(outcome(() => sealer.seal({ ...file, head, ids, lock }))).toBe('invalid-input');
  });

  test('has dedup keys that only its content key gives', () => {
    const [one, other] = [lockedDedupKeys(Buffer.alloc(32, 1)), lockedDedupKeys(Buffer.alloc(32, 2))];
    const all = [one, other].flatMap((own) => Object.values(own)).map((key) => key.toString('hex'));
    expect(new Set(all).size).toBe(8);
  });
});
