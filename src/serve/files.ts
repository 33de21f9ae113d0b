/** The files of the vault by their names and hashes. */
import { invalidInput, isVaultError } from '../errors.ts';
import type { ListedFile } from '../vault/read/list.ts';
import { fileAsJson } from '../vault/files/as-json.ts';
import type { PutOptions, PutResult } from '../vault/write/put-call.ts';
import { streamSource } from '../vault/write/source.ts';
import { failure, type Answer } from './answers.ts';
import type { Exchange } from './exchange.ts';
import { storedAnswer } from './folders.ts';
import type { Route, Serving } from './serving.ts';
import {
  flagOf,
  MAX_PAGE,
  openStored,
  PAGE,
  PASSWORD_HEADER,
  referenceOf,
  toWhole,
  wholeOf,
} from './stored.ts';

export const FILES: readonly Route[] = [
  {
    method: 'GET',
    path: '/api/files',
    summary: 'Files, newest first, in pages.',
    scope: 'list',
    query: ['limit', 'after', 'all', 'name', 'search', 'deleted'],
    handle: list,
  },
  {
    method: 'POST',
    path: '/api/undelete/{ref...}',
    summary: 'Brings a removed file back.',
    scope: 'delete',
    async handle(exchange, { vault }) {
      const { restored } = await vault.undelete([referenceOf(exchange)], { signal: exchange.signal });
      return { status: 200, json: { status: 'success', restored: restored.map(({ hash }) => hash) } };
    },
  },
  {
    method: 'GET',
    path: '/api/files/{ref...}',
    summary: 'A file by name or hash; takes Range. A folder, or a part of it, with format=tar or format=zip.',
    scope: 'read',
    query: ['format'],
    answers: [200, 206, 304],
    async handle(exchange, serving) {
      const stored = await openStored(exchange, serving, { reference: referenceOf(exchange) });
      return storedAnswer(exchange, serving, { stored });
    },
  },
  {
    method: 'PUT',
    path: '/api/files/{ref...}',
    summary: 'Stores the body under a name.',
    scope: 'put',
    query: ['chunk_size', 'expires_in'],
    body: ['application/octet-stream'],
    answers: [200, 201],
    handle: put,
  },
  {
    method: 'DELETE',
    path: '/api/files/{ref...}',
    summary: 'Removes a file; it can be brought back for seven days.',
    scope: 'delete',
    async handle(exchange, serving) {
      const reference = referenceOf(exchange);
      const { signal } = exchange;
      const work = () => serving.vault.remove([reference], { signal });
      const { removed } = await toWhole(exchange, serving, { reference, work });
      return { status: 200, json: { status: 'success', removed: removed.map(({ hash }) => hash) } };
    },
  },
];

async function list(exchange: Exchange, { vault }: Serving): Promise<Answer> {
  const limit = wholeOf(exchange, 'limit', { least: 1, most: MAX_PAGE }) ?? PAGE;
  const all = flagOf(exchange, 'all');
  const cursor = exchange.query.get('after');
  const after = cursor === null ? undefined : positionOf(cursor);
  const deleted = flagOf(exchange, 'deleted');
  const fits = matcherOf(exchange);
  const files: ListedFile[] = [];
  let damaged = false;
  try {
    for await (const file of vault.list({ all, deleted, after, signal: exchange.signal })) {
      if (!fits(file.name)) continue;
      files.push(file);
      if (files.length > limit) break;
    }
  } catch (error) {
    // The records that can be read are listed all the same.
    if (!isVaultError(error, 'damaged')) throw error;
    damaged = true;
  }
  const shown = files.slice(0, limit);
  const [first, last] = [after?.first ?? shown[0], shown.at(-1)];
  const next =
    files.length > limit && first !== undefined && last !== undefined ? cursorOf(first, last) : null;
  return { status: 200, json: { files: shown.map(fileAsJson), next, ...(damaged && { damaged }) } };
}

/** Which names are asked for: one, or all that have a text in them. */
function matcherOf({ query }: Exchange): (name: string) => boolean {
  const [wanted, part] = [query.get('name'), query.get('search')?.toLowerCase() ?? ''];
  return (name) => (wanted === null || name === wanted) && name.toLowerCase().includes(part);
}

async function put(exchange: Exchange, serving: Serving): Promise<Answer> {
  const headers = exchange.request.headers;
  if (headers['content-length'] === undefined && headers['transfer-encoding'] === undefined) {
    return failure(
      411,
      'no-length',
      'A body needs Content-Length or Transfer-Encoding; Content-Length: 0 is an empty file.',
    );
  }
  const stored = await store(exchange, serving, {
    name: pathName(referenceOf(exchange)),
    content: exchange.body(),
    chunkSize: wholeOf(exchange, 'chunk_size') ?? undefined,
    password: exchange.header(PASSWORD_HEADER),
    expiresInMs: secondsOf(exchange, 'expires_in'),
  });
  return {
    status: stored.unchanged ? 200 : 201,
    json: { status: 'success', ...fileAsJson(stored), degraded: stored.degraded },
  };
}

export interface Upload {
  readonly name: string;
  readonly content: AsyncIterable<Uint8Array>;
  readonly chunkSize?: number | undefined;
  /** Its lock. */
  readonly password: string | null;
  readonly expiresInMs?: number | null;
}

/** Stores an upload. Nothing is listed unless its body came to its end. */
export async function store(
  exchange: Exchange,
  { vault, options }: Serving,
  upload: Upload,
): Promise<PutResult> {
  const { name, chunkSize, password, expiresInMs = null } = upload;
  const lock: PutOptions['lock'] = password === null ? undefined : { password };
  const expiresAtMs = expiresInMs === null ? null : options.clock.now() + expiresInMs;
  return vault.put(streamSource(upload.content, 'The body'), {
    name,
    chunkSize,
    lock,
    expiresAtMs,
    signal: exchange.signal,
    onWarning: ({ message }) => options.warn(message, null),
  });
}

/**
 * A name as a path of it can stand in a URL.
 *
 * @throws `invalid-input` for one that clients and proxies would change on its way
 */
export function pathName(name: string): string {
  if (!name.split('/').some((part) => part === '' || part === '.' || part === '..')) return name;
  throw invalidInput('A name here has no empty parts between slashes, and none of "." or "..".');
}

/** A hundred years, as on the command line. */
const MAX_SECONDS = 36_500 * 86_400;

function secondsOf(exchange: Exchange, name: string): number | null {
  const seconds = wholeOf(exchange, name, { least: 1, most: MAX_SECONDS });
  return seconds === null ? null : seconds * 1000;
}

interface Position {
  readonly createdAtMs: number;
  readonly hash: string;
}

function cursorOf(first: Position, last: Position): string {
  return [first, last].map(({ createdAtMs, hash }) => `${createdAtMs}.${hash}`).join('.');
}

function positionOf(cursor: string): { readonly first: Position; readonly last: Position } {
  const match = /^(-?\d{1,16})\.([0-9a-f]{64})\.(-?\d{1,16})\.([0-9a-f]{64})$/.exec(cursor);
  const [, firstMs, first = '', lastMs, last = ''] = match ?? [];
  if (match === null) throw invalidInput('after is what the page before said as next.');
  return {
    first: { createdAtMs: Number(firstMs), hash: first },
    last: { createdAtMs: Number(lastMs), hash: last },
  };
}
