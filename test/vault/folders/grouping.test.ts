// Which files of a folder share a chunk: groups by names and sizes, that an edit somewhere leaves alone elsewhere.
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { groupsOf, LARGE_FILE_SIZE } from '../../../src/vault/folders/grouping.ts';
import type { Group, Member } from '../../../src/vault/folders/grouping.ts';
import { seededRandom } from '../../support/seeded-random.ts';

const KEY = Buffer.alloc(32, 1);
const KIB = 1024;
const MOST_BODY = 4096 * KIB;

const file = (path: string, size: number): Member => ({ path: Buffer.from(path), size });
const sizeOf = ({ members }: Group<Member>): number => members.reduce((sum, { size }) => sum + size, 0);

async function group(entries: readonly Member[], key: Uint8Array = KEY): Promise<Group<Member>[]> {
  return Array.fromAsync(groupsOf(entries, (entry) => entry, key));
}

/** A tree of sources: many small files and a few large ones. */
function sources(count: number, top = 'src'): Member[] {
  const random = seededRandom(51);
  return Array.from({ length: count }, (_, i) => {
    const name = `${top}/${String(Math.floor(i / 40)).padStart(4, '0')}/${String(i).padStart(6, '0')}.c`;
    const size = random.below(200) === 0 ? 300 * KIB : random.below(30 * KIB);
    return file(name, size);
  });
}

/** A group by what is in it, whatever folder that is in. */
const contentOf = ({ members }: Group<Member>): string =>
  members.map(({ path, size }) => `${path.toString().split('/').slice(1).join('/')} ${size}`).join('\n');

/** Groups of some entries that are not groups of others. */
async function newGroups(entries: readonly Member[], than: readonly Member[]): Promise<number> {
  const known = new Set((await group(than)).map(contentOf));
  return (await group(entries)).filter((one) => !known.has(contentOf(one))).length;
}

describe('Entries', () => {
  test('are each in one group, in order; no group is larger than a chunk, and large files are alone', async () => {
    const size = fc.oneof(fc.constant(0), fc.nat(2000), fc.nat(LARGE_FILE_SIZE * 2), fc.nat(50 * 1024 * KIB));
    await fc.assert(
      fc.asyncProperty(fc.array(size, { maxLength: 300 }), async (sizes) => {
        const entries = sizes.map((bytes, i) => file(`f${i}`, bytes));
        const groups = await group(entries);
        expect(groups.flatMap(({ members }) => members)).toEqual(entries);
        for (const one of groups) {
          expect(one.members.length).toBeGreaterThan(0);
          expect(one.large ? one.members.length : 1).toBe(1);
          expect(one.large ? 0 : sizeOf(one)).toBeLessThanOrEqual(MOST_BODY);
          expect(one.members.some((entry) => entry.size >= LARGE_FILE_SIZE)).toBe(one.large);
        }
      }),
      { numRuns: 50 },
    );
  });

  test('are grouped as they always were: what is stored already is found again', async () => {
    const groups = await group(sources(600));
    expect(groups.map(({ members }) => members.length)).toEqual([
      40, 27, 22, 33, 52, 1, 47, 16, 29, 39, 1, 64, 1, 27, 44, 58, 55, 16, 28,
    ]);
  });

  test('make groups of 256 KiB and more, of about 1 MiB on average, where they are small', async () => {
    const groups = await group(sources(12_000).filter(({ size }) => size < LARGE_FILE_SIZE));
    const sizes = groups.slice(0, -1).map(sizeOf);
    expect(Math.min(...sizes)).toBeGreaterThan(240 * KIB);
    const mean = sizes.reduce((sum, size) => sum + size, 0) / sizes.length;
    expect(mean / 1024 / KIB).toBeGreaterThan(0.85);
    expect(mean / 1024 / KIB).toBeLessThan(1.15);
  });

  test('without any bytes are bounded, too', async () => {
    const groups = await group(Array.from({ length: 40_000 }, (_, i) => file(`folder ${i}`, 0)));
    expect(groups.length).toBeGreaterThan(5);
    expect(Math.max(...groups.map(({ members }) => members.length))).toBeLessThanOrEqual(16_384);
  });

  test('are asked for one group ahead and no further', async () => {
    let asked = 0;
    const entries = function* (): Generator<Member> {
      for (const entry of sources(5000)) {
        asked += 1;
        yield entry;
      }
    };
    let given = 0;
    for await (const { members } of groupsOf(entries(), (entry) => entry, KEY)) {
      given += members.length;
      expect(asked - given).toBeLessThanOrEqual(1);
    }
    expect(given).toBe(5000);
  });
});

describe('An edit of a tree', () => {
  const tree = sources(4000);

  test.each<[string, (at: number) => Member[]]>([
    ['a file more', (at) => tree.toSpliced(at, 0, file(`${tree[at - 1]?.path.toString() ?? ''}.new`, 9000))],
    ['a file less', (at) => tree.toSpliced(at, 1)],
    ['a file of another size', (at) => tree.with(at, file(tree[at]?.path.toString() ?? '', 12_345))],
    [
      'a file that becomes large',
      (at) => tree.with(at, file(tree[at]?.path.toString() ?? '', LARGE_FILE_SIZE)),
    ],
    ['fifty files less', (at) => tree.toSpliced(at, 50)],
  ])('changes a few groups: %s', async (_, edit) => {
    const random = seededRandom(52);
    for (let i = 0; i < 10; i += 1) {
      expect(await newGroups(edit(1 + random.below(tree.length - 60)), tree)).toBeLessThanOrEqual(6);
    }
  });

  test('leaves the groups in a folder that was renamed as they were', async () => {
    expect(await newGroups(sources(4000, 'archive'), tree)).toBe(0);
  });
});

test('Another key makes other groups', async () => {
  const known = new Set((await group(sources(2000))).map(contentOf));
  const others = await group(sources(2000), Buffer.alloc(32, 2));
  const same = others.filter((one) => !one.large && known.has(contentOf(one)));
  expect(same.length).toBeLessThan(others.length / 5);
});

test('A path of any length and form has its chance', async () => {
  for (const path of ['', 'a', '/', 'a/', 'a//b', `${'x'.repeat(5000)}/${'y'.repeat(5000)}`]) {
    const entries = Array.from({ length: 100 }, () => file(path, 200 * KIB));
    expect((await group(entries)).length).toBeGreaterThan(1);
  }
});
