import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { memoryBucket } from '../support/memory-bucket.ts';
import type { Bucket } from '../../src/buckets/bucket.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import type { Catalog } from '../../src/catalog/catalog.ts';
import { signKeyring } from '../../src/crypto/signing.ts';
import { VaultError } from '../../src/errors.ts';
import type { Progress, Warning } from '../../src/vault/call.ts';
import { openSession } from '../../src/vault/open.ts';
import { recoverCatalog } from '../../src/vault/recover/recover.ts';
import type { RecoverResult } from '../../src/vault/recover/recover.ts';
import type { Session } from '../../src/vault/session.ts';
import { writeLists } from '../../src/vault/protocol/lists.ts';
import { Vault } from '../../src/vault/vault.ts';
import { catalogPlace, changeCatalog, CUT_STRIDE, literal } from '../support/catalog-place.ts';
import { faulty, storageError } from '../support/faulty-bucket.ts';
import type { FaultPlan } from '../support/faulty-bucket.ts';
import { Steps } from '../support/steps.ts';
import type { Around } from '../support/steps.ts';
import { all, CHEAP_KDF, CHUNK_SIZE, getBytes, parts, PASSWORD, putBytes, testVault } from './harness.ts';
import type { TestVault } from './harness.ts';
import { endingAt, present } from './scene.ts';

const refuse = (): Promise<never> => Promise.reject(new Error('recover never writes to the buckets'));

interface RecoverOptions {
  /** Which of the buckets can be reached; all unless given. */
  readonly only?: readonly number[];
  /** Which URLs are given; those of all that can be reached unless said otherwise. */
  readonly urls?: readonly string[];
  readonly password?: string;
  readonly around?: Around;
  readonly faults?: FaultPlan;
  readonly onProgress?: (progress: Progress) => void;
  readonly onWarning?: (warning: Warning) => void;
}

function openerOf(
  { buckets }: Pick<TestVault, 'buckets'>,
  options: RecoverOptions & { readonly writes: boolean },
): (url: string) => Promise<Bucket> {
  const { only, writes, faults } = options;
  return (url) => {
    const bucket = buckets.find((candidate, i) => candidate.url === url && (only?.includes(i) ?? true));
    if (bucket === undefined) return Promise.reject(new VaultError('bucket-missing', `No bucket ${url}`));
    const plain = faulty(memoryBucket(url, bucket.storage), faults);
    if (writes) return Promise.resolve(plain);
    return Promise.resolve({
      label: url,
      get: (...args) => plain.get(...args),
      list: (...args) => plain.list(...args),
      put: refuse,
      remove: refuse,
      close: () => plain.close(),
    });
  };
}

/** Recovers into a catalog, which may be there already. */
async function recoverInto(
  catalog: Catalog,
  made: Pick<TestVault, 'buckets'>,
  options: RecoverOptions = {},
): Promise<RecoverResult> {
  const opener = openerOf(made, { ...options, writes: false });
  const { limits, host } = parts(catalog, opener);
  const reachable = made.buckets.filter((_, i) => options.only?.includes(i) ?? true).map(({ url }) => url);
  return recoverCatalog({
    catalog: new Steps(options.around ?? ((_step, proceed) => proceed())).catalog(catalog),
    urls: options.urls ?? reachable,
    opener,
    password: () => Promise.resolve(options.password ?? PASSWORD),
    parts: { limits, host },
    onProgress: options.onProgress,
    onWarning: options.onWarning,
  });
}

interface Recovered extends AsyncDisposable {
  readonly result: RecoverResult;
  readonly vault: Vault;
  readonly session: Session;
  readonly catalog: Catalog;
}

