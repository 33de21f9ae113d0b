/** What the page asks the server. */

export interface Listed {
  readonly hash: string;
  readonly kind: 'file' | 'folder';
  readonly name: string;
  readonly size: number | null;
  readonly createdAt: string;
  readonly expiresAt: string | null;
  readonly deletedAt?: string | null;
  readonly locked: boolean;
}

export interface Link {
  readonly id: string;
  readonly hash: string;
  readonly name: string;
  readonly createdAt: string;
  readonly expiresAt: string | null;
  readonly expired: boolean;
  readonly mostDownloads: number | null;
  readonly downloads: number;
  readonly asksPassword: boolean;
}

export interface Session {
  /** What may be asked for. */
  readonly scopes: readonly string[];
  /** Whether it needs no token. */
  readonly open: boolean;
}

export class Refused extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, body: unknown) {
    const { error } = { error: {}, ...Object(body) };
    const { code, message } = { code: 'bug', message: `The server answered ${status}.`, ...Object(error) };
    super(String(message));
    this.status = status;
    this.code = String(code);
  }
}

/** Is called when a session has ended. */
export const onSignedOut: { call: () => void } = { call: () => undefined };

/** One request and its JSON. @throws Refused */
export async function ask<T>(
  path: string,
  { method = 'GET', json, headers = {} }: AskOptions = {},
): Promise<T> {
  const body = json === undefined ? null : JSON.stringify(json);
  const type = body === null ? {} : { 'Content-Type': 'application/json' };
  const response = await fetch(path, { method, body, headers: { ...type, ...headers } }).catch(() => {
    throw new Error('The server cannot be reached.');
  });
  const answer: T = await response.json().catch(() => null);
  if (response.ok) return answer;
  if (response.status === 401) onSignedOut.call();
  throw new Refused(response.status, answer);
}

interface AskOptions {
  readonly method?: string;
  readonly json?: Readonly<Record<string, unknown>>;
  readonly headers?: Readonly<Record<string, string>>;
}

export function pathOf(reference: string, kind: 'files' | 'folders' = 'files'): string {
  return `api/${kind}/${reference.split('/').map(encodeURIComponent).join('/')}`;
}

/** Sends a file, as the browser reads it from its disk. */
export function send(
  name: string,
  file: File,
  options: {
    readonly password: string;
    readonly signal: AbortSignal;
    readonly onProgress: (bytes: number) => void;
  },
): Promise<void> {
  const { password, signal, onProgress } = options;
  const request = new XMLHttpRequest();
  const done = Promise.withResolvers<void>();
  request.open('PUT', pathOf(name));
  request.setRequestHeader('Content-Type', 'application/octet-stream');
  // A header takes characters as bytes.
  if (password !== '') {
    const bytes = new TextEncoder().encode(password);
    request.setRequestHeader('Vault-Password', String.fromCharCode(...bytes));
  }
  request.responseType = 'json';
  request.upload.addEventListener('progress', ({ loaded }) => onProgress(loaded));
  request.addEventListener('load', () => {
    if (request.status === 401) onSignedOut.call();
    if (request.status < 300) done.resolve();
    else done.reject(new Refused(request.status, request.response));
  });
  request.addEventListener('error', () => done.reject(new Error('The connection ended.')));
  request.addEventListener('abort', () => done.reject(new Error('Cancelled.')));
  signal.addEventListener('abort', () => request.abort());
  if (signal.aborted) return Promise.reject(new Error('Cancelled.'));
  request.send(file);
  return done.promise;
}
