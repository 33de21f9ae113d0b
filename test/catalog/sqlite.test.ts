import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { getuid } from 'node:process';
import Sqlite from 'better-sqlite3';
import { describe, expect, test, vi } from 'vitest';
import { openCatalog } from '../../src/catalog/open.ts';
import { sqlCatalog } from '../../src/catalog/sql/catalog.ts';
import { encodeFile } from '../../src/catalog/sql/encoding.ts';
import { openSqlite } from '../../src/catalog/sqlite/engine.ts';
import { smallDisk } from '../support/small-disk.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { catalogConformance } from './conformance.ts';
import { chunk, codeOf, file, hex, many, VAULT } from './samples.ts';
import { statementsOf } from './statements.ts';
import { systemClock } from '../../src/host.ts';

const MIB = 1024 * 1024;

catalogConformance('SQLite', async () => {
  const folder = await temporaryFolder();
  return {
    open: () => openCatalog(folder.at('catalog.db'), { create: true }),
    cleanUp: async () => {
      await folder[Symbol.asyncDispose]();
    },
  };
});

describe('an SQLite file', () => {
  test('is made with its folder, for the owner only', async () => {
    await using folder = await temporaryFolder();
    const path = folder.at('a', 'b', 'catalog.db');
    const catalog = await openCatalog(path, { create: true });
    await catalog.setup.create(VAULT);
    expect((await stat(folder.at('a'))).mode & 0o777).toBe(0o700);
    expect((await stat(folder.at('a', 'b'))).mode & 0o777).toBe(0o700);
    for (const suffix of ['', '-wal', '-shm']) {
      expect((await stat(path + suffix)).mode & 0o777).toBe(0o600);
    }
    await catalog.close();
  });

  test('that does not exist is no-vault, and is not made', async () => {
    await using folder = await temporaryFolder();
    expect(await codeOf(openCatalog(folder.at('absent.db')))).toBe('no-vault');
    expect(await codeOf(openCatalog(folder.at('absent', 'absent.db')))).toBe('no-vault');
    await expect(stat(folder.at('absent.db'))).rejects.toThrow('ENOENT');
    await writeFile(folder.at('empty.db'), '');
    expect(await codeOf(openCatalog(folder.at('empty.db')))).toBe('no-vault');
  });

  test('is kept between two openings', async () => {
    await using folder = await temporaryFolder();
    const path = folder.at('catalog.db');
    const row = file();
    const first = await openCatalog(path, { create: true });
    await first.files.put([row]);
    await first.close();
    const second = await openCatalog(path);
    expect(await Array.fromAsync(second.files.walk())).toEqual([row]);
    await second.close();
  });

  test('of another program is invalid-input and stays as it is', async () => {
    await using folder = await temporaryFolder();
    const path = folder.at('other.db');
    new Sqlite(path).exec('create table something (a)').close();
    const before = await readFile(path);
    expect(await codeOf(openCatalog(path))).toBe('invalid-input');
    expect(await codeOf(openCatalog(path, { create: true }))).toBe('invalid-input');
    expect(Buffer.compare(await readFile(path), before)).toBe(0);
  });

  test('that is no database is damaged, and the message says how to rebuild it', async () => {
    await using folder = await temporaryFolder();
    const path = folder.at('notes.txt');
    await writeFile(path, 'This is a text of some length.\n'.repeat(100));
    await expect(openCatalog(path)).rejects.toMatchObject({
      code: 'damaged',
      message: expect.stringContaining('vault recover'),
    });
    await expect(openCatalog(folder.path)).rejects.toMatchObject({ code: 'invalid-input' });
  });

  test('that is cut off is damaged', async () => {
    await using folder = await temporaryFolder();
    const path = folder.at('catalog.db');
    const catalog = await openCatalog(path, { create: true });
    await catalog.files.put(many(100, () => file()));
    await catalog.chunks.put(many(100, () => chunk()));
    await catalog.close();
    await truncate(path, 8192);
    const work = async (): Promise<void> => {
      const again = await openCatalog(path);
      try {
        await Array.fromAsync(again.files.walk());
        await Array.fromAsync(again.chunks.walk());
      } finally {
        await again.close();
      }
    };
    expect(await codeOf(work())).toBe('damaged');
  });

  test('with a row changed by hand is damaged, never believed', async () => {
    await using folder = await temporaryFolder();
    const path = folder.at('catalog.db');
    const catalog = await openCatalog(path, { create: true });
    const [places, row] = [chunk(), file()];
    await catalog.chunks.put([places]);
    await catalog.files.put([row]);
    const changed = async (table: string, change: string): Promise<string> => {
      new Sqlite(path).exec(`update ${table} set ${change}`).close();
      if (table === 'chunks') return codeOf(catalog.chunks.locate([places.id]));
      // It keeps no other from being read, and has no record that opens.
      const [found] = await Array.fromAsync(catalog.files.walk());
      return found?.hash === row.hash && found.record.length === 0 ? 'no record' : 'success';
    };
    expect(await changed('chunks', 'k = 9')).toBe('damaged');
    expect(await changed('chunks', `k = 2, shards = x'0001'`)).toBe('damaged');
    expect(await changed('chunks', `shards = '${'x'.repeat(30)}'`)).toBe('damaged');
    expect(await changed('chunks', `shards = zeroblob(30), sealing = x'00'`)).toBe('damaged');
    expect(await changed('chunks', `sealing = x'00000000', sealed_size = 0.5`)).toBe('damaged');
    expect(await changed('chunks', 'sealed_size = 5')).toBe('success');
    expect(await changed('files', `version = 'second'`)).toBe('no record');
    expect(await changed('files', 'version = 0')).toBe('no record');
    expect(await changed('files', `version = 1, name_tag = x'00'`)).toBe('no record');
    expect(await changed('files', `name_tag = zeroblob(32), created_at = 1.5`)).toBe('no record');
    expect(await changed('files', `created_at = 1, record = 'text'`)).toBe('no record');
    expect(await changed('files', `record = x'00'`)).toBe('success');
    await catalog.close();
  });

  test('of a newer schema is unsupported', async () => {
    await using folder = await temporaryFolder();
    const path = folder.at('catalog.db');
    await (await openCatalog(path, { create: true })).close();
    const database = new Sqlite(path);
    database.pragma('user_version = 999');
    database.close();
    await expect(openCatalog(path)).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('schema 999'),
    });
  });

  test.skipIf(getuid?.() === 0)('without rights is denied', async () => {
    await using folder = await temporaryFolder();
    const path = folder.at('catalog.db');
    await (await openCatalog(path, { create: true })).close();
    await chmod(path, 0);
    expect(await codeOf(openCatalog(path))).toBe('denied');
    await mkdir(folder.at('closed'), { mode: 0o500 });
    expect(await codeOf(openCatalog(folder.at('closed', 'x.db'), { create: true }))).toBe('denied');
  });

  test('waits for a process that writes, without stopping this one', async () => {
    await using folder = await temporaryFolder();
    const path = folder.at('catalog.db');
    const catalog = await openCatalog(path, { create: true });
    const blocker = new Sqlite(path);
    blocker.exec('begin immediate');
    const row = file();
    const put = catalog.files.put([row]);
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    await vi.waitUntil(() => turns > 2);
    await new Promise((resolve) => setTimeout(resolve, 500));
    blocker.exec('commit');
    clearInterval(timer);
    await put;
    expect(await Array.fromAsync(catalog.files.walk())).toEqual([row]);
    blocker.close();
    await catalog.close();
  });

  test('on a full disk says storage-full, loses nothing, and goes on when there is room', async ({
    skip,
  }) => {
    await using folder = await temporaryFolder();
    await using disk = await smallDisk(folder.at('disk'), MIB);
    if (disk === null) return skip('Only root can make a small disk.');
    const catalog = await openCatalog(folder.at('disk', 'catalog.db'), { create: true });
    const kept: string[] = [];
    let code = 'success';
    while (code === 'success') {
      const row = file({ record: new Uint8Array(10_000) });
      code = await codeOf(catalog.files.put([row]));
      if (code === 'success') kept.push(row.hash);
    }
    expect(code).toBe('storage-full');
    const listed = async (): Promise<string[]> => {
      const rows = await Array.fromAsync(catalog.files.walk());
      return rows.map((row) => row.hash);
    };
    expect(await listed()).toEqual(kept.toSorted());
    await disk.resize(8 * MIB);
    const row = file();
    await catalog.files.put([row]);
    expect(await listed()).toEqual([...kept, row.hash].toSorted());
    await catalog.close();
  });

  test('that is opened on a full disk is read, and says storage-full of what would be written', async ({
    skip,
  }) => {
    await using folder = await temporaryFolder();
    await using disk = await smallDisk(folder.at('disk'), MIB);
    if (disk === null) return skip('Only root can make a small disk.');
    const path = folder.at('disk', 'catalog.db');
    await (await openCatalog(path, { create: true })).close();
    // There is no room for the file that readers share.
    await disk.fill();
    const using = async (): Promise<void> => {
      const catalog = await openCatalog(path);
      try {
        expect(await catalog.files.counts()).toEqual({ files: 0, hidden: 0 });
        await catalog.requireWritable();
      } finally {
        await catalog.close();
      }
    };
    expect(await codeOf(using())).toBe('storage-full');
    await disk.free();
    expect(await codeOf(using())).toBe('success');
  });

  test('lets timers have their turn while a listing runs', async () => {
    await using folder = await temporaryFolder();
    const catalog = await openCatalog(folder.at('catalog.db'), { create: true });
    for (let i = 0; i < 3; i++) await catalog.chunks.put(many(1000, () => chunk()));
    let turns = 0;
    const tick = (): void => {
      turns++;
      timer = setImmediate(tick);
    };
    let timer = setImmediate(tick);
    await Array.fromAsync(catalog.chunks.walk());
    clearImmediate(timer);
    expect(turns).toBeGreaterThanOrEqual(3);
    await catalog.close();
  });

  test('is made once by many processes that start at once', async () => {
    await using folder = await temporaryFolder();
    const path = folder.at('catalog.db');
    const script = `
      import { openCatalog } from ${JSON.stringify(new URL('../../src/catalog/open.ts', import.meta.url).href)};
      const catalog = await openCatalog(process.argv[1], { create: true });
      await catalog.setup.putBucket({ id: process.argv[2], record: new Uint8Array(1) });
      await catalog.close();`;
    const exits = await Promise.all(
      Array.from({ length: 6 }, async () => {
        const child = spawn(process.execPath, ['--input-type=module', '-e', script, path, hex(32)], {
          stdio: ['ignore', 'ignore', 'inherit'],
        });
        const [code] = await once(child, 'exit');
        return code as unknown;
      }),
    );
    expect(exits).toEqual([0, 0, 0, 0, 0, 0]);
    const catalog = await openCatalog(path);
    expect((await catalog.setup.buckets()).map((bucket) => bucket.number)).toEqual([1, 2, 3, 4, 5, 6]);
    await catalog.close();
  });

  test('finds everything by an index: no statement reads or sorts a whole table', async () => {
    await using folder = await temporaryFolder();
    const path = folder.at('catalog.db');
    const engine = await openSqlite(path, { create: true, clock: systemClock });
    const statements = await statementsOf(engine);
    await engine.close();
    const database = new Sqlite(path);
    const plans = statements.flatMap(({ sql, parameters }) =>
      database
        .prepare<unknown[], { readonly detail: string }>(`explain query plan ${sql}`)
        .all(...parameters)
        .map((step) => `${step.detail} -- ${sql}`),
    );
    database.close();
    // Pages of what one statement puts together, and walks through all chunks in the order of their keys are asked for.
    const whole = plans.filter((plan) =>
      /^SCAN (?!of_tag|chunks --|.* USING|CONSTANT|\d+-ROW VALUES)/.test(plan),
    );
    expect(whole).toEqual([]);
    // A page is read in the order of an index; what is few enough to come in one piece may be sorted.
    expect(plans.filter((plan) => /TEMP B-TREE FOR ORDER BY.* limit /.test(plan))).toEqual([]);
  });

  describe('that is written to by several at once', () => {
    test('has all or nothing of it, and nobody is told before that', async () => {
      await using folder = await temporaryFolder();
      const engine = await openSqlite(folder.at('catalog.db'), { create: true, clock: systemClock });
      const { files } = sqlCatalog(engine);
      const database = new Sqlite(folder.at('catalog.db'));
      const seen = (): unknown => database.prepare('select count(*) from files').pluck().get();
      const told: string[] = [];
      const meanwhile: unknown[] = [];
      await Promise.all([
        files.put([file()]).then(() => told.push('first')),
        engine.write('lazy', async () => meanwhile.push(seen(), [...told])),
        files.put([file()]),
      ]);
      expect(meanwhile).toEqual([0, []]);
      expect(seen()).toBe(2);
      database.close();
      await engine.close();
    });

    test('keeps what the others wrote when one fails, and nothing of that one', async () => {
      await using folder = await temporaryFolder();
      const engine = await openSqlite(folder.at('catalog.db'), { create: true, clock: systemClock });
      const { files } = sqlCatalog(engine);
      const [first, second, third] = [file(), file(), file()];
      const outcomes = await Promise.allSettled([
        files.put([first]),
        engine.write('durable', async (session) => {
          await session.run(engine.db.insertInto('files').values(encodeFile(third)));
          throw new Error('of its own');
        }),
        files.put([second]),
      ]);
      expect(outcomes).toMatchObject([
        { status: 'fulfilled' },
        { status: 'rejected', reason: { message: 'of its own' } },
        { status: 'fulfilled' },
      ]);
      const found = await Array.fromAsync(files.walk(), ({ hash }) => hash);
      expect(found).toEqual([first.hash, second.hash].toSorted());
      await engine.close();
    });
  });
});