/** Rebuilds a catalog elsewhere. */
async function recover(made: Pick<TestVault, 'buckets'>, options: RecoverOptions = {}): Promise<Recovered> {
  await using stack = new AsyncDisposableStack();
  const { location } = stack.use(await catalogPlace());
  const catalog = await openCatalog(location, { create: true });
  let opened: Vault | null = null;
  stack.defer(() => (opened ?? catalog).close());
  const result = await recoverInto(catalog, made, options);
  const password = (): Promise<string> => Promise.resolve(options.password ?? PASSWORD);
  const opener = openerOf(made, { ...options, writes: true });
  const session = await openSession({ ...parts(catalog, opener), password });
  const vault = new Vault(session);
  opened = vault;
  const disposal = stack.move();
  return { result, vault, session, catalog, [Symbol.asyncDispose]: () => disposal.disposeAsync() };
}

async function namesOf(vault: Vault): Promise<string[]> {
  return (await all(vault.list())).map(({ name }) => name).toSorted();
}

async function placesIn({ chunks }: Catalog): Promise<unknown> {
  return (await all(chunks.walk())).map(({ id, shards }) => ({ id, shards }));
}

const NOTHING_WRONG = { unreadableManifests: [], missing: [], unknown: [], unusable: [] };

describe('A lost catalog is rebuilt from the buckets and a password', () => {
  test('with every file, its versions in order, and what was removed hidden', async () => {
    let clock = 1_800_000_000_000;
    await using made = await testVault({ now: () => clock });
    const contents = [
      randomBytes(0),
      randomBytes(5),
      randomBytes(3 * CHUNK_SIZE + 1),
      randomBytes(CHUNK_SIZE),
    ];
    const stored = new Map<string, Buffer>();
    for (const [i, bytes] of contents.entries()) {
      // The clock goes backwards: the versions count.
      clock -= 3_600_000;
      stored.set((await putBytes(made.vault, bytes, { name: `file ${i % 3}` })).hash, bytes);
    }
    await putBytes(made.vault, randomBytes(10), { name: 'removed' });
    await made.vault.remove(['removed']);
    const before = await all(made.vault.list({ all: true }));
    await using recovered = await recover(made);
    expect(recovered.result).toMatchObject({
      vaultId: made.vault.id,
      learned: 5,
      known: 0,
      hidden: 1,
      ...NOTHING_WRONG,
    });
    expect(await all(recovered.vault.list({ all: true }))).toEqual(before);
    expect(await getBytes(recovered.vault, 'file 0')).toEqual(contents[3]);
    expect(before.map(({ hash }) => hash).toSorted()).toEqual([...stored.keys()].toSorted());
    for (const [hash, bytes] of stored) expect(await getBytes(recovered.vault, hash)).toEqual(bytes);
    expect((await all(recovered.vault.list({ deleted: true }))).map(({ name }) => name)).toEqual(['removed']);
    await recovered.vault.undelete(['removed']);
    expect(await namesOf(recovered.vault)).toContain('removed');
  });

  test('and knows where the shards lie, so that reading and repairing look no further', async () => {
    await using made = await testVault({ buckets: 5, redundancy: { k: 2, m: 1 } });
    await putBytes(made.vault, randomBytes(3 * CHUNK_SIZE), { name: 'a' });
    await using recovered = await recover(made);
    const rows = await all(made.catalog.chunks.walk());
    const again = await all(recovered.catalog.chunks.walk());
    expect(again.map(({ id, shards }) => ({ id, uploads: shards.map((place) => place?.upload) }))).toEqual(
      rows.map(({ id, shards }) => ({ id, uploads: shards.map((place) => place?.upload) })),
    );
    expect(await recovered.vault.repair({ depth: 'data' })).toMatchObject({
      outcome: 'whole',
      shardsStored: 0,
      placesRepaired: 0,
    });
  });

  test('and names no shard that a list of removal does, where others are there', async () => {
    await using made = await testVault();
    const bytes = randomBytes(6 * CHUNK_SIZE);
    await putBytes(made.vault, bytes, { name: 'a' });
    await made.session.guard.end();
    const listed = new Set(made.objects('chunks/').map((object) => object.split(' ')[1] ?? ''));
    await writeLists(made.session, made.session.buckets.all, [...listed], undefined);
    await putBytes(await made.reopen(), bytes, { name: 'b' });
    await using recovered = await recover(made);
    expect(await placesIn(recovered.catalog)).toEqual(await placesIn(made.catalog));
  });

  test('and then put, rm and sweep go on as before', async () => {
    await using made = await testVault();
    const bytes = randomBytes(4 * CHUNK_SIZE);
    const { hash } = await putBytes(made.vault, bytes, { name: 'a' });
    await made.session.guard.end();
    await using recovered = await recover(made);
    const again = await putBytes(recovered.vault, bytes, { name: 'a' });
    expect(again).toMatchObject({ unchanged: true, hash, chunksStored: 0 });
    await putBytes(recovered.vault, bytes, { name: 'b' });
    await recovered.vault.remove(['a', 'b'], { graceMs: 0 });
    await recovered.session.guard.end();
    await recovered.vault.sweep();
    expect(made.objects('chunks/')).toEqual([]);
    expect(made.objects('manifests/')).toEqual([]);
  });

  test('of which one is given: the keyring knows the others', async () => {
    await using made = await testVault();
    const bytes = randomBytes(3 * CHUNK_SIZE);
    await putBytes(made.vault, bytes, { name: 'a' });
    for (const { url } of made.buckets) {
      await using recovered = await recover(made, { urls: [url] });
      expect(recovered.result).toMatchObject(NOTHING_WRONG);
      expect(recovered.vault.buckets.map((bucket) => bucket.url)).toEqual([
        'memory:1',
        'memory:2',
        'memory:3',
      ]);
      expect(await getBytes(recovered.vault, 'a')).toEqual(bytes);
    }
  });

  test('also where one is to be found under another URL here', async () => {
    await using made = await testVault();
    await putBytes(made.vault, randomBytes(3 * CHUNK_SIZE), { name: 'a' });
    const [first, second, third] = made.buckets;
    const elsewhere = { ...present(second), url: 'memory:elsewhere' };
    const moved = [present(first), elsewhere, present(third)];
    await using recovered = await recover({ buckets: moved });
    expect(recovered.result).toMatchObject(NOTHING_WRONG);
    expect(recovered.vault.buckets.map(({ url }) => url)).toEqual([
      'memory:1',
      'memory:elsewhere',
      'memory:3',
    ]);
    expect(await recovered.vault.repair({ depth: 'data' })).toMatchObject({
      outcome: 'whole',
      bytesStored: 0,
    });
  });

  test('with any m of the buckets missing, all is readable, and the missing ones are named', async () => {
    await using made = await testVault();
    const bytes = randomBytes(3 * CHUNK_SIZE);
    await putBytes(made.vault, bytes, { name: 'a' });
    for (const missing of [0, 1, 2]) {
      await using recovered = await recover(made, { only: [0, 1, 2].filter((i) => i !== missing) });
      expect(recovered.result.unusable.map(({ url }) => url)).toEqual([`memory:${missing + 1}`]);
      expect(await getBytes(recovered.vault, 'a')).toEqual(bytes);
    }
  });

  test('from an earlier moment on: it learns what came since, and that it was removed', async () => {
    await using made = await testVault();
    await putBytes(made.vault, randomBytes(10), { name: 'a' });
    await putBytes(made.vault, randomBytes(10), { name: 'b' });
    await using recovered = await recover(made);
    await putBytes(made.vault, randomBytes(10), { name: 'c' });
    await made.vault.remove(['a']);
    expect(await recoverInto(recovered.catalog, made)).toMatchObject({ learned: 1, known: 2, hidden: 1 });
    expect(await namesOf(recovered.vault)).toEqual(['b', 'c']);
    await made.vault.undelete(['a']);
    expect(await recoverInto(recovered.catalog, made)).toMatchObject({ learned: 0, known: 3, hidden: 0 });
    expect(await namesOf(recovered.vault)).toEqual(['a', 'b', 'c']);
    const again = await recoverInto(recovered.catalog, made);
    expect(again).toMatchObject({ learned: 0, known: 3, ...NOTHING_WRONG });
  });

  test('once more wherever it was cut short', async () => {
    await using made = await testVault();
    const bytes = randomBytes(2 * CHUNK_SIZE);
    for (const name of ['a', 'b', 'c']) await putBytes(made.vault, bytes, { name });
    let ends = true;
    for (let nth = 1; ends; nth += CUT_STRIDE) {
      await using place = await catalogPlace();
      const catalog = await openCatalog(place.location, { create: true });
      const cut = await recoverInto(catalog, made, { around: endingAt(nth) }).catch(
        (error: unknown) => error,
      );
      ends = cut instanceof VaultError;
      const result = await recoverInto(catalog, made);
      expect({ nth, files: result.learned + result.known }).toEqual({ nth, files: 3 });
      const vault = new Vault(await openSession(parts(catalog, openerOf(made, { writes: true }))));
      expect(await getBytes(vault, 'b')).toEqual(bytes);
      await vault.close();
    }
  });

  test('telling how many files it has come through, of how many', async () => {
    await using made = await testVault();
    for (const name of ['a', 'b', 'c']) await putBytes(made.vault, randomBytes(10), { name });
    const seen: Progress[] = [];
    await using _ = await recover(made, { onProgress: (progress) => void seen.push(progress) });
    expect(seen.map(({ doneFiles }) => doneFiles)).toEqual([0, 1, 2, 3]);
    for (const one of seen) expect(one).toMatchObject({ doneBytes: 0, totalBytes: null, totalFiles: 3 });
  });

  test('hiding by the record that counts, though a bucket that was away has another', async () => {
    await using made = await testVault();
    await putBytes(made.vault, randomBytes(10), { name: 'a' });
    await made.vault.remove(['a']);
    const [first] = made.buckets;
    const earlier = new Map(present(first).storage);
    await made.vault.undelete(['a']);
    for (const [name, bytes] of earlier) present(first).storage.set(name, bytes);
    await using recovered = await recover(made);
    expect(await namesOf(recovered.vault)).toEqual(['a']);
  });
});

