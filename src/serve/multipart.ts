/**
 * `multipart/form-data` (RFC 7578), read as a stream: small fields first, then one file, which has to be the last part. So the fields
 * are known when the file's first byte comes, nothing of the file is kept in memory, and nothing can come behind it.
 */
import { VaultError } from '../errors.ts';

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

const MAX_FIELDS = 20;
const MAX_FIELD_SIZE = 16 * 1024;
/** Bytes of a part's head: the longest name, and what comes with it. */
const MAX_HEAD_SIZE = 32 * 1024;
const CRLF2 = Buffer.from('\r\n\r\n');

/**
 * Reads a form up to the bytes of its file.
 *
 * @param type the value of Content-Type
 * @throws `invalid-input` if it is no such form, or has more than fields and one file
 */
export async function readForm(type: string, body: AsyncIterable<Uint8Array>): Promise<Form> {
  const [, quoted, plain] =
    /^multipart\/form-data\s*;(?:.*;)?\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))\s*(?:;|$)/i.exec(type) ??
    [];
  const boundary = quoted ?? plain;
  if (boundary === undefined) throw broken('its Content-Type names no boundary');
  const input = new Input(body[Symbol.asyncIterator]());
  // A body begins with a boundary, which each of the others has a line end before.
  input.prepend(Buffer.from('\r\n'));
  const delimiter = Buffer.from(`\r\n--${boundary}`);
  const fields = new Map<string, string>();
  if ((await input.upTo(delimiter, 0)).length > 0) throw broken('something comes before its first part');
  while (await hasNext(input)) {
    const { name, filename } = headOf(utf8(await input.upTo(CRLF2, MAX_HEAD_SIZE)));
    if (filename !== null) {
      if (name !== 'file') throw broken(`its file is called "${name.slice(0, 40)}" and not "file"`);
      return { fields, file: { name: filename, content: contentOf(input, delimiter) } };
    }
    if (fields.size === MAX_FIELDS) throw broken(`it has more than ${MAX_FIELDS} fields`);
    if (fields.has(name)) throw broken('a field is there twice');
    fields.set(name, utf8(await input.upTo(delimiter, MAX_FIELD_SIZE)));
  }
  await input.end();
  return { fields, file: null };
}

async function* contentOf(input: Input, delimiter: Buffer): AsyncGenerator<Uint8Array, void, undefined> {
  yield* input.runsUpTo(delimiter);
  if (await hasNext(input)) {
    throw broken(
      'the file must be its last part: send fields such as password before it, and one file at a time',
    );
  }
  await input.end();
}

/** Whether a delimiter is followed by another part, and not by the end. */
async function hasNext(input: Input): Promise<boolean> {
  const next = await input.take(2);
  if (next === '--') return false;
  if (next !== '\r\n') throw broken('a boundary does not end as one');
  return true;
}

function headOf(text: string): { readonly name: string; readonly filename: string | null } {
  const disposition = /^content-disposition: *form-data *;(.*)$/im.exec(text)?.[1] ?? '';
  const parameter = (key: string): string | null => {
    const found = new RegExp(`(?:^|;) *${key}="((?:[^"\\\\\\r\\n]|\\\\.)*)"`, 'i').exec(disposition)?.[1];
    if (found === undefined) return null;
    // As browsers write them: https://html.spec.whatwg.org/#multipart-form-data; others put a backslash before quotes.
    return found
      .replaceAll('%22', '"')
      .replaceAll('%0D', '\r')
      .replaceAll('%0A', '\n')
      .replaceAll(/\\(["\\])/g, '$1');
  };
  const name = parameter('name');
  if (name === null) throw broken('a part has no name');
  if (/^content-transfer-encoding: *(?!binary|8bit|7bit)/im.test(text)) throw broken('a part is encoded');
  return { name, filename: parameter('filename') };
}

/** The body, with what has been read of it and not been used. */
class Input {
  readonly #source: AsyncIterator<Uint8Array>;
  #held: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterator<Uint8Array>) {
    this.#source = source;
  }

  prepend(bytes: Buffer): void {
    this.#held = Buffer.concat([bytes, this.#held]);
  }

  /** What comes before some bytes, which are passed over. @param most bytes of it */
  async upTo(end: Buffer, most: number): Promise<Buffer> {
    let searchFrom = 0;
    for (;;) {
      const at = this.#held.indexOf(end, searchFrom);
      if ((at === -1 ? this.#held.length - end.length : at) > most) throw broken('a part of it is too long');
      if (at !== -1) {
        const before = this.#held.subarray(0, at);
        this.#held = this.#held.subarray(at + end.length);
        return before;
      }
      searchFrom = Math.max(0, this.#held.length - end.length + 1);
      await this.#more();
    }
  }

  /** The same, as it comes. */
  async *runsUpTo(end: Buffer): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      const at = this.#held.indexOf(end);
      // What may be the beginning of the end waits for the rest.
      const sure = at === -1 ? this.#held.length - end.length + 1 : at;
      if (sure > 0) yield this.#held.subarray(0, sure);
      if (sure > 0) this.#held = this.#held.subarray(sure);
      if (at !== -1) {
        this.#held = this.#held.subarray(end.length);
        return;
      }
      await this.#more();
    }
  }

  async take(size: number): Promise<string> {
    while (this.#held.length < size) await this.#more();
    const taken = this.#held.toString('latin1', 0, size);
    this.#held = this.#held.subarray(size);
    return taken;
  }

  /** Reads to the end, where only a line end may be. */
  async end(): Promise<void> {
    for (;;) {
      if (!['', '\r', '\r\n'].includes(this.#held.toString('latin1', 0, 3)))
        throw broken('something comes behind its end');
      const { done, value } = await this.#source.next();
      if (done === true) return;
      this.#held = Buffer.concat([this.#held, value]);
    }
  }

  async #more(): Promise<void> {
    const { done, value } = await this.#source.next();
    if (done === true) throw broken('it ends in the middle');
    this.#held =
      this.#held.length === 0
        ? Buffer.from(value.buffer, value.byteOffset, value.length)
        : Buffer.concat([this.#held, value]);
  }
}

function utf8(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new VaultError('invalid-input', 'The form is not UTF-8.', { cause });
  }
}

function broken(why: string): VaultError {
  return new VaultError('invalid-input', `The form cannot be used: ${why}.`);
}
