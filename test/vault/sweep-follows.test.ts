// A sweep that follows a removal does not ask for markers again, and yet believes no disk that has gone meanwhile.
import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { bytesSource, testVault } from './harness.ts';

test('keeps the records of removal while a bucket shows nothing any more', async () => {
  await using made = await testVault();
  const { vault, buckets } = made;
  for (const name of ['first', 'second']) await vault.put(bytesSource(randomBytes(50_000)), { name });
  // Its record is left: what is listed nowhere is known by a later sweep.
  await vault.remove(['first'], { graceMs: 0 });
  await vault.sweep();
  const records = made.objects('deleted/');
  expect(records).toHaveLength(3);
  const [disk] = buckets;
  if (disk === undefined) throw new Error('There is no bucket.');
  await vault.remove(['second'], { graceMs: 0 });
  const was = [...disk.storage];
  disk.storage.clear();
  await vault.sweep({ follows: true }).catch(() => undefined);
  expect(made.objects('deleted/')).toEqual(
    expect.arrayContaining(records.filter((one) => !one.startsWith(disk.url))),
  );
  for (const [name, object] of was) disk.storage.set(name, object);
  // It is there again.
  await vault.sweep({ follows: true });
  expect(made.objects('deleted/').filter((one) => records.includes(one))).toEqual([]);
});
