import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { catalogPlace, changeCatalog } from '../support/catalog-place.ts';
import type { Sandbox } from './run.ts';
import { sandbox } from './run.ts';

/** Too much for a manifest, so that there are shards. */
const CONTENT = 'content of a '.repeat(2_000);

let box: Sandbox;
let fresh: () => Promise<void>;
/** Puts back the vault with the file a. */
let stored: () => Promise<void>;
beforeAll(async () => {
  box = await sandbox();
  await box.makeVault();
  fresh = await box.keep();
  await box.run(['put', '-', '--name', 'a'], { stdin: CONTENT });
  stored = await box.keep();
});
beforeEach(() => fresh());
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

describe('verify and repair', () => {
  beforeEach(() => stored());

  test('verify of a whole vault is silent without a terminal', async () => {
    expect(await box.run(['verify'])).toMatchObject({ exit: 0, stdout: '', stderr: '' });
    expect(await box.run(['verify', '--read-data'])).toMatchObject({ exit: 0, stdout: '', stderr: '' });
    const { stdout } = await box.run(['verify', '--json']);
    expect(JSON.parse(stdout)).toMatchObject({ outcome: 'whole', affected: [] });
  });

  test('verify --locks says so where no bucket can lock, and a repair that is to lock does nothing', async () => {
    const { exit, stdout } = await box.run(['verify', '--locks']);
    expect(exit).toBe(0);
    expect(stdout).toMatch(/^No bucket keeps objects from being removed\.$/m);
    expect(await box.run(['repair', '--retain', '30d'])).toMatchObject({
      exit: 2,
      stderr: expect.stringMatching(/^vault: Nothing was stored or locked, since no bucket can/),
    });
  });

  test('verify ends with 3 and says what is wrong where, and repair mends it', async () => {
    await removeChunks(2);
    const { exit, stdout, stderr } = await box.run(['verify']);
    expect(exit).toBe(3);
    expect(stdout).toMatch(/^[0-9a-f]{12} {2}degraded +a +shards missing in file:.*bucket-2$/m);
    expect(stdout).toMatch(/bucket-2 +1 +1 +0 +active$/m);
    expect(stderr).toMatch(/^vault: warning: 1 file is not whole but can be read\. "vault repair"/);
    expect(await box.run(['repair'])).toMatchObject({ exit: 0, stdout: '', stderr: '' });
    expect((await box.run(['verify', '--read-data'])).exit).toBe(0);
  });

  test('a row that was changed by hand is told by ls with 6 and by verify with 3, and mended by both verify and repair', async () => {
    await changeCatalog(box.db, 'update files set created_at = created_at + 1');
    await box.run(['put', '-', '--name', 'b'], { stdin: 'content of b' });
    const listed = await box.run(['ls']);
    expect(listed).toMatchObject({ exit: 6, stdout: expect.stringMatching(/^[^\n]* b\n$/) });
    expect(listed.stderr).toMatch(/^vault: 1 of the catalog’s records .*"vault repair"/);
    const verified = await box.run(['verify']);
    expect(verified.exit).toBe(3);
    expect(verified.stdout).toMatch(/^[0-9a-f]{12} {2}degraded +a +record damaged$/m);
    expect(verified.stderr).toMatch(/The catalog disagreed with the buckets about 1 file/);
    // It has caught up with the buckets.
    expect(await box.run(['verify'])).toMatchObject({ exit: 0, stdout: '', stderr: '' });
    await changeCatalog(box.db, 'update files set created_at = created_at + 1');
    expect(await box.run(['repair'])).toMatchObject({ exit: 0, stdout: '', stderr: '' });
    expect(await box.run(['ls'])).toMatchObject({ exit: 0, stderr: '' });
    expect(await box.run(['verify'])).toMatchObject({ exit: 0, stdout: '', stderr: '' });
    expect((await box.run(['get', 'a', '-o', '-'])).stdout).toBe(CONTENT);
  });

  test.each([
    ['does not know', 'delete from files', /did not know 1 of the files/],
    ['hides', 'update files set hidden_at = 5', /hid 1 that nobody has removed/],
  ])(
    'verify of a catalog that %s a file in the buckets says that, and nothing of repair',
    async (_how, change, told) => {
      await changeCatalog(box.db, change);
      const { exit, stderr } = await box.run(['verify']);
      expect([exit, stderr]).toEqual([3, expect.stringMatching(told)]);
      expect(stderr).not.toMatch(/not whole|repair/);
      expect(await box.run(['verify'])).toMatchObject({ exit: 0, stdout: '', stderr: '' });
    },
  );

  test.each([
    ['does not know', 'delete from files'],
    ['hides', 'update files set hidden_at = 5'],
  ])('repair of a catalog that %s a file in the buckets says so and ends with 3', async (_how, change) => {
    await changeCatalog(box.db, change);
    const unknown =
      /^vault: warning: The buckets hold 1 file that the catalog did not know; "vault ls" lists it /;
    const dry = await box.run(['repair', '--dry-run']);
    expect([dry.exit, dry.stderr]).toEqual([3, expect.stringMatching(unknown)]);
    const { exit, stderr } = await box.run(['repair']);
    expect([exit, stderr]).toEqual([3, expect.stringMatching(unknown)]);
    expect(await box.run(['repair'])).toMatchObject({ exit: 0, stderr: '' });
    expect((await box.run(['ls'])).stdout).toMatch(/ a\n$/);
  });

  test('verify names the buckets whose keyring is not right, and repair mends it', async () => {
    await rm(join(box.bucket(1), 'keyring'), { recursive: true });
    await writeFile(join(box.bucket(2), 'keyring', '0000000007'), 'planted');
    const { exit, stderr } = await box.run(['verify']);
    expect([
      exit,
      stderr.match(/^vault: warning: The keyring in file:.*bucket-[12] is not right/gm)?.length,
    ]).toEqual([3, 2]);
    expect((await box.run(['verify', '--json'])).stderr).toMatch(
      /"kind":"keyring","bucket":"file:.*bucket-1"/,
    );
    expect(await box.run(['repair'])).toMatchObject({ exit: 0, stderr: '' });
    expect(await box.run(['verify'])).toMatchObject({ exit: 0, stderr: '' });
  });

  test('repair names what is in the way of a keyring, and says nothing is stored there', async () => {
    const keyrings = join(box.bucket(1), 'keyring');
    const [name = ''] = await readdir(keyrings);
    await rm(join(keyrings, name));
    await mkdir(join(keyrings, name));
    const { exit, stdout, stderr } = await box.run(['repair', '--json']);
    expect(exit).toBe(3);
    expect(JSON.parse(stdout)).toMatchObject({
      keyringsStored: 0,
      unreachable: [expect.stringMatching(/-1$/)],
    });
    expect(stderr).toMatch(/keyring\/\d+ in file:.*bucket-1: a folder is in its place/);
    expect(stderr).not.toContain('has no keyring');
    expect((await box.run(['repair', '--verbose'])).stderr).not.toMatch(/nothing to repair|Repaired/);
  });

  test('repair does not call whole what only a newer version can judge', async () => {
    for (const number of [1, 2, 3]) {
      const chunks = join(box.bucket(number), 'chunks');
      for (const path of await readdir(chunks, { recursive: true })) {
        const file = join(chunks, path);
        if ((await stat(file)).isFile()) await writeFile(file, (await readFile(file)).fill('3', 3, 4));
      }
    }
    const { exit, stderr } = await box.run(['repair', '--read-data']);
    expect([exit, stderr]).toEqual([
      3,
      expect.stringMatching(
        /1 file could not be judged, perhaps only by a newer version: "vault verify --read/,
      ),
    ]);
    const read = await box.run(['verify', '--read-data']);
    expect(read).toMatchObject({
      exit: 7,
      stdout: expect.stringMatching(/ unknown +a +shards in .* of a newer version$/m),
    });
    expect(read.stdout + read.stderr).not.toMatch(/did not answer|vault repair/);
  });

  test('a file that only a newer version can judge is called that, and no old catalog is seen in it', async () => {
    const hash = await plantNewer();
    const { exit, stdout, stderr } = await box.run(['verify']);
    expect([exit, stderr]).toEqual([
      7,
      'vault: warning: 1 object can only be judged by a newer version: use one.\n',
    ]);
    expect(stdout).toMatch(
      new RegExp(`^${hash.slice(0, 12)} {2}unknown +\\? +manifest of a newer version$`, 'm'),
    );
    const swept = await box.run(['sweep']);
    expect([swept.exit, swept.stderr]).toEqual([
      3,
      `vault: warning: No shard was removed. The file ${hash} keeps all of them, as only a newer version knows which it needs. Sweep with that; if none of yours has stored it, "vault rm --now ${hash}" removes it.\n`,
    ]);
  });

  test('repair says that a bucket is wanting after one was forgotten', async () => {
    await rm(box.bucket(3), { recursive: true });
    const { exit, stderr } = await box.run(['repair', '--forget-bucket', box.bucket(3)]);
    expect(exit).toBe(3);
    expect(stderr).toMatch(/2\+1 needs 3 buckets, and the vault has 2: add one with "vault bucket add"/);
    await box.run(['bucket', 'add', 'more']);
    expect(await box.run(['repair'])).toMatchObject({ exit: 0, stderr: '' });
    expect(await box.run(['verify', '--read-data'])).toMatchObject({ exit: 0 });
  });

  test('what is lost ends both with 6, and is not removed', async () => {
    await removeChunks(1);
    await removeChunks(2);
    const { exit, stdout, stderr } = await box.run(['verify']);
    expect(exit).toBe(6);
    expect(stdout).toMatch(/^[0-9a-f]{12} {2}lost +a /m);
    expect(stderr).toMatch(/^vault: warning: 1 file is lost: too little is left of it\. .*put it again/m);
    for (const verb of ['verify', 'repair']) {
      const { stderr: said } = await box.run([verb, '--json']);
      expect(said).toMatch(/"kind":"lost"/);
      expect(said).toMatch(new RegExp(`\\{"summary":\\{"verb":"${verb}","exit":6,.*\n$`));
      expect(said).not.toContain('"error"');
    }
    const repaired = await box.run(['repair']);
    expect(repaired.exit).toBe(6);
    expect(repaired.stderr).toMatch(/1 file can no longer be read: "vault verify" names it/);
    // And then it is there again.
    await box.run(['put', '-', '--name', 'b'], { stdin: CONTENT });
    expect(await box.run(['verify', '--read-data'])).toMatchObject({ exit: 0, stdout: '', stderr: '' });
    expect((await box.run(['get', 'a', '-o', '-'])).stdout).toBe(CONTENT);
  });

  test.each(['gone', 'damaged'])('of a file whose manifests are %s verify tells the way out', async (how) => {
    let hash = '';
    for (const number of [1, 2, 3]) {
      const manifests = join(box.bucket(number), 'manifests');
      [hash = ''] = await readdir(manifests);
      if (how === 'gone') await rm(join(manifests, hash));
      else await writeFile(join(manifests, hash), 'x'.repeat(number));
    }
    const { exit, stderr } = await box.run(['verify']);
    expect(exit).toBe(6);
    expect(stderr).toMatch(/"vault rm <hash>" takes it off the list\./);
    // Put again it is another file.
    expect(await box.run(['put', '-', '--name', 'a'], { stdin: CONTENT })).toMatchObject({ exit: 0 });
    expect(await box.run(['verify'])).toMatchObject({ exit: 6 });
    expect(await box.run(['rm', hash])).toMatchObject({ exit: 0 });
    expect(await box.run(['verify'])).toMatchObject({ exit: 0, stderr: '' });
    expect((await box.run(['get', 'a', '-o', '-'])).stdout).toBe(CONTENT);
  });
});

