import { invalidInput, isVaultError, VaultError } from '../../errors.ts';
import type { Clock } from '../../host.ts';
import { MAX_CHUNK_SIZE, MIN_CHUNK_SIZE } from '../../format/chunk.ts';
import { mapOrdered } from '../../concurrency/map-ordered.ts';
import type { Compression } from '../../format/keyring.ts';
import { formatRedundancy } from '../../format/shard.ts';
import type { Warning } from '../../vault/call.ts';
import type { FileInfo } from '../../vault/files/records.ts';
import type { Vault } from '../../vault/vault.ts';
import type { Chunking } from '../../vault/write/content.ts';
import type { PutResult } from '../../vault/write/put-call.ts';
import { fileAsJson, asTime } from '../../vault/files/as-json.ts';
import type { ExitCode } from '../exit.ts';
import { ATTENTION, exitCodeOf, worst } from '../exit.ts';
import { collectLessOften, enlargeNewSpace, keepNewSpace } from '../../concurrency/heap.ts';
import type { Invocation } from '../arguments/invocation.ts';
import { noted, warnTo, withVault } from '../arguments/invocation.ts';
import { ifGiven, parseCompression, parseDurationMs, parseSize } from '../arguments/options.ts';
import { reportError } from '../terminal/report.ts';
import { count, quote, showTime } from '../terminal/text.ts';
import type { LockFlags } from './lock-password.ts';
import { putDryRun } from './put-dry-run.ts';
import { describeDegraded, describeStored, PutTotal, TotalProgress } from './put-total.ts';
import { tasksOf } from './put-tasks.ts';
import type { Task, TaskFlags } from './put-tasks.ts';
import { readPassword } from '../arguments/password.ts';

export interface PutFlags extends TaskFlags, LockFlags {
  readonly chunkSize?: string;
  readonly chunks?: string;
  readonly expires?: string;
  readonly retain?: string;
  readonly compression?: string;
  readonly dryRun?: boolean;
  readonly lock?: boolean;
}

/** Files under way at once: a small one waits for others most of the time, with which it is sealed and stored. */
const FILES_IN_FLIGHT = 96;

/** More files than this are worth memory for what is new: some 15 MiB. */
const MANY_FILES = 100;

/** `vault put`: stores files and prints their hashes in the order of the paths. A file that fails stops no other. */
export async function put(
  invocation: Invocation,
  paths: readonly string[],
  flags: PutFlags,
): Promise<ExitCode> {
  const { terminal, clock, settled } = invocation;
  const dryRun = flags.dryRun === true;
  const chosen = putSettings(flags, clock);
  const tasks = await tasksOf(paths, flags, settled.excludes);
  const settings = { ...chosen, lock: await lockOf(invocation, flags) };
  suitHeapTo(tasks);
  const work = async (vault: Vault): Promise<ExitCode> => {
    await requireLocks(invocation, vault, settings);
    if (dryRun) return putDryRun(invocation, vault, { tasks, settings });
    const codes: ExitCode[] = [];
    let degraded = 0;
    const unprinted: VaultError[] = [];
    const total = new PutTotal(tasks.length);
    await terminal.withProgress('Storing', async (report) => {
      const progress = new TotalProgress(tasks, report);
      invocation.interruption.kept = () => total.kept(progress.doneBytes);
      const warn = warnTo(terminal);
      const outcomes = mapOrdered(
        tasks,
        async (task, signal) => {
          const outcome = await storeOne(vault, task, { ...settings, warn, progress, signal });
          total.add(outcome.result);
          return outcome;
        },
        { inFlight: FILES_IN_FLIGHT, signal: invocation.signal },
      );
      let done = 0;
      for await (const { task, result, error } of outcomes) {
        done += 1;
        if (done === 1) keepNewSpace();
        if (result === null) {
          codes.push(exitCodeOf(error));
          if (isFatal(error)) {
            const left = tasks.length - done;
            if (left > 0)
              terminal.warn(`${count(left, 'file was', 'files were')} not tried, or not finished.`, {
                kind: 'not-tried',
              });
            throw error;
          }
          reportError(error, invocation);
          progress.finish(task);
          continue;
        }
        if (result.degraded) degraded += 1;
        if (result.incomplete || result.unretained > 0 || !result.retainedEnough) codes.push(ATTENTION);
        warnOfResult(result, invocation);
        // What is stored is stored, and the next one is too, even if nobody reads the hashes any more.
        const problem = await print(result, invocation);
        if (problem !== null) unprinted.push(problem);
      }
    });
    const [unprintable] = unprinted;
    if (unprintable !== undefined) {
      codes.push(exitCodeOf(unprintable));
      reportError(unprintedError(unprinted.length, unprintable), invocation);
    }
    if (degraded > 0) {
      codes.push(ATTENTION);
      terminal.warn(describeDegraded(degraded, false), { kind: 'degraded' });
    }
    // Of a single file that was said with its hash.
    terminal.summary(tasks.length > 1 ? total.describe(terminal.elapsedMs) : null, total.facts);
    return worst(codes);
  };
  return withVault(invocation, noted(invocation, dryRun ? null : 'put', work));
}

function suitHeapTo(tasks: readonly Task[]): void {
  if (tasks.length > MANY_FILES) collectLessOften();
  else if (tasks.some(({ source }) => 'root' in source)) enlargeNewSpace();
}

/** Finds out once, and before anything is stored, whether it can be locked. */
async function requireLocks(
  { terminal, signal }: Invocation,
  vault: Vault,
  { retainUntilMs }: ReturnType<typeof putSettings>,
): Promise<void> {
  if (retainUntilMs !== null)
    await vault.requireRetention(retainUntilMs, { signal, onWarning: warnTo(terminal) });
}

