/** Completion: scripts for shells, and the candidates that they ask for. */
import { stat } from 'node:fs/promises';
import { basename, sep } from 'node:path';
import { invalidInput } from '../../errors.ts';
import { thisHost, type Environment } from '../../host.ts';
import { configFile, settle, vaultNames } from '../arguments/config.ts';
import { catalogLocation, type SharedOptions } from '../arguments/options.ts';
import { passwordSource, readPassword } from '../arguments/password.ts';
import { complete } from '../help/completion.ts';
import { SCRIPTS } from '../help/completion-scripts.ts';
import type { VerbFacts } from '../help/tree.ts';
import { quote } from '../terminal/text.ts';
import { openVault } from '../../compose.ts';

/** How long a look into the vault may take, in milliseconds: somebody waits at a prompt. */
const PATIENCE_MS = 3_000;
/** More candidates than anybody reads. */
const MOST_NAMES = 1_000;
/** The command under its two names. */
const NAMES = ['vault', 'shardvault'];

/**
 * `vault completion`: the script for a shell. Whoever asks for it as `shardvault` has another `vault`.
 *
 * @throws `invalid-input`
 */
export function script(shell: string): string {
  const text = SCRIPTS[shell.toLowerCase()];
  if (text === undefined) {
    throw invalidInput(
      `There is no completion for ${quote(shell)}, but for ${Object.keys(SCRIPTS).join(', ')}.`,
    );
  }
  return text(basename(process.argv[1] ?? '').startsWith('shardvault') ? ['shardvault'] : NAMES);
}

/**
 * What fits a command line that is being typed, for the scripts. Whatever goes wrong, nothing fits: nobody wants to read an error in the
 * middle of a line.
 *
 * @param line up to the cursor, from the command's name on
 */
export async function candidates(line: string, facts: VerbFacts, environment: Environment): Promise<string> {
  try {
    return await complete(line, facts, {
      vaults: async () => vaultNames(configFile(environment)),
      names: async (options, deleted) => namesOf({ options, environment }, deleted),
      buckets: async (options) => bucketsOf({ options, environment }),
    });
  } catch {
    return '';
  }
}

interface Place {
  readonly options: SharedOptions;
  readonly environment: Environment;
}

async function namesOf(place: Place, deleted: boolean): Promise<readonly string[]> {
  await using vault = await opened(place);
  const names = new Set<string>();
  for await (const { name } of vault.list({ deleted })) {
    names.add(name);
    if (names.size === MOST_NAMES) break;
  }
  return [...names];
}

async function bucketsOf(place: Place): Promise<readonly string[]> {
  await using vault = await opened(place);
  return vault.buckets.map(({ url }) => url);
}

/** Opens the vault if its password is at hand: nobody is asked, and no command is run that might ask. @throws whatever is in the way */
async function opened({ options: given, environment }: Place) {
  const { options } = await settle(given, environment);
  const request = { options, environment, interactive: false, purpose: 'enter' } as const;
  const source = passwordSource(request);
  const isFile = source.kind === 'file' && (await stat(source.path)).isFile();
  if (source.kind !== 'value' && !isFile) throw invalidInput('Somebody might be asked.');
  const signal = AbortSignal.timeout(PATIENCE_MS);
  return openVault({
    db: catalogLocation(options, environment),
    password: async () => readPassword({ ...request, signal, terminal: { warn: () => undefined } }),
    passwordTries: 1,
    request: {},
    baseFolder: sep,
    host: thisHost(environment),
    signal,
  });
}
