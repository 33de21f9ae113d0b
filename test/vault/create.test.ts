/** Making a vault: whatever ends or fails on the way, and whoever makes another one at the same time. */
import { describe, expect, test } from 'vitest';
import { memoryBucket } from '../support/memory-bucket.ts';
import type { Bucket } from '../../src/buckets/bucket.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import type { Catalog } from '../../src/catalog/catalog.ts';
import { VaultError } from '../../src/errors.ts';
import type { ErrorCode } from '../../src/errors.ts';
import { createVault, requireApart } from '../../src/vault/manage/create.ts';
import { openSession } from '../../src/vault/open.ts';
import type { Session } from '../../src/vault/session.ts';
import { Vault } from '../../src/vault/vault.ts';
import { catalogPlace, CUT_STRIDE } from '../support/catalog-place.ts';
import { Steps } from '../support/steps.ts';
import type { Around } from '../support/steps.ts';
import { CHEAP_KDF, CHUNK_SIZE, getBytes, parts, PASSWORD, putBytes } from './harness.ts';
import { endingAt } from './scene.ts';

const URLS = ['memory:1', 'memory:2', 'memory:3'];

type Places = ReadonlyMap<string, Map<string, Uint8Array>>;

function emptyPlaces(): Places {
  return new Map(URLS.map((url) => [url, new Map<string, Uint8Array>()]));
}

interface Making {
  readonly catalog: Catalog;
  readonly places: Places;
  readonly around?: Around;
  readonly urls?: readonly string[];
  readonly password?: string;
  readonly redundancy?: { k: number; m: number } | null;
}

function make(making: Making): ReturnType<typeof createVault> {
  const { catalog, places, around = (_, proceed) => proceed() } = making;
  const steps = new Steps(around);
  return createVault({
    catalog: steps.catalog(catalog),
    urls: making.urls ?? URLS,
    opener: (url) => Promise.resolve(steps.bucket(bucketAt(places, url))),
    redundancy: making.redundancy ?? null,
    password: making.password ?? PASSWORD,
    kdfCost: CHEAP_KDF,
    chunkSize: CHUNK_SIZE,
    nowMs: 1_700_000_000_000,
  });
}

function bucketAt(places: Places, url: string): Bucket {
  return memoryBucket(url, places.get(url));
}

function objects(places: Places): string[] {
  return [...places]
    .flatMap(([url, storage]) => [...storage.keys()].map((name) => `${url} ${name}`))
    .toSorted();
}

const COMPLETE = URLS.flatMap((url) => [`${url} keyring/0000000001`, `${url} vault.json`]);

interface Room extends AsyncDisposable {
  readonly catalog: Catalog;
  readonly places: Places;
}

async function room(places: Places = emptyPlaces()): Promise<Room> {
  const place = await catalogPlace();
  const catalog = await openCatalog(place.location, { create: true });
  return {
    catalog,
    places,
    async [Symbol.asyncDispose]() {
      await catalog.close();
      await place[Symbol.asyncDispose]();
    },
  };
}

async function expectUsable({ catalog, places }: Room): Promise<void> {
  const session: Session = await openSession(parts(catalog, (url) => Promise.resolve(bucketAt(places, url))));
  const vault = new Vault(session);
  const bytes = Buffer.alloc(CHUNK_SIZE + 1, 5);
  await putBytes(vault, bytes, { name: 'file' });
  expect(await getBytes(vault, 'file')).toEqual(bytes);
  await session.guard.end();
  await session.workers.close();
}

test('A vault is made of markers and keyrings alone, and opens', async () => {
  await using made = await room();
  await make(made);
  expect(objects(made.places)).toEqual(COMPLETE);
  await expectUsable(made);
});

