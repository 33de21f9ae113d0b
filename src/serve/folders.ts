/** Stored folders: what lies in them, single files of them, and archives. */
import { invalidInput } from '../errors.ts';
import { comparePaths, type FolderEntry } from '../format/folder-index.ts';
import { entryAsJson } from '../vault/files/as-json.ts';
import { entriesIn } from '../vault/folders/selection.ts';
import type { Stored } from '../vault/folders/stored-folder.ts';
import { tarStream } from '../vault/folders/tar.ts';
import { wholeFile, type ReadContent } from '../vault/folders/with-holes.ts';
import { contentReader } from '../vault/folders/content-runs.ts';
import type { Answer } from './answers.ts';
import { downloadHeaders, etagOf, fileAnswer, lastPart, memoryFor, requireWanted } from './content.ts';
import type { Exchange } from './exchange.ts';
import { flagOf, MAX_PAGE, openStored, PAGE, referenceOf, wholeOf } from './stored.ts';
import type { Route, Serving } from './serving.ts';
import { CHUNKS_IN_FLIGHT, inTurns, type Opened } from './turns.ts';
import { zipStream } from './zip.ts';

export const FOLDERS: readonly Route[] = [
  {
    method: 'GET',
    path: '/api/folders/{ref...}',
    summary: 'What lies in a folder or in a part of it, in pages; with recursive=true also what lies deeper.',
    scope: 'list',
    query: ['limit', 'after', 'recursive'],
    handle: listEntries,
  },
];

type InFolder = Extract<Stored, { readonly kind: 'folder' }>;

async function listEntries(exchange: Exchange, serving: Serving): Promise<Answer> {
  const limit = wholeOf(exchange, 'limit', { least: 1, most: MAX_PAGE }) ?? PAGE;
  const cursor = exchange.query.get('after') ?? '';
  const after = Buffer.from(cursor, 'base64url');
  if (after.toString('base64url') !== cursor)
    throw invalidInput('after is what the page before said as next.');
  const recursive = flagOf(exchange, 'recursive');
  const stored = await openStored(exchange, serving, { reference: referenceOf(exchange) });
  if (stored.kind === 'file') throw invalidInput(`"${stored.file.name}" is not a folder.`);
  const { folder } = stored;
  const { signal } = exchange;
  const wanted = wantedOf(stored);
  const entries: FolderEntry[] = [];
  for await (const entry of entriesIn(folder.list({ signal }), wanted, recursive)) {
    if (after.length > 0 && comparePaths(entry.path, after) <= 0) continue;
    entries.push(entry);
    if (entries.length > limit) break;
  }
  // A part of it that has nothing in it is there, or is not.
  if (entries.length === 0) await folder.select(wanted, { signal });
  const shown = entries.slice(0, limit);
  const next = entries.length > limit ? (shown.at(-1)?.path.toString('base64url') ?? null) : null;
  return { status: 200, json: { hash: folder.hash, entries: shown.map(entryAsJson), next } };
}

function wantedOf({ path }: InFolder): { readonly path: Buffer } | null {
  const plain = path.replace(/\/+$/, '');
  return plain === '' ? null : { path: Buffer.from(plain) };
}

/**
 * The answer that gives what was found: a file, a file of a folder, or an archive of a folder or a part of it.
 *
 * @param wanted `usual`: the kind of archive unless `format` in the query says
 * @throws `invalid-input` for a folder of which nobody says what archive it is to be, and for a file that is to be one
 */
export async function storedAnswer(
  exchange: Exchange,
  serving: Serving,
  wanted: { readonly stored: Stored; readonly usual?: 'zip' | null },
): Promise<Answer> {
  const { stored, usual = null } = wanted;
  const given = exchange.query.get('format');
  if (stored.kind === 'file') {
    requireNoFormat(given);
    requireWanted(exchange, etagOf(stored.file));
    return fileAnswer(exchange, serving, stored.file);
  }
  const { folder } = stored;
  const { signal } = exchange;
  const selected = await folder.select(wantedOf(stored), { signal, chunksInFlight: CHUNKS_IN_FLIGHT });
  const { only } = selected;
  const prefix = lastPart(stored.path === '' ? folder.name : stored.path);
  const opened = inTurns(exchange, serving, {
    memory: () => memoryFor(folder, CHUNKS_IN_FLIGHT),
    open: () => selected.reader(),
  });
  if (only !== null) {
    if (only.kind !== 'file') throw invalidInput(`"${prefix}" is neither a file nor a folder.`);
    requireNoFormat(given);
    requireWanted(exchange, null);
    const headers = { ...downloadHeaders(prefix), 'Content-Length': String(only.content?.size ?? 0) };
    const content = reading(opened, (read) => wholeFile(only, read(only, signal)));
    return { status: 200, headers, content };
  }
  const format = given ?? usual;
  if (format !== 'tar' && format !== 'zip') {
    throw invalidInput(
      'This is a folder: ask for it with ?format=tar or ?format=zip, or for what is in it at /api/folders/.',
    );
  }
  requireWanted(exchange, null);
  const archive = format === 'tar' ? tarStream : zipStream;
  return {
    status: 200,
    headers: downloadHeaders(
      `${prefix}.${format}`,
      format === 'tar' ? 'application/x-tar' : 'application/zip',
    ),
    content: reading(opened, (read) => archive(selected.entries(), read, { prefix, signal })),
  };
}

/** @throws `invalid-input` */
function requireNoFormat(given: string | null): void {
  if (given !== null)
    throw invalidInput('This is a file: only folders come in a format. Ask for it without.');
}

async function* reading(
  opened: Opened,
  use: (readContent: ReadContent) => AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* use(contentReader(opened.runAt));
  } finally {
    await opened.close();
  }
}
