import { basename } from 'node:path';
import { invalidInput } from '../../errors.ts';
import type { Stored } from '../../vault/folders/stored-folder.ts';
import type { SharedContent } from '../../vault/share/share.ts';
import type { ListedShare } from '../../vault/share/shares.ts';
import type { Invocation } from '../arguments/invocation.ts';
import { bucketReferenceOf, warnTo, withProgress, withVault } from '../arguments/invocation.ts';
import { ifGiven, parseDurationMs } from '../arguments/options.ts';
import { isPasswordGiven, readNewPassword, type PasswordFlags } from '../arguments/password.ts';
import { ATTENTION, DONE, type ExitCode } from '../exit.ts';
import { asTime } from '../../vault/files/as-json.ts';
import { tellOnce } from '../terminal/tell-once.ts';
import { tableFor } from '../terminal/table.ts';
import { count, jsonOf, quote, showName, showSize, showTime } from '../terminal/text.ts';
import { entryAsFile, selectPart, tarOf } from './get-folder.ts';
import { findLocked, type LockFlags } from './lock-password.ts';

export interface ShareFlags
  extends LockFlags, Pick<PasswordFlags, 'sharePasswordFile' | 'sharePasswordCommand'> {
  readonly expires?: string;
  readonly bucket?: string;
  readonly password?: boolean;
}

/** As long as both clouds let a link last. */
const WEEK_MS = 7 * 86_400_000;

/** `vault share`: prints a link that opens a copy of a file in any browser. */
export async function share(invocation: Invocation, reference: string, flags: ShareFlags): Promise<ExitCode> {
  const { options, terminal, signal } = invocation;
  const expiresMs = ifGiven(flags.expires, parseDurationMs, '--expires') ?? WEEK_MS;
  if (expiresMs > WEEK_MS) {
    throw invalidInput(
      '--expires is seven days at most: no link to a cloud lasts longer. "vault serve" gives links that do.',
    );
  }
  const bucket = flags.bucket === undefined ? undefined : await bucketReferenceOf(flags.bucket);
  const password = await linkPasswordOf(invocation, flags);
  return withVault(invocation, async (vault) => {
    const found = await findLocked(invocation, vault, reference, flags);
    const content = await contentOf(invocation, found);
    const made = await withProgress(invocation, `Sharing ${showName(content.name)}`, async (call) =>
      vault.share(content, { ...call, signal, expiresMs, password, bucket }),
    );
    const { id, name, size, expiresAtMs, link } = made;
    const { hash, bucket: where, password: takesPassword } = made;
    const facts = { id, name, hash, size, password: takesPassword, bucket: where };
    await tellOnce(invocation, {
      text: options.json === true ? jsonOf({ ...facts, expiresAt: asTime(expiresAtMs), link }) : link,
      what: `the share ${id.slice(0, 12)}`,
      takeBack: () => vault.removeShares([id]),
    });
    const whoever = made.password ? 'Whoever has the link and its password' : 'Whoever has the link';
    terminal.summary(
      `${whoever} can read ${quote(name)} (${showSize(size)}) until ${showTime(expiresAtMs)}. "vault share rm ${id.slice(0, 12)}" takes it back.`,
      { id, size, expiresAt: asTime(expiresAtMs) },
    );
    return DONE;
  });
}

async function linkPasswordOf(
  invocation: Invocation,
  { password, sharePasswordFile, sharePasswordCommand }: ShareFlags,
): Promise<string | undefined> {
  const options = { sharePasswordFile, sharePasswordCommand };
  const isGiven = isPasswordGiven({ ...invocation, options, purpose: 'share' });
  return password === true || isGiven
    ? readNewPassword({ ...invocation, options, purpose: 'share' })
    : undefined;
}

/** What is shared: a file as it is, a folder as a tar archive. */
async function contentOf(invocation: Invocation, found: Stored): Promise<SharedContent> {
  if (found.kind === 'file') return found.file;
  const { selected, name } = await selectPart(invocation, found);
  const { hash } = found.folder;
  const { only } = selected;
  if (only?.kind === 'file')
    return { hash, name, content: (call) => entryAsFile(selected, only).content(call) };
  return { hash, name: `${name}.tar`, content: (call) => tarOf(selected, basename(name), call.signal) };
}

export async function listShares(invocation: Invocation): Promise<ExitCode> {
  const { output, options, terminal, signal, clock } = invocation;
  return withVault(invocation, async (vault) => {
    const { shares, unreachable } = await vault.shares({ signal, onWarning: warnTo(terminal) });
    const nowMs = clock.now();
    const isExpired = ({ expiresAtMs }: ListedShare): boolean => expiresAtMs <= nowMs;
    if (options.json === true) {
      for (const one of shares) {
        const { id, bucket, bytes, note, expiresAtMs } = one;
        const { name = null, hash = null, size = null, password = null, createdAtMs = null } = note ?? {};
        await output.json({
          id,
          bucket,
          bytes,
          name,
          hash,
          size,
          password,
          createdAt: asTime(createdAtMs),
          expiresAt: asTime(expiresAtMs),
          expired: isExpired(one),
        });
      }
    } else if (shares.length > 0) {
      const table = tableFor(invocation, ['ID', 'UNTIL', 'PASSWORD', '>SIZE', 'NAME'], { piped: true });
      const rows = shares.map((one) => [
        one.id.slice(0, 12),
        isExpired(one) ? 'expired' : showTime(one.expiresAtMs),
        one.note === null ? '?' : one.note.password ? 'yes' : 'no',
        showSize(one.note?.size ?? one.bytes),
        one.note === null
          ? one.hasPage
            ? '(its name cannot be read)'
            : '(opens nothing)'
          : showName(one.note.name),
      ]);
      await output.write(table.page(rows));
    }
    const expired = shares.filter(isExpired).length;
    terminal.summary(
      `${count(shares.length, 'share')}${expired === 0 ? '' : `, ${expired} of them expired: "vault sweep" removes those`}.`,
      { shares: shares.length, expired },
    );
    return unreachable.length > 0 ? ATTENTION : DONE;
  });
}

export async function removeShares(invocation: Invocation, references: readonly string[]): Promise<ExitCode> {
  const { output, options, terminal, signal } = invocation;
  return withVault(invocation, async (vault) => {
    const removed = await vault.removeShares(references, { signal, onWarning: warnTo(terminal) });
    if (options.json === true) for (const id of removed) await output.json({ id });
    const many = removed.length > 1;
    terminal.summary(
      `Removed ${count(removed.length, 'share')}: ${many ? 'their links lead' : 'its link leads'} nowhere now.`,
      { shares: removed.length },
    );
    return DONE;
  });
}
