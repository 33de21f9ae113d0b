import { stat } from 'node:fs/promises';
import { VaultError, isVaultError } from '../errors.ts';
import { MAX_CHUNK_SIZE, MIN_CHUNK_SIZE } from '../format/chunk.ts';
import { fileSource, streamSource } from '../vault/source.ts';
import type { FileSource, PutResult, Vault } from '../vault/vault.ts';
import { fileAsJson } from './describe.ts';
import type { ExitCode } from './exit.ts';
import { ATTENTION, exitCodeOf, gravest } from './exit.ts';
import type { Invocation } from './invocation.ts';
import { warnTo, withVault } from './invocation.ts';
import { nameAsTyped, nameOfPath, parseDurationMs, parseSize } from './options.ts';
import type { ProgressReport } from './progress.ts';
import { reportError } from './report.ts';
import { count, quote } from './text.ts';

export interface PutFlags {
  readonly name?: string;
  readonly chunkSize?: string;
  readonly expires?: string;
}

/** What is to be stored, under which name. */
interface Task {
  readonly source: FileSource;
  readonly name: string;
  /** Bytes; null where it is not known beforehand. */
  readonly size: number | null;
}

/** `vault put`: stores files and prints their hashes in the order of the paths. A file that fails stops no other. */
export async function put(
  invocation: Invocation,
  paths: readonly string[],
  flags: PutFlags,
): Promise<ExitCode> {
  const { terminal, output, options } = invocation;
  const settings = putSettings(flags);
  checkPaths(paths, flags);
  return withVault(invocation, async (vault) => {
    const tasks = await Promise.all(paths.map(async (path) => taskOf(path, flags)));
    const codes: ExitCode[] = [];
    let degraded = 0;
    await terminal.withProgress(async (report) => {
      const progress = new TotalProgress(tasks, report);
      for (const [index, task] of tasks.entries()) {
        let result;
        try {
          result = await storeOne(vault, task, { ...settings, invocation, progress });
        } catch (error) {
          codes.push(exitCodeOf(error));
          if (isFatal(error)) {
            const left = tasks.length - index - 1;
            if (left > 0) terminal.warn(`${count(left, 'file was', 'files were')} not tried.`);
            throw error;
          }
          reportError(error, invocation);
          progress.skip(task);
          continue;
        }
        if (result.degraded) degraded += 1;
        // What is stored is stored, and the next one is too, even if nobody reads the hashes any more.
        await (options.json === true ? output.json(resultAsJson(result)) : output.line(result.hash));
      }
    });
    if (degraded > 0) {
      codes.push(ATTENTION);
      terminal.warn(
        `${count(degraded, 'file is', 'files are')} stored with less redundancy than asked for. When all buckets can be reached, "vault repair" completes ${degraded === 1 ? 'it' : 'them'}.`,
        { kind: 'degraded' },
      );
    }
    return gravest(codes);
  });
}

async function storeOne(
  vault: Vault,
  task: Task,
  call: ReturnType<typeof putSettings> & {
    readonly invocation: Invocation;
    readonly progress: TotalProgress;
  },
): Promise<PutResult> {
  const { invocation, progress, chunkSize, expiresAtMs } = call;
  progress.start(task);
  return vault.put(task.source, {
    name: task.name,
    ...(chunkSize !== null && { chunkSize }),
    expiresAtMs,
    signal: invocation.signal,
    onProgress: ({ doneBytes }) => progress.advance(doneBytes),
    onWarning: warnTo(invocation.terminal),
  });
}

function putSettings(flags: PutFlags): { chunkSize: number | null; expiresAtMs: number | null } {
  const chunkSize = flags.chunkSize === undefined ? null : parseSize(flags.chunkSize, '--chunk-size');
  if (chunkSize !== null && (chunkSize < MIN_CHUNK_SIZE || chunkSize > MAX_CHUNK_SIZE)) {
    throw new VaultError(
      'invalid-input',
      `--chunk-size ${quote(flags.chunkSize ?? '')} is not from 64KiB to 64MiB.`,
    );
  }
  const expiresAtMs =
    flags.expires === undefined ? null : Date.now() + parseDurationMs(flags.expires, '--expires');
  return { chunkSize, expiresAtMs };
}

function checkPaths(paths: readonly string[], flags: PutFlags): void {
  const streams = paths.filter((path) => path === '-').length;
  if (streams > 1) {
    throw new VaultError('invalid-input', 'Standard input ("-") can be stored only once.');
  }
  if (flags.name !== undefined && paths.length > 1) {
    throw new VaultError('invalid-input', '--name goes with one file; several files keep their own names.');
  }
  if (streams > 0 && flags.name === undefined) {
    throw new VaultError('invalid-input', 'Standard input has no name of its own: say --name <name>.');
  }
}

async function taskOf(path: string, flags: PutFlags): Promise<Task> {
  const name = flags.name === undefined ? nameOfPath(path) : nameAsTyped(flags.name);
  if (path === '-') {
    return { source: streamSource(process.stdin, 'standard input'), name, size: null };
  }
  let size: number | null = null;
  try {
    const stats = await stat(path);
    // Its refusal names the folder, and reads better without the slash that completion puts behind it.
    if (stats.isDirectory())
      return { source: fileSource(nameOfPath(path).replace(/(?<=.)\/+$/, '')), name, size: 0 };
    if (stats.isFile()) size = stats.size;
  } catch {
    // Opening it will say what is wrong.
    size = 0;
  }
  return { source: fileSource(path), name, size };
}

function resultAsJson(result: PutResult): Record<string, unknown> {
  return {
    ...fileAsJson(result),
    chunksStored: result.chunksStored,
    bytesStored: result.bytesStored,
    unchanged: result.unchanged,
    degraded: result.degraded,
  };
}

/** Whether the same would befall every other file: the store is down or full, the user has had enough, or this is a bug. */
function isFatal(error: unknown): boolean {
  return !isVaultError(
    error,
    'file-not-found',
    'source-changed',
    'invalid-input',
    'denied',
    'stale',
    'damaged',
    'object-missing',
  );
}

/** One progress over several files. */
class TotalProgress {
  readonly #report: ProgressReport;
  readonly #files: number;
  readonly #totalBytes: number | null;
  #label = '';
  #begun = 0;
  #beforeBytes = 0;
  #currentSize = 0;

  constructor(tasks: readonly Task[], report: ProgressReport) {
    this.#report = report;
    this.#files = tasks.length;
    this.#totalBytes = tasks.some(({ size }) => size === null)
      ? null
      : tasks.reduce((sum, { size }) => sum + (size ?? 0), 0);
  }

  start({ name, size }: Task): void {
    this.#beforeBytes += this.#currentSize;
    this.#currentSize = size ?? 0;
    this.#begun += 1;
    this.#label = this.#files === 1 ? name : `${this.#begun}/${this.#files} ${name}`;
    this.advance(0);
  }

  /** @param doneBytes of the file that was started last */
  advance(doneBytes: number): void {
    this.#report({
      label: this.#label,
      doneBytes: this.#beforeBytes + doneBytes,
      totalBytes: this.#totalBytes,
    });
  }

  skip({ size }: Task): void {
    this.advance(size ?? 0);
  }
}