describe('bucket', () => {
  beforeEach(() => stored());

  test('ls shows what the buckets hold, and ends with 3 if one is away', async () => {
    const whole = await box.run(['bucket', 'ls']);
    expect(whole.exit).toBe(0);
    expect(whole.stdout).toMatch(/^BUCKET +OBJECTS +SIZE +STATE$/m);
    expect(whole.stdout.match(/bucket-\d +\d+ +\S+ \S+ +active$/gm)).toHaveLength(3);
    await rename(box.bucket(2), `${box.bucket(2)}-away`);
    const { exit, stdout } = await box.run(['bucket', 'ls', '--json']);
    expect(exit).toBe(3);
    const second: unknown = JSON.parse(stdout.split('\n')[1] ?? '');
    expect(second).toMatchObject({
      url: expect.stringMatching(/bucket-2$/),
      kind: 'folder',
      reachable: false,
    });
  });

  test('add that fails makes no folder, and none of what is in one that is there', async () => {
    await rename(box.bucket(2), `${box.bucket(2)}-away`);
    await mkdir(box.at('old', 'of-mine'), { recursive: true });
    for (const place of ['new', 'far/away', 'old']) {
      const { exit, stderr } = await box.run(['bucket', 'add', place]);
      expect({ exit, stderr }).toEqual({ exit: 5, stderr: expect.stringMatching(/Nothing was changed/) });
    }
    expect(await readdir(box.path, { recursive: true })).toEqual(['old', 'old/of-mine']);
  });

  test('add, rm and set-url change the buckets, and the files stay', async () => {
    expect(await box.run(['bucket', 'add', 'more'])).toMatchObject({ exit: 0, stdout: '', stderr: '' });
    expect((await box.run(['bucket', 'rm', box.bucket(1)])).exit).toBe(0);
    await rename(box.bucket(2), box.at('elsewhere'));
    expect((await box.run(['bucket', 'set-url', box.bucket(2), './elsewhere'])).exit).toBe(0);
    const { stdout } = await box.run(['info', '--json']);
    const urls = JSON.parse(stdout)
      .buckets.map(({ url }: { url: string }) => basename(url))
      .toSorted();
    expect(urls).toEqual(['bucket-3', 'elsewhere', 'more']);
    expect((await box.run(['get', 'a', '-o', '-'])).stdout).toBe(CONTENT);
  });

  test('whose removal was cut short is told by status, verify and add, until rm has ended it', async () => {
    await box.run(['bucket', 'add', 'more']);
    const manifests = join(box.bucket(2), 'manifests');
    const [name = ''] = await readdir(manifests);
    // What keeps it from ending.
    await rename(join(manifests, name), box.at('kept'));
    await mkdir(join(manifests, name));
    const cut = await box.run(['bucket', 'rm', box.bucket(1)]);
    expect([cut.exit, cut.stderr]).toEqual([
      3,
      expect.stringContaining('The bucket is still part of the vault.'),
    ]);
    await rm(join(manifests, name), { recursive: true });
    await rename(box.at('kept'), join(manifests, name));
    const begun =
      /^vault: warning: .*bucket-1 is being taken out of the vault, or that was cut short: "vault bucket rm /m;
    for (const verb of ['status', 'verify']) {
      const { exit, stderr } = await box.run([verb]);
      expect([verb, exit, stderr]).toEqual([verb, 3, expect.stringMatching(begun)]);
    }
    const added = await box.run(['bucket', 'add', box.bucket(1)]);
    expect([added.exit, added.stderr]).toEqual([
      2,
      expect.stringMatching(/bucket-1 is being taken out .* rm .*Add it then/),
    ]);
    expect(await box.run(['bucket', 'rm', box.bucket(1)])).toMatchObject({ exit: 0, stderr: '' });
    for (const verb of ['status', 'verify'])
      expect(await box.run([verb])).toMatchObject({ exit: 0, stderr: '' });
    expect(await box.run(['bucket', 'add', box.bucket(1)])).toMatchObject({ exit: 0 });
  });

  test('set-url to another place than that bucket ends with 2', async () => {
    const { exit } = await box.run(['bucket', 'set-url', box.bucket(1), box.bucket(2)]);
    expect(exit).toBe(2);
  });
});

