/**
 * Questions to the person at the terminal. They are asked on standard error, since standard output is data. The
 * library that asks is loaded with the first question.
 */
import type { createPromptModule } from 'inquirer';
import { VaultError } from '../../errors.ts';
import { isIntact } from '../arguments/intact.ts';
import type { Environment } from '../../host.ts';
import { askForLine } from './plain-prompt.ts';
import { giveTyped } from './typed-ahead.ts';
import { takesSequences } from './terminal.ts';

/** Who is asked, and until when. */
export interface Asking {
  readonly signal: AbortSignal;
  /** Says what kind of terminal it is. */
  readonly environment: Environment;
}

export interface PasswordQuestion {
  /**
   * `choose`: a new vault's password, asked for twice. `enter`: that of an existing vault. `replace`: the one that takes
   * its place, also asked for twice. `lock` and `unlock`: a file's own password, to be chosen or to be entered. `share`: a link's.
   */
  readonly purpose: 'choose' | 'enter' | 'replace' | 'lock' | 'unlock' | 'share';
  /** What the password is of, for `unlock`: the file's name. */
  readonly file?: string | undefined;
}

/** True for an answer that will do, otherwise what is wrong with it. */
type Check = (answer: string) => true | string | Promise<true | string>;

type Prompt = ReturnType<typeof createPromptModule>;

/**
 * Asks for a text until it will do.
 *
 * @param question `usual`: what no answer stands for; null for nothing
 * @throws `interrupted` if the person leaves with Ctrl-C or Ctrl-D, or the signal is aborted
 */
export async function askForText(
  {
    message,
    check,
    usual,
  }: { readonly message: string; readonly check: Check; readonly usual: string | null },
  asking: Asking,
): Promise<string> {
  const validate = onlyIntact(check);
  if (isPlain(asking)) {
    const shown = usual === null ? message : `${message} (${usual})`;
    return askPlainly(shown, { validate, usual }, asking);
  }
  return ask(asking, async (prompt) => {
    const usually = usual === null ? {} : { default: usual };
    const { answer } = await prompt([{ type: 'input', name: 'answer', message, validate, ...usually }]);
    return answer;
  });
}

/**
 * Asks which of several.
 *
 * @param question `usual`: the one to begin with, among the choices
 * @throws `interrupted`
 */
export async function askForChoice<T>(
  question: {
    readonly message: string;
    readonly choices: readonly { readonly value: T; readonly name: string }[];
    readonly usual: T | undefined;
  },
  asking: Asking,
): Promise<T> {
  const { message, choices, usual } = question;
  if (!isPlain(asking)) {
    return ask(asking, async (prompt) => {
      const select = { type: 'select', name: 'answer', message, choices } as const;
      const { answer } = await prompt([{ ...select, ...(usual !== undefined && { default: usual }) }]);
      return answer;
    });
  }
  for (const [index, { name }] of choices.entries()) process.stderr.write(`${index + 1}) ${name}\n`);
  const at = choices.findIndex(({ value }) => value === usual);
  const validate: Check = (text) =>
    choices[Number(text) - 1] !== undefined || `Enter a number from 1 to ${choices.length}.`;
  const usualNumber = at === -1 ? null : String(at + 1);
  const shown = usualNumber === null ? message : `${message} (${usualNumber})`;
  const answer = await askPlainly(shown, { validate, usual: usualNumber }, asking);
  const chosen = choices[Number(answer) - 1];
  if (chosen === undefined) throw new RangeError('The answer was checked.');
  return chosen.value;
}

/**
 * Asks for a password, which is not shown: for a new one twice, and until both are the same.
 *
 * @throws `interrupted`
 */
export async function askForPassword({ purpose, file }: PasswordQuestion, asking: Asking): Promise<string> {
  const validate = onlyIntact((text) => text !== '' || 'It cannot be empty.');
  // If it is wrong it is asked for again.
  const isTried = purpose === 'enter' || purpose === 'unlock';
  const askOnce = async (message: string): Promise<string> =>
    isPlain(asking)
      ? askPlainly(message, { validate, usual: null, hidden: true, held: isTried }, asking)
      : ask(asking, async (prompt) => {
          const { answer } = await prompt([
            { type: 'password', name: 'answer', message, mask: '*', validate },
          ]);
          return answer;
        });
  if (purpose === 'enter') return askOnce('Password of the vault:');
  if (purpose === 'unlock') return askOnce(`Password of ${file ?? 'the file'}:`);
  const question = {
    replace: 'New password:',
    choose: 'Choose a password:',
    lock: 'Password of the file itself:',
    share: 'Password of the link:',
  }[purpose];
  for (;;) {
    const first = await askOnce(question);
    if ((await askOnce('The same again:')) === first) return first;
    process.stderr.write('The passwords do not match. Once more:\n');
  }
}

function isPlain({ environment }: Asking): boolean {
  return !takesSequences(process.stderr, environment);
}

/** What a terminal sends that is no UTF-8 would otherwise become another name or password. */
function onlyIntact(check: Check): Check {
  return (text) => (isIntact(text) ? check(text) : 'That is not UTF-8 text. Set the terminal to UTF-8.');
}

async function askPlainly(
  message: string,
  {
    validate,
    usual,
    hidden = false,
    held = false,
  }: {
    readonly validate: Check;
    readonly usual: string | null;
    readonly hidden?: boolean;
    readonly held?: boolean;
  },
  { signal }: Asking,
): Promise<string> {
  for (;;) {
    giveTyped({ shown: !hidden });
    const typed = await askForLine(message, { hidden, held, signal });
    const answer = typed === '' && usual !== null ? usual : typed;
    const problem = await validate(answer);
    if (problem === true) return answer;
    process.stderr.write(`${problem}\n`);
  }
}

async function ask<T>({ signal }: Asking, question: (prompt: Prompt) => Promise<T>): Promise<T> {
  const { createPromptModule: makePrompt } = await import('inquirer');
  giveTyped({ shown: false, later: true });
  const left = new AbortController();
  // After Ctrl-D the library stops reading and never answers. Reading stops after every answer too; that one comes first.
  const onPause = (): void => void setImmediate(() => left.abort());
  process.stdin.once('pause', onPause);
  try {
    const either = AbortSignal.any([signal, left.signal]);
    return await question(makePrompt({ output: process.stderr, signal: either }));
  } catch (error) {
    if (error instanceof Error && ['ExitPromptError', 'AbortPromptError'].includes(error.name)) {
      const isLeft = left.signal.aborted && !signal.aborted;
      throw new VaultError('interrupted', isLeft ? 'Nothing was entered.' : 'Interrupted.', { cause: error });
    }
    throw error;
  } finally {
    process.stdin.off('pause', onPause);
  }
}
