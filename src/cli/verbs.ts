/** How verbs are described. */
import type { Command } from 'commander';
import type { Invocation } from './arguments/invocation.ts';
import type * as Commands from './commands/commands.ts';
import type { ExitCode } from './exit.ts';

export type Action = (run: Invocation) => Promise<ExitCode>;

/** Adds a verb, to the program unless another parent is given; `does` is given what all verbs do, and the command line. */
export type AddVerb = (
  name: string,
  description: string,
  does: (commands: typeof Commands, run: Invocation, command: Command) => Promise<ExitCode>,
  parent?: Command,
) => Command;