describe('recover', () => {
  let kept: () => Promise<void>;
  beforeAll(async () => {
    await fresh();
    await box.run(['put', '-', '--name', 'kept'], { stdin: CONTENT });
    kept = await box.keep();
  });
  beforeEach(() => kept());

  test('and sync say that they cannot read a file, which a newer version may have stored', async () => {
    await plantNewer();
    await using place = await catalogPlace();
    const recover = ['recover', '--db', place.location, '--bucket', box.bucket(1)];
    for (const args of [['sync'], recover]) {
      const { exit, stderr } = await box.run(args);
      expect([exit, stderr]).toEqual([
        3,
        expect.stringMatching(/1 file could not be looked at now, or only by a newer/),
      ]);
    }
  });

  test('rebuilds a lost catalog from the buckets', async () => {
    await using place = await catalogPlace();
    const buckets = [1, 2, 3].flatMap((number) => ['--bucket', box.bucket(number)]);
    const { exit, stdout, stderr } = await box.run(['recover', '--db', place.location, ...buckets]);
    expect({ exit, stdout, stderr }).toEqual({ exit: 0, stdout: '', stderr: '' });
    const got = await box.run(['get', 'kept', '-o', '-', '--db', place.location]);
    expect(got).toMatchObject({ exit: 0, stdout: CONTENT });
  });

  test('of some of the buckets finds the others by the keyring', async () => {
    await using place = await catalogPlace();
    const buckets = [1, 2].flatMap((number) => ['--bucket', box.bucket(number)]);
    const { exit, stdout } = await box.run(['recover', '--db', place.location, ...buckets]);
    expect({ exit, stdout }).toEqual({ exit: 0, stdout: '' });
    expect((await box.run(['verify', '--db', place.location])).exit).toBe(0);
    expect((await box.run(['get', 'kept', '-o', '-', '--db', place.location])).stdout).toBe(CONTENT);
  });

  test('without a bucket that is away ends with 3', async () => {
    await using place = await catalogPlace();
    const buckets = [1, 2].flatMap((number) => ['--bucket', box.bucket(number)]);
    await rename(box.bucket(3), `${box.bucket(3)}.away`);
    const { exit, stdout, stderr } = await box.run(['recover', '--db', place.location, ...buckets]);
    const verified = await box.run(['verify', '--db', place.location]);
    const got = await box.run(['get', 'kept', '-o', '-', '--db', place.location]);
    await rename(`${box.bucket(3)}.away`, box.bucket(3));
    expect({ exit, stdout }).toEqual({ exit: 3, stdout: '' });
    expect(stderr).toMatch(/bucket-3 could not be used: /);
    expect(verified.exit).toBe(3);
    expect(got.stdout).toBe(CONTENT);
  });

  test('of folders that hold no vault ends with 10', async () => {
    await using place = await catalogPlace();
    await mkdir(box.at('empty'));
    expect((await box.run(['recover', '--db', place.location, '--bucket', 'empty'])).exit).toBe(10);
  });

  test('with a wrong password makes no catalog', async () => {
    const wrong = { env: { VAULT_PASSWORD: 'not this one' } };
    for (const db of ['new.db', 'far/new.db']) {
      const { exit } = await box.run(['recover', '--db', db, '--bucket', box.bucket(1)], wrong);
      expect(exit).toBe(12);
    }
    expect(await readdir(box.path)).toEqual([]);
  });

  test('needs buckets', async () => {
    const { exit, stderr } = await box.run(['recover']);
    expect(exit).toBe(2);
    expect(stderr).toMatch(/^vault: Use --bucket /);
  });
});

async function removeChunks(bucket: number): Promise<void> {
  await rm(join(box.bucket(bucket), 'chunks'), { recursive: true });
  await mkdir(join(box.bucket(bucket), 'chunks'));
}

/** Gives every bucket a manifest of a newer format. @returns its hash */
async function plantNewer(): Promise<string> {
  const newer = Buffer.alloc(500).fill('vlt3mnfs', 0, 8);
  const hash = createHash('sha256').update(newer).digest('hex');
  for (const number of [1, 2, 3]) await writeFile(join(box.bucket(number), 'manifests', hash), newer);
  return hash;
}
