/** Bodies of JSON, and what is taken from them. */
import { invalidInput } from '../errors.ts';
import type { Exchange } from './exchange.ts';

/** A body's fields; none for an empty body. @throws `invalid-input` if it is no object */
export async function jsonOf(exchange: Exchange): Promise<Readonly<Record<string, unknown>>> {
  const text = await exchange.smallBody();
  let value: unknown = {};
  try {
    if (text !== '') value = JSON.parse(text);
  } catch (cause) {
    throw invalidInput('The body is not JSON.', cause);
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value };
  throw invalidInput('The body is JSON of another kind than an object.');
}

/** A field that is text; null if it is not there. @throws `invalid-input` if it is anything else */
export function textOf(fields: Readonly<Record<string, unknown>>, name: string): string | null {
  const value = fields[name] ?? null;
  if (value === null || typeof value === 'string') return value;
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
