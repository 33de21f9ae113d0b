/** What a put is asked for, and what comes of it. */
import type { KdfCost } from '../../crypto/keys.ts';
import type { Compression } from '../../format/keyring.ts';
import type { Retaining } from '../buckets/retaining.ts';
import type { CallOptions } from '../call.ts';
import type { FileInfo } from '../files/records.ts';
import type { Chunking } from './content.ts';

export interface PutOptions extends CallOptions {
  /** What the file goes by: 1 byte to 16 KiB of UTF-8. */
  readonly name: string;
  /** `fixed` unless given. `content` goes without a chunk size, and without a lock: a locked file shares no chunks with others. */
  readonly chunking?: Chunking | undefined;
  /** Bytes; 64 KiB to 64 MiB. The vault's default unless given. */
  readonly chunkSize?: number | undefined;
  /** The vault's default unless given. */
  readonly compression?: Compression | undefined;
  /** When sweep removes it; null (default) for never. */
  readonly expiresAtMs?: number | null | undefined;
  /** Until when nothing of it can be removed for good, in milliseconds since 1970, where buckets can lock objects; null (default) for not. */
  readonly retainUntilMs?: number | null | undefined;
  /** The file's own password, without which its content cannot be read even with the vault's. */
  readonly lock?: { readonly password: string; readonly cost?: KdfCost | undefined } | undefined;
  /** Only tells what would be stored: the source is read, and nothing is written. */
  readonly dryRun?: boolean | undefined;
}

export interface PutResult extends FileInfo {
  /** With `dryRun` the hash is '' unless the file is unchanged. */
  readonly hash: string;
  /** Bytes of the source, also of a locked file. */
  readonly contentSize: number;
  /** The same content was there under the same name; `hash` is that file's, and no manifest was stored. */
  readonly unchanged: boolean;
  /** Chunks that the buckets could not have given back. One that lacks some shards is completed, and does not count. */
  readonly chunksStored: number;
  /** Bytes of the source in those. */
  readonly bytesNew: number;
  /** Bytes sent to buckets: shards and manifests. */
  readonly bytesStored: number;
  /** Chunks of this file stored with fewer shards than the redundancy asks for; `repair` completes them. */
  readonly degradedChunks: number;
  /** Buckets that have the manifest. */
  readonly manifestCopies: number;
  /** Whether manifest or chunks have fewer copies than they would with every bucket at hand; `repair` completes them. */
  readonly degraded: boolean;
  /** Until when all that it needs is locked, in the buckets that can; null if that was not asked for. */
  readonly retainedUntilMs: number | null;
  /** Objects that were there already, and whose locks could not be made longer. */
  readonly unretained: number;
  /** Whether what is locked is enough to get it back, should all else be removed. */
  readonly retainedEnough: boolean;
  /** The version before, if that is locked and this one is not. */
  readonly unlocks: FileInfo | null;
}

export interface PutCall extends PutOptions {
  readonly chunking: Chunking;
  readonly chunkSize: number;
  readonly compression: Compression;
  readonly retaining: Retaining | null;
  readonly retainedEnough: boolean;
}
