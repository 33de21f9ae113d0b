/** A restore drill: random files are read as `get` reads them, and thrown away. */
import { isVaultError, throwIfAborted, VaultError } from '../../errors.ts';
import type { CallOptions } from '../call.ts';
import { openFileRowIfIntact } from '../files/records.ts';
import type { FileInfo } from '../files/records.ts';
import type { Session } from '../session.ts';
import { getFile } from './get.ts';

export interface DrillOptions extends CallOptions {
  /** How many files; all if there are no more. */
  readonly files: number;
  /** As many as this fraction of all files, if that is more. */
  readonly sample?: number | undefined;
  /** Chance: 0 up to 1, as `Math.random`. */
  readonly random?: (() => number) | undefined;
}

export interface DrillResult {
  /** Files of which every byte came back. */
  readonly files: number;
  /** Their bytes. */
  readonly bytes: number;
  /** Locked files that there are, which nobody but the owner of their passwords can try. */
  readonly locked: number;
  readonly failures: readonly DrillFailure[];
}

export interface DrillFailure {
  readonly hash: string;
  readonly name: string;
  readonly error: VaultError;
}

/** See `Vault.drill`. */
export async function drillFiles(session: Session, options: DrillOptions): Promise<DrillResult> {
  const { signal } = options;
  const { chosen, locked } = await choose(session, options);
  const totalBytes = chosen.reduce((sum, { size }) => sum + (size ?? 0), 0);
  const failures: DrillFailure[] = [];
  let [files, bytes, begun] = [0, 0, 0];
  for (const { hash, name, size } of chosen) {
    throwIfAborted(signal);
    try {
      const read = await readOne(session, hash, {
        ...options,
        onProgress: ({ doneBytes }) => options.onProgress?.({ doneBytes: begun + doneBytes, totalBytes }),
      });
      files += 1;
      bytes += read;
    } catch (error) {
      if (!isVaultError(error) || error.code === 'interrupted') throw error;
      // One that is removed for good meanwhile is nobody's loss.
      if (error.code !== 'file-not-found') failures.push({ hash, name, error });
    }
    begun += size ?? 0;
  }
  return { files, bytes, locked, failures };
}

async function readOne(session: Session, hash: string, options: CallOptions): Promise<number> {
  const file = await getFile(session, hash, options);
  let bytes = 0;
  for await (const { length } of file.content(options)) bytes += length;
  if (bytes === file.contentSize) return bytes;
  throw new VaultError('damaged', `"${file.name}" has ${bytes} bytes instead of ${file.contentSize}.`);
}

/** Random files, each version as likely as any other. */
async function choose(
  session: Session,
  { files, sample = 0, random = Math.random, signal }: DrillOptions,
): Promise<{ readonly chosen: readonly FileInfo[]; readonly locked: number }> {
  const { files: all } = await session.catalog.files.counts();
  const amount = Math.max(files, Math.ceil(sample * all));
  const chosen: FileInfo[] = [];
  let [seen, locked] = [0, 0];
  for await (const row of session.catalog.files.list({ all: true, signal })) {
    const info = openFileRowIfIntact(session, row)?.info;
    if (info === undefined) continue;
    if (info.locked) {
      locked += 1;
      continue;
    }
    seen += 1;
    // The reservoir: however many come, each is in it with the same chance.
    const at = chosen.length < amount ? chosen.length : Math.floor(random() * seen);
    if (at < amount) chosen[at] = info;
  }
  return { chosen, locked };
}
