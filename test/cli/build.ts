import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const BUNDLE = join(ROOT, 'dist', 'cli.js');
const LOCK = join(tmpdir(), `vault-build-${createHash('sha256').update(ROOT).digest('hex').slice(0, 16)}`);

/** The command as users run it. */
export const COMMAND = join(ROOT, 'bin', 'vault.js');

/** Where the commands of all tests keep their compiled code: compiling it takes longer than what most of them do. */
export const COMPILED = join(ROOT, 'node_modules', '.cache', 'tests');

/**
 * Builds what the command runs, unless that has been done since the last change of a source. Several processes may
 * ask at once: one builds, the others wait.
 */
export async function ensureBuilt(): Promise<void> {
  // Once a test file: what is edited while it runs counts for the next run.
  built ??= build();
  return built;
}

let built: Promise<void> | null = null;

async function build(): Promise<void> {
  while (!takeLock()) await new Promise((resolve) => setTimeout(resolve, 50));
  try {
    if (bundleIsNewerThan(newestSourceMs())) return;
    const startedAtMs = Date.now();
    try {
      execFileSync(process.execPath, ['build.ts'], { cwd: ROOT, stdio: 'pipe' });
    } catch (error) {
      // The bundle comes first. Whether the declarations of its types can be made, other checks say.
      if (!bundleIsNewerThan(startedAtMs)) throw error;
    }
  } finally {
    rmSync(LOCK, { recursive: true, force: true });
  }
}

function takeLock(): boolean {
  try {
    mkdirSync(LOCK);
    writeFileSync(join(LOCK, 'pid'), String(process.pid));
    return true;
  } catch {
    if (holderIsGone()) rmSync(LOCK, { recursive: true, force: true });
    return false;
  }
}

function holderIsGone(): boolean {
  let pid;
  try {
    pid = Number(readFileSync(join(LOCK, 'pid'), 'utf8'));
  } catch {
    // Just made, or just removed.
    return false;
  }
  try {
    process.kill(pid, 0);
    return false;
  } catch {
    return true;
  }
}

function bundleIsNewerThan(ms: number): boolean {
  try {
    return statSync(BUNDLE).mtimeMs >= ms;
  } catch {
    return false;
  }
}

function newestSourceMs(): number {
  const sources = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' });
  const paths = [...sources.map((name) => join('src', name)), 'build.ts'];
  return Math.max(...paths.map((path) => statSync(join(ROOT, path)).mtimeMs));
}
