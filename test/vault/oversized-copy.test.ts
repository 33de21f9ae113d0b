import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { MAX_PUT_MARKER_SIZE } from '../../src/format/removal.ts';
import { readMarkedIds } from '../../src/vault/protocol/markers.ts';
import { getBytes, putBytes, testVault, type TestVault } from './harness.ts';

let made: TestVault;
beforeAll(async () => {
  made = await testVault();
});
afterAll(() => made.vault.close());

/** Replaces a bucket's objects of a kind by what is larger than any of them can be. @returns how many */
function enlarge(prefix: string): number {
  const [bucket] = made.buckets;
  const names = [...(bucket?.storage.keys() ?? [])].filter((name) => name.startsWith(prefix));
  for (const name of names) bucket?.storage.set(name, Buffer.alloc(MAX_PUT_MARKER_SIZE + 1));
  return names.length;
}

test('A copy that is larger than it can be says nothing where another one is intact: of a record of removal, and of a list', async () => {
  await putBytes(made.vault, randomBytes(100), { name: 'kept' });
  await putBytes(made.vault, randomBytes(100), { name: 'removed' });
  await made.session.guard.end();
  await made.vault.remove(['removed']);
  expect(enlarge('deleted/')).toBe(1);
  await made.vault.sweep({ waitMs: 0 });
  expect((await made.vault.undelete(['removed'])).restored).toHaveLength(1);
  await made.session.guard.end();
  await made.vault.remove(['removed'], { graceMs: 0 });
  await made.vault.sweep({ waitMs: 0 });
  expect(enlarge('sweep/')).toBeGreaterThan(0);
  await made.vault.sweep({ waitMs: 0 });
  expect(await getBytes(made.vault, 'kept')).toHaveLength(100);
});

test('So it is with the marker of a put: what it names is read in another bucket', async () => {
  const { session } = made;
  await session.guard.run(async () => {
    expect(enlarge('puts/')).toBe(1);
    const read = readMarkedIds(session, session.buckets.all, { known: new Set(), signal: undefined });
    expect(await Array.fromAsync(read)).toHaveLength(1);
  });
  await session.guard.end();
});
