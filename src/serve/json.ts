/** Bodies of JSON, and what is taken from them. */
import { invalidInput } from '../errors.ts';
import type { Exchange } from './exchange.ts';

/**
 * A body's fields; none for an empty body.
 *
 * @param known names that fields may have
 * @throws `invalid-input` if it is no object, has others, or one twice
 */
export async function jsonOf(
  exchange: Exchange,
  known: readonly string[],
): Promise<Readonly<Record<string, unknown>>> {
  const text = await exchange.smallBody();
  let value: unknown = {};
  try {
    if (text !== '') value = JSON.parse(text);
  } catch (cause) {
    throw invalidInput('The body is not JSON.', cause);
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    requireKnown(Object.keys(value), known);
    // The parser keeps the last of several. A text with a colon behind it is a field.
    const all = [...text.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?/g)].filter(([, colon]) => colon !== undefined);
    if (all.length > Object.keys(value).length)
      throw invalidInput('A field is there twice, or inside of another.');
    return { ...value };
  }
  throw invalidInput('The body is JSON of another kind than an object.');
}

/** Refuses names that mean nothing here, or stand there twice: what was meant might protect something. @throws `invalid-input` */
export function requireKnown(names: Iterable<string>, known: readonly string[]): void {
  const seen = new Set<string>();
  for (const name of names) {
    if (!known.includes(name)) {
      const list = known.length === 0 ? 'there are none' : `there is ${known.join(', ')}`;
      throw invalidInput(`"${name.slice(0, 40)}" is no field or parameter here; ${list}.`);
    }
    if (seen.has(name)) throw invalidInput(`"${name}" is there twice.`);
    seen.add(name);
  }
}

/** Refuses what is no UTF-8 in percent encoding: it would be read as another character. @throws `invalid-input` */
export function requireEncoded(what: string, text: string): void {
  try {
    decodeURIComponent(text);
  } catch (cause) {
    throw invalidInput(`${what} is not UTF-8 in percent encoding.`, cause);
  }
}

/** The field `password` of a form in an address's notation; null if it is not there. @throws `invalid-input` if there are others, or several */
export async function passwordOfForm(exchange: Exchange): Promise<string | null> {
  const body = await exchange.smallBody();
  requireEncoded('The form', body);
  const fields = new URLSearchParams(body);
  requireKnown(fields.keys(), ['password']);
  return fields.get('password');
}

/** A field that is text; null if it is not there. @throws `invalid-input` if it is anything else, or no valid Unicode */
export function textOf(fields: Readonly<Record<string, unknown>>, name: string): string | null {
  const value = fields[name] ?? null;
  if (value === null || (typeof value === 'string' && value.isWellFormed())) return value;
  throw invalidInput(`${name} is not text.`);
}

/** A field that is a whole number of at least 1; null if it is not there. @throws `invalid-input` if it is anything else */
export function countOf(
  fields: Readonly<Record<string, unknown>>,
  name: string,
  most: number,
): number | null {
  const value = fields[name] ?? null;
  if (value === null) return null;
  if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= most) return value;
  throw invalidInput(`${name} is not a whole number from 1 to ${most}.`);
}
