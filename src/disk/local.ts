/** Which file systems answer at once. */
import * as fs from 'node:fs';
import { promisify } from 'node:util';

const statFileSystem = promisify(fs.statfs);

/** The numbers that Linux gives ext2 to ext4, XFS, Btrfs, tmpfs, overlay, ZFS and F2FS. */
const LOCAL_FILE_SYSTEMS = new Set([
  0xef53, 0x58465342, 0x9123683e, 0x01021994, 0x794c7630, 0x2fc12fc1, 0xf2f52010,
]);

/**
 * Whether a path is on a file system of this machine, as far as that is known. Elsewhere a call may hang until a server is
 * back, and a read may then write into memory that has long been used for something else.
 */
export async function isLocal(path: string | Buffer): Promise<boolean> {
  try {
    return LOCAL_FILE_SYSTEMS.has((await statFileSystem(path)).type);
  } catch {
    return false;
  }
}
