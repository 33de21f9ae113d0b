/**
 * Strict JSON: the one way in which the format writes JSON. FORMAT.md, "JSON".
 *
 * A text is accepted only if it is what writing its own value gives: no white space, no byte order mark, no repeated
 * fields, no needless escapes, integers only. So a value has one text (but for the order of its fields), and two readers
 * cannot read different things out of it.
 */
import { invalidInput, VaultError } from '../errors.ts';
import { FORMAT } from './format.ts';
import { MAX_JSON_SIZE } from './limits.ts';

export { FORMAT };

/** What strict JSON can say. */
export type JsonValue = string | number | boolean | null | readonly JsonValue[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: JsonValue;
}

/** A byte order mark is kept, so that it is no JSON. */
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Nothing in the format nests deeper; it bounds the recursion of those who walk a value. */
const MAX_DEPTH = 8;

/**
 * The bytes of a value.
 *
 * @throws `invalid-input` naming the field, if a text in it is not well-formed Unicode or a number no safe integer: JSON
 *   would write something else instead, and nobody would notice
 */
export function encodeStrictJson(value: JsonObject): Buffer {
  for (const [key, field] of Object.entries(value)) {
    if (!isStrict(field, 1)) throw invalidInput(`"${key}" cannot be written as it is.`);
  }
  return Buffer.from(JSON.stringify(value));
}

/**
 * An object from its bytes.
 *
 * @param what the thing in messages, as in "A keyring"
 * @param most largest size in bytes; beyond it nothing is parsed
 * @throws `damaged` if the bytes are not an object in strict JSON; `unsupported` if it says that it is of another version of
 *   the format, whatever else is wrong with it
 */
export function parseStrictJson(bytes: Uint8Array, what: string, most: number = MAX_JSON_SIZE): Fields {
  if (bytes.length > most) throw new VaultError('damaged', `${what} is larger than the format allows.`);
  let text: string;
  let value: unknown;
  try {
    text = UTF8.decode(bytes);
    value = JSON.parse(text);
  } catch (cause) {
    throw new VaultError('damaged', `${what} is not JSON.`, { cause });
  }
  if (!isObject(value)) throw new VaultError('damaged', `${what} is not a JSON object.`);
  refuseOtherVersions(value, what);
  // In this order: writing recurses, so its depth is bounded first.
  if (!isStrict(value, 0) || JSON.stringify(value) !== text) {
    throw new VaultError('damaged', `${what} is not written as strict JSON.`);
  }
  return new Fields(value, what);
}

/**
 * What `read` makes of an object of this version of the format; it takes every field.
 *
 * @throws as `parseStrictJson`; `damaged` as `Fields`
 */
export function readStrictJson<T>(
  bytes: Uint8Array,
  what: string,
  read: (fields: Fields) => T,
  most: number = MAX_JSON_SIZE,
): T {
  const fields = parseStrictJson(bytes, what, most);
  fields.oneOf('format', [FORMAT]);
  return fields.whole(read);
}