describe('Recovering names', () => {
  test('a manifest that no bucket has intact; one intact copy is enough', async () => {
    await using made = await testVault();
    const { hash } = await putBytes(made.vault, randomBytes(10), { name: 'a' });
    const name = `manifests/${hash}`;
    for (const { storage } of made.buckets.slice(1)) storage.set(name, Buffer.from('rubbish'));
    {
      await using recovered = await recover(made);
      expect(recovered.result).toMatchObject({ learned: 1, ...NOTHING_WRONG });
    }
    made.buckets[0]?.storage.set(name, Buffer.from('rubbish'));
    await using recovered = await recover(made);
    expect(recovered.result).toMatchObject({ unreadableManifests: [hash], learned: 0 });
  });

  test('a file that the catalog has and no bucket', async () => {
    await using made = await testVault();
    const { hash } = await putBytes(made.vault, randomBytes(10), { name: 'a' });
    for (const { storage } of made.buckets) storage.delete(`manifests/${hash}`);
    expect(await recoverInto(made.catalog, made)).toMatchObject({ missing: [hash], known: 0 });
  });

  test('files whose buckets fail meanwhile, and goes on with the others', async () => {
    await using made = await testVault({ buckets: 1 });
    const { hash } = await putBytes(made.vault, randomBytes(10), { name: 'a' });
    await putBytes(made.vault, randomBytes(10), { name: 'b' });
    const faults: FaultPlan = ({ operation, name }) =>
      operation === 'get' && name === `manifests/${hash}`
        ? { kind: 'fail', when: 'before', error: storageError() }
        : null;
    await using recovered = await recover(made, { faults });
    expect(recovered.result).toMatchObject({ unknown: [hash], learned: 1 });
  });

  test('a bucket that has been taken out of the vault', async () => {
    await using made = await testVault({ buckets: 4, redundancy: { k: 2, m: 1 } });
    const marker = present(made.buckets[3]?.storage.get('vault.json'));
    await made.vault.removeBucket('memory:4');
    made.buckets[3]?.storage.set('vault.json', marker);
    await using recovered = await recover(made);
    expect(recovered.result.unusable).toMatchObject([{ url: 'memory:4' }]);
    expect(recovered.vault.buckets).toHaveLength(3);
  });
});