describe('A making that fails', () => {
  test('at whichever call, before or after it was done, leaves nothing', async () => {
    for (const when of ['before', 'after'] as const) {
      let fails = true;
      for (let nth = 1; fails; nth += CUT_STRIDE) {
        await using begun = await room();
        const around: Around = async (step, proceed) => {
          if (step.nth !== nth) return proceed();
          if (when === 'after') await proceed();
          throw new VaultError('unavailable', 'The test lets it fail.');
        };
        const result = await make({ ...begun, around }).catch((error: unknown) => error);
        fails = result instanceof VaultError;
        if (!fails) continue;
        expect({ nth, when, objects: objects(begun.places) }).toEqual({ nth, when, objects: [] });
        expect({ nth, when, vault: await begun.catalog.setup.vault() }).toEqual({ nth, when, vault: null });
        await make(begun);
        await expectUsable(begun);
      }
    }
  });

  test('and cannot take back what it stored, can be repeated', async () => {
    await using begun = await room();
    let down = false;
    const around: Around = async (step, proceed) => {
      if (step.where === 'memory:1' && down)
        throw new VaultError('unavailable', 'The test has taken it away.');
      down ||= step.where === 'memory:2' && step.call === 'put';
      if (step.where === 'memory:2' && step.call === 'put')
        throw new VaultError('unavailable', 'Not this one.');
      await proceed();
    };
    await expect(make({ ...begun, around })).rejects.toMatchObject({ code: 'unavailable' });
    expect(objects(begun.places)).toEqual(['memory:1 vault.json']);
    await make(begun);
    expect(objects(begun.places)).toEqual(COMPLETE);
    await expectUsable(begun);
  });

  test.each(['denied', 'storage-full', 'unavailable'] as const)(
    'since the last bucket is not to be written to (%s) says so and leaves nothing',
    async (code: ErrorCode) => {
      await using begun = await room();
      const around: Around = async (step, proceed) => {
        if (step.where === 'memory:3' && step.call === 'put') throw new VaultError(code, 'The test refuses.');
        await proceed();
      };
      await expect(make({ ...begun, around })).rejects.toMatchObject({ code });
      expect(objects(begun.places)).toEqual([]);
    },
  );

  test('since the last bucket does not list or keep what it has taken leaves nothing', async () => {
    for (const call of ['list', 'put'] as const) {
      await using begun = await room();
      const around: Around = async (step, proceed) => {
        await proceed();
        if (step.where !== 'memory:3' || step.call !== call || !step.name.startsWith('keyring/')) return;
        if (call === 'list') throw new VaultError('denied', 'The test refuses.');
        begun.places.get('memory:3')?.delete(step.name);
      };
      await expect(make({ ...begun, around })).rejects.toMatchObject({
        code: call === 'list' ? 'denied' : 'damaged',
      });
      expect(objects(begun.places)).toEqual([]);
      expect(await begun.catalog.setup.vault()).toBeNull();
    }
  });

  test('leaves what others have there', async () => {
    await using begun = await room();
    await using theirs = await room(new Map([['memory:3', begun.places.get('memory:3') ?? new Map()]]));
    await make({ ...theirs, urls: ['memory:3'] });
    const before = new Map(theirs.places.get('memory:3'));
    await expect(make(begun)).rejects.toMatchObject({ code: 'already-exists' });
    // Also where their marker is gone: their keyring is still theirs.
    theirs.places.get('memory:3')?.delete('vault.json');
    before.delete('vault.json');
    await expect(make(begun)).rejects.toMatchObject({ code: 'already-exists' });
    expect(theirs.places.get('memory:3')).toEqual(before);
    expect(objects(begun.places).filter((name) => !name.startsWith('memory:3'))).toEqual([]);
    expect(await begun.catalog.setup.vault()).toBeNull();
  });
});

describe('A making that was killed', () => {
  test('wherever, is finished by repeating it with the same password and buckets', async () => {
    let ends = true;
    for (let nth = 1; ends; nth += CUT_STRIDE) {
      await using begun = await room();
      ends =
        (await make({ ...begun, around: endingAt(nth) }).catch((error: unknown) => error)) instanceof
        VaultError;
      if (!ends) continue;
      // Once more cut short, in between.
      await make({ ...begun, around: endingAt(2) }).catch(() => undefined);
      await make(begun);
      expect({ nth, objects: objects(begun.places) }).toEqual({ nth, objects: COMPLETE });
      await expectUsable(begun);
      await expect(make(begun)).rejects.toMatchObject({ code: 'already-exists' });
    }
  });

  test('is not finished with another password, other buckets or other settings', async () => {
    await using begun = await room();
    await make({ ...begun, around: endingAt(4) }).catch(() => undefined);
    const before = objects(begun.places);
    for (const [change, code, advice] of [
      [{ password: 'another' }, 'already-exists', /the same password and buckets to finish it, or delete/],
      [
        { urls: ['memory:1', 'memory:2'] },
        'already-exists',
        /buckets \(memory:1, .*\) to finish it, or delete/,
      ],
      [{ redundancy: { k: 1, m: 2 } }, 'invalid-input', /Repeat it with the settings/],
    ] as const) {
      const refused = { code, message: expect.stringMatching(advice) };
      await expect(make({ ...begun, ...change })).rejects.toMatchObject(refused);
      expect(objects(begun.places)).toEqual(before);
    }
    await make(begun);
  });

  test('is not taken up again once the vault has gone on without this catalog', async () => {
    await using begun = await room();
    await make(begun);
    const [first] = [...begun.places.values()];
    const bytes = first?.get('keyring/0000000001');
    for (const storage of begun.places.values()) {
      storage.delete('keyring/0000000001');
      storage.set('keyring/0000000002', bytes ?? new Uint8Array());
    }
    const before = objects(begun.places);
    await expect(make(begun)).rejects.toMatchObject({ code: 'already-exists' });
    expect(objects(begun.places)).toEqual(before);
  });
});

