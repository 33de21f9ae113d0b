#!/usr/bin/env node
// Written so that old versions of Node can read it and say that they are too old: what is loaded after the check would
// not even parse there.
import module from 'module';

const [major, minor] = process.versions.node.split('.').map(Number);
if (major > 22 || (major === 22 && minor >= 12)) {
  if (module.enableCompileCache) module.enableCompileCache();
  void import('../dist/cli.js').then((cli) => cli.main());
} else {
  process.stderr.write(
    `vault: Node ${process.versions.node} is too old: 22.12 or newer is needed. Get it from https://nodejs.org\n`,
  );
  process.exitCode = 2;
}