describe('Recovering refuses', () => {
  test('a wrong password, and one that has been changed though a bucket still shows what it opens', async () => {
    await using made = await testVault();
    await expect(recover(made, { password: 'wrong' })).rejects.toMatchObject({ code: 'wrong-password' });
    const [first] = made.buckets;
    const old = [...present(first).storage].filter(([name]) => name.startsWith('keyring/'));
    await made.vault.changePassword({ current: PASSWORD, next: 'a new one', kdfCost: CHEAP_KDF });
    for (const name of present(first).storage.keys()) {
      if (name.startsWith('keyring/')) present(first).storage.delete(name);
    }
    for (const [name, bytes] of old) present(first).storage.set(name, bytes);
    await expect(recover(made)).rejects.toMatchObject({ code: 'wrong-password' });
    await using recovered = await recover(made, { password: 'a new one' });
    expect(recovered.session.keyring.keyring.epoch).toBe(2);
  });

  test('buckets of two vaults, one bucket twice, places of no vault, and a catalog of another vault', async () => {
    await using made = await testVault();
    await using other = await testVault();
    const [first, second] = [present(made.buckets[0]), present(other.buckets[1])];
    await expect(recover({ buckets: [first, second] })).rejects.toMatchObject({ code: 'invalid-input' });
    const twice = [first, { ...first, url: 'memory:same' }];
    await expect(recover({ buckets: twice })).rejects.toMatchObject({ code: 'invalid-input' });
    const empty = { url: 'memory:9', storage: new Map(), wrap: first.wrap };
    await expect(recover({ buckets: [empty] })).rejects.toMatchObject({ code: 'no-vault' });
    await expect(recoverInto(other.catalog, made)).rejects.toMatchObject({ code: 'invalid-input' });
    expect(await other.catalog.setup.vault()).toMatchObject({ id: other.vault.id });
  });

  test('where no keyring is intact', async () => {
    await using made = await testVault();
    for (const { storage } of made.buckets) storage.set('keyring/0000000001', Buffer.from('{'));
    await expect(recover(made)).rejects.toMatchObject({ code: 'damaged' });
  });
});

