/** Man pages, made at the build of the same facts as the help pages. */
import { Command } from 'commander';
import { describeProgram } from '../program.ts';
import { EXIT_CODES, OPTIONS_PURPOSE } from './page.ts';
import { factsOf, usageOf, type OptionFacts, type VerbFacts } from './tree.ts';

/** The pages by the names of their files. */
export function manPages(version: string): ReadonlyMap<string, string> {
  const program = new Command();
  describeProgram(program, { run: () => Promise.resolve(), say: () => undefined, version: () => undefined });
  const root = factsOf(program);
  const others = root.verbs.map(({ path }) => `vault-${path}`);
  const pages = root.verbs.map((verb): [string, string] => [
    `vault-${verb.path}.1`,
    page(`vault-${verb.path}`, verb, { version, others: ['vault'] }),
  ]);
  return new Map([
    ['vault.1', page('vault', root, { version, others })],
    ['shardvault.1', '.so man1/vault.1\n'],
    ...pages,
  ]);
}

function page(
  name: string,
  verb: VerbFacts,
  { version, others }: { readonly version: string; readonly others: readonly string[] },
): string {
  const isRoot = verb.path === '';
  const nested = isRoot ? [] : verb.verbs;
  return [
    `.TH ${name.toUpperCase()} 1 "" "shardvault ${version}" "shardvault"`,
    '.SH NAME',
    `${roff(name)} \\- ${roff(lowered(verb.purpose))}`,
    '.SH SYNOPSIS',
    ...(nested.length > 0 && verb.arguments.length === 0 ? nested : [verb, ...nested])
      .flatMap((one) => [`.B ${roff(usageOf(one))}`, '.br'])
      .slice(0, -1),
    '.SH DESCRIPTION',
    roff(sentence(verb.purpose)),
    ...definitions(verb.arguments.map(({ name: term, description }) => [term, description])),
    ...(isRoot
      ? section(
          'COMMANDS',
          verb.verbs.map(({ path, purpose }) => [path, sentence(purpose)]),
        )
      : []),
    ...(isRoot
      ? section('OPTIONS', optionsOf(verb.options), OPTIONS_PURPOSE)
      : section('OPTIONS', optionsOf(verb.options))),
    ...nested.flatMap((one) => [
      ...section(
        one.path.toUpperCase(),
        one.arguments.map(({ name: term, description }) => [term, description]),
        sentence(one.purpose),
      ),
      ...definitions(optionsOf(one.options)),
    ]),
    ...section('EXAMPLES', [...verb.examples, ...nested.flatMap(({ examples }) => examples)]),
    ...(isRoot
      ? section(
          'EXIT STATUS',
          EXIT_CODES.map(([code, meaning]) => [String(code), sentence(meaning)]),
        )
      : []),
    '.SH SEE ALSO',
    ...(isRoot ? [] : ['Options that every command takes, and exit codes, are in']),
    ...others.map((other, index) => `.BR ${roff(other)} (1)${index < others.length - 1 ? ',' : ''}`),
    '',
  ].join('\n');
}

type Definition = readonly [term: string, text: string];

function section(heading: string, items: readonly Definition[], intro = ''): string[] {
  if (items.length === 0 && intro === '') return [];
  return [`.SH ${roff(heading)}`, ...(intro === '' ? [] : [roff(intro)]), ...definitions(items)];
}

function definitions(items: readonly Definition[]): string[] {
  return items.flatMap(([term, text]) => ['.TP', `.B ${roff(term)}`, roff(sentence(text))]);
}

function optionsOf(options: readonly OptionFacts[]): Definition[] {
  return options.map(({ flags, description }) => [flags, description]);
}

function sentence(text: string): string {
  const whole = text.endsWith('.') ? text : `${text}.`;
  return whole.charAt(0).toUpperCase() + whole.slice(1);
}

function lowered(purpose: string): string {
  return (purpose.charAt(0).toLowerCase() + purpose.slice(1)).replace(/\.$/, '');
}

/** Text in which nothing means anything to roff. */
function roff(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('"', '\\(dq')
    .replaceAll("'", '\\(aq')
    .replaceAll('^', '\\(ha')
    .replaceAll('~', '\\(ti')
    .replaceAll('`', '\\(ga')
    .replace(/^\./gm, '\\&.');
}
