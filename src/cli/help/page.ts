/** Help pages: what a verb is for, examples, its own arguments and options. */
import type { Help } from 'commander';
import { jsonOf } from '../terminal/text.ts';
import { usageOf, type OptionFacts, type VerbFacts } from './tree.ts';

export const EXIT_CODES: readonly (readonly [code: number, meaning: string])[] = [
  [0, 'done'],
  [1, 'a bug'],
  [2, 'wrong usage'],
  [3, 'done but needs attention'],
  [4, 'no such file'],
  [5, 'try again'],
  [6, 'data damaged or lost'],
  [7, 'made by a newer version'],
  [10, 'no vault here'],
  [12, 'wrong password'],
  [130, 'interrupted, or answered with no'],
];

export const OPTIONS_PURPOSE = 'Options that every command takes.';

type Layout = Pick<Help, 'formatItem' | 'boxWrap' | 'helpWidth'>;
/** A term and its description. */
type Item = readonly [term: string, text: string];

/** @param helper lays out; it knows how wide the terminal is */
export function helpPage(verb: VerbFacts, helper: Help): string {
  const { path, purpose, examples, arguments: taken, options, verbs } = verb;
  const ownVerbs = verbs.map((one): Item => [one.path.slice(path.length).trim(), one.purpose]);
  const sections = [
    wrapped(purpose.endsWith('.') ? purpose : `${purpose}.`, helper),
    `Usage: ${usageOf(verb)}`,
    list('Examples', examplesOf(verb, examples), helper),
    list('Commands', ownVerbs, helper),
    list(
      'Arguments',
      taken.map(({ name, description }): Item => [name, description]),
      helper,
    ),
    path === '' ? '' : list('Options', options.map(optionItem), helper),
    path === '' || verbs.length > 0
      ? wrapped(
          `"vault help ${path === '' ? '' : `${path} `}<command>" shows more about one, "vault help options" the options that every command takes.`,
          helper,
        )
      : '"vault help options" shows the options that every command takes.',
    path === '' ? wrapped(exitCodes(), helper) : '',
  ];
  return `${sections.filter(Boolean).join('\n\n')}\n`;
}

export function optionsPage({ options }: VerbFacts, helper: Help): string {
  return `${OPTIONS_PURPOSE}\n\n${list('Options', options.map(optionItem), helper)}\n`;
}

/** The same for programs. */
export function helpJson(verb: VerbFacts): string {
  const { path, purpose, examples, arguments: taken, options, verbs } = verb;
  return `${jsonOf({
    command: path,
    purpose,
    usage: usageOf(verb),
    examples: examples.map(([line, what]) => ({ line, what })),
    arguments: taken.map(({ term, description }) => ({ term, description })),
    options: options.map(({ flags, description }) => ({ flags, description })),
    commands: verbs.map((one) => ({ command: one.path, purpose: one.purpose })),
  })}\n`;
}

/** A verb that has verbs of its own shows what they do. */
function examplesOf({ verbs, path }: VerbFacts, examples: VerbFacts['examples']): Item[] {
  if (examples.length > 0 || path === '') return examples.map(([line, what]): Item => [line, what]);
  return verbs.flatMap((verb) => verb.examples.slice(0, 1).map(([line, what]): Item => [line, what]));
}

function optionItem({ flags, description }: OptionFacts): Item {
  return [flags, description];
}

function exitCodes(): string {
  return `Exit codes: ${EXIT_CODES.map(([code, meaning]) => `${code} ${meaning}`).join(', ')}.`;
}

function list(heading: string, items: readonly Item[], helper: Help): string {
  if (items.length === 0) return '';
  // One long line of an example does not push all others aside.
  const most = Math.floor(widthOf(helper) / 2);
  const width = Math.max(...items.map(([term]) => (term.length > most ? 0 : term.length)));
  const lines = items.map(([term, text]) => {
    if (term.length <= width) return helper.formatItem(term, width, text, helper);
    return `  ${term}\n${helper.formatItem('', width, text, helper)}`;
  });
  return `${heading}:\n${lines.join('\n')}`;
}

function wrapped(text: string, helper: Layout): string {
  return helper.boxWrap(text, widthOf(helper));
}

function widthOf({ helpWidth = 80 }: Layout): number {
  return helpWidth;
}
