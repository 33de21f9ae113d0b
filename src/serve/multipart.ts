/**
 * `multipart/form-data`, read as a stream: small fields first, then one file, which has to be the last part. So the fields are known
 * when the file's first byte comes, and nothing of the file is kept in memory.
 */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Busboy, type BusboyInstance } from '@fastify/busboy';
import { invalidInput, isVaultError, type VaultError } from '../errors.ts';

export interface Form {
  readonly fields: ReadonlyMap<string, string>;
  /** Null if the form has none. */
  readonly file: FormFile | null;
}

export interface FormFile {
  readonly name: string;
  /** Its bytes. @throws `invalid-input` if the form does not end behind them; `source-changed` if the body is cut */
  readonly content: AsyncIterable<Uint8Array>;
}

const LIMITS = { fields: 20, files: 1, parts: 21, fieldSize: 16 * 1024 };
const IS_LAST =
  'the file must be its last part: send fields such as password before it, and one file at a time';
const UNNAMED = 'its part "file" has no filename';

/**
 * Reads a form up to the bytes of its file.
 *
 * @param type the value of Content-Type
 * @throws `invalid-input` if it is no such form, or has more than fields and one file
 */
export async function readForm(type: string, body: AsyncIterable<Uint8Array>): Promise<Form> {
  if (!/^multipart\/form-data\s*(;|$)/i.test(type))
    throw broken('its Content-Type is not multipart/form-data');
  const parser = parserOf(type);
  const fields = new Map<string, string>();
  const form = Promise.withResolvers<Form>();
  let hasFile = false;
  const part = (encoding: string, name: unknown, text = ''): string => {
    if (hasFile) throw broken(IS_LAST);
    if (typeof name !== 'string' || name === '') throw broken('a part has no name');
    if (!/^(binary|8bit|7bit)$/.test(encoding)) throw broken('a part is encoded');
    // What is no UTF-8 has been replaced by that character.
    if (`${name}${text}`.includes('\uFFFD')) throw broken('a name or text in it is not UTF-8');
    return name;
  };
  // What is thrown to the parser would be thrown at nobody.
  const check = (work: () => void): void => {
    try {
      work();
    } catch (error) {
      parser.destroy(error instanceof Error ? error : undefined);
    }
  };
  parser.on('field', (given, value, nameCut, valueCut, encoding) => {
    check(() => {
      if (given === 'file') throw broken(hasFile ? IS_LAST : UNNAMED);
      const name = part(encoding, given, value);
      if (nameCut || valueCut) throw broken('a field of it is too long');
      if (fields.has(name)) throw broken('a field is there twice');
      fields.set(name, value);
    });
  });
  parser.on('file', (given, stream, filename: string | undefined, encoding) => {
    stream.on('error', () => undefined);
    check(() => {
      const name = part(encoding, given, filename);
      if (name !== 'file') throw broken(`its file is called "${name.slice(0, 40)}" and not "file"`);
      // What is called a stream of octets is a file for the parser.
      if (filename === undefined || filename === '') throw broken(UNNAMED);
      hasFile = true;
      form.resolve({ fields, file: { name: unescaped(filename), content: contentOf(stream, ended) } });
    });
  });
  for (const limit of ['partsLimit', 'fieldsLimit', 'filesLimit'] as const) {
    parser.on(limit, () => parser.destroy(broken(hasFile ? IS_LAST : 'it has too many parts')));
  }
  const ended = fed(body, parser);
  ended.then(() => form.resolve({ fields, file: null }), form.reject);
  return form.promise;
}

function parserOf(type: string): BusboyInstance {
  try {
    return new Busboy({ headers: { 'content-type': type }, limits: LIMITS, preservePath: true });
  } catch (cause) {
    throw broken('its Content-Type has no boundary, or too long a one', cause);
  }
}

/** Gives the parser the body. @throws what is wrong with either */
async function fed(body: AsyncIterable<Uint8Array>, parser: BusboyInstance): Promise<void> {
  try {
    await pipeline(Readable.from(body, { objectMode: false }), parser);
  } catch (error) {
    throw isVaultError(error) ? error : broken('it does not end as forms do', error);
  }
}

async function* contentOf(
  stream: Readable,
  ended: Promise<void>,
): AsyncGenerator<Uint8Array, void, undefined> {
  ended.catch((error: unknown) => stream.destroy(error instanceof Error ? error : undefined));
  yield* stream;
  await ended;
}

/** As browsers write names: https://html.spec.whatwg.org/#multipart-form-data. */
function unescaped(name: string): string {
  return name.replaceAll('%22', '"').replaceAll('%0D', '\r').replaceAll('%0A', '\n');
}

function broken(why: string, cause?: unknown): VaultError {
  return invalidInput(`The form cannot be used: ${why}.`, cause);
}
