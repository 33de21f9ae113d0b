/** The verbs and their options as plain facts: what help pages, man pages and completion are all made of. */
import type { Command } from 'commander';
import { EXAMPLES, type Example } from './examples.ts';

export interface ArgumentFacts {
  /** `hash|name|pattern`. */
  readonly name: string;
  /** `<path...>`. */
  readonly term: string;
  readonly description: string;
}

export interface OptionFacts {
  /** `-o, --output <path>`. */
  readonly flags: string;
  readonly short: string | null;
  readonly long: string;
  /** What its value is called: `path`; null for one that takes none. */
  readonly value: string | null;
  readonly description: string;
}

export interface VerbFacts {
  /** `bucket rm`; '' for the program itself. */
  readonly path: string;
  readonly purpose: string;
  readonly arguments: readonly ArgumentFacts[];
  /** Its own ones; of the program, those that every verb takes. */
  readonly options: readonly OptionFacts[];
  readonly examples: readonly Example[];
  readonly verbs: readonly VerbFacts[];
}

export function factsOf(command: Command): VerbFacts {
  const helper = command.createHelp();
  const path = pathOf(command);
  return {
    path,
    purpose: command.description(),
    arguments: command.registeredArguments.map((argument) => {
      const name = argument.variadic ? `${argument.name()}...` : argument.name();
      const term = argument.required ? `<${name}>` : `[${name}]`;
      return { name: argument.name(), term, description: argument.description };
    }),
    options: (command.parent === null ? helper.visibleOptions(command) : command.options).map(
      ({ flags, short, long, description }) => ({
        flags,
        short: short ?? null,
        long: long ?? '',
        value: /<(.+)>/.exec(flags)?.[1] ?? null,
        description,
      }),
    ),
    examples: EXAMPLES.get(path) ?? [],
    verbs: helper.visibleCommands(command).map(factsOf),
  };
}

/** How a verb is called. */
export function usageOf({ path, options, verbs, arguments: taken }: VerbFacts): string {
  const terms = taken.map(({ term }) => term);
  if (verbs.length > 0 && taken.length === 0)
    return ['vault', path, '<command> [options]'].filter(Boolean).join(' ');
  return ['vault', path, ...(options.length > 0 ? ['[options]'] : []), ...terms].join(' ');
}

/** The words by which a verb is called, without the program's name. */
export function pathOf(command: Command): string {
  const { parent } = command;
  if (parent === null) return '';
  const before = pathOf(parent);
  return before === '' ? command.name() : `${before} ${command.name()}`;
}

/** The verb of a path, if there is one. */
export function verbOf(facts: VerbFacts, path: string): VerbFacts | undefined {
  return everyVerb(facts).find((verb) => verb.path === path);
}

/** All verbs, each before its own. */
export function everyVerb(facts: VerbFacts): VerbFacts[] {
  return [facts, ...facts.verbs.flatMap(everyVerb)];
}
