/** A stored file as an answer: its headers, and the part of it that was asked for. */
import { posix } from 'node:path';
import { mostBody } from '../format/manifest.ts';
import type { StoredFile } from '../vault/read/get.ts';
import { failure, type Answer } from './answers.ts';
import type { Exchange } from './exchange.ts';
import type { Serving } from './serving.ts';
import { inTurns, type Opened } from './turns.ts';

/** Bytes that a file of no chunks takes. */
const LEAST_MEMORY = 64 * 1024;
const NOTHING = new Uint8Array(0);

/** The answer that gives a file; to GET alone also a part of it. */
export function fileAnswer(exchange: Exchange, serving: Serving, file: StoredFile): Answer {
  const { contentSize: size } = file;
  const etag = etagOf(file);
  const headers: Record<string, string> = {
    ...downloadHeaders(file.name),
    ETag: etag,
    'Accept-Ranges': exchange.method === 'POST' ? 'none' : 'bytes',
  };
  const known = exchange.header('if-none-match')?.replaceAll('W/"', '"');
  if (known !== undefined && namesIt(known, etag)) return { status: 304, headers };
  const range = exchange.method === 'GET' ? rangeOf(exchange, etag, size) : null;
  if (range === 'unsatisfiable') {
    return failure(416, 'bad-range', `The file has ${size} bytes.`, { 'Content-Range': `bytes */${size}` });
  }
  const { start, end } = range ?? { start: 0, end: size };
  headers['Content-Length'] = String(end - start);
  if (range !== null) headers['Content-Range'] = `bytes ${start}-${end - 1}/${size}`;
  const { signal } = exchange;
  const opened = inTurns(exchange, serving, {
    memory: (chunksInFlight) => memoryFor(file, chunksInFlight),
    open(chunksInFlight) {
      let runs: AsyncIterator<Uint8Array, unknown> | null = null;
      return {
        async runAt(at) {
          runs ??= file.content({ signal, start: at, end, chunksInFlight })[Symbol.asyncIterator]();
          const next = await runs.next();
          return { start: at, bytes: next.done === true ? NOTHING : next.value };
        },
        close: async () => void (await runs?.return?.()),
      };
    },
  });
  return { status: range === null ? 200 : 206, headers, content: between(opened, start, end) };
}

async function* between(
  opened: Opened,
  start: number,
  end: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (start === end) yield NOTHING;
  try {
    for (let at = start; at < end;) {
      const { bytes } = await opened.runAt(at);
      if (bytes.length === 0) return;
      yield bytes;
      at += bytes.length;
    }
  } finally {
    await opened.close();
  }
}

/** Of what is sent to be saved under a name. */
export function downloadHeaders(name: string, type = 'application/octet-stream'): Record<string, string> {
  return {
    'Content-Type': type,
    'Content-Disposition': dispositionOf(name),
    'Cache-Control': 'private, no-cache',
  };
}

/** Bytes of memory that sending a content takes: each chunk in flight, the one that is being sent, and the shards that they are made of. */
export function memoryFor(
  file: { readonly contentSize: number; readonly chunkSize: number | null },
  chunksInFlight: number,
): number {
  return 2 * Math.min(file.contentSize, (chunksInFlight + 1) * mostBody(file)) + LEAST_MEMORY;
}

/** What a file's version is known by. */
export function etagOf({ hash }: Pick<StoredFile, 'hash'>): string {
  return `"${hash}"`;
}

/** Whether a condition names a version. @param etag null for what has none */
function namesIt(condition: string, etag: string | null): boolean {
  return condition.split(',').some((one) => one.trim() === '*' || one.trim() === etag);
}

/** @throws if only another version than this is wanted; the exchange has a refusal then */
export function requireWanted(exchange: Exchange, etag: string | null): void {
  const condition = exchange.header('if-match');
  if (condition === null || namesIt(condition, etag)) return;
  throw exchange.refuse(412, 'no-match', 'This is another version than If-Match names.');
}

/** The one run of bytes that was asked for; null for all of them, which is also the answer to several runs at once. */
function rangeOf(
  exchange: Exchange,
  etag: string,
  size: number,
): { readonly start: number; readonly end: number } | 'unsatisfiable' | null {
  const [, first = '', last = ''] = /^bytes=(\d*)-(\d*)$/i.exec(exchange.header('range') ?? '') ?? [];
  if (first === '' && last === '') return null;
  const condition = exchange.header('if-range');
  if (condition !== null && condition !== etag) return null;
  const start = first === '' ? Math.max(0, size - Number(last)) : Number(first);
  const end = first === '' || last === '' ? size : Math.min(size, Number(last) + 1);
  if (first !== '' && last !== '' && Number(last) < start) return null;
  return start < end ? { start, end } : 'unsatisfiable';
}

/** Bytes of UTF-8 of a suggested name: file systems take 255. */
const MAX_NAME_SIZE = 200;

/** Always to be saved, never to be shown; under the last part of its name, whatever characters that has. */
export function dispositionOf(name: string): string {
  // Controls, and what turns the direction of writing so that an ending looks like another one.
  const last = lastPart(name).replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '_');
  let short = '';
  for (const character of last) {
    if (Buffer.byteLength(short + character) > MAX_NAME_SIZE) break;
    short += character;
  }
  const plain = short.replaceAll(/[^ !#-[\]-~]/gu, '_');
  const encoded = encodeURIComponent(short).replaceAll(
    /['()*]/g,
    (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return `attachment; filename="${plain}"; filename*=UTF-8''${encoded}`;
}

/** What a file or folder is called where it is saved. */
export function lastPart(name: string): string {
  const last = posix.basename(name.replaceAll('\\', '/'));
  return /^\.*$/.test(last) ? 'download' : last;
}
