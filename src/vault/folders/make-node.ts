/** Named pipes and devices, which Node cannot make itself: the system's own programs do. */
import { spawn } from 'node:child_process';
import type { BigIntStats } from 'node:fs';
import { platform } from 'node:os';
import { messageOf, systemCode, VaultError } from '../../errors.ts';
import type { FolderEntry } from '../../format/folder-index.ts';
import type { DiskCalls } from './disk-calls.ts';
import { bytesOfPath, shown } from './disk-path.ts';
import type { DiskPath } from './disk-path.ts';
import { openFolder } from './open-folder.ts';

/** Characters of what a program says that are kept. */
const MOST_SAID = 1000;
/** Of permissions, what the programs take. */
export const PERMISSIONS = 0o777;
const LETTERS = { 'block-device': 'b', 'char-device': 'c' } as const;
/** Nothing of this process's variables is their business. */
const ENVIRONMENT = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };

/**
 * Makes the pipe or device of an entry, with its permissions as far as `PERMISSIONS` go.
 *
 * @param folder to make it in
 * @param name free, and of ASCII
 * @throws `unsupported` if this system or this user cannot make one
 */
export async function makeNode(
  calls: DiskCalls,
  { folder, name }: { readonly folder: DiskPath; readonly name: string },
  { kind, device, mode }: FolderEntry,
): Promise<void> {
  if (kind === 'file' || kind === 'folder' || kind === 'symlink') throw new Error(`${kind} is no node`);
  // By way of the open folder, whatever bytes its path has, and whoever renames something on the way.
  const { fd, base } = await openFolder(calls, `${folder}/.`, { follow: false });
  try {
    const bytes = bytesOfPath(base.startsWith('/proc/') ? '/proc/self/fd/3' : base);
    const text = bytes.toString('utf8');
    if (!Buffer.from(text).equals(bytes)) throw cannot(`${shown(folder)} has a name that is not UTF-8`);
    const args = ['-m', ((mode ?? 0o600) & PERMISSIONS).toString(8), '--', `${text}/${name}`];
    if (kind === 'fifo') await run(fd, 'mkfifo', args);
    else if (device === null) throw cannot('its numbers are not known');
    else await run(fd, 'mknod', [...args, LETTERS[kind], String(device.major), String(device.minor)]);
  } finally {
    await calls.close(fd);
  }
}

/** @param fd that the program has as its descriptor 3 */
function run(fd: number, program: string, args: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { env: ENVIRONMENT, stdio: ['ignore', 'ignore', 'pipe', fd] });
    let said = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said = `${said}${text}`.slice(-MOST_SAID);
    });
    child.on('error', (error) => {
      const isAbsent = systemCode(error) === 'ENOENT';
      reject(cannot(isAbsent ? `there is no program "${program}"` : messageOf(error), error));
    });
    child.on('close', (code) => {
      if (code === 0) resolve();
      else reject(cannot(said.trim().split(': ').at(-1) || `"${program}" ended with ${code}`));
    });
  });
}

function cannot(why: string, cause?: unknown): VaultError {
  return new VaultError('unsupported', why, { cause });
}

/** Both numbers of a device, as this system packs them into one. */
export function deviceOf(number: bigint): { readonly major: number; readonly minor: number } {
  if (platform() !== 'linux') {
    return { major: Number((number >> 24n) & 0xffn), minor: Number(number & 0xffffffn) };
  }
  return {
    major: Number(((number >> 8n) & 0xfffn) | ((number >> 32n) & 0xfffff000n)),
    minor: Number((number & 0xffn) | ((number >> 12n) & 0xffffff00n)),
  };
}

/** Whether what is there is the pipe or device that an entry is. */
export function isSameNode(found: BigIntStats, { kind, device }: FolderEntry): boolean {
  if (kind === 'fifo') return found.isFIFO();
  const isKind = kind === 'block-device' ? found.isBlockDevice() : found.isCharacterDevice();
  const { major, minor } = deviceOf(found.rdev);
  return isKind && device?.major === major && device.minor === minor;
}
