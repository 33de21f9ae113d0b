/** From a folder of this machine to stored chunks, an index of it, and the tables that list them. */
import { mapOrdered } from '../../concurrency/map-ordered.ts';
import type { WriterKeys } from '../../crypto/keys.ts';
import { MOST_INDEX_BODY } from '../../format/folder-index.ts';
import { MAX_CUT_SIZE } from '../../format/limits.ts';
import { readAccounts } from '../folders/accounts.ts';
import { shown } from '../folders/disk-path.ts';
import { makeExcludes } from '../folders/excludes.ts';
import type { FolderSource } from '../folders/folder-source.ts';
import { groupsOf } from '../folders/grouping.ts';
import type { Group } from '../folders/grouping.ts';
import { partsOf, unknown } from '../folders/group-parts.ts';
import type { GroupPart } from '../folders/group-parts.ts';
import { LoggedGroups } from '../folders/local-log.ts';
import type { LocalLogWriter, LogPlace } from '../folders/local-log.ts';
import type { ScanAhead } from '../folders/scan-ahead.ts';
import { isLoss, scan } from '../folders/scan.ts';
import type { Missed, ScannedEntry } from '../folders/scan.ts';
import { idOfRef } from '../files/tables.ts';
import type { Session } from '../session.ts';
import type { ChunkWriter, StoredChunk } from './chunk-writer.ts';
import { startStoring } from './content.ts';
import type { TableWriter } from './table-writer.ts';
import type { ContentCall, StoredContent } from './content.ts';
import type { SourceFacts } from './finish-put.ts';
import { factsOf, isToRead, rootOf, TreeReader } from './tree-reader.ts';
import type { Piece, TreeMember } from './tree-reader.ts';

export interface FolderCall extends Omit<ContentCall, 'chunking' | 'chunkSize' | 'beginning' | 'dedup'> {
  readonly dedup: Pick<WriterKeys, 'content' | 'table' | 'index' | 'cut'>;
  /** What the last put of it remembered; null for nothing. */
  readonly log: LogPlace | null;
  /** What this one does. */
  readonly known: LocalLogWriter | null;
  /** A scan of it that has begun; null: none has. */
  readonly scan: ScanAhead | null;
}

/** Groups that are looked for in the buckets at once. */
const LOOKS_AT_ONCE = 4;

/** Stores a folder's chunks, those of its index, and of the tables of both. What of it cannot be read is told, and makes it incomplete. */
export async function storeFolder(
  session: Session,
  source: FolderSource,
  call: FolderCall,
): Promise<{ readonly content: StoredContent; readonly facts: SourceFacts }> {
  const { signal, dedup, known } = call;
  const { writer, tables } = startStoring(session, call, MAX_CUT_SIZE);
  const indexMemory = session.memory.share(MOST_INDEX_BODY, session.keyring.keyring.redundancy).lender;
  const accounts = await readAccounts();
  const excludes = await makeExcludes(source.excludes ?? []);
  const missing = new Missing(call.onWarning);
  const { onMissed } = missing;
  let doneBytes = 0;
  const onBytes = (count: number): void => {
    doneBytes += count;
    call.onProgress?.({ doneBytes, totalBytes: null, doneFiles: reader.files });
  };
  const lenders = { content: writer.memory, index: indexMemory };
  const reader = new TreeReader({
    root: source.root,
    accounts,
    cut: dedup.cut,
    contentMemory: lenders.content,
    indexMemory,
    signal,
    now: () => session.clock.now(),
    onMissed,
    onBytes,
  });
  onBytes(0);
  const log = source.forceRead === true ? null : call.log;
  const stored = mapOrdered(
    (aborted) => {
      const options = { accounts, signal: aborted, onMissed };
      const entries = call.scan?.entries(options) ?? scan(source.root, { ...source, ...options, excludes });
      const groups = groupsOf(entries, memberMaker(), dedup.cut);
      return reader.pieces(partsOfGroups(groups, { log, writer, signal: aborted, onBytes }));
    },
    async (piece, aborted) => storePiece(writer, piece, { lenders, dedup, aborted }),
    // Most groups are a body, what is said at their end, and now and then a piece of the index.
    {
      inFlight: writer.inFlight * 3,
      signal,
      discard: (piece) => {
        if (piece.kind === 'content' || piece.kind === 'index') lenders[piece.kind].giveBack(piece.memory);
      },
    },
  );
  let chunks = 0;
  for await (const { piece, chunk } of stored) {
    if (chunk === null) {
      if (piece.kind === 'end') await known?.endGroup(piece.group);
    } else if (piece.kind === 'index') {
      await tables.addIndex(chunk);
    } else {
      await tables.add(chunk);
      known?.chunk(chunk.ref);
      chunks += 1;
    }
  }
  const incomplete = missing.end();
  const top = await tables.finish();
  await writer.finish();
  const { bytesStored } = writer.uploader;
  const content = { ...contentOf(reader, top, { chunks, incomplete }), ...writer.totals, bytesStored };
  return { content, facts: rootOf(reader) };
}

