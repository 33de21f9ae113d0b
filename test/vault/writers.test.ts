/** Files of several keys: what names mean, what a catalog learns of others, and what a pruning believes of machines that can only store. */
import { expect, test } from 'vitest';
import type { RetentionRules } from '../../src/vault/remove/retention.ts';
import type { Vault } from '../../src/vault/vault.ts';
import { all, getBytes, putBytes, testVault } from './harness.ts';
import { putMachine } from './put-machine.ts';

const DAY_MS = 86_400_000;
const START = Date.UTC(2026, 0, 1, 12);

async function put(vault: Vault, name: string, content: string): Promise<string> {
  return (await putBytes(vault, Buffer.from(content), { name })).hash;
}

/** What becomes of each version, by hash. */
async function judged(
  vault: Vault,
  rules: RetentionRules,
  options: { readonly allowMany?: boolean } = {},
): Promise<(hash: string) => string | undefined> {
  const plan = (await all(vault.planPrune(rules, options))).flat();
  return (hash) => plan.find(({ version }) => version.hash === hash)?.reasons.join(' ');
}

test('a sync takes over what another key has stored, with its label, and what others have removed', async () => {
  await using made = await testVault();
  await using machine = await putMachine(made, { label: 'web' });
  const hash = await put(machine.vault, 'db.sql', 'rows');
  expect(await all(made.vault.list())).toEqual([]);
  expect(await made.vault.sync()).toMatchObject({ learned: 1, known: 0, unusable: [] });
  expect(await made.vault.sync()).toMatchObject({ learned: 0, known: 1 });
  const { writer: id } = machine;
  expect(await all(made.vault.list())).toMatchObject([
    { name: 'db.sql', hash, writer: { id, label: 'web', isFull: false, isOwn: false } },
  ]);
  await expect(machine.vault.sync()).rejects.toMatchObject({ code: 'denied' });
  // A sweep finds out as well, and is not surprised: that the catalog lacks files of others says not that it is old.
  await put(machine.vault, 'later.sql', 'rows');
  expect(await made.vault.sweep({ waitMs: 0 })).toMatchObject({ filesLearned: 0 });
  await put(machine.vault, 'last.sql', 'rows');
  expect(await made.vault.verify({ depth: 'listing' })).toMatchObject({ outcome: 'whole', filesUnlisted: 0 });
  expect(await all(made.vault.list())).toHaveLength(3);
});

test('a name alone means what this key has stored; that of another has its label or id before it', async () => {
  await using made = await testVault();
  await using machine = await putMachine(made, { label: 'web' });
  await using other = await putMachine(made, { label: 'cron' });
  await put(other.vault, 'contract', 'of another');
  await put(machine.vault, 'contract', 'forged');
  await put(machine.vault, 'theirs', 'first');
  await put(machine.vault, 'theirs', 'second');
  await made.vault.sync();
  await expect(getBytes(made.vault, 'contract')).rejects.toMatchObject({
    code: 'file-not-found',
    message: expect.stringMatching(/^(?=.*"web:contract")(?=.*"cron:contract")/),
  });
  await put(made.vault, 'contract', 'signed');
  expect((await getBytes(made.vault, 'contract')).toString()).toBe('signed');
  for (const reference of ['web:contract', `${machine.writer}:contract`])
    expect((await getBytes(made.vault, reference)).toString()).toBe('forged');
  expect((await getBytes(made.vault, 'web:theirs')).toString()).toBe('second');
  // A file whose name looks so is met first.
  await put(made.vault, 'web:contract', 'mine');
  expect((await getBytes(made.vault, 'web:contract')).toString()).toBe('mine');
  const { removed } = await made.vault.remove(['web:theirs'], { allVersions: true });
  expect(removed.map(({ name }) => name)).toEqual(['theirs', 'theirs']);
  await expect(made.vault.remove(['theirs'])).rejects.toMatchObject({ code: 'file-not-found' });
});

test('in a catalog that is shared it shows at once, and a full key needs no more than to read it', async () => {
  await using made = await testVault();
  const changing: string[] = [];
  await using machine = await putMachine(made, {
    db: made.db,
    wrapCatalog: (catalog) => ({
      ...catalog,
      requireWritable: () => catalog.requireWritable(),
      close: () => catalog.close(),
      files: new Proxy(catalog.files, {
        get(files, key) {
          if (key === 'put')
            return async (...[rows, options]: Parameters<typeof files.put>) => {
              if (options?.onlyNew !== true) changing.push('files');
              return files.put(rows, options);
            };
          const value: unknown = Reflect.get(files, key);
          return typeof value === 'function' ? value.bind(files) : value;
        },
      }),
    }),
  });
  const hash = await put(machine.vault, 'a', 'content');
  expect(changing).toEqual([]);
  expect(await all(made.vault.list())).toMatchObject([{ hash, name: 'a', writer: { label: 'cron' } }]);
  expect((await getBytes(made.vault, 'cron:a')).toString()).toBe('content');
  expect(await made.vault.sync()).toMatchObject({ learned: 0, known: 1 });
  // It lists its own, and passes over those of others.
  await put(made.vault, 'b', 'other');
  expect((await all(machine.vault.list())).map(({ name }) => name)).toEqual(['a']);
});