/** Prints what was stored. @returns why that could not be done; null if it was done. @throws `interrupted` */
async function print(
  result: PutResult,
  { options, output, terminal }: Invocation,
): Promise<VaultError | null> {
  try {
    const read = await (options.json === true ? output.json(resultAsJson(result)) : output.line(result.hash));
    terminal.remark(describeStored(result));
    return read ? null : new VaultError('unavailable', 'Whoever read standard output has gone.');
  } catch (error) {
    if (isVaultError(error, 'unavailable', 'storage-full')) return error;
    throw error;
  }
}

function warnOfResult({ name, incomplete, unlocks }: PutResult, invocation: Invocation): void {
  if (unlocks !== null) warnUnlocked(unlocks, invocation);
  if (!incomplete) return;
  const message = `${quote(name)} is stored, and says that it is incomplete: not all in it could be read, or stood still.`;
  invocation.terminal.warn(message, { kind: 'incomplete' });
}

/** Says that the lock of a name ends with the version before: nobody asked for that. */
function warnUnlocked({ name, expiresAtMs }: FileInfo, { terminal }: Invocation): void {
  const until = expiresAtMs === null ? '' : `, and expires ${showTime(expiresAtMs)}`;
  terminal.warn(
    `${quote(name)} was locked, and its new version is not: the vault's password is enough to read it. The version before stays locked${until}. To lock this one, too: "vault rm --now" it, and put it again with --lock.`,
    { kind: 'not-locked' },
  );
}

function unprintedError(files: number, cause: VaultError): VaultError {
  const what =
    files === 1 ? 'A file is stored, but its hash' : `${count(files, 'file')} are stored, but their hashes`;
  return new VaultError(
    cause.code,
    `${what} could not be printed. ${cause.message} "vault ls --long" shows hashes.`,
    {
      cause,
    },
  );
}

/** What became of a file: a result, or else an error. */
interface Outcome {
  readonly task: Task;
  readonly result: PutResult | null;
  readonly error: unknown;
}

async function storeOne(
  vault: Vault,
  task: Task,
  call: ReturnType<typeof putSettings> & {
    readonly lock: { readonly password: string } | undefined;
    readonly warn: (warning: Warning) => void;
    readonly progress: TotalProgress;
    readonly signal: AbortSignal;
  },
): Promise<Outcome> {
  const { warn, progress, chunkSize, chunking, compression, expiresAtMs, retainUntilMs, lock, signal } = call;
  progress.start(task);
  try {
    const result = await vault.put(task.source, {
      name: task.name,
      ...('root' in task.source ? {} : { chunkSize, chunking }),
      compression,
      expiresAtMs,
      retainUntilMs,
      lock,
      signal,
      onProgress: ({ doneBytes, doneFiles }) => progress.advance(task, doneBytes, doneFiles),
      onWarning: warn,
    });
    return { task, result, error: null };
  } catch (error) {
    // Its turn comes when those before it have been told of.
    return { task, result: null, error };
  }
}

function isLocking({ lock, lockPasswordFile, lockPasswordCommand }: PutFlags): boolean {
  return lock === true || lockPasswordFile !== undefined || lockPasswordCommand !== undefined;
}

async function lockOf(
  invocation: Invocation,
  options: PutFlags,
): Promise<{ readonly password: string } | undefined> {
  if (!isLocking(options)) return undefined;
  // Nothing is locked, and nothing shared with other files all the same.
  if (options.dryRun === true) return { password: 'none' };
  return { password: await readPassword({ ...invocation, options, purpose: 'lock' }) };
}

function putSettings(
  flags: PutFlags,
  clock: Clock,
): {
  chunkSize: number | undefined;
  chunking: Chunking;
  compression: Compression | undefined;
  expiresAtMs: number | null;
  retainUntilMs: number | null;
} {
  const chunking = chunkingOf(flags);
  const chunkSize = ifGiven(flags.chunkSize, parseSize, '--chunk-size');
  const compression = ifGiven(flags.compression, parseCompression, '--compression');
  if (chunkSize !== undefined && (chunkSize < MIN_CHUNK_SIZE || chunkSize > MAX_CHUNK_SIZE)) {
    throw invalidInput(`--chunk-size ${quote(flags.chunkSize ?? '')} is not from 64KiB to 64MiB.`);
  }
  const expiresAtMs =
    flags.expires === undefined ? null : clock.now() + parseDurationMs(flags.expires, '--expires');
  const retainUntilMs =
    flags.retain === undefined ? null : clock.now() + parseDurationMs(flags.retain, '--retain');
  return { chunkSize, chunking, compression, expiresAtMs, retainUntilMs };
}

function chunkingOf({ chunks = 'fixed', ...flags }: PutFlags): Chunking {
  if (chunks !== 'fixed' && chunks !== 'content') {
    throw invalidInput(`--chunks ${quote(chunks)} is not fixed or content.`);
  }
  if (chunks === 'content' && flags.chunkSize !== undefined) {
    throw invalidInput(
      '--chunk-size goes with chunks of a fixed size; --chunks content cuts them where the bytes say so.',
    );
  }
  if (chunks === 'content' && isLocking(flags)) {
    throw invalidInput(
      '--chunks content does not go with --lock: a locked file shares no chunks with others.',
    );
  }
  return chunks;
}

function resultAsJson(result: PutResult): Record<string, unknown> {
  return {
    ...fileAsJson(result),
    redundancy: formatRedundancy(result.redundancy),
    contentSize: result.contentSize,
    chunksStored: result.chunksStored,
    bytesNew: result.bytesNew,
    bytesStored: result.bytesStored,
    unchanged: result.unchanged,
    degraded: result.degraded,
    retainedUntil: asTime(result.retainedUntilMs),
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