/** Tells of what is not stored. */
class Missing {
  readonly #warn: FolderCall['onWarning'];
  readonly #own = new Set<string>();
  #incomplete = false;

  constructor(warn: FolderCall['onWarning']) {
    this.#warn = warn;
  }

  readonly onMissed = (missed: Missed): void => {
    const { why, message, path } = missed;
    if (why === 'own') {
      this.#own.add(shown(path));
      return;
    }
    this.#incomplete ||= isLoss(missed);
    const kind = why === 'socket' ? 'skipped' : why === 'undated' ? 'not-kept' : 'missed';
    this.#warn?.({ kind, message, bucket: null });
  };

  /** What is the vault's own is told together. @returns whether anything is missing that should not be */
  end(): boolean {
    if (this.#own.size > 0) {
      const message = `Left out, since it is what this vault keeps itself: ${[...this.#own].join(', ')}.`;
      this.#warn?.({ kind: 'left-out', message, bucket: null });
    }
    return this.#incomplete;
  }
}

function contentOf(
  { totals, contentSize, indexSize, inlineIndex }: TreeReader,
  { content, index, ids, indexChunks }: Awaited<ReturnType<TableWriter['finish']>>,
  { chunks, incomplete }: { readonly chunks: number; readonly incomplete: boolean },
): Pick<StoredContent, 'table' | 'folder' | 'ids' | 'chunks' | 'indexChunks'> {
  const { entries, size } = totals;
  const none = chunks === 0 ? Buffer.alloc(0) : null;
  const table = { size: contentSize, chunkSize: null, ...content, inline: none };
  const indexTable = { size: indexSize, chunkSize: null, ...index, inline: inlineIndex };
  return { table, folder: { index: indexTable, size, entries, incomplete }, ids, chunks, indexChunks };
}

async function storePiece(
  writer: ChunkWriter,
  piece: Piece,
  {
    lenders,
    dedup,
    aborted,
  }: {
    readonly lenders: Readonly<Record<'content' | 'index', ChunkWriter['memory']>>;
    readonly dedup: FolderCall['dedup'];
    readonly aborted: AbortSignal;
  },
): Promise<{ readonly piece: Piece; readonly chunk: StoredChunk | null }> {
  switch (piece.kind) {
    case 'content':
    case 'index': {
      const body = { length: piece.length, full: false, dedupKey: dedup[piece.kind] };
      const chunk = await writer.store(piece.memory, body, aborted, lenders[piece.kind]);
      return { piece, chunk };
    }
    case 'known':
      return { piece, chunk: { ref: piece.ref, id: idOfRef(piece.ref) } };
    case 'end':
      return { piece, chunk: null };
  }
}

/** Of a file with several paths the first one has the content. */
function memberMaker(): (scanned: ScannedEntry) => TreeMember {
  const seen = new Set<number>();
  return (scanned) => {
    const { path, kind, linkGroup } = scanned.entry;
    const hasContent = kind === 'file' && (linkGroup === null || !seen.has(linkGroup));
    if (linkGroup !== null) seen.add(linkGroup);
    return { path, size: hasContent ? scanned.state.size : 0, scanned, hasContent };
  };
}

/** Looks each group up: in what is remembered, and then in the buckets. */
function partsOfGroups(
  groups: AsyncIterable<Group<TreeMember>>,
  p: {
    readonly log: LogPlace | null;
    readonly writer: ChunkWriter;
    readonly signal: AbortSignal;
    readonly onBytes: (count: number) => void;
  },
): AsyncIterable<readonly GroupPart<TreeMember>[]> {
  const remembered = async function* (): AsyncGenerator<Looked, void, undefined> {
    const log = new LoggedGroups(p.log);
    try {
      for await (const group of groups) {
        const files = group.members.filter(isToRead);
        const facts = files.map(({ scanned }) => factsOf(scanned.entry.path, scanned.state));
        yield { group, parts: partsOf(group, isToRead, await log.find(facts)) };
      }
    } finally {
      await log.close();
    }
  };
  return mapOrdered(
    remembered,
    async ({ group, parts }, signal) => {
      const known = parts.filter((part) => part.known !== null);
      for (const one of known) {
        if (one.known !== null && !(await p.writer.areThere(one.known.refs(), null, signal)))
          return unknown(group);
      }
      const bytes = known.flatMap(({ members }) => members).reduce((sum, { size }) => sum + size, 0);
      if (known.length > 0) p.onBytes(bytes);
      return parts;
    },
    { inFlight: LOOKS_AT_ONCE, signal: p.signal },
  );
}

interface Looked {
  readonly group: Group<TreeMember>;
  readonly parts: readonly GroupPart<TreeMember>[];
}
