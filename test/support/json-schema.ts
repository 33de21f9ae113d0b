/**
 * What `--json` prints, held to docs/json-schema.json: as much of JSON Schema as is used there, and stricter in one point. A field
 * that the schema does not name is wrong here, so that none is added without being described.
 */
import { readFileSync } from 'node:fs';

export interface Schema {
  readonly $ref?: string;
  readonly anyOf?: readonly Schema[];
  readonly allOf?: readonly Schema[];
  readonly type?: string;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly pattern?: string;
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly description?: string;
}

const FILE = new URL('../../docs/json-schema.json', import.meta.url);
const KNOWN = new Set(
  '$ref anyOf allOf type enum const pattern items properties required description'.split(' '),
);

// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what is no schema fails where it is used
export const DEFINITIONS = (JSON.parse(readFileSync(FILE, 'utf8')) as { $defs: Record<string, Schema> })
  .$defs;

/** What is wrong with a value, one line each; nothing if it is as the schema says. */
export function problemsOf(value: unknown, schema: Schema, at = '$'): readonly string[] {
  const unknown = Object.keys(schema).filter((key) => !KNOWN.has(key));
  if (unknown.length > 0)
    throw new Error(`The schema has ${unknown.join(', ')}, which nothing here looks at`);
  if (schema.$ref !== undefined) return problemsOf(value, definitionAt(schema.$ref), at);
  if (schema.anyOf !== undefined) {
    const tries = schema.anyOf.map((one) => problemsOf(value, one, at));
    if (tries.some((problems) => problems.length === 0)) return [];
    return tries.toSorted((a, b) => a.length - b.length)[0] ?? [];
  }
  if (schema.allOf !== undefined) return problemsOf(value, merged(schema), at);
  if (schema.enum !== undefined && !schema.enum.includes(value)) return [`${at} is ${JSON.stringify(value)}`];
  if ('const' in schema && schema.const !== value) return [`${at} is ${JSON.stringify(value)}`];
  if (schema.type !== undefined && !isOf(schema.type, value))
    return [`${at} is no ${schema.type}: ${JSON.stringify(value)}`];
  if (schema.pattern !== undefined && !new RegExp(schema.pattern).test(String(value))) {
    return [`${at} does not fit ${schema.pattern}: ${String(value)}`];
  }
  if (Array.isArray(value)) {
    return value.flatMap((item, index) => problemsOf(item, schema.items ?? {}, `${at}[${index}]`));
  }
  if (schema.type !== 'object') return [];
  const fields = new Map<string, unknown>(Object.entries(Object(value)));
  const properties = schema.properties ?? {};
  return [
    ...(schema.required ?? []).filter((name) => !fields.has(name)).map((name) => `${at}.${name} is missing`),
    ...Array.from(fields).flatMap(([name, item]) => {
      const property = properties[name];
      return property === undefined
        ? [`${at}.${name} is not described`]
        : problemsOf(item, property, `${at}.${name}`);
    }),
  ];
}

function definitionAt(ref: string): Schema {
  const found = DEFINITIONS[ref.replace('#/$defs/', '')];
  if (found === undefined) throw new Error(`The schema has no ${ref}`);
  return found;
}

/** All parts of an object as one, since each by itself does not name the fields of the others. */
function merged(schema: Schema): Schema {
  const parts = (schema.allOf ?? []).map((part) =>
    merged(part.$ref === undefined ? part : definitionAt(part.$ref)),
  );
  if (schema.allOf === undefined) return schema;
  return {
    type: 'object',
    properties: Object.assign({}, ...parts.map(({ properties }) => properties)),
    required: parts.flatMap(({ required = [] }) => required),
  };
}

function isOf(type: string, value: unknown): boolean {
  if (type === 'null') return value === null;
  if (type === 'array') return Array.isArray(value);
  if (type === 'integer') return Number.isSafeInteger(value);
  if (type === 'object') return typeof value === 'object' && value !== null && !Array.isArray(value);
  return typeof value === type;
}

/** Refuses output of a command with `--json` that is not as the schema says. */
export function requireAsDescribed(
  args: readonly string[],
  { stdout, stderr }: { readonly stdout: string; readonly stderr: string },
): void {
  const words = args.filter((arg) => !arg.startsWith('-'));
  const asked = args.some((arg) => arg === '--help' || arg === '-h') ? 'help' : '';
  const version = args.some((arg) => arg === '--version' || arg === '-V') ? 'version' : '';
  // What an option is told may come before the verb.
  const pairs = words.map((word, index) => `${word} ${words[index + 1] ?? ''}`);
  const names = [asked, version, ...pairs, ...words];
  const name = names.find((one) => one in DEFINITIONS);
  const problems = [
    ...linesOf(stderr).flatMap((line) => {
      const value: unknown = JSON.parse(line);
      const [kind = ''] = Object.keys(Object(value));
      return problemsOf(value, DEFINITIONS[kind] ?? { enum: [] });
    }),
    // A script for a shell is text.
    ...linesOf(stdout.startsWith('{') ? stdout : '').flatMap((line) =>
      problemsOf(JSON.parse(line), (name === undefined ? undefined : DEFINITIONS[name]) ?? { enum: [] }),
    ),
  ];
  if (problems.length > 0) {
    throw new Error(
      `vault ${args.join(' ')} prints what docs/json-schema.json does not describe:\n${problems.join('\n')}`,
    );
  }
}

function linesOf(text: string): readonly string[] {
  return text.split('\n').filter((line) => line.startsWith('{'));
}
