/** How verbs are described. */
import type { Command } from 'commander';
import type { Invocation } from './arguments/invocation.ts';
import type * as Commands from './commands/commands.ts';
import type { ExitCode } from './exit.ts';

/** What verbs do: one load for all, since many small files take longer than what a verb does not need. */
export const commands = async (): Promise<typeof Commands> => import('./commands/commands.ts');

/** A verb, ready to run. */
export type Action = (invocation: Invocation) => Promise<ExitCode>;

/** Adds a verb, to the program unless another parent is given. */
export type AddVerb = (
  name: string,
  description: string,
  action: (command: Command) => Action,
  parent?: Command,
) => Command;
