/**
 * The object that a manifest is: its header and its two sealed parts. FORMAT.md, "Manifest".
 *
 * Object:  magic (8) | root (4) | writer (16) | HPKE enc (32) | salt (32) | vault part | content part
 * Part:    length of what is sealed (4) | key commitment (32) | ciphertext and tag
 */
import { VaultError } from '../errors.ts';
import { COMMITMENT_SIZE } from './keyring.ts';
import { MAX_MANIFEST_SIZE, MIN_PADDED_SIZE, SEAL_OVERHEAD } from './limits.ts';
import { malformed } from './manifest-part.ts';

const MAGIC = 'vlt2mnfs';
export const MANIFEST_HEADER_SIZE = 92;
const PART_HEADER_SIZE = 4 + COMMITMENT_SIZE;
const MIN_PART_SIZE = PART_HEADER_SIZE + MIN_PADDED_SIZE + SEAL_OVERHEAD;

export interface ManifestHeader {
  readonly rootNumber: number;
  /** 32 hex digits. */
  readonly writer: string;
  /** 32 bytes: the encapsulated key of the writer's session. */
  readonly enc: Buffer;
  /** 32 bytes. */
  readonly salt: Buffer;
}

export interface SealedPart {
  /** 32 bytes. */
  readonly commitment: Buffer;
  /** Ciphertext and tag. */
  readonly sealed: Buffer;
  /** The whole part: length, commitment and what is sealed. */
  readonly bytes: Buffer;
}

export interface ManifestObject extends ManifestHeader {
  /** The header's bytes. */
  readonly header: Buffer;
  readonly vault: SealedPart;
  readonly content: SealedPart;
}

export function encodeManifestHeader(header: ManifestHeader): Buffer {
  const bytes = Buffer.alloc(MANIFEST_HEADER_SIZE);
  bytes.write(MAGIC, 'latin1');
  bytes.writeUInt32BE(header.rootNumber, 8);
  bytes.write(header.writer, 12, 'hex');
  bytes.set(header.enc, 28);
  bytes.set(header.salt, 60);
  return bytes;
}

/** A part from what is in it. */
export function encodePart(commitment: Uint8Array, sealed: Uint8Array): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(sealed.length);
  return Buffer.concat([length, commitment, sealed]);
}

/**
 * The parts of a manifest's object, as views of it.
 *
 * @throws `damaged` if it does not have the shape of one; `unsupported` for another version of the format
 */
export function decodeManifestObject(object: Uint8Array): ManifestObject {
  const bytes = Buffer.from(object.buffer, object.byteOffset, object.byteLength);
  const magic = bytes.toString('latin1', 0, MAGIC.length);
  if (magic !== MAGIC) throw otherMagic(magic);
  if (bytes.length < MANIFEST_HEADER_SIZE + 2 * MIN_PART_SIZE || bytes.length > MAX_MANIFEST_SIZE) {
    throw malformed('has an impossible size');
  }
  const rootNumber = bytes.readUInt32BE(8);
  if (rootNumber === 0) throw malformed('has an impossible root number');
  const vault = partAt(bytes, MANIFEST_HEADER_SIZE);
  const content = partAt(bytes, MANIFEST_HEADER_SIZE + vault.bytes.length);
  if (MANIFEST_HEADER_SIZE + vault.bytes.length + content.bytes.length !== bytes.length) {
    throw malformed('has something behind its end');
  }
  return {
    rootNumber,
    writer: bytes.toString('hex', 12, 28),
    enc: bytes.subarray(28, 60),
    salt: bytes.subarray(60, MANIFEST_HEADER_SIZE),
    header: bytes.subarray(0, MANIFEST_HEADER_SIZE),
    vault,
    content,
  };
}

function partAt(bytes: Buffer, at: number): SealedPart {
  const size = at + PART_HEADER_SIZE <= bytes.length ? PART_HEADER_SIZE + bytes.readUInt32BE(at) : 0;
  if (size < MIN_PART_SIZE || at + size > bytes.length) throw malformed('has a part that does not fit');
  return {
    commitment: bytes.subarray(at + 4, at + PART_HEADER_SIZE),
    sealed: bytes.subarray(at + PART_HEADER_SIZE, at + size),
    bytes: bytes.subarray(at, at + size),
  };
}

function otherMagic(magic: string): VaultError {
  if (magic === 'vlt1mnfs') {
    return new VaultError('unsupported', 'A manifest was made by an unreleased version; read it with that.');
  }
  return /^vlt[0-9]mnfs$/.test(magic)
    ? new VaultError('unsupported', 'A manifest is of a newer format. Use a newer version.')
    : malformed('does not start like one');
}
