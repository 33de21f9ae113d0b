// Vaults, files and objects that tests of the format share.
import { randomBytes } from 'node:crypto';
import { expect } from 'vitest';
import { keysOfRoot } from '../../src/crypto/keys.ts';
import type { VaultKeys } from '../../src/crypto/keys.ts';
import { idEntry } from '../../src/crypto/manifest.ts';
import { isVaultError } from '../../src/errors.ts';
import type { ErrorCode } from '../../src/errors.ts';
import type { KdfCost, Keyring, Keyslot } from '../../src/format/keyring.ts';
import type { ChunkRef, ContentTable, IdsTable, ManifestHead } from '../../src/format/manifest.ts';

/** The least work that readers accept. */
export const CHEAP: KdfCost = { memoryKib: 8192, passes: 1, lanes: 1 };
export const VAULT_ID = '000102030405060708090a0b0c0d0e0f';
export const WRITER = '101112131415161718191a1b1c1d1e1f';

export function sampleKeys(
  change: { root?: number; vaultId?: string; rootNumber?: number; writer?: string } = {},
): VaultKeys {
  return keysOfRoot(Buffer.alloc(32, change.root ?? 1), {
    vaultId: change.vaultId ?? VAULT_ID,
    rootNumber: change.rootNumber ?? 1,
    writer: change.writer ?? WRITER,
  });
}

export function sampleKeyring(slots: readonly Keyslot[], change: Partial<Keyring> = {}): Keyring {
  return {
    vaultId: VAULT_ID,
    epoch: 1,
    previous: null,
    root: 1,
    roots: [],
    redundancy: { k: 2, m: 1 },
    chunkSize: 1024 * 1024,
    compression: 'auto',
    buckets: [
      { id: 'b0'.repeat(16), state: 'active', url: Buffer.alloc(284, 6) },
      { id: 'b1'.repeat(16), state: 'draining', url: Buffer.alloc(284, 7) },
    ],
    slots,
    former: [],
    ...change,
  };
}

/** A keyslot that looks like one, with nothing in it. */
export function sampleSlot(change: Partial<Keyslot> = {}): Keyslot {
  return {
    writer: WRITER,
    role: 'full',
    createdAtMs: 1_700_000_000_000,
    by: WRITER,
    cost: CHEAP,
    salt: Buffer.alloc(32, 2),
    commitment: Buffer.alloc(32, 3),
    wrapped: Buffer.alloc(93, 4),
    label: Buffer.alloc(284, 5),
    ...change,
  };
}

export interface SampleFile {
  readonly head: ManifestHead;
  readonly ids: IdsTable;
  readonly content: ContentTable;
  readonly contentKey: Buffer;
  readonly lock: null;
}

/** A file of so many chunks, the last of 1,000 bytes. */
export function sampleFile(chunks: number, change: Partial<ManifestHead> = {}): SampleFile {
  const chunkSize = 64 * 1024;
  const refs = Array.from({ length: chunks }, (_, i): ChunkRef => {
    const length = i === chunks - 1 ? 1000 : chunkSize;
    return { tag: Buffer.alloc(32, i + 1), hash: Buffer.alloc(32, i + 101), length };
  });
  const size = (chunks - 1) * chunkSize + 1000;
  return {
    head: sampleHead({ size, chunkSize, chunks, ...change }),
    ids: { depth: 0, ids: refs.map((ref) => idEntry(ref, chunkSize)) },
    content: { size, chunkSize, depth: 0, refs, inline: null },
    contentKey: randomBytes(32),
    lock: null,
  };
}

/** A file whose body lies in its manifest. */
export function inlineFile(inline: Uint8Array, change: Partial<ManifestHead> = {}): SampleFile {
  const chunkSize = 1024 * 1024;
  return {
    head: sampleHead({ size: inline.length, chunkSize, chunks: 0, ...change }),
    ids: { depth: 0, ids: [] },
    content: { size: inline.length, chunkSize, depth: 0, refs: [], inline },
    contentKey: randomBytes(32),
    lock: null,
  };
}

export function sampleHead(
  change: Partial<ManifestHead> & Pick<ManifestHead, 'size' | 'chunkSize' | 'chunks'>,
): ManifestHead {
  return {
    kind: 'file',
    name: 'a name',
    createdAtMs: 1_700_000_000_000,
    modified: { seconds: 1_600_000_000, nanoseconds: 5 },
    mode: 0o644,
    expiresAtMs: null,
    version: 1,
    epoch: 1,
    redundancy: { k: 2, m: 1 },
    indexChunks: 0,
    entries: null,
    incomplete: false,
    locked: false,
    ...change,
  };
}

/** What a refusal says: whole sentences, with nothing left out of them. */
export const SENTENCES = /^["A-Z].*[\w)"]\.$/s;

/** The error of a refusal, for matching. */
export function refusal(code: ErrorCode): unknown {
  return expect.objectContaining({ code, message: expect.stringMatching(SENTENCES) });
}

/** What reading came to: `success`, or the code of the VaultError. Any other error is thrown on. */
export function outcome(read: () => unknown): string {
  try {
    read();
    return 'success';
  } catch (error) {
    if (!isVaultError(error)) throw error;
    if (!SENTENCES.test(error.message))
      throw new Error(`This says nothing: ${error.message}`, { cause: error });
    return error.code;
  }
}

/**
 * Every byte changed in two ways, every length the bytes can be cut to, and one byte more.
 *
 * @param read reads changed bytes as an object of the format
 * @returns the changes that were not refused: none
 */
export function acceptedChanges(bytes: Uint8Array, read: (changed: Buffer) => unknown): string[] {
  const accepted: string[] = [];
  const attempt = (what: string, changed: Buffer): void => {
    const code = outcome(() => read(changed));
    if (code !== 'damaged' && code !== 'unsupported') accepted.push(`${what}: ${code}`);
  };
  for (let at = 0; at < bytes.length; at += 1) {
    for (const mask of [0x01, 0x80]) {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ mask;
      attempt(`byte ${at} changed by ${mask}`, changed);
    }
    attempt(`cut to ${at} bytes`, Buffer.from(bytes.subarray(0, at)));
  }
  attempt('one byte longer', Buffer.concat([bytes, Buffer.from('\n')]));
  return accepted;
}
