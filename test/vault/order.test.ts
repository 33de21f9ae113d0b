/**
 * The order of writes, which is what durability rests on: nothing is named by anything before it is there. Calls are recorded when
 * they begin and when they end; each is held up for a moment, so that what does not wait for it would overtake it.
 */
import { expect, test } from 'vitest';
import { seededRandom } from '../support/seeded-random.ts';
import type { Around } from '../support/steps.ts';
import { CHUNK_SIZE, putBytes, snapshotOf, testVault } from './harness.ts';

interface Span {
  readonly call: string;
  readonly name: string;
  readonly from: number;
  readonly to: number;
}

/** Records every call. Of those that wait, the one that came last goes on first. */
function recorder(): { readonly spans: Span[]; readonly around: Around; readonly now: () => number } {
  const spans: Span[] = [];
  const held: (() => void)[] = [];
  let time = 0;
  const now = (): number => (time += 1);
  return {
    spans,
    now,
    async around({ call, name }, proceed) {
      const from = now();
      await new Promise<void>((resolve) => {
        held.push(resolve);
        setImmediate(() => held.pop()?.());
      });
      await proceed();
      spans.push({ call, name, from, to: now() });
    },
  };
}

const writes = (spans: readonly Span[], prefix: string, call = 'put'): readonly Span[] =>
  spans.filter((span) => span.call === call && span.name.startsWith(prefix));
const begins = (spans: readonly Span[]): number => Math.min(...spans.map(({ from }) => from));
const ends = (spans: readonly Span[]): number => Math.max(...spans.map(({ to }) => to));

/** What is not as it should be: each group has some calls, all of which have ended before the next group's first begins. */
function outOfOrder(groups: Readonly<Record<string, readonly Span[]>>): string[] {
  const all = Object.entries(groups);
  return all.flatMap(([title, spans], i) => {
    const [following, later] = all[i + 1] ?? [];
    if (spans.length === 0) return [`There are no ${title}.`];
    return later === undefined || ends(spans) < begins(later)
      ? []
      : [`${following} began before the end of ${title}.`];
  });
}

const SIZES = [
  ['one chunk', CHUNK_SIZE],
  ['more chunks than are in flight', 9 * CHUNK_SIZE + 5],
] as const;

for (const [title, size] of SIZES) {
  test(`a put writes marker, shards, manifests, row, and then says the hash: ${title}`, async () => {
    await using made = await testVault();
    await using copy = await (await snapshotOf(made)).copy();
    const { spans, around, now } = recorder();
    const { vault, session } = await copy.open({ around });
    await putBytes(vault, seededRandom(size).bytes(size), { name: 'a' });
    const said: Span = { call: 'said', name: '', from: now(), to: now() };
    await session.guard.end();
    expect(
      outOfOrder({
        markers: writes(spans, 'puts/'),
        lists: writes(spans, 'sweep/', 'list'),
        // Of each bucket the first; later chunks may need another one.
        looks: writes(spans, 'chunks/', 'list').slice(0, copy.buckets.length),
        shards: writes(spans, 'chunks/'),
        manifests: writes(spans, 'manifests/'),
        row: writes(spans, '', 'files.put'),
        hash: [said],
        markersGo: writes(spans, 'puts/', 'remove'),
      }),
    ).toEqual([]);
  });
}

test('a small put writes manifests, row, and then says the hash', async () => {
  await using made = await testVault();
  await using copy = await (await snapshotOf(made)).copy();
  const { spans, around, now } = recorder();
  const { vault } = await copy.open({ around });
  await putBytes(vault, seededRandom(1).bytes(100), { name: 'a' });
  const said: Span = { call: 'said', name: '', from: now(), to: now() };
  expect(
    outOfOrder({
      manifests: writes(spans, 'manifests/'),
      row: writes(spans, '', 'files.put'),
      hash: [said],
    }),
  ).toEqual([]);
});

test('a removal writes its records and then hides the row', async () => {
  await using made = await testVault();
  await putBytes(made.vault, seededRandom(2).bytes(100), { name: 'a' });
  await using copy = await (await snapshotOf(made)).copy();
  const { spans, around, now } = recorder();
  const { vault } = await copy.open({ around });
  await vault.remove(['a']);
  const said: Span = { call: 'said', name: '', from: now(), to: now() };
  expect(
    outOfOrder({ records: writes(spans, 'deleted/'), row: writes(spans, '', 'files.hide'), said: [said] }),
  ).toEqual([]);
});

