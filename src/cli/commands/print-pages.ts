/** Printing what arrives over time: soon, and yet in pages that are laid out together. */
import type { Clock } from '../../host.ts';

/** Rows that are laid out together: enough to fill a screen, few enough to appear at once. */
const PAGE = 64;
/** Rows that have waited so long for company are printed, in milliseconds: matches of a pattern may be rare. */
const PAGE_DELAY_MS = 200;

/**
 * Prints items page by page.
 *
 * @param how `print`: prints one page; false if nobody reads any more. `onItem`: told of each
 * @returns false if nobody reads any more
 */
export async function printPages<T>(
  items: AsyncIterable<T>,
  how: {
    readonly print: (page: readonly T[]) => Promise<boolean>;
    readonly onItem: (item: T) => void;
    readonly clock: Pick<Clock, 'monotonic'>;
  },
): Promise<boolean> {
  const { print, onItem, clock } = how;
  let page: T[] = [];
  let printedAtMs = clock.monotonic();
  try {
    for await (const item of items) {
      page.push(item);
      onItem(item);
      if (page.length < PAGE && clock.monotonic() - printedAtMs < PAGE_DELAY_MS) continue;
      const whole = page;
      page = [];
      if (!(await print(whole))) return false;
      printedAtMs = clock.monotonic();
    }
  } finally {
    // Also when the list ends with an error, which comes after what could be listed.
    if (page.length > 0) await print(page);
  }
  return true;
}
