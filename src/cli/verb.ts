/** What a verb is to the program. */
import type { Command } from 'commander';
import type { Invocation } from './arguments/invocation.ts';
import type { ExitCode } from './exit.ts';

/** A verb, ready to run. */
export type Action = (invocation: Invocation) => Promise<ExitCode>;

/** Adds a verb, to the program unless another parent is given. */
export type AddVerb = (
  name: string,
  description: string,
  action: (command: Command) => Action,
  parent?: Command,
) => Command;
