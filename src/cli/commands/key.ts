import type { ExitCode } from '../exit.ts';
import { DONE } from '../exit.ts';
import { invalidInput } from '../../errors.ts';
import { asTime } from '../../vault/files/as-json.ts';
import type { KeyInfo, ListedKey } from '../../vault/keys/keys.ts';
import { confirm } from '../arguments/confirm.ts';
import type { Invocation } from '../arguments/invocation.ts';
import { heedful, withVault } from '../arguments/invocation.ts';
import { newSecret } from '../arguments/new-secret.ts';
import type { NewSecretFlags } from '../arguments/new-secret.ts';
import { tableFor } from '../terminal/table.ts';
import { count, quote, showName, showTime } from '../terminal/text.ts';

export interface AddKeyFlags extends NewSecretFlags {
  readonly label?: string;
  readonly role?: string;
}

/** `vault key add`: another password or key file that opens the vault. */
export async function addKey(invocation: Invocation, flags: AddKeyFlags): Promise<ExitCode> {
  const { output, options, signal, terminal } = invocation;
  const { label, role = 'full', newKeyFile } = flags;
  if (role !== 'full' && role !== 'put') {
    throw invalidInput(`--role ${quote(role)} is not full or put.`);
  }
  const secret = newSecret(invocation, flags);
  const { onWarning, exit } = heedful(invocation);
  return withVault(
    invocation,
    async (vault) => {
      // No key file is made where a key can only store.
      await vault.ready();
      const key = await secret.use(
        (given, onStoring) => vault.addKey({ secret: given, label, role, onStoring, onWarning, signal }),
        // As when this was cut short and is repeated.
        (error) => vault.settled(error, { signal }),
      );
      if (options.json === true) await output.json(asJson(key));
      const opens = newKeyFile === undefined ? 'It opens with the new password.' : `It is in ${newKeyFile}.`;
      const can = role === 'full' ? 'can do everything' : 'can store, and neither read nor remove';
      terminal.note(`Added the key ${nameOf(key)}, which ${can}. ${opens}`);
      return exit();
    },
    () => secret.expect(),
  );
}

export async function listKeys(invocation: Invocation): Promise<ExitCode> {
  const { output, options, signal, terminal } = invocation;
  return withVault(invocation, async (vault) => {
    const keys = await vault.keys({ signal });
    if (options.json === true) for (const key of keys) await output.json(asJson(key));
    else {
      const table = tableFor(invocation, ['KEY', 'ROLE', 'MADE', 'BY', 'LAST STORED', 'LABEL']);
      await output.write(table.page(keys.map(rowOf)));
    }
    terminal.summary(`${count(keys.length, 'key')}.`, { keys: keys.length });
    return DONE;
  });
}

function rowOf({ writer, role, createdAtMs, by, lastUsedAtMs, label, own }: ListedKey): string[] {
  const used = lastUsedAtMs === null ? '-' : showTime(lastUsedAtMs);
  const shown = by !== null && /^[0-9a-f]{32}$/.test(by) ? by.slice(0, 12) : showName(by ?? '-');
  const called = own ? `${showName(label)} (this one)`.trim() : showName(label);
  return [writer.slice(0, 12), role, showTime(createdAtMs), shown, used, called];
}

/** `vault key rm`: from then on it opens nothing. */
export async function removeKey(
  invocation: Invocation,
  reference: string,
  { yes = false }: { readonly yes?: boolean },
): Promise<ExitCode> {
  const { output, options, signal, terminal } = invocation;
  return withVault(invocation, async (vault) => {
    const { writer, own } = await vault.key(reference, { signal });
    if (own) await confirm(invocation, `${quote(reference)} is the key that opened the vault just now`, yes);
    const key = await vault.removeKey(writer, { own, signal });
    if (options.json === true) await output.json(asJson(key));
    const keeps =
      key.role === 'full'
        ? 'Whoever has used it may have kept the root secret, with which all buckets can be read.'
        : 'Whoever has its file and an old copy of the keyring can still forge what it stored.';
    terminal.note(`Removed the key ${nameOf(key)}. ${keeps}`);
    return DONE;
  });
}

export async function renameKey(invocation: Invocation, reference: string, label: string): Promise<ExitCode> {
  const { output, options, signal, terminal } = invocation;
  const { onWarning, exit } = heedful(invocation);
  return withVault(invocation, async (vault) => {
    const key = await vault.renameKey(reference, { label, onWarning, signal });
    if (options.json === true) await output.json(asJson(key));
    terminal.note(`The key ${key.writer.slice(0, 12)} is now called ${quote(label)}.`);
    return exit();
  });
}

export function nameOf({ label, writer }: KeyInfo): string {
  return label === '' ? writer.slice(0, 12) : quote(label);
}

export function asJson(key: KeyInfo | ListedKey): Record<string, unknown> {
  const { writer, label, role, createdAtMs, by, own } = key;
  const facts = { writer, label, role, createdAt: asTime(createdAtMs), by, own };
  return 'lastUsedAtMs' in key ? { ...facts, lastUsedAt: asTime(key.lastUsedAtMs) } : facts;
}
