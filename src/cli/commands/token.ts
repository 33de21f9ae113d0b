import { DONE, type ExitCode } from '../exit.ts';
import { invalidInput } from '../../errors.ts';
import { withVault, type Invocation } from '../arguments/invocation.ts';
import { ifGiven, parseDurationMs, type Flags } from '../arguments/options.ts';
import { tellOnce } from '../terminal/tell-once.ts';
import { tableFor } from '../terminal/table.ts';
import { count, jsonOf, quote, showName, showTime } from '../terminal/text.ts';
import { asTime } from '../../vault/files/as-json.ts';
import { SCOPES, type Token } from '../../vault/grants/tokens.ts';

export type AddTokenFlags = Flags<'scope' | 'label' | 'expires'>;

/** `vault token add`: the one time that a token is shown. */
export async function addToken(invocation: Invocation, flags: AddTokenFlags): Promise<ExitCode> {
  const { options, terminal, clock } = invocation;
  const scopes = parseScopes(flags.scope ?? '');
  const lifeMs = ifGiven(flags.expires, parseDurationMs, '--expires') ?? null;
  return withVault(invocation, async (vault) => {
    const expiresAtMs = lifeMs === null ? null : clock.now() + lifeMs;
    const { token, ...facts } = await vault.tokens.add({ label: flags.label ?? '', scopes, expiresAtMs });
    await tellOnce(invocation, {
      text: options.json === true ? jsonOf({ ...asJson(facts), token }) : token,
      what: `the token ${facts.id.slice(0, 12)}`,
      takeBack: () => vault.tokens.remove(facts.id),
    });
    terminal.note('Keep it: it is not shown again. "vault token rm" removes it.');
    return DONE;
  });
}

export async function listTokens(invocation: Invocation): Promise<ExitCode> {
  const { output, options, terminal } = invocation;
  return withVault(invocation, async (vault) => {
    const tokens = await vault.tokens.list();
    if (options.json === true) {
      for (const token of tokens) await output.json(asJson(token));
    } else if (tokens.length > 0) {
      const table = tableFor(invocation, ['TOKEN', 'MADE', 'EXPIRES', 'GOOD FOR', 'LABEL']);
      const rows = tokens.map(({ id, createdAtMs, expiresAtMs, scopes, label, expired }) => [
        id.slice(0, 12),
        showTime(createdAtMs),
        expiresAtMs === null ? 'never' : `${showTime(expiresAtMs)}${expired ? ' (expired)' : ''}`,
        scopes.join(','),
        showName(label),
      ]);
      await output.write(table.page(rows));
    }
    terminal.summary(`${count(tokens.length, 'token')}.`, { tokens: tokens.length });
    return DONE;
  });
}

/** `vault token rm`: from then on no server takes it. */
export async function removeToken(invocation: Invocation, id: string): Promise<ExitCode> {
  const { output, options, terminal } = invocation;
  return withVault(invocation, async (vault) => {
    const removed = await vault.tokens.remove(id);
    if (options.json === true) await output.json({ id: removed });
    terminal.note(`Removed the token ${removed.slice(0, 12)}. No server accepts it any longer.`);
    return DONE;
  });
}

function parseScopes(text: string): Token['scopes'] {
  const names = text.split(',').map((name) => name.trim());
  const scopes = SCOPES.filter((scope) => names.includes(scope));
  if (names.every((name) => SCOPES.some((scope) => scope === name))) return scopes;
  throw invalidInput(`--scope ${quote(text)} is not some of ${SCOPES.join(', ')}, with commas between them.`);
}

function asJson({ id, label, scopes, createdAtMs, expiresAtMs, expired }: Token): Record<string, unknown> {
  return { id, label, scopes, createdAt: asTime(createdAtMs), expiresAt: asTime(expiresAtMs), expired };
}
