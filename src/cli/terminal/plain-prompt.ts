/** Questions on a terminal that takes no sequences: a line is printed, a line is read. */
import { VaultError } from '../../errors.ts';
import { holdTyped } from './typed-ahead.ts';

const LINE_ENDS = new Set(['\r', '\n']);
/** Ctrl-C and Ctrl-D. */
const LEAVING = new Set(['\u0003', '\u0004']);

/** What was typed ahead. */
let rest = '';

/**
 * Asks for one line.
 *
 * @param options `hidden`: what is typed is not shown; `held`: nor what is typed behind the answer, until `giveTyped`, as the question
 *   may be asked again
 * @throws `interrupted` if the person leaves with Ctrl-C or Ctrl-D, or the signal is aborted
 */
export async function askForLine(
  message: string,
  {
    hidden,
    held,
    signal,
  }: { readonly hidden: boolean; readonly held: boolean; readonly signal: AbortSignal },
): Promise<string> {
  const input = process.stdin.setEncoding('utf8');
  const line = Promise.withResolvers<string>();
  const leave = (): void =>
    line.reject(new VaultError('interrupted', 'Interrupted.', { cause: signal.reason }));
  const look = (): void => {
    const at = rest.split('').findIndex((key) => LINE_ENDS.has(key) || LEAVING.has(key));
    if (at === -1) return;
    const text = rest.slice(0, at);
    if (LEAVING.has(rest.charAt(at))) leave();
    rest = rest.slice(at + 1);
    line.resolve(edited(text));
  };
  const onData = (data: string): void => {
    rest += data;
    look();
  };
  // Without the terminal's echo there are no line editing and no signals either. Before the question: who types fast is not shown.
  if (hidden) input.setRawMode(true);
  process.stderr.write(`${message} `);
  // Reading stopped after the answer before.
  input.on('data', onData).on('end', leave).resume();
  signal.addEventListener('abort', leave);
  try {
    if (signal.aborted) leave();
    look();
    return await line.promise;
  } finally {
    signal.removeEventListener('abort', leave);
    input.off('data', onData).off('end', leave).pause();
    // Before the line ends: who sees that may type on at once.
    if (held) holdTyped();
    else if (hidden) input.setRawMode(false);
    if (hidden) process.stderr.write('\n');
  }
}

/** Takes back what backspace takes back. */
function edited(text: string): string {
  const characters: string[] = [];
  for (const character of text) {
    if (character === '\b' || character === '\u007F') characters.pop();
    else characters.push(character);
  }
  return characters.join('');
}
