/** What is said to a request, and what an error becomes in HTTP. */
import { isVaultError, type ErrorCode } from '../errors.ts';

export interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Said as JSON. */
  readonly json?: unknown;
  /** Said as it is; its type stands in the headers. */
  readonly text?: string;
  /** A file's bytes, whose memory is only valid until the next ones are asked for. */
  readonly content?: AsyncIterable<Uint8Array>;
  /** The code of what went wrong, for the log, and what is said of it. */
  readonly code?: string;
  readonly message?: string;
}

/** Codes of errors that only HTTP has, beside those of `VaultError`. */
export type HttpCode =
  | 'unauthorized'
  | 'forbidden'
  | 'no-route'
  | 'wrong-method'
  | 'no-length'
  | 'too-large'
  | 'too-slow'
  | 'too-many'
  | 'bad-range'
  | 'no-match'
  | 'bad-request'
  | 'busy'
  | 'gone'
  | 'bug';

const STATUS_OF: Readonly<Record<ErrorCode, number>> = {
  'invalid-input': 400,
  'source-changed': 400,
  'wrong-password': 403,
  'file-not-found': 404,
  'already-exists': 409,
  damaged: 500,
  'object-missing': 500,
  unsupported: 500,
  denied: 502,
  retained: 502,
  'bucket-mismatch': 502,
  'bucket-missing': 502,
  unavailable: 503,
  stale: 503,
  'no-vault': 503,
  interrupted: 503,
  'storage-full': 507,
};

/** Errors about what the client itself has sent or asked for. The messages of all others may tell where things are stored. */
const OWN: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'invalid-input',
  'source-changed',
  'wrong-password',
  'file-not-found',
]);

export function failure(
  status: number,
  code: HttpCode | ErrorCode,
  message: string,
  headers: Readonly<Record<string, string>> = {},
): Answer {
  return { status, headers, code, message, json: { status: 'error', error: { code, message } } };
}

export function failureOf(error: unknown): Answer {
  if (!isVaultError(error)) {
    return failure(500, 'bug', 'The server failed for a reason of its own; its operator can find it.');
  }
  const { code } = error;
  if (code === 'wrong-password' && error.retryAfterMs !== null) {
    return failure(429, 'too-many', error.message, {
      'Retry-After': String(Math.ceil(error.retryAfterMs / 1000)),
    });
  }
  const message = OWN.has(code) ? error.message : messageFor(code);
  return failure(STATUS_OF[code], code, message, STATUS_OF[code] === 503 ? { 'Retry-After': '5' } : {});
}

function messageFor(code: ErrorCode): string {
  switch (code) {
    case 'damaged':
    case 'object-missing':
      return 'What is stored of this file is damaged, so it was not given. "vault verify" tells more.';
    case 'storage-full':
      return "The vault's storage is full, so nothing was stored.";
    case 'unavailable':
    case 'stale':
      return "The vault's storage or database cannot be reached just now. Try again later.";
    case 'interrupted':
      return 'The server is being stopped. Try again later.';
    default:
      return 'The vault cannot do this just now; its operator finds the reason in what the server says.';
  }
}

/** Of every answer. None of them is a page that may load or run anything. */
export const STRICT_HEADERS: Readonly<Record<string, string>> = {
  'Content-Security-Policy':
    "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'; sandbox",
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Cache-Control': 'no-store',
};
