/**
 * The bounds of the format, in one place. FORMAT.md, "Limits". Writers keep to them, readers refuse what is beyond,
 * before memory or time is spent on it.
 */

/** Largest k + m. */
export const MAX_SHARDS = 16;

/** Bytes of a full chunk's body. */
export const MIN_CHUNK_SIZE = 64 * 1024;
export const MAX_CHUNK_SIZE = 64 * 1024 * 1024;
/** Half the requests, files and turns of 1 MiB; with more in a chunk it goes hardly faster, and a change stores more anew. */
export const DEFAULT_CHUNK_SIZE = 2 * 1024 * 1024;

/** Bytes of a chunk that is cut by content, at most. */
export const MAX_CUT_SIZE = 4 * 1024 * 1024;

/** Bytes at the end of a payload: codec and stored length. */
export const PAYLOAD_TRAILER_SIZE = 5;
/** Bytes that sealing adds to a payload: the AES-GCM tag. */
export const SEAL_OVERHEAD = 16;
/** Smallest padded payload in bytes: below it all sizes look alike. */
export const MIN_PADDED_SIZE = 256;
/** Largest payload in bytes: a body of `MAX_CHUNK_SIZE` and the trailer, padded. */
export const MAX_PAYLOAD_SIZE = 66 * 1024 * 1024;
/** Largest sealed chunk in bytes. */
export const MAX_SEALED_SIZE = MAX_PAYLOAD_SIZE + SEAL_OVERHEAD;
/** Largest window of a zstd frame in bytes, where the body is not itself larger: what RFC 8878 asks decoders to support. */
export const MAX_ZSTD_WINDOW = 8 * 1024 * 1024;

/** Keyslots of a keyring. */
export const MAX_KEYSLOTS = 64;
/** Bytes of a keyring object. */
export const MAX_KEYRING_SIZE = 1024 * 1024;
/** Highest epoch: ten decimal digits in the object name. */
export const MAX_EPOCH = 9_999_999_999;
/** Highest root number: a u32. */
export const MAX_ROOT_NUMBER = 64;

/** Argon2id's costs, each bounded, and their product per keyslot: checked before the function runs. */
export const KDF_LIMITS = {
  memoryKib: { least: 8 * 1024, most: 1024 * 1024 },
  passes: { least: 1, most: 16 },
  lanes: { least: 1, most: 16 },
} as const;
/** Most KiB x passes of one keyslot or lock: 4 GiB. */
export const MAX_KDF_WORK = 4 * 1024 * 1024;
/** Most KiB x passes that a reader spends on all copies and keyslots of one unlock: 64 GiB. */
export const MAX_UNLOCK_WORK = 64 * 1024 * 1024;

/** Bytes of a name in UTF-8. */
export const MAX_NAME_SIZE = 16 * 1024;
/** Bytes of a manifest object. */
export const MAX_MANIFEST_SIZE = 1024 * 1024;
/** Deepest table of tables. */
export const MAX_TABLE_DEPTH = 3;
/** Bytes of a file: what JSON's numbers carry exactly. */
export const MAX_FILE_SIZE = Number.MAX_SAFE_INTEGER;
/** Highest version of a name. */
export const MAX_VERSION = Number.MAX_SAFE_INTEGER;

/** Bytes of an entry in a folder's index, its length included. */
export const MIN_ENTRY_SIZE = 8;
export const MAX_ENTRY_SIZE = 192 * 1024;
/** Bytes of an attribute's value: the most that Linux takes. */
export const MAX_ATTRIBUTE_SIZE = 64 * 1024;

/** Object names in a sweep list. */
export const MAX_SWEEP_OBJECTS = 10_000;
/** Chunk ids in a put marker. */
export const MAX_MARKER_IDS = 100_000;
/** Bytes of a JSON object that has no bound of its own. */
export const MAX_JSON_SIZE = 64 * 1024;

/** The range of ECMAScript times, in milliseconds and in seconds, either side of 1970. */
export const MAX_TIME_MS = 8_640_000_000_000_000;
export const MAX_TIME_SECONDS = 8_640_000_000_000;
