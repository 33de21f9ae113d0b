#!/usr/bin/env node
// Written so that old versions of Node can read it and say that they are too old: what is loaded after the check would
// not even parse there.
const [major, minor] = process.versions.node.split('.').map(Number);
if (major > 22 || (major === 22 && minor >= 15)) {
  // Until the rest has been loaded, and knows better.
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(name, () => process.exit(130));
  // Else it opens Node's debugger, and with that the keys in this process, to every user of this machine.
  process.on('SIGUSR1', () => {});
  // Threads that wait for disks: with Node's four, files that are synced wait for each other.
  process.env.UV_THREADPOOL_SIZE = process.env.UV_THREADPOOL_SIZE || '12';
  keepCompiledCode();
  void import('../dist/cli.js').then((cli) => cli.main());
} else {
  process.stderr.write(
    `vault: Node ${process.versions.node} is too old: 22.15 or newer is needed. Get it from https://nodejs.org\n`,
  );
  process.exitCode = 2;
}

/** A module of Node's own. An import would make a facade with all that it exports, which takes as long as all else that is here. */
function nodes(name) {
  return process.getBuiltinModule(name);
}

/**
 * In a folder of the user's own: Node's choice is one that all users share, and whoever puts code there has it run. Where
 * there is no such folder, as without a home in some containers, the code is compiled every time.
 */
function keepCompiledCode() {
  const { isAbsolute, join } = nodes('path');
  try {
    const cache = process.env.XDG_CACHE_HOME || join(nodes('os').homedir(), '.cache');
    // What is no UTF-8 would be another path.
    if (!isAbsolute(cache) || cache.includes('\ufffd')) return;
    makeFolder(join(cache, 'shardvault'));
    const folder = join(nodes('fs').realpathSync(cache), 'shardvault');
    if (isOwnersAlone(folder)) nodes('module').enableCompileCache(folder);
  } catch {
    // Then without it.
  }
}

/** Node's own way to make a folder with its parents never ends where the system says that there is no parent, as in /proc. */
function makeFolder(path) {
  const { dirname } = nodes('path');
  const missing = [];
  for (let at = path; !exists(at) && dirname(at) !== at; at = dirname(at)) missing.unshift(at);
  for (const folder of missing) nodes('fs').mkdirSync(folder, 0o700);
}

function exists(path) {
  try {
    return nodes('fs').lstatSync(path) !== undefined;
  } catch {
    return false;
  }
}

/** Whether nobody else, except root, can put anything at a path without links, or could have done so before. */
function isOwnersAlone(path) {
  if (process.platform === 'win32') return true;
  const { chmodSync, lstatSync } = nodes('fs');
  const { dirname } = nodes('path');
  const user = process.getuid();
  const found = lstatSync(path);
  if (!found.isDirectory() || found.uid !== user || (found.mode & 0o022) !== 0) return false;
  for (let at = dirname(path); ; at = dirname(at)) {
    const { uid, mode } = lstatSync(at);
    // In a folder like /tmp, everybody's entries stay their own.
    if ((uid !== user && uid !== 0) || ((mode & 0o022) !== 0 && (mode & 0o1000) === 0)) return false;
    if (dirname(at) === at) break;
  }
  if ((found.mode & 0o077) !== 0) chmodSync(path, 0o700);
  return true;
}
