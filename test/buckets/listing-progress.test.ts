import { expect, test } from 'vitest';
import { MAX_KEYS_PER_PAGE, MAX_LISTED_KEYS } from '../../src/buckets/bounds.ts';
import { ListingProgress } from '../../src/buckets/listing-progress.ts';

test('a listing that goes forward for ever is damaged in the end', () => {
  const progress = new ListingProgress('Could not list it');
  const page: (string | null)[] = Array.from({ length: MAX_KEYS_PER_PAGE }, () => null);
  let pages = 0;
  const read = (): void => {
    for (; pages <= MAX_LISTED_KEYS; pages += 1) {
      page[0] = `in/${String(pages).padStart(9, '0')}`;
      progress.page(page, 'in/');
    }
  };
  expect(read).toThrow(/^Could not list it: it has more than 100000000 names/);
  expect(pages).toBe(MAX_LISTED_KEYS / MAX_KEYS_PER_PAGE);
});