describe('A bucket that shows false keyrings', () => {
  test.each([
    ['gone', () => null],
    ['cut', (bytes: Uint8Array) => bytes.subarray(0, 50)],
    ['much too long', (bytes: Uint8Array) => Buffer.concat([bytes, Buffer.alloc(2 * 1024 * 1024, ' ')])],
    ['with another salt', (bytes: Uint8Array) => changed(bytes, 'salt')],
    ['with other secrets', (bytes: Uint8Array) => changed(bytes, 'wrapped')],
    ['with another epoch', (bytes: Uint8Array) => changed(bytes, 'redundancy')],
  ] as const)('keeps nobody out, whichever it is: %s', async (_, damage) => {
    await using made = await testVault();
    await putBytes(made.vault, Buffer.from('content'), { name: 'file' });
    for (const { storage } of made.buckets) {
      const bytes = present(storage.get('keyring/0000000001'));
      const damaged = damage(bytes);
      if (damaged === null) storage.delete('keyring/0000000001');
      else storage.set('keyring/0000000001', damaged);
      await using recovered = await recover(made);
      expect((await getBytes(recovered.vault, 'file')).toString()).toBe('content');
      expect(await recovered.vault.repair()).toMatchObject({ outcome: 'whole', keyringsStored: 1 });
      expect(Buffer.from(storage.get('keyring/0000000001') ?? []).equals(bytes)).toBe(true);
    }
  });

  test('costs nothing but its own, while others show the right one, and is told when it alone is asked', async () => {
    await using made = await testVault();
    await using other = await testVault();
    const [slot] = made.session.keyring.keyring.slots;
    const slots = Array.from({ length: 64 }, (_, i) => ({
      ...present(slot),
      writer: i.toString(16).padStart(32, '0'),
      salt: Buffer.alloc(32, i),
      cost: { memoryKib: 256 * 1024, passes: 16, lanes: 4 },
    }));
    const keys = { ...other.session.keys, vaultId: made.vault.id };
    for (const epoch of [7, 8, 9, 10]) {
      const keyring = { ...made.session.keyring.keyring, epoch, previous: 'ab'.repeat(32), slots };
      made.buckets[0]?.storage.set(`keyring/${String(epoch).padStart(10, '0')}`, signKeyring(keys, keyring));
    }
    await using recovered = await recover(made);
    expect(recovered.session.keyring.keyring.epoch).toBe(1);
  });

  test('older than a file’s is noticed: something is held back', async () => {
    await using made = await testVault();
    const old = made.buckets.map(({ storage }) => present(storage.get('keyring/0000000001')));
    await made.vault.changePassword({ current: PASSWORD, next: 'a new one', kdfCost: CHEAP_KDF });
    await putBytes(made.vault, Buffer.from('content'), { name: 'file' });
    for (const [i, { storage }] of made.buckets.entries()) {
      storage.delete('keyring/0000000002');
      storage.set('keyring/0000000001', present(old[i]));
    }
    const warnings: Warning[] = [];
    await using _ = await recover(made, { onWarning: (warning) => void warnings.push(warning) });
    expect(warnings).toMatchObject([{ kind: 'keyring' }]);
    // The catalog that knows better is believed, and what the buckets lack is given back to them.
    const known = await recoverInto(made.catalog, made, { password: 'a new one' });
    expect(known).toMatchObject({ known: 1 });
    await expect(recoverInto(made.catalog, made)).rejects.toMatchObject({ code: 'wrong-password' });
    expect(await made.vault.repair()).toMatchObject({ keyringsStored: 3 });
  });
});