test('days count for what a machine has stored that can only store, whatever number it stores on one', async () => {
  const clock = { ms: START };
  await using made = await testVault({ now: () => clock.ms });
  await using machine = await putMachine(made, { now: () => clock.ms });
  const nights: string[] = [];
  for (let night = 0; night < 4; night += 1) {
    clock.ms += DAY_MS;
    nights.push(await put(machine.vault, 'db', `${night}`));
  }
  const flood: string[] = [];
  for (let i = 0; i < 3; i += 1) flood.push(await put(machine.vault, 'db', `junk ${i}`));
  await made.vault.sync();
  const plan = await judged(made.vault, { last: 4 });
  expect(nights.map(plan)).toEqual(['last', 'last', 'last', '']);
  expect(flood.map(plan)).toEqual(['', '', 'last']);
});

test('versions that are dated ahead or back count for nothing and stay', async () => {
  const clock = { ms: START };
  const theirs = { ms: 0 };
  await using made = await testVault({ now: () => clock.ms });
  await using machine = await putMachine(made, { now: () => clock.ms + theirs.ms });
  const nights: string[] = [];
  for (let night = 0; night < 4; night += 1) {
    clock.ms += DAY_MS;
    nights.push(await put(machine.vault, 'db', `${night}`));
    await made.vault.sync();
  }
  const odd: string[] = [];
  for (const days of [400, -2.5, -3.5]) {
    theirs.ms = days * DAY_MS;
    odd.push(await put(machine.vault, 'db', `junk ${days}`));
  }
  await made.vault.sync();
  const plan = await judged(made.vault, { last: 3 });
  expect(nights.map(plan)).toEqual(['', 'last', 'last', 'last']);
  expect(odd.map(plan)).toEqual(['future', 'late', 'late']);
});

test('a flood holds back a pruning, until somebody says that it is none or it has become usual', async () => {
  const clock = { ms: START };
  await using made = await testVault({ now: () => clock.ms });
  await using machine = await putMachine(made, { now: () => clock.ms });
  const own = [
    await put(made.vault, 'db', 'a'),
    await put(made.vault, 'db', 'b'),
    await put(made.vault, 'db', 'c'),
  ];
  const store = async (): Promise<string[]> => {
    const hashes: string[] = [];
    for (let i = 0; i < 4; i += 1) hashes.push(await put(machine.vault, 'db', `${clock.ms} ${i}`));
    await made.vault.sync();
    return hashes;
  };
  const first = await store();
  const held = await judged(made.vault, { last: 1 });
  expect(first.map(held)).toEqual(['flood', 'flood', 'flood', 'last']);
  // Those of a full key are as they are.
  expect(own.map(held)).toEqual(['', '', 'last']);
  const allowed = await judged(made.vault, { last: 1 }, { allowMany: true });
  expect(first.map(allowed)).toEqual(['', '', '', 'last']);
  await made.vault.remove(first.filter((hash) => allowed(hash) === ''));
  clock.ms += DAY_MS;
  const usual = await judged(made.vault, { last: 2 });
  expect(usual(first[3] ?? '')).toBe('last');
  const second = await store();
  expect(second.map(await judged(made.vault, { last: 2 }))).toEqual(['', '', '', 'last']);
});

test('what a machine makes up that can only store lets no flood through', async () => {
  const clock = { ms: START };
  const theirs = { ms: 0 };
  await using made = await testVault({ now: () => clock.ms });
  await using machine = await putMachine(made, { now: () => clock.ms + theirs.ms });
  const { files } = made.session.catalog;
  const real: string[] = [];
  for (let i = 0; i < 4; i += 1) real.push(await put(machine.vault, 'db', `${i}`));
  const expectHeld = async (): Promise<void> => {
    await made.vault.sync();
    const plan = await judged(made.vault, { last: 1 });
    expect(real.slice(0, 3).map(plan)).toEqual(['flood', 'flood', 'flood']);
  };
  // Dated ahead, so that as many seem to be kept.
  theirs.ms = 400 * DAY_MS;
  for (let i = 0; i < 4; i += 1) await put(machine.vault, 'db', `ahead ${i}`);
  theirs.ms = 0;
  await expectHeld();
  // Expired, and hidden by a sweep.
  for (let i = 0; i < 4; i += 1) {
    const expiresAtMs = clock.ms + 1000;
    await putBytes(machine.vault, Buffer.from(`short ${i}`), { name: 'db', expiresAtMs });
  }
  clock.ms += DAY_MS;
  await made.vault.sweep({ waitMs: 0 });
  expect((await all(made.vault.list({ deleted: true }))).length).toBe(4);
  await expectHeld();
  // Rows in a catalog that is shared.
  const [row] = (await files.byHashes([real[0] ?? ''])).values();
  if (row === undefined) throw new Error('It is listed.');
  for (const digit of 'abcd') await files.put([{ ...row, hash: digit.repeat(64), hiddenAtMs: clock.ms }]);
  await expectHeld();
});