test('an undelete looks under its marker, writes its records, shows the row, and its marker goes last', async () => {
  await using made = await testVault();
  await putBytes(made.vault, seededRandom(3).bytes(CHUNK_SIZE), { name: 'a' });
  await made.vault.remove(['a']);
  await made.session.guard.end();
  await using copy = await (await snapshotOf(made)).copy();
  const { spans, around, now } = recorder();
  const { vault, session } = await copy.open({ around });
  await vault.undelete(['a']);
  const said: Span = { call: 'said', name: '', from: now(), to: now() };
  await session.guard.end();
  expect(
    outOfOrder({
      markers: writes(spans, 'puts/'),
      lists: writes(spans, 'sweep/', 'list'),
      looks: writes(spans, 'chunks/', 'list'),
      records: writes(spans, 'deleted/'),
      row: writes(spans, '', 'files.hide'),
      said: [said],
      markersGo: writes(spans, 'puts/', 'remove'),
    }),
  ).toEqual([]);
});

test('a sweep writes its list everywhere, looks at markers, then manifests again, and removes', async () => {
  await using made = await testVault();
  await putBytes(made.vault, seededRandom(4).bytes(2 * CHUNK_SIZE), { name: 'a' });
  await made.vault.remove(['a'], { graceMs: 0 });
  await made.session.guard.end();
  await using copy = await (await snapshotOf(made)).copy();
  const { spans, around } = recorder();
  const { vault } = await copy.open({ around });
  await vault.sweep({ waitMs: 0 });
  const lists = writes(spans, 'sweep/');
  const buckets = copy.buckets.length;
  expect(lists).toHaveLength(2 * buckets);
  const written = lists.slice(0, buckets);
  const since = (prefix: string): readonly Span[] =>
    writes(spans, prefix, 'list').filter(({ from }) => from > ends(written));
  const removals = [...writes(spans, 'chunks/', 'remove'), ...writes(spans, 'manifests/', 'remove')];
  expect(
    outOfOrder({
      lists: written,
      // Those before the second look; one more listing tidies up in the end.
      markers: since('puts/').filter(({ to }) => to < begins(since('manifests/'))),
      manifests: since('manifests/'),
      removals,
      done: lists.slice(buckets),
    }),
  ).toEqual([]);
});

test('a put asks at once what does not hang together, with its marker before the lists of removal and the second look at the keyring', async () => {
  await using made = await testVault();
  await using copy = await (await snapshotOf(made)).copy();
  const { spans, around } = recorder();
  const { vault } = await copy.open({ around });
  await putBytes(vault, seededRandom(1).bytes(CHUNK_SIZE), { name: 'a' });
  const keyrings = writes(spans, 'keyring/', 'list').toSorted((a, b) => a.from - b.from);
  const [first, second] = [keyrings.slice(0, made.buckets.length), keyrings.slice(made.buckets.length)];
  const lists = writes(spans, 'sweep/', 'list');
  const looks = [...lists, ...second];
  expect(outOfOrder({ keyring: first, marker: writes(spans, 'puts/'), looks })).toEqual([]);
  expect(begins(first)).toBeLessThan(ends(writes(spans, 'vault.json', 'get')));
  expect(begins(second)).toBeLessThan(ends(lists));
});

test('threads start while buckets are asked for the first time', async () => {
  await using made = await testVault();
  const size = 2 * CHUNK_SIZE;
  await putBytes(made.vault, seededRandom(1).bytes(size), { name: 'a' });
  await using copy = await (await snapshotOf(made)).copy();
  // How long it is, this source does not say.
  for (const [verb, chunks] of [
    ['put', 1],
    ['get', 2],
  ] as const) {
    const { spans, around, now } = recorder();
    const { vault, session } = await copy.open({ around });
    const warmed: { readonly count: number; readonly at: number }[] = [];
    Object.assign(session.workers, { warm: (count: number) => warmed.push({ count, at: now() }) });
    if (verb === 'put') await putBytes(vault, seededRandom(2).bytes(size), { name: 'b' });
    else await vault.get('a');
    expect(warmed.map(({ count }) => count)).toEqual([chunks]);
    const asked = spans.filter(({ call }) => call === 'get' || call === 'list');
    expect(warmed[0]?.at).toBeLessThan(Math.min(...asked.map(({ to }) => to)));
  }
});