function refuseOtherVersions(value: object, what: string): void {
  const format: unknown = Object.getOwnPropertyDescriptor(value, 'format')?.value;
  if (typeof format !== 'string' || !format.startsWith('vault/') || format === FORMAT) return;
  const advice = /^vault\/1(?![0-9])/.test(format)
    ? 'was made by an unreleased version; read it with that'
    : 'is of a newer format. Use a newer version';
  throw new VaultError('unsupported', `${what} ${advice}.`);
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isStrict(value: unknown, depth: number): boolean {
  if (typeof value === 'string') return value.isWellFormed();
  if (typeof value === 'number') return Number.isSafeInteger(value);
  if (typeof value === 'boolean' || value === null) return true;
  if (typeof value !== 'object' || depth === MAX_DEPTH) return false;
  if (Array.isArray(value)) return value.every((item) => isStrict(item, depth + 1));
  return Object.entries(value).every(([key, item]) => key.isWellFormed() && isStrict(item, depth + 1));
}

/** Bounds of a text: bytes in UTF-8. */
export interface TextBounds {
  readonly least: number;
  readonly most: number;
}

/**
 * The fields of an object, or the items of a list by their index. Each is read once, by what it must be; `end` refuses
 * what was not read.
 */
export class Fields {
  readonly #values: Map<string, unknown>;
  readonly #what: string;

  /** @param what the thing in messages, as in "A keyring" */
  constructor(value: object, what: string) {
    this.#values = new Map(Object.entries(value));
    this.#what = what;
  }

  /** Whether there is such a field, not yet read. */
  has(key: string): boolean {
    return this.#values.has(key);
  }

  /** Text. @throws `damaged` as all of these, if the field is missing, of another kind, or out of bounds */
  string(key: string, { least, most }: TextBounds = { least: 0, most: MAX_JSON_SIZE }): string {
    const value = this.#take(key);
    if (typeof value !== 'string') throw this.impossible(key);
    const size = Buffer.byteLength(value);
    if (size < least || size > most) throw this.impossible(key);
    return value;
  }

  /** Text of a certain form. */
  match(key: string, pattern: RegExp): string {
    const value = this.#take(key);
    if (typeof value !== 'string' || !pattern.test(value)) throw this.impossible(key);
    return value;
  }

  /** Text that can only be one of these. */
  oneOf<T extends string>(key: string, choices: readonly T[]): T {
    const value = this.#take(key);
    const choice = choices.find((one) => one === value);
    if (choice === undefined) throw this.impossible(key);
    return choice;
  }

  integer(key: string, least: number, most: number): number {
    const value = this.#take(key);
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < least || value > most) {
      throw this.impossible(key);
    }
    return value;
  }

  boolean(key: string): boolean {
    const value = this.#take(key);
    if (typeof value !== 'boolean') throw this.impossible(key);
    return value;
  }

  /** Lower-case hex of a number of bytes, as text. */
  hex(key: string, size: number): string {
    const value = this.#take(key);
    if (typeof value !== 'string' || value.length !== size * 2 || !/^[0-9a-f]*$/.test(value)) {
      throw this.impossible(key);
    }
    return value;
  }

  /** Lower-case hex as bytes, of a size within bounds (bytes). */
  bytes(key: string, least: number, most: number = least): Buffer {
    const value = this.#take(key);
    if (
      typeof value !== 'string' ||
      value.length % 2 !== 0 ||
      value.length < least * 2 ||
      value.length > most * 2 ||
      !/^[0-9a-f]*$/.test(value)
    ) {
      throw this.impossible(key);
    }
    return Buffer.from(value, 'hex');
  }

  /** Null, or what `read` makes of the field. */
  nullable<T>(key: string, read: (fields: Fields, key: string) => T): T | null {
    if (this.#values.get(key) !== null) return read(this, key);
    this.#values.delete(key);
    return null;
  }

  /** What `read` makes of an object in this one; it takes every field. */
  object<T>(key: string, read: (fields: Fields) => T): T {
    const value = this.#take(key);
    if (!isObject(value)) throw this.impossible(key);
    return new Fields(value, `${this.#what}'s "${key}"`).whole(read);
  }

  /** What `read` makes of these fields, of which it takes every one. */
  whole<T>(read: (fields: Fields) => T): T {
    const value = read(this);
    this.end();
    return value;
  }

  /** A list of bounded length; `read` is given the items by index. */
  list<T>(key: string, { least, most }: TextBounds, read: (items: Fields, index: string) => T): T[] {
    const value = this.#take(key);
    if (!Array.isArray(value) || value.length < least || value.length > most) throw this.impossible(key);
    const items = new Fields(value, `${this.#what}'s "${key}"`);
    return Array.from(value, (_, index) => read(items, String(index)));
  }

  /** Refuses an object that has fields which nothing has read. */
  end(): void {
    const [unknown] = this.#values.keys();
    if (unknown !== undefined) {
      throw new VaultError('damaged', `${this.#what} has a field that the format does not know.`);
    }
  }

  /** The error for a field that is not what it must be. */
  impossible(key: string): VaultError {
    return new VaultError('damaged', `${this.#what} has an impossible "${key}".`);
  }

  #take(key: string): unknown {
    if (!this.#values.has(key)) throw new VaultError('damaged', `${this.#what} has no "${key}".`);
    const value = this.#values.get(key);
    this.#values.delete(key);
    return value;
  }
}
