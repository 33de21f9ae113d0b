/** `vault diff`: what differs between two versions of a folder, or between one and a folder here. */
import { stat } from 'node:fs/promises';
import { invalidInput, isVaultError } from '../../errors.ts';
import { compareTrees, type Change, type ChangeKind, type Compared } from '../../vault/folders/compare.ts';
import type { StoredFolder } from '../../vault/folders/stored-folder.ts';
import { localEntries, storedEntries } from '../../vault/folders/local-entries.ts';
import { isLoss } from '../../vault/folders/scan.ts';
import type { Vault } from '../../vault/vault.ts';
import { withVault, type Invocation } from '../arguments/invocation.ts';
import { nameAsTyped } from '../arguments/options.ts';
import { ATTENTION, DONE, type ExitCode } from '../exit.ts';
import { entryAsJson } from '../../vault/files/as-json.ts';
import { count, grouped, jsonOf, quote, showPath } from '../terminal/text.ts';
import { findLocked, type LockFlags } from './lock-password.ts';
import { printPages } from './print-pages.ts';
import { folderSettings, type TaskFlags } from './put-tasks.ts';

const SIGNS: Readonly<Record<ChangeKind, string>> = {
  added: '+',
  removed: '-',
  content: 'M',
  kind: 'T',
  metadata: 'U',
};

export async function diff(
  invocation: Invocation,
  [one = '', other]: readonly string[],
  flags: LockFlags & TaskFlags,
): Promise<ExitCode> {
  const { output, options, terminal, signal, clock } = invocation;
  const settings = await folderSettings(flags, invocation.settled.excludes);
  const print = async (page: readonly Change[]): Promise<boolean> =>
    output.write(page.map(options.json === true ? jsonLine : plainLine).join(''));
  const stored = (folder: StoredFolder): AsyncIterable<Compared> =>
    storedEntries(folder.list({ signal }), settings);
  return withVault(invocation, async (vault) => {
    let missed = 0;
    const here = async (root: string): Promise<AsyncIterable<Compared>> =>
      localEntries(
        { ...settings, root, own: await vault.ownEntries(root, { signal }) },
        {
          signal,
          onMissed: (found) => {
            if (!isLoss(found)) return;
            missed += 1;
            terminal.warn(found.message, { kind: 'missed' });
          },
        },
      );
    const version = async (reference: string): Promise<AsyncIterable<Compared>> => {
      const folder = await folderOf(vault, reference, invocation, flags);
      if (settings.oneFileSystem !== true && settings.excludeCaches !== true) return stored(folder);
      throw invalidInput(
        `${quote(reference)} is a version: --one-file-system and --exclude-caches can be told of folders here alone. Leave them away.`,
      );
    };
    const first = await folderOf(vault, one, invocation, flags);
    const before = stored(first);
    const isHash = first.name !== one && first.hash.startsWith(one.toLowerCase());
    const second = other ?? (isHash ? first.name : nameAsTyped(one));
    const isLocal = other === undefined || (/^(\.{0,2}\/|\.{1,2}$)/.test(second) && (await isFolder(second)));
    const after = isLocal ? await here(second) : await storedOrHere(second, version, here);
    const total: Record<ChangeKind, number> = { added: 0, removed: 0, content: 0, kind: 0, metadata: 0 };
    await printPages(compareTrees(before, after), {
      print,
      onItem: ({ kind }) => {
        total[kind] += 1;
      },
      clock,
    });
    const { added, removed, ...others } = total;
    const changed = Object.values(others).reduce((sum, amount) => sum + amount, 0);
    terminal.summary(
      `${count(added, 'entry', 'entries')} added, ${grouped(removed)} removed, ${grouped(changed)} changed.`,
      total,
    );
    return missed > 0 ? ATTENTION : DONE;
  });
}

async function folderOf(
  vault: Vault,
  reference: string,
  invocation: Invocation,
  flags: LockFlags,
): Promise<StoredFolder> {
  const found = await findLocked(invocation, vault, reference, flags);
  if (found.kind === 'folder' && found.path === '') return found.folder;
  throw invalidInput(`${quote(reference)} is not a whole folder: only those are compared.`);
}

/** A second name is that of a version; a folder here if there is none. */
async function storedOrHere<T>(
  reference: string,
  stored: (reference: string) => Promise<T>,
  here: (root: string) => Promise<T>,
): Promise<T> {
  try {
    return await stored(reference);
  } catch (error) {
    if (!isVaultError(error, 'file-not-found') || !(await isFolder(reference))) throw error;
    return here(reference);
  }
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (facts) => facts.isDirectory(),
    () => false,
  );
}

function plainLine({ kind, path, before, after }: Change): string {
  const isInFolder = (after ?? before)?.kind === 'folder';
  const named = path.length === 0 ? Buffer.from('.') : path;
  return `${SIGNS[kind]} ${showPath(isInFolder ? Buffer.concat([named, Buffer.from('/')]) : named)}\n`;
}

function jsonLine({ kind, before, after }: Change): string {
  const one = after ?? before;
  return one === null ? '' : `${jsonOf({ change: kind, ...entryAsJson(one) })}\n`;
}
