/**
 * The objects around removal: deletion records, sweep lists and the markers of running puts. FORMAT.md, "Removal".
 */
import { invalidInput, VaultError } from '../errors.ts';
import { encodeStrictJson, FORMAT, readStrictJson, type Fields } from './json.ts';
import {
  MAX_JSON_SIZE,
  MAX_MARKER_IDS,
  MAX_ROOT_NUMBER,
  MAX_SWEEP_OBJECTS,
  MAX_TIME_MS,
  MIN_PADDED_SIZE,
  SEAL_OVERHEAD,
} from './limits.ts';
import { parseManifestObjectName } from './manifest.ts';
import { ID_SIZE } from './marker.ts';
import { parseShardObjectName } from './shard.ts';

/** Where deletion records, sweep lists and put markers are. */
export const DELETED_PREFIX = 'deleted/';
export const SWEEP_PREFIX = 'sweep/';
export const PUTS_PREFIX = 'puts/';

/** Stored and removed again by whoever wants to know a bucket's time. It says nothing. */
export const CLOCK_NAME = 'clock';

/** Largest deletion record, sweep list and put marker in bytes. */
export const MAX_DELETION_SIZE = MAX_JSON_SIZE;
export const MAX_SWEEP_SIZE = 8 * 1024 * 1024;
export const MAX_PUT_MARKER_SIZE = 8 * 1024 * 1024;
/** Greatest serial of a deletion record. */
export const MAX_SERIAL = Number.MAX_SAFE_INTEGER;
/** Most milliseconds of grace: a hundred years. */
export const MAX_GRACE_MS = 100 * 366 * 86_400_000;

// --- deletion records ---------------------------------------------------------------------------------

/** That a file was removed, or brought back. Of several for one hash the highest serial counts; of equals, the removal. */
export interface DeletionRecord {
  /** The file's hash, 64 hex digits. */
  readonly hash: string;
  /** 1 or more. */
  readonly serial: number;
  /** Whether this brings the file back. */
  readonly live: boolean;
  readonly atMs: number;
  /** Milliseconds from `atMs` in which the file can be brought back. */
  readonly graceMs: number;
}

export function deletionObjectName(hash: string): string {
  return `${DELETED_PREFIX}${hash}`;
}

/** The hash in a deletion record's object name; null if it is not one. */
export function parseDeletionObjectName(name: string): string | null {
  return /^deleted\/([0-9a-f]{64})$/.exec(name)?.[1] ?? null;
}

/** The JSON of a deletion record, to be signed. */
export function encodeDeletion(vaultId: string, record: DeletionRecord): Buffer {
  return encodeStrictJson({
    format: FORMAT,
    vault: vaultId,
    deleted: record.hash,
    serial: record.serial,
    live: record.live,
    at: record.atMs,
    graceMs: record.graceMs,
  });
}

/** @throws `damaged` | `unsupported` */
export function decodeDeletion(json: Uint8Array): {
  readonly vaultId: string;
  readonly record: DeletionRecord;
} {
  return readStrictJson(json, 'A deletion record', (fields) => ({
    vaultId: fields.hex('vault', ID_SIZE),
    record: {
      hash: fields.hex('deleted', 32),
      serial: fields.integer('serial', 1, MAX_SERIAL),
      live: fields.boolean('live'),
      atMs: fields.integer('at', -MAX_TIME_MS, MAX_TIME_MS),
      graceMs: fields.integer('graceMs', 0, MAX_GRACE_MS),
    },
  }));
}

// --- sweep lists --------------------------------------------------------------------------------------

/** Objects that a sweep is about to remove, or has removed. */
export interface SweepList {
  /** 32 hex digits. */
  readonly id: string;
  readonly atMs: number;
  /** When the last of them was removed; null while that is not over. */
  readonly doneAtMs: number | null;
  /** Markers of puts that stood when the list did, and are waited for; null until that is known. */
  readonly waitsFor: readonly string[] | null;
  /** Names of shards and manifests. */
  readonly objects: readonly string[];
}

export function sweepObjectName(id: string): string {
  return `${SWEEP_PREFIX}${id}`;
}

/** The id in a sweep list's object name; null if it is not one. */
export function parseSweepObjectName(name: string): string | null {
  return /^sweep\/([0-9a-f]{32})$/.exec(name)?.[1] ?? null;
}

/** The JSON of a sweep list, to be signed. */
export function encodeSweepList(vaultId: string, list: SweepList): Buffer {
  return encodeStrictJson({
    format: FORMAT,
    vault: vaultId,
    sweep: list.id,
    at: list.atMs,
    doneAt: list.doneAtMs,
    waitsFor: list.waitsFor,
    objects: list.objects,
  });
}

const MARKER_OBJECT = /^puts\/[0-9]{14}\.[0-9a-f]{16}$/;
/** Markers that a list waits for: a hostile bucket shows any number. */
export const MAX_WAITS = 10_000;

/** @throws `damaged` | `unsupported` */
export function decodeSweepList(json: Uint8Array): { readonly vaultId: string; readonly list: SweepList } {
  return readStrictJson(json, 'A sweep list', readSweepList, MAX_SWEEP_SIZE);
}