describe('Two makings at once', () => {
  test.each([
    ['in the same order', URLS],
    ['in the opposite order', URLS.toReversed()],
  ])('on the same buckets, named %s, make one vault at most', async (_, urls) => {
    for (let nth = 1; nth <= 24; nth += CUT_STRIDE) {
      await using one = await room();
      await using another = await room(one.places);
      const results: PromiseSettledResult<unknown>[] = [];
      let begun = false;
      const around: Around = async (step, proceed) => {
        if (step.nth >= nth && !begun) {
          begun = true;
          results.push(...(await Promise.allSettled([make({ ...another, urls })])));
        }
        await proceed();
      };
      results.push(...(await Promise.allSettled([make({ ...one, around })])));
      const won = results.filter(({ status }) => status === 'fulfilled').length;
      expect({ nth, atMost: won <= 1 }).toEqual({ nth, atMost: true });
      expect({ nth, objects: objects(one.places) }).toEqual({ nth, objects: won === 1 ? COMPLETE : [] });
      const vaults = [await one.catalog.setup.vault(), await another.catalog.setup.vault()];
      expect({ nth, vaults: vaults.filter((vault) => vault !== null).length }).toEqual({ nth, vaults: won });
    }
  });

  test('in the same catalog leave the one that was first', async () => {
    await using one = await room();
    const places = new Map([...one.places, ['memory:4', new Map()]]);
    for (let nth = 1; nth <= 12; nth += CUT_STRIDE) {
      await using both = await room(
        new Map([...places].map(([url]) => [url, new Map<string, Uint8Array>()])),
      );
      let first: unknown = null;
      const around: Around = async (step, proceed) => {
        if (step.nth === nth)
          first = await make({ ...both, urls: ['memory:4'] }).catch((error: unknown) => error);
        await proceed();
      };
      const second = await make({ ...both, around }).catch((error: unknown) => error);
      const failed = [first, second].filter((result) => result instanceof VaultError).length;
      expect({ nth, failed }).toEqual({ nth, failed: 1 });
      expect(await both.catalog.setup.vault()).not.toBeNull();
      const expected = second instanceof VaultError ? COMPLETE_4 : COMPLETE;
      expect({ nth, objects: objects(both.places) }).toEqual({ nth, objects: expected });
    }
  });
});

const COMPLETE_4 = ['memory:4 keyring/0000000001', 'memory:4 vault.json'];

test('a bucket that is given twice is refused, however it is spelled', async () => {
  const urls = ['s3://name/a', 's3://other', 's3://name/a/?region=eu'];
  await using begun = await room();
  await expect(make({ ...begun, urls })).rejects.toMatchObject({
    code: 'invalid-input',
    message:
      'The same bucket is given twice: s3://name/a and s3://name/a/?region=eu. Each shard needs a place of its own.',
  });
});

test.each([
  ['file:///a/b', 'file:///a/b/c', true],
  ['file:///', 'file:///a', true],
  ['file:///a/b', 'file:///a/bc', false],
  ['gs://name', 'gs://name/a', true],
  ['gs://name/a', 's3://name/a/b', false],
  ['s3://name/a?region=eu', 's3://name/a/b?region=eu', true],
  ['s3://name/a?endpoint=https://one', 's3://name/a/b?endpoint=https://two', false],
])('a bucket that lies within another one is refused: %s and %s: %s', (one, other, refused) => {
  for (const [url, rest] of [
    [one, ['file:///x', other]],
    [other, [one]],
  ] as const) {
    let said = '';
    try {
      requireApart(url, rest);
    } catch (error) {
      said = String(error);
    }
    expect(said.includes(' lies within ')).toBe(refused);
  }
});
