/**
 * Keyslots and bucket markers: the two JSON objects of a vault. FORMAT.md, "Keyslots" and "Markers".
 */
import { VaultError } from '../errors.ts';

/** Where keyslots are. */
export const KEYSLOT_PREFIX = 'keyslots/';
/** The marker's object name. */
export const MARKER_NAME = 'vault.json';
/** Largest keyslot or marker in bytes; a larger object is refused unread. */
export const MAX_JSON_OBJECT_SIZE = 16 * 1024;

/** Argon2id's costs (RFC 9106). */
export interface KdfCost {
  readonly memoryKib: number;
  readonly passes: number;
  readonly lanes: number;
}

/** What readers accept, checked before the function runs: a hostile keyslot must not exhaust the machine. */
export const KDF_LIMITS = {
  memoryKib: { least: 8 * 1024, most: 2 * 1024 * 1024 },
  passes: { least: 1, most: 16 },
  lanes: { least: 1, most: 16 },
} as const;

/** The master key, wrapped under one password. */
export interface Keyslot {
  /** 32 hex digits. */
  readonly id: string;
  /** 32 hex digits. */
  readonly vaultId: string;
  readonly createdAtMs: number;
  readonly cost: KdfCost;
  /** 16 bytes. */
  readonly salt: Uint8Array;
  /** 12 bytes. */
  readonly nonce: Uint8Array;
  /** 48 bytes: the wrapped master key and its tag. */
  readonly wrapped: Uint8Array;
}

/** What makes a place a bucket of a vault. */
export interface Marker {
  readonly vaultId: string;
  readonly bucketId: string;
}

export function keyslotObjectName(id: string): string {
  return `${KEYSLOT_PREFIX}${id}.json`;
}

/** Everything in a keyslot but the wrapped key, as the bytes that wrapping authenticates: lines of ASCII. */
export function keyslotAad(slot: Omit<Keyslot, 'wrapped' | 'nonce'>): Uint8Array {
  const { memoryKib, passes, lanes } = slot.cost;
  const lines = ['vault/1 keyslot', slot.id, slot.vaultId, slot.createdAtMs, 'argon2id', 19];
  return Buffer.from(
    [...lines, memoryKib, passes, lanes, Buffer.from(slot.salt).toString('hex'), ''].join('\n'),
    'ascii',
  );
}

export function encodeKeyslot(slot: Keyslot): Buffer {
  const { memoryKib, passes, lanes } = slot.cost;
  const json = {
    format: 'vault/1 keyslot',
    id: slot.id,
    vault: slot.vaultId,
    createdAt: slot.createdAtMs,
    kdf: { name: 'argon2id', version: 19, memoryKib, passes, lanes, salt: hex(slot.salt) },
    wrap: { name: 'aes-256-gcm', nonce: hex(slot.nonce), key: hex(slot.wrapped) },
  };
  return Buffer.from(`${JSON.stringify(json, null, 2)}\n`);
}

/**
 * @throws `damaged` if the bytes are not a keyslot or its costs are outside `KDF_LIMITS`; `unsupported` for a newer format
 */
export function decodeKeyslot(bytes: Uint8Array): Keyslot {
  const what = 'A keyslot';
  const json = parseObject(bytes, what);
  checkFormat(json, 'vault/1 keyslot', what);
  const kdf = objectField(json, 'kdf', what);
  const wrap = objectField(json, 'wrap', what);
  if (kdf.get('name') !== 'argon2id' || kdf.get('version') !== 19 || wrap.get('name') !== 'aes-256-gcm') {
    throw new VaultError('unsupported', 'A keyslot uses algorithms that need a newer version.');
  }
  const cost = (key: keyof KdfCost): number => {
    const { least, most } = KDF_LIMITS[key];
    const value = kdf.get(key);
    if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > most) {
      throw new VaultError(
        'damaged',
        `A keyslot asks for ${key} outside ${least} to ${most}; it was not tried.`,
      );
    }
    return value;
  };
  const createdAtMs = json.get('createdAt');
  if (typeof createdAtMs !== 'number' || !Number.isSafeInteger(createdAtMs)) {
    throw new VaultError('damaged', `${what} has an impossible "createdAt".`);
  }
  return {
    id: hexField(json, 'id', 16, what).toString('hex'),
    vaultId: hexField(json, 'vault', 16, what).toString('hex'),
    createdAtMs,
    cost: { memoryKib: cost('memoryKib'), passes: cost('passes'), lanes: cost('lanes') },
    salt: hexField(kdf, 'salt', 16, what),
    nonce: hexField(wrap, 'nonce', 12, what),
    wrapped: hexField(wrap, 'key', 48, what),
  };
}

export function encodeMarker(marker: Marker): Buffer {
  const json = { format: 'vault/1 bucket', vault: marker.vaultId, bucket: marker.bucketId };
  return Buffer.from(`${JSON.stringify(json, null, 2)}\n`);
}

/** @throws `damaged` if the bytes are not a marker; `unsupported` for a newer format */
export function decodeMarker(bytes: Uint8Array): Marker {
  const what = `A bucket's ${MARKER_NAME}`;
  const json = parseObject(bytes, what);
  checkFormat(json, 'vault/1 bucket', what);
  return {
    vaultId: hexField(json, 'vault', 16, what).toString('hex'),
    bucketId: hexField(json, 'bucket', 16, what).toString('hex'),
  };
}

type Fields = ReadonlyMap<string, unknown>;

function parseObject(bytes: Uint8Array, what: string): Fields {
  try {
    const json: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    if (typeof json === 'object' && json !== null) return new Map(Object.entries(json));
  } catch (cause) {
    throw new VaultError('damaged', `${what} is not JSON.`, { cause });
  }
  throw new VaultError('damaged', `${what} is not a JSON object.`);
}

function checkFormat(json: Fields, format: string, what: string): void {
  const found = json.get('format');
  if (found === format) return;
  if (typeof found === 'string' && found.startsWith('vault/')) {
    throw new VaultError('unsupported', `${what} is of a newer format. Use a newer version.`);
  }
  throw new VaultError('damaged', `${what} does not say that it is one.`);
}

function objectField(json: Fields, key: string, what: string): Fields {
  const value = json.get(key);
  if (typeof value !== 'object' || value === null)
    throw new VaultError('damaged', `${what} has no "${key}".`);
  return new Map(Object.entries(value));
}

function hexField(json: Fields, key: string, size: number, what: string): Buffer {
  const value = json.get(key);
  if (typeof value !== 'string' || value.length !== size * 2 || !/^[0-9a-f]+$/.test(value)) {
    throw new VaultError('damaged', `${what} has an impossible "${key}".`);
  }
  return Buffer.from(value, 'hex');
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
