/** The head of an answer in HTTP/1.1 (RFC 9112): what it says, and how its body is to be read. */

/** Headers by name in small letters; several of one name are one, with commas between. */
export type Headers = { readonly date?: string } & Readonly<Record<string, string>>;

export interface Head {
  readonly status: number;
  readonly headers: Headers;
  /** Bytes of the body; `chunked`: it says itself where it ends; `until-close`: the connection's end is its end. */
  readonly body: number | 'chunked' | 'until-close';
  /** Whether the connection may be used again. */
  readonly keepsAlive: boolean;
  /** Seconds for which the server keeps it without use; null if it does not say. */
  readonly idleSeconds: number | null;
}

/** What is not HTTP, as an error with a code of the kind that Node's own parser gives. */
export function malformed(what: string): Error {
  return Object.assign(new Error(`Parse Error: ${what}`), { code: 'HPE_INVALID' });
}

const STATUS_LINE = /^HTTP\/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n]*)?$/;
const HEADER = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*$/;

/**
 * Reads a head.
 *
 * @param text its lines, without the empty one at their end
 * @throws what `malformed` gives
 */
export function parseHead(text: string): Head {
  const [first = '', ...lines] = text.split('\r\n');
  const [, minor, status] = STATUS_LINE.exec(first) ?? [];
  if (status === undefined) throw malformed('there is no status line');
  const headers: Record<string, string> = Object.create(null);
  for (const line of lines) {
    const [, name, value = ''] = HEADER.exec(line) ?? [];
    if (name === undefined) throw malformed('there is a line that is no header');
    const key = name.toLowerCase();
    const before = headers[key];
    headers[key] = before === undefined || key === 'content-length' ? value : `${before}, ${value}`;
    if (key === 'content-length' && before !== undefined && before !== value)
      throw malformed('there are two lengths');
  }
  const options = (headers['connection'] ?? '').toLowerCase().split(/[\s,]+/);
  const idle = /(?:^|[\s,])timeout=(\d{1,9})/i.exec(headers['keep-alive'] ?? '')?.[1];
  const body = bodyOf(Number(status), headers);
  return {
    status: Number(status),
    headers,
    body,
    keepsAlive:
      body !== 'until-close' && (minor === '1' ? !options.includes('close') : options.includes('keep-alive')),
    idleSeconds: idle === undefined ? null : Number(idle),
  };
}

function bodyOf(status: number, headers: Headers): Head['body'] {
  if (status < 200 || status === 204 || status === 304) return 0;
  const { 'transfer-encoding': coding, 'content-length': length } = headers;
  // Whoever says both may mean one thing, and be understood as the other.
  if (coding !== undefined && length !== undefined) throw malformed('there are a length and a coding');
  if (coding !== undefined) {
    if (coding.toLowerCase() !== 'chunked') throw malformed('there is a coding that nobody has asked for');
    return 'chunked';
  }
  if (length === undefined) return 'until-close';
  if (!/^\d{1,15}$/.test(length)) throw malformed('there is an impossible length');
  return Number(length);
}
