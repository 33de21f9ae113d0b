#!/usr/bin/env node
// Written so that old versions of Node can read it and say that they are too old: what is loaded after the check would
// not even parse there.
import module from 'module';
import { homedir } from 'os';
import { join } from 'path';

const [major, minor] = process.versions.node.split('.').map(Number);
if (major > 22 || (major === 22 && minor >= 15)) {
  keepCompiledCode();
  void import('../dist/cli.js').then((cli) => cli.main());
} else {
  process.stderr.write(
    `vault: Node ${process.versions.node} is too old: 22.15 or newer is needed. Get it from https://nodejs.org\n`,
  );
  process.exitCode = 2;
}

/** In a folder of the user's own: Node's choice is one that all users share, and whoever puts code there has it run. */
function keepCompiledCode() {
  try {
    module.enableCompileCache(join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'shardvault'));
  } catch {
    // There is no home, as in some containers: then the code is compiled every time.
  }
}