/** The keyring with one letter of a field changed. */
function changed(bytes: Uint8Array, field: string): Uint8Array {
  const text = Buffer.from(bytes).toString();
  const other = text.replace(
    new RegExp(`("${field}":")(.)`),
    (_, start: string, letter: string) => start + (letter === '1' ? '2' : '1'),
  );
  expect(other).not.toBe(text);
  return Buffer.from(other);
}

describe('whatever the row of the vault says, its keyring is put right', () => {
  const lies = [
    ['a keyring that is none', `update vault set keyring = ${literal(new Uint8Array(1))}`],
    ['an epoch far ahead', 'update vault set epoch = epoch + 1000'],
    ['the last epoch that there can be', `update vault set epoch = ${2 ** 53 - 1}`],
    [
      'a keyring that is none, of an epoch far ahead',
      `update vault set epoch = epoch + 1000, keyring = ${literal(new Uint8Array(1))}`,
    ],
  ] as const;

  test.each(lies)('by recover: %s', async (_, statement) => {
    await using made = await testVault();
    const before = present(await made.catalog.setup.vault());
    await changeCatalog(made.db, statement);
    await recoverInto(made.catalog, made);
    expect(await made.catalog.setup.vault()).toEqual(before);
  });

  test.each([...lies.slice(1, 3), ['an epoch from before', 'update vault set epoch = 0'] as const])(
    'by a change of the password, which opens the catalog from then on: %s',
    async (_, statement) => {
      await using made = await testVault();
      await changeCatalog(made.db, statement);
      await made.vault.changePassword({ current: PASSWORD, next: 'the next', kdfCost: CHEAP_KDF });
      const opener = openerOf(made, { writes: true });
      const session = await openSession({
        ...parts(made.catalog, opener),
        password: () => Promise.resolve('the next'),
      });
      expect((await made.catalog.setup.vault())?.epoch).toBe(session.keyring.keyring.epoch);
      await session.workers.close();
    },
  );
});
