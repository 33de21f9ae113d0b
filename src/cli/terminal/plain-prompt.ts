/** Questions on a terminal that takes no sequences: a line is printed, a line is read. */
import { createInterface } from 'node:readline/promises';
import { PassThrough } from 'node:stream';
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
  const editor = hiddenEditor();
  let isEnded = false;
  const look = (): void => {
    // What is behind the answer is the next question's.
    if (isEnded) return;
    const at = rest.split('').findIndex((key) => LINE_ENDS.has(key) || LEAVING.has(key));
    const keys = at === -1 ? rest : rest.slice(0, at);
    const end = rest.charAt(keys.length);
    rest = rest.slice(keys.length + 1);
    editor.take(keys);
    isEnded = end !== '';
    if (LEAVING.has(end)) leave();
    else if (isEnded) line.resolve(editor.text());
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
    editor.close();
    // Before the line ends: who sees that may type on at once.
    if (held) holdTyped();
    else if (hidden) input.setRawMode(false);
    if (hidden) process.stderr.write('\n');
  }
}

/** Edits a line by the keys that other questions know too, and shows nothing. Keys are taken as they come: Escape may be one, or begin one. */
function hiddenEditor(): { text(): string; take(keys: string): void; close(): void } {
  const input = new PassThrough();
  // The one with promises: the other edits nothing where TERM is "dumb".
  const editor = createInterface({ input, terminal: true });
  // Otherwise Ctrl-Z would stop the process, and leave the terminal without echo.
  editor.on('SIGTSTP', () => undefined);
  return {
    text: () => editor.line,
    take: (keys) => void input.emit('data', keys),
    close: () => editor.close(),
  };
}
