import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, link, lutimes, mkdir, open, symlink, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { readAccounts } from '../../../src/vault/folders/accounts.ts';
import type { Accounts } from '../../../src/vault/folders/accounts.ts';
import type { FolderEntry } from '../../../src/format/folder-index.ts';
import { scan } from '../../../src/vault/folders/scan.ts';
import type { Missed, ScanOptions } from '../../../src/vault/folders/scan.ts';
import { openScanned } from '../../../src/vault/folders/scanned-file.ts';

export const run = promisify(execFile);

/** One thing of a tree to make; names have a character a byte. */
export type Thing =
  | { readonly kind: 'folder'; readonly mode: number; readonly mtime: number; readonly things: Things }
  | { readonly kind: 'file'; readonly mode: number; readonly mtime: number; readonly content: Buffer }
  | { readonly kind: 'sparse'; readonly pieces: readonly { readonly hole: number; readonly data: number }[] }
  | { readonly kind: 'symlink'; readonly target: string; readonly mtime: number }
  | { readonly kind: 'fifo' }
  /** One more path of the file that was made last. */
  | { readonly kind: 'link' };

export type Things = Readonly<Record<string, Thing>>;

export const onDisk = (path: string): Buffer => Buffer.from(path, 'latin1');

/** @returns what was made, by path; of a link, the file that it is a path of */
export async function makeTree(root: string, things: Things): Promise<Map<string, Thing>> {
  const made = new Map<string, Thing>();
  let lastFile: { readonly path: string; readonly thing: Thing } | null = null;
  const make = async (folder: string, content: Things): Promise<void> => {
    for (const [name, thing] of Object.entries(content)) {
      const path = `${folder}/${name}`;
      if (thing.kind === 'link' && lastFile === null) continue;
      made.set(
        path.slice(root.length + 1),
        thing.kind === 'link' && lastFile !== null ? lastFile.thing : thing,
      );
      if (thing.kind === 'folder') {
        await mkdir(onDisk(path));
        await make(path, thing.things);
        await chmod(onDisk(path), thing.mode);
        await lutimes(onDisk(path), 1, String(thing.mtime));
      } else if (thing.kind === 'file') {
        await writeFile(onDisk(path), thing.content);
        await chmod(onDisk(path), thing.mode);
        await lutimes(onDisk(path), 1, String(thing.mtime));
        lastFile = { path, thing };
      } else if (thing.kind === 'sparse') {
        await makeSparse(path, thing.pieces);
        lastFile = { path, thing };
      } else if (thing.kind === 'symlink') {
        await symlink(onDisk(thing.target), onDisk(path));
        await lutimes(onDisk(path), 1, String(thing.mtime));
      } else if (thing.kind === 'fifo') {
        await run('mkfifo', [path]);
      } else if (lastFile !== null) {
        await link(onDisk(lastFile.path), onDisk(path));
      }
    }
  };
  await make(root, things);
  return made;
}

export function contentOf(thing: Thing): Buffer | null {
  if (thing.kind === 'file') return thing.content;
  if (thing.kind !== 'sparse') return null;
  return Buffer.concat(thing.pieces.flatMap(({ hole, data }) => [Buffer.alloc(hole), Buffer.alloc(data, 7)]));
}

async function makeSparse(
  path: string,
  pieces: readonly { readonly hole: number; readonly data: number }[],
): Promise<void> {
  const file = await open(onDisk(path), 'w');
  let at = 0;
  for (const { hole, data } of pieces) {
    at += hole;
    await file.write(Buffer.alloc(data, 7), 0, data, at);
    at += data;
  }
  await file.truncate(at);
  await file.chmod(0o600);
  await file.close();
}

/** Names as bytes: plain, with odd characters, not UTF-8, around what sorts beside a slash. */
const nameBytes = fc.oneof(
  fc.constantFrom(
    'a',
    'a.b',
    'a-b',
    'a b',
    'A',
    'ab',
    '...',
    '.x',
    '-rf',
    'x\ny',
    '\xff\xfe',
    'z\xc3\xa9',
    '\x01',
  ),
  fc.stringMatching(/^[a-z]{1,3}$/),
  fc.stringMatching(/^[a-z]{120}$/),
);
const mtime = fc.oneof(
  fc.constantFrom(0, 1, -5.5, 1_700_000_000.123456, 4_000_000_000),
  fc.integer({ min: 0, max: 2_000_000_000 }),
);
const fileMode = fc.constantFrom(0o644, 0o600, 0o755, 0o400, 0o777, 0o644);

