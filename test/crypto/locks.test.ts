import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import {
  lockContentKey,
  lockedDedupKeys,
  manifestHash,
  ManifestOpener,
  ManifestSealer,
} from '../../src/crypto/manifest.ts';
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
