/** Folders that say of themselves that all in them can be made again: https://bford.info/cachedir/ */
import * as fs from 'node:fs';
import { systemCode } from '../../errors.ts';
import type { DiskCalls } from './disk-calls.ts';
import type { DiskPath } from './disk-path.ts';

const TAG = 'CACHEDIR.TAG';
const SIGNATURE = Buffer.from('Signature: 8a477f597d28d172789f06886806bc55');
const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = fs.constants;

/** What is kept of a folder's names if it is one for a cache; null if it is none. */
export async function keptOfCache(
  calls: DiskCalls,
  base: DiskPath,
  names: readonly DiskPath[],
): Promise<DiskPath[] | null> {
  if (!names.includes(TAG)) return null;
  let fd: number | null = null;
  try {
    fd = await calls.open(`${base}/${TAG}`, O_RDONLY | (O_NONBLOCK ?? 0) | (O_NOFOLLOW ?? 0));
    const start = Buffer.alloc(SIGNATURE.length);
    const isOne = (await calls.fstat(fd)).isFile() && (await calls.read(fd, start, 0)) === start.length;
    return isOne && start.equals(SIGNATURE) ? [TAG] : null;
  } catch (error) {
    // What cannot be read as a tag is none.
    if (systemCode(error) !== null) return null;
    throw error;
  } finally {
    if (fd !== null) await calls.close(fd);
  }
}
