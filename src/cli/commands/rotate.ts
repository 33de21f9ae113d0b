/** A new root of the vault, and what is stored anew under it. */
import type { ExitCode } from '../exit.ts';
import { typedWord } from '../../shell-word.ts';
import { ATTENTION, DONE } from '../exit.ts';
import { confirm } from '../arguments/confirm.ts';
import type { Invocation } from '../arguments/invocation.ts';
import { withProgress, withVault } from '../arguments/invocation.ts';
import { newSecret } from '../arguments/new-secret.ts';
import type { NewSecretFlags } from '../arguments/new-secret.ts';
import { count, quote, showName } from '../terminal/text.ts';
import { asJson, nameOf } from './key.ts';
import { warnOfUnusable } from './recover.ts';

export interface RotateFlags extends NewSecretFlags {
  readonly yes?: boolean;
}

/** `vault key rotate`: what is stored from now on is under another root. */
export async function rotateKeys(invocation: Invocation, flags: RotateFlags): Promise<ExitCode> {
  const { output, options, signal, terminal } = invocation;
  const secret = newSecret(invocation, flags);
  return withVault(invocation, async (vault) => {
    const others = (await vault.keys({ signal })).filter(({ own }) => !own);
    const names = others.map(nameOf).join(', ');
    const taken =
      others.length === 0 ? '' : ` and takes away ${count(others.length, 'other key')} (${names})`;
    const what = `This makes a new root${taken}; tokens and links of "vault serve" end`;
    await confirm(invocation, what, flags.yes === true);
    secret.expect();
    const { root, key, dropped } = await secret.use((given, onStoring) =>
      vault.roots.rotate({ secret: given, onStoring, signal }),
    );
    if (options.json === true) await output.json({ ...asJson(key), root, dropped: dropped.map(asJson) });
    const opens = flags.newKeyFile === undefined ? 'with the new password' : `with ${flags.newKeyFile}`;
    terminal.note(`The vault has root ${root} now, and opens ${opens} alone.`);
    for (const one of dropped) {
      const how = one.label === '' ? '' : ` --label ${typedWord(one.label)}`;
      const role = one.role === 'put' ? ' --role put' : '';
      terminal.note(`The key ${nameOf(one)} no longer opens it. To add it again: vault key add${how}${role}`);
    }
    const synced = await withProgress(invocation, 'Looking through files', async (call) => vault.sync(call));
    warnOfUnusable(terminal, synced.unusable, ' Run "vault sync" when it can.');
    terminal.note(
      'What was stored before can be read as before, also by whoever has kept the old root. "vault key reseal" stores it again.',
    );
    return synced.unusable.length + synced.unknown.length > 0 ? ATTENTION : DONE;
  });
}

/** `vault key reseal`: what is under earlier roots comes under the last one. */
export async function resealKeys(invocation: Invocation): Promise<ExitCode> {
  const { output, options, terminal } = invocation;
  return withVault(invocation, async (vault) => {
    invocation.interruption.kept = () =>
      'What was stored again is kept, and nothing is lost: the same command goes on from there.';
    const { resealed, left } = await withProgress(invocation, 'Storing again', async (call) =>
      vault.roots.reseal({
        ...call,
        async onResealed(file) {
          if (options.json === true) await output.json({ ...file });
          else await output.write(`${file.replaces} ${file.hash} ${showName(file.name)}\n`);
        },
      }),
    );
    terminal.summary(`Stored ${count(resealed, 'version')} again under root ${vault.roots.current}.`, {
      resealed,
      left: left.length,
    });
    if (resealed > 0) {
      terminal.note(
        'A hash that was given out before is that of a removed file now. What it needs goes with "vault sweep" after seven days.',
      );
    }
    for (const { name, error } of left) {
      terminal.warn(`${quote(name)} is left under an earlier root: ${error.message}`, {
        kind: 'not-resealed',
      });
    }
    return left.length > 0 ? ATTENTION : DONE;
  });
}
