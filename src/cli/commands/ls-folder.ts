/** What lies in a stored folder, listed without reading content. */
import { invalidInput, VaultError } from '../../errors.ts';
import type { FolderEntry } from '../../format/folder-index.ts';
import { msOfFileTime } from '../../format/file-time.ts';
import { entriesIn, isAnyWanted } from '../../vault/folders/selection.ts';
import type { StoredFolder } from '../../vault/folders/stored-folder.ts';
import type { Invocation } from '../arguments/invocation.ts';
import type { Flags } from '../arguments/options.ts';
import { entryAsJson } from '../../vault/files/as-json.ts';
import { tableFor } from '../terminal/table.ts';
import { count, jsonOf, showPath, showSize, showTime } from '../terminal/text.ts';
import { wantedOf } from './get-folder.ts';
import type { LockFlags } from './lock-password.ts';
import { printPages } from './print-pages.ts';

export type LsFlags = LockFlags &
  Flags<'sort' | 'since' | 'larger', 'recursive' | 'long' | 'all' | 'deleted' | 'null'>;

const SHORT = ['>SIZE', 'MODIFIED', 'PATH'];
const LONG = ['MODE', 'OWNER', 'GROUP', '>BYTES', 'MODIFIED', 'PATH'];

/** Prints what lies in a folder, or in a part of it. */
export async function listFolder(
  invocation: Invocation,
  { folder, path }: { readonly folder: StoredFolder; readonly path: string },
  flags: LsFlags,
): Promise<void> {
  const { terminal, signal, clock } = invocation;
  refuseOthers(flags);
  const wanted = await wantedOf({ folder, path }, signal);
  const total = { entries: 0, bytes: 0 };
  const entries = entriesIn(folder.list({ signal }), wanted, flags.recursive === true);
  const whole = await printPages(entries, {
    print: printerOf(invocation, flags),
    onItem({ content }) {
      total.entries += 1;
      total.bytes += content?.size ?? 0;
    },
    clock,
  });
  if (whole && total.entries === 0 && path !== '' && !(await isAnyWanted(folder.list({ signal }), wanted))) {
    throw new VaultError('file-not-found', `The folder "${folder.name}" has nothing of that name.`);
  }
  const text = `${count(total.entries, 'entry', 'entries')}, ${showSize(total.bytes)}.`;
  terminal.summary(whole ? text : null, total);
}

function refuseOthers({ all, deleted, sort, since, larger }: LsFlags): void {
  if ([all, deleted, sort, since, larger].every((flag) => flag === undefined)) return;
  throw invalidInput(
    '--all, --deleted, --sort, --since and --larger are for lists of files, not for what is in a folder.',
  );
}

function printerOf(
  invocation: Invocation,
  { long = false, null: byNul = false }: LsFlags,
): (entries: readonly FolderEntry[]) => Promise<boolean> {
  const { options, output } = invocation;
  if (byNul && (long || options.json === true)) {
    throw invalidInput('-0 prints names alone: leave out --json and --long.');
  }
  if (byNul) {
    const end = Buffer.from([0]);
    return async (entries) => output.write(Buffer.concat(entries.flatMap(({ path }) => [path, end])));
  }
  if (options.json === true) {
    return async (entries) =>
      output.write(entries.map((entry) => `${jsonOf(entryAsJson(entry))}\n`).join(''));
  }
  const table = tableFor(invocation, long ? LONG : SHORT, { width: long ? null : output.width });
  return async (entries) => output.write(table.page(entries.map(long ? longRow : shortRow)));
}

function shortRow(entry: FolderEntry): string[] {
  const { content } = entry;
  return [content === null ? '-' : showSize(content.size), timeOf(entry), nameOf(entry)];
}

function longRow(entry: FolderEntry): string[] {
  const { content, mode, owner, target } = entry;
  const name = target === null ? nameOf(entry) : `${nameOf(entry)} -> ${showPath(target)}`;
  return [
    TYPES[entry.kind] + (mode === null ? '-' : mode.toString(8).padStart(4, '0')),
    owner === null ? '-' : (owner.user ?? String(owner.uid)),
    owner === null ? '-' : (owner.group ?? String(owner.gid)),
    content === null ? '-' : String(content.size),
    timeOf(entry),
    name,
  ];
}

/** As `ls` has them. */
const TYPES: Readonly<Record<FolderEntry['kind'], string>> = {
  file: '-',
  folder: 'd',
  symlink: 'l',
  fifo: 'p',
  'block-device': 'b',
  'char-device': 'c',
};

function nameOf({ path, kind }: FolderEntry): string {
  return showPath(kind === 'folder' ? Buffer.concat([path, Buffer.from('/')]) : path);
}

function timeOf({ modified }: FolderEntry): string {
  return modified === null ? '-' : showTime(msOfFileTime(modified));
}
