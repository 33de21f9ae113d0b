/** Files with several paths: which of the paths that come are one file's. */
import type { BigIntStats } from 'node:fs';

interface Group {
  readonly number: number;
  readonly ctimeNs: bigint;
  /** Paths that have not come yet; they may lie elsewhere. */
  left: number;
}

export class LinkGroups {
  /** By device and inode. */
  readonly #groups = new Map<string, Group>();
  #last = 0;

  /** @returns the number of a file's group, 1 and up; null if it has one path only */
  groupOf({ dev, ino, nlink, ctimeNs }: BigIntStats): number | null {
    if (nlink <= 1n) return null;
    const key = `${dev}:${ino}`;
    const known = this.#groups.get(key);
    // If the inode changed meanwhile it may be another file's: that one is read for itself.
    if (known === undefined || known.ctimeNs !== ctimeNs) {
      this.#last += 1;
      this.#groups.set(key, { number: this.#last, ctimeNs, left: Number(nlink) - 1 });
      return this.#last;
    }
    known.left -= 1;
    if (known.left === 0) this.#groups.delete(key);
    return known.number;
  }
}