function readSweepList(fields: Fields): ReturnType<typeof decodeSweepList> {
  return {
    vaultId: fields.hex('vault', ID_SIZE),
    list: {
      id: fields.hex('sweep', ID_SIZE),
      atMs: fields.integer('at', -MAX_TIME_MS, MAX_TIME_MS),
      doneAtMs: fields.nullable('doneAt', (at, key) => at.integer(key, -MAX_TIME_MS, MAX_TIME_MS)),
      waitsFor: fields.nullable('waitsFor', (at, key) =>
        at.list(key, { least: 0, most: MAX_WAITS }, (items, index) => items.match(index, MARKER_OBJECT)),
      ),
      objects: fields.list('objects', { least: 0, most: MAX_SWEEP_OBJECTS }, (items, index) =>
        readSwept(items, index),
      ),
    },
  };
}

/** Whatever a list says, nothing else is removed by it. */
function readSwept(items: Fields, index: string): string {
  const name = items.string(index);
  if (parseShardObjectName(name) ?? parseManifestObjectName(name)) return name;
  throw items.impossible(index);
}

// --- put markers --------------------------------------------------------------------------------------

const MAX_MARKER_TIME = 99_999_999_999_999;

/**
 * The object name of a put's marker: `puts/<created, 14 digits>.<random, 16 hex digits>`.
 *
 * @throws `invalid-input` for a time before 1970 or after 5138, which no name can hold
 */
export function putMarkerName(createdAtMs: number, random: string): string {
  if (!Number.isInteger(createdAtMs) || createdAtMs < 0 || createdAtMs > MAX_MARKER_TIME) {
    throw invalidInput("This machine's clock is far off. Set it and try again.");
  }
  return `${PUTS_PREFIX}${String(createdAtMs).padStart(14, '0')}.${random}`;
}

/** What a put marker's object name says; null if it is not one. */
export function parsePutMarkerName(
  name: string,
): { readonly createdAtMs: number; readonly random: string } | null {
  const match = /^puts\/([0-9]{14})\.([0-9a-f]{16})$/.exec(name);
  return match === null ? null : { createdAtMs: Number(match[1]), random: match[2] ?? '' };
}

const PUT_MAGIC = 'vlt2puts';
/** Bytes before the ciphertext, all of them its additional data. */
export const PUT_HEADER_SIZE = 92;

export interface PutMarkerHeader {
  readonly rootNumber: number;
  /** 32 hex digits. */
  readonly writer: string;
  /** 32 bytes. */
  readonly salt: Buffer;
  /** 32 bytes. */
  readonly commitment: Buffer;
}

export function encodePutMarkerHeader(header: PutMarkerHeader): Buffer {
  const root = Buffer.alloc(4);
  root.writeUInt32BE(header.rootNumber);
  const writer = Buffer.from(header.writer, 'hex');
  return Buffer.concat([Buffer.from(PUT_MAGIC), root, writer, header.salt, header.commitment]);
}

/** The parts of a put marker's object. @throws `damaged` | `unsupported` */
export function decodePutMarkerObject(
  object: Uint8Array,
): PutMarkerHeader & { readonly header: Buffer; readonly sealed: Buffer } {
  const bytes = Buffer.from(object.buffer, object.byteOffset, object.byteLength);
  const magic = bytes.toString('latin1', 0, 8);
  if (magic !== PUT_MAGIC) {
    if (/^vlt[0-9]puts$/.test(magic)) {
      throw new VaultError(
        'unsupported',
        "A put's marker was written in another format. Use a newer version.",
      );
    }
    throw new VaultError('damaged', "A put's marker does not start like one.");
  }
  if (
    bytes.length < PUT_HEADER_SIZE + MIN_PADDED_SIZE + SEAL_OVERHEAD ||
    bytes.length > MAX_PUT_MARKER_SIZE
  ) {
    throw new VaultError('damaged', "A put's marker has an impossible size.");
  }
  const rootNumber = bytes.readUInt32BE(8);
  if (rootNumber < 1 || rootNumber > MAX_ROOT_NUMBER) {
    throw new VaultError('damaged', "A put's marker has an impossible root number.");
  }
  return {
    rootNumber,
    writer: bytes.toString('hex', 12, 28),
    salt: bytes.subarray(28, 60),
    commitment: bytes.subarray(60, PUT_HEADER_SIZE),
    header: bytes.subarray(0, PUT_HEADER_SIZE),
    sealed: bytes.subarray(PUT_HEADER_SIZE),
  };
}

/** The JSON of a put marker, to be sealed. */
export function encodePutMarker(vaultId: string, ids: readonly string[]): Buffer {
  return encodeStrictJson({ format: FORMAT, vault: vaultId, ids });
}

/** @throws `damaged` | `unsupported` */
export function decodePutMarker(json: Uint8Array): {
  readonly vaultId: string;
  readonly ids: readonly string[];
} {
  return readStrictJson(json, "A put's marker", readPutMarker, MAX_PUT_MARKER_SIZE);
}

function readPutMarker(fields: Fields): ReturnType<typeof decodePutMarker> {
  return {
    vaultId: fields.hex('vault', ID_SIZE),
    ids: fields.list('ids', { least: 0, most: MAX_MARKER_IDS }, (items, index) => items.hex(index, 32)),
  };
}
