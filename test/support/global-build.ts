import { ensureBuilt } from '../cli/build.ts';

/** Builds the command before the first test, so that no test waits for it. */
export default async function setup(): Promise<void> {
  await ensureBuilt();
}
