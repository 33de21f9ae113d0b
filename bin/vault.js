#!/usr/bin/env node
// Written so that old versions of Node can read it and say that they are too old: what is loaded after the check would
// not even parse there.
import { lstatSync, mkdirSync } from 'fs';
import module from 'module';
import { homedir } from 'os';
import { join } from 'path';

const [major, minor] = process.versions.node.split('.').map(Number);
if (major > 22 || (major === 22 && minor >= 12)) {
  keepCompiledCode();
  void import('../dist/cli.js').then((cli) => cli.main());
} else {
  process.stderr.write(
    `vault: Node ${process.versions.node} is too old: 22.12 or newer is needed. Get it from https://nodejs.org\n`,
  );
  process.exitCode = 2;
}

/** In a folder of the user's own: Node's choice is one that all users share, and whoever puts code there has it run. */
function keepCompiledCode() {
  try {
    const base = process.env.XDG_CACHE_HOME || join(homedir(), '.cache');
    const folder = join(base, 'shardvault');
    // Made here, one by one: Node would make them with those above, and never end where nothing can be made, as in /proc.
    for (const path of [base, folder]) makeFolder(path);
    const found = lstatSync(folder);
    const isOwn = process.getuid === undefined || found.uid === process.getuid();
    if (found.isDirectory() && isOwn && (found.mode & 0o022) === 0) module.enableCompileCache(folder);
  } catch {
    // There is no home, as in some containers: then the code is compiled every time.
  }
}

function makeFolder(path) {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
  }
}