const { things } = fc.letrec<{ things: Things; thing: Thing }>((tie) => ({
  things: fc.dictionary(nameBytes, tie('thing'), { maxKeys: 6, noNullPrototype: true }),
  thing: fc.oneof(
    { maxDepth: 4 },
    fc.record({
      kind: fc.constant('file' as const),
      mode: fileMode,
      mtime,
      content: fc.oneof(
        fc.uint8Array({ maxLength: 50 }).map((bytes) => Buffer.from(bytes)),
        fc.constantFrom(Buffer.alloc(70_000, 1), Buffer.alloc(300_000), Buffer.alloc(300_000, 'x')),
      ),
    }),
    fc.record({
      kind: fc.constant('sparse' as const),
      pieces: fc.array(
        fc.record({
          hole: fc.constantFrom(0, 100, 65_536, 262_144, 1_048_577),
          data: fc.constantFrom(0, 1, 4096, 70_000),
        }),
        { maxLength: 4 },
      ),
    }),
    fc.record({
      kind: fc.constant('symlink' as const),
      target: fc.constantFrom('a', '../x', '/etc/passwd', '\xff', 'x'.repeat(300)),
      mtime,
    }),
    fc.constant({ kind: 'link' as const }),
    fc.record({
      kind: fc.constant('folder' as const),
      mode: fc.constantFrom(0o755, 0o700, 0o555, 0o1777, 0o2750),
      mtime,
      things: tie('things'),
    }),
  ),
}));

export const anyThings = things;

/** What a scan and the reading of all files give, kept in memory. */
export interface Stored {
  readonly entries: FolderEntry[];
  /** Of files, by entry. */
  readonly contents: ReadonlyMap<FolderEntry, Buffer>;
  readonly missed: Missed[];
}

export async function storeTree(root: string | Buffer, options: Partial<ScanOptions> = {}): Promise<Stored> {
  const accounts: Accounts = options.accounts ?? (await readAccounts());
  const entries: FolderEntry[] = [];
  const contents = new Map<FolderEntry, Buffer>();
  const missed: Missed[] = [];
  const groups = new Set<number>();
  let offset = 0;
  for await (const scanned of scan(root, { onMissed: (one) => missed.push(one), ...options, accounts })) {
    const { entry } = scanned;
    const isLink = entry.linkGroup !== null && groups.has(entry.linkGroup);
    if (entry.kind !== 'file' || isLink) {
      entries.push(entry);
      continue;
    }
    if (entry.linkGroup !== null) groups.add(entry.linkGroup);
    const file = await openScanned(root, scanned, accounts);
    const parts: Buffer[] = [];
    const target = Buffer.alloc(200_000);
    for (let count = -1; count !== 0;) {
      count = await file.read(target);
      parts.push(Buffer.from(target.subarray(0, count)));
    }
    const { size, extents } = await file.finish();
    await file.close();
    const whole = { ...file.entry, content: { size, offset, extents } };
    const content = Buffer.concat(parts);
    offset += content.length;
    entries.push(whole);
    contents.set(whole, content);
  }
  return { entries, contents, missed };
}

/** Pieces of a file's data, as they would come out of chunks. */
export function readerOf({ contents }: Stored): (entry: FolderEntry) => AsyncIterable<Uint8Array> {
  return async function* read(entry) {
    const content = contents.get(entry) ?? Buffer.alloc(0);
    for (let at = 0; at < content.length; at += 100_000) yield content.subarray(at, at + 100_000);
  };
}

/** A file as programs read it, holes and all. */
export function wholeOf(
  { size, extents }: NonNullable<FolderEntry['content']>,
  data: Buffer = Buffer.alloc(0),
): Buffer {
  const whole = Buffer.alloc(size);
  let taken = 0;
  for (const { start, length } of extents ?? [{ start: 0, length: size }]) {
    taken += data.copy(whole, start, taken, taken + length);
  }
  if (taken !== data.length) throw new Error('the extents are not as long as the data');
  return whole;
}

function digestOf(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** What can be compared of two trees: everything but inodes, change times and where content lies. */
export async function factsOf(
  root: string | Buffer,
): Promise<{ readonly path: string; readonly modified: string | null }[]> {
  const { entries, contents } = await storeTree(root);
  return entries.map((entry) => ({
    path: entry.path.toString('latin1'),
    kind: entry.kind,
    mode: entry.mode,
    owner: entry.owner,
    // To the microsecond: more cannot be set.
    modified:
      entry.modified === null
        ? null
        : `${entry.modified.seconds}.${Math.floor(entry.modified.nanoseconds / 1000)}`,
    size: entry.content?.size,
    content: entry.content === null ? null : digestOf(wholeOf(entry.content, contents.get(entry))),
    target: entry.target?.toString('latin1'),
    linkGroup: entry.linkGroup,
  }));
}
