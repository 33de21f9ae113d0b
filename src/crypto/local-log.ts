/** Sealing of what a machine remembers of the folders that it has stored: names and times that are nobody else's business. */
import { createHmac } from 'node:crypto';
import { deriveKey, type VaultKeys } from './keys.ts';
import { openOnce, sealOnce } from './sealing.ts';

/** Bytes of salt, new for each log. */
export const LOG_SALT_SIZE = 32;
/** Bytes that sealing a frame adds. */
export const FRAME_OVERHEAD = 16;

/** What a log's file is called, for one writer, vault and folder: 64 hex digits that do not tell the name. */
export function localLogTag(
  { vaultId, writer }: Pick<VaultKeys, 'vaultId' | 'writer'>,
  name: string,
): string {
  return createHmac('sha256', writer.names).update(`local log\n${vaultId}\n`).update(name).digest('hex');
}

/** Seals and opens the frames of one log: each only in its place, and only in this log. */
export class LogSeal {
  readonly #key: Buffer;
  readonly #aad: Buffer;

  /** @param salt of this log, 32 bytes that were drawn for it */
  constructor(keys: Pick<VaultKeys, 'vaultId' | 'writer'>, name: string, salt: Uint8Array) {
    this.#key = deriveKey(keys.writer.catalog, salt, 'vault/2 local log');
    this.#aad = Buffer.from(localLogTag(keys, name));
  }

  /** @param index of the frame, from 0 */
  seal(index: number, frame: Uint8Array): Buffer {
    return sealOnce(this.#key, this.#aad, frame, nonceOf(index));
  }

  /** @returns null if it is not this log's frame of this index */
  open(index: number, sealed: Uint8Array): Buffer | null {
    return openOnce(this.#key, this.#aad, sealed, nonceOf(index));
  }
}

function nonceOf(index: number): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUIntBE(index, 6, 6);
  return nonce;
}
