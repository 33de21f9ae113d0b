/** The verbs that tell of the program itself, and what a help page looks like. */
import type { Command } from 'commander';
import type { Environment } from '../../host.ts';
import { helpJson, helpPage, OPTIONS_PURPOSE, optionsPage } from './page.ts';
import { factsOf } from './tree.ts';

/** What needs no vault: help, completion, the version. They work whatever the settings say. */
export function describeHelp(
  program: Command,
  {
    say,
    version,
    environment = {},
    json = false,
  }: {
    readonly say: (text: string) => void;
    readonly version: () => void;
    readonly environment?: Environment;
    readonly json?: boolean;
  },
): void {
  program
    .command('completion')
    .description('Print a script that completes commands, options and names in a shell')
    .argument('<shell>', 'bash, zsh, fish or powershell')
    .action(async (shell: string) => say((await import('../commands/completion.ts')).script(shell)));
  program
    .command('__complete', { hidden: true })
    .argument('<line>')
    .action(async (line: string) => {
      const { candidates } = await import('../commands/completion.ts');
      say(await candidates(line, factsOf(program), environment));
    });
  program
    .command('help')
    .description('Show help for a command')
    .argument('[command...]', 'the command, or "options" for the options that every command takes')
    .action((words: readonly string[]) => {
      let command = program;
      for (const word of words) {
        const next = command.commands.find((one) => one.name() === word);
        if (next === undefined)
          return command.error(`error: unknown command '${word}'`, { code: 'commander.unknownCommand' });
        command = next;
      }
      command.help();
    });
  const options = program
    .command('options', { hidden: true })
    .description(OPTIONS_PURPOSE)
    .action(() => options.help());
  program.command('version').description('Print the version').action(version);
  const formatHelp = (command: Command, helper: Parameters<typeof optionsPage>[1]): string => {
    const facts = factsOf(command === options ? program : command);
    if (json) {
      const page = { ...facts, path: 'options', purpose: OPTIONS_PURPOSE, examples: [], verbs: [] };
      return helpJson(command === options ? page : facts);
    }
    return command === options ? optionsPage(facts, helper) : helpPage(facts, helper);
  };
  for (const command of [program, ...everyCommand(program)]) {
    command.helpCommand(false).configureHelp({ formatHelp });
  }
}

function everyCommand(command: Command): Command[] {
  return command.commands.flatMap((one) => [one, ...everyCommand(one)]);
}
