/** Links for people without a vault, through the servers of both clouds. */
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { openVault, scrubPlace } from '../../src/compose.ts';
import { isVaultError } from '../../src/errors.ts';
import { parseShareObjectName } from '../../src/format/share.ts';
import type { PlannedStep } from '../../src/vault/call.ts';
import type { Share, SharedContent, ShareOptions } from '../../src/vault/share/share.ts';
import { cloudVault } from '../support/cloud-vault.ts';
import type { CloudVault } from '../support/cloud-vault.ts';
import { writeUserAccount } from '../support/service-account.ts';
import { open, readPage, readParts, statusOf, unlock } from '../support/share-link.ts';
import { codeOf } from '../buckets/conformance.ts';

const NAME = 'home/me/<img src=x onerror=alert(1)> & "it".pdf';
const BYTES = randomBytes(300_000);
const DAY = 86_400_000;

let made: CloudVault;
beforeAll(async () => {
  made = await cloudVault();
  await made.put(NAME, BYTES);
});
afterAll(async () => {
  await made[Symbol.asyncDispose]();
  vi.unstubAllEnvs();
});

const share = async (options: Partial<ShareOptions> = {}): Promise<Share> =>
  made.vault.share(await stored(), { expiresMs: DAY, partSize: 128 * 1024, ...options });

async function stored(): Promise<SharedContent> {
  const found = await made.vault.find(NAME);
  if (found.kind !== 'file') throw new Error('It is a file.');
  return found.file;
}

const isRefused = (work: Promise<unknown>): Promise<boolean> =>
  work.then(
    () => false,
    () => true,
  );

/** The objects of all shares, by name. */
function objects(): Map<string, Buffer> {
  const all = [...made.gcs.objects('bucket'), ...made.s3.objects('bucket')];
  return new Map(
    all.flatMap(([name, { bytes }]) => (name.startsWith('vault/shares/') ? [[name.slice(6), bytes]] : [])),
  );
}

async function clear(): Promise<void> {
  const { shares } = await made.vault.shares();
  await made.vault.removeShares(shares.map(({ id }) => id));
}

describe.each(['gcs', 's3'] as const)('a link through %s', (cloud) => {
  afterAll(clear);

  test('opens the file for whoever has it, with the page or with age', async () => {
    const link = await share({ bucket: made.buckets[cloud] });
    expect(link).toMatchObject({
      name: NAME,
      size: BYTES.length,
      bucket: made.buckets[cloud],
      password: false,
    });
    const page = await readPage(link.link);
    expect(page.parts).toHaveLength(3);
    expect(page.fragment).toMatch(/^AGE-SECRET-KEY-1[A-Z0-9]+$/);
    const sealed = await readParts(page);
    expect(sealed.subarray(0, 22).toString()).toBe('age-encryption.org/v1\n');
    expect(Buffer.compare(await open(sealed, page.fragment), BYTES)).toBe(0);
    // Where the file lay, the link does not tell.
    expect(JSON.parse((await open(page.about, page.fragment)).toString())).toEqual({
      name: '<img src=x onerror=alert(1)> & "it".pdf',
      size: BYTES.length,
    });
    const [source = ''] = /connect-src [^;]+/.exec(page.html) ?? [];
    expect(page.parts.every((url) => url.startsWith(source.slice('connect-src '.length)))).toBe(true);
  });

  test('leaves nothing in the bucket that opens it, or says what it is', async () => {
    const { link, id } = await share({ bucket: made.buckets[cloud] });
    const mine = [...objects()].filter(([name]) => name.includes(id));
    expect(mine.map(([name]) => parseShareObjectName(name)?.what)).toEqual([0, 1, 2, 'note', 'page']);
    const { fragment } = await readPage(link);
    const all = [...mine.flatMap(([name, bytes]) => [name, bytes.toString('latin1')]), await catalog()].join(
      '\n',
    );
    expect(all).not.toContain(fragment);
    expect(all).not.toContain('onerror');
    expect(all).not.toContain(BYTES.toString('latin1', 100, 140));
    expect(all).not.toContain(link.split('#', 1)[0]);
  });

  test('opens nothing that was cut or altered', async () => {
    const page = await readPage((await share({ bucket: made.buckets[cloud] })).link);
    const sealed = await readParts(page);
    // Also where parts and age's own chunks of 64 KiB end.
    for (const length of [0, 100, 128 * 1024, 200 + 3 * 65_552, sealed.length - 1]) {
      expect(await isRefused(open(sealed.subarray(0, length), page.fragment))).toBe(true);
    }
    for (const at of [30, 210, 150_000, sealed.length - 1]) {
      const altered = Buffer.from(sealed);
      altered[at] = (altered[at] ?? 0) ^ 1;
      expect(await isRefused(open(altered, page.fragment))).toBe(true);
    }
    const swapped = Buffer.concat([
      sealed.subarray(0, 65_752),
      sealed.subarray(131_304),
      sealed.subarray(65_752),
    ]);
    expect(await isRefused(open(swapped, page.fragment))).toBe(true);
  });

  test('ends when it is to', async () => {
    const server = made[cloud];
    const { link, expiresAtMs } = await share({ bucket: made.buckets[cloud], expiresMs: 3_600_000 });
    const { parts } = await readPage(link);
    const statuses = (): Promise<number[]> => Promise.all([link, ...parts].map(statusOf));
    try {
      server.clockOffsetMs = expiresAtMs - Date.now() - 30_000;
      expect(new Set(await statuses())).toEqual(new Set([200]));
      server.clockOffsetMs = expiresAtMs - Date.now() + 2_000;
      expect(new Set(await statuses())).toEqual(new Set([403]));
    } finally {
      server.clockOffsetMs = 0;
    }
  });

  test('that cannot be stored to its end leaves nothing', async () => {
    const before = [...objects().keys()];
    const note = /shares\/.*\.note$/;
    const refused = { status: 403, code: 'AccessDenied' };
    if (cloud === 's3') made.s3.fail(({ kind, key }) => kind === 'put' && note.test(key), refused);
    const content: SharedContent = {
      hash: 'ab'.repeat(32),
      name: 'x',
      async *content() {
        yield BYTES;
        if (cloud === 'gcs') throw new Error('It broke.');
      },
    };
    expect(
      await isRefused(
        made.vault.share(content, { expiresMs: DAY, bucket: made.buckets[cloud], partSize: 100_000 }),
      ),
    ).toBe(true);
    expect([...objects().keys()]).toEqual(before);
  });
});

/** The catalog's bytes. */
async function catalog(): Promise<string> {
  const files = await Promise.all(
    ['', '-wal'].map((end) => readFile(made.db + end).catch(() => Buffer.alloc(0))),
  );
  return Buffer.concat(files).toString('latin1');
}

describe('shares', () => {
  afterAll(clear);

  test('are read no faster than they are stored, and end with the signal', async () => {
    const part = 64 * 1024;
    let pulled = 0;
    const content: SharedContent = {
      hash: 'ab'.repeat(32),
      name: 'endless',
      async *content() {
        for (;;) {
          yield new Uint8Array(part);
          pulled += part;
        }
      },
    };
    made.s3.fail('put', { stall: 'answer' }, { times: 2 });
    const controller = new AbortController();
    const bucket = made.buckets.s3;
    const ending = codeOf(
      made.vault.share(content, { expiresMs: DAY, bucket, partSize: part, signal: controller.signal }),
    );
    await vi.waitFor(() => expect(pulled).toBeGreaterThan(2 * part));
    await delay(50);
    expect(pulled).toBeLessThan(16 * part);
    controller.abort();
    expect(await ending).toBe('interrupted');
    expect(objects().size).toBe(0);
  });

  test('with a password need that, too; are listed with what they are, and taken back', async () => {
    const one = await share();
    const other = await share({
      bucket: made.buckets.s3,
      expiresMs: DAY / 2,
      password: 'caf\u0065\u0301 noir',
    });
    const page = await readPage(other.link);
    expect(await isRefused(open(await readParts(page), page.fragment))).toBe(true);
    // Also tools that want padding take it.
    expect(page.fragment.length % 4).toBe(0);
    const identity = await unlock(page.fragment, 'caf\u00e9 noir');
    expect(Buffer.compare(await open(await readParts(page), identity), BYTES)).toBe(0);
    expect(page.html).not.toContain(identity);
    made.s3.store('bucket', `vault/shares/${'9'.repeat(14)}.${'f'.repeat(32)}.note`, Buffer.from('not ours'));
    const { shares, unreachable } = await made.vault.shares();
    expect(unreachable).toEqual([]);
    expect(shares.map(({ id }) => id)).toEqual([other.id, one.id, 'f'.repeat(32)]);
    expect(shares[0]).toMatchObject({
      bucket: made.buckets.s3,
      expiresAtMs: other.expiresAtMs,
      note: { name: NAME, size: BYTES.length, password: true, hash: one.hash },
    });
    // The first bucket that gives links, unless one is named.
    expect(shares[1]).toMatchObject({ bucket: made.buckets.gcs, note: { password: false } });
    expect(shares[2]?.note).toBeNull();
    expect(JSON.stringify(shares)).not.toContain('AGE-SECRET-KEY');
    for (const wrong of ['1234567', 'g'.repeat(8), '0'.repeat(32), '', `${one.id}0`]) {
      expect(await codeOf(made.vault.removeShares([one.id, wrong]))).toBe('file-not-found');
    }
    expect(await statusOf(one.link)).toBe(200);
    expect(await made.vault.removeShares([one.id.slice(0, 8)])).toEqual([one.id]);
    expect(await statusOf(one.link)).toBe(404);
    expect([...objects().keys()].filter((name) => name.includes(one.id))).toEqual([]);
    expect(await statusOf(other.link)).toBe(200);
  });

  test.each(['s3', 'gcs'] as const)('are not taken back of %s by a page of a filter', async (cloud) => {
    const { id, link } = await share({ bucket: made.buckets[cloud] });
    if (cloud === 's3')
      made.s3.fail(({ method }) => method === 'DELETE', { page: '<html>Blocked</html>' }, { times: 2 });
    else made.gcs.fail('delete', { fault: 'page' }, { times: 2 });
    expect(await made.vault.removeShares([id])).toEqual([id]);
    expect(await statusOf(link)).toBe(404);
    expect([...objects().keys()].filter((name) => name.includes(id))).toEqual([]);
  });

  test('stay with verify and with a check without password, and belong to the bucket', async () => {
    await clear();
    const { id } = await share({ bucket: made.buckets.s3 });
    const { outcome, foreignObjects } = await made.vault.verify({ depth: 'data' });
    expect({ outcome, foreignObjects }).toEqual({ outcome: 'whole', foreignObjects: 0 });
    const scrub = (): ReturnType<typeof scrubPlace> =>
      scrubPlace(made.buckets.s3, { baseFolder: made.folder.path });
    expect(await scrub()).toMatchObject({ foreignObjects: 0, problems: [] });
    const first = [...objects().keys()].find((name) => name.includes(id)) ?? '';
    const sealed = objects().get(first) ?? Buffer.alloc(0);
    made.s3.store('bucket', `vault/${first}`, sealed.subarray(1));
    made.s3.store('bucket', 'vault/shares/note.txt', sealed);
    expect(await scrub()).toMatchObject({ foreignObjects: 1, problems: [{ name: first }] });
    const [, report] = await made.vault.bucketReport();
    const all = [...made.s3.objects('bucket').keys()].length;
    expect(report?.objects).toBe(all - 1);
    made.s3.objects('bucket').delete('vault/shares/note.txt');
  });

  test('that have expired a sweep removes, and nothing else', async () => {
    await clear();
    const past = `00000000000001.${'a'.repeat(32)}`;
    const names = [`${past}.note`, `${past}.page`, `${past}.00000`];
    const foreign = [
      `${past}.html`,
      `${past}.0`,
      `00000000000001.${'a'.repeat(31)}.page`,
      `1.${'a'.repeat(32)}.page`,
    ];
    for (const name of [...names, ...foreign])
      made.s3.store('bucket', `vault/shares/${name}`, Buffer.from('12345'));
    const living = await share({ bucket: made.buckets.s3 });
    const steps: PlannedStep[] = [];
    const planned = await made.vault.sweep({ dryRun: true, onPlanned: (step) => void steps.push(step) });
    const rest = { reason: 'expired', bytes: 5, file: null, bucket: null };
    const expected = names
      .toSorted()
      .map((name) => Object.assign({ action: 'remove', object: `shares/${name}` }, rest));
    expect(steps).toEqual(expected);
    expect(planned).toMatchObject({ objectsRemoved: 3, bytesRemoved: 15 });
    expect(objects().size).toBe(12);
    const { objectsRemoved, bytesRemoved } = await made.vault.sweep();
    expect({ objectsRemoved, bytesRemoved }).toEqual({ objectsRemoved: 3, bytesRemoved: 15 });
    const left = [...objects().keys()];
    expect(left.filter((name) => !name.includes(living.id))).toEqual(foreign.map((name) => `shares/${name}`));
    expect(await statusOf(living.link)).toBe(200);
    for (const name of foreign) made.s3.objects('bucket').delete(`vault/shares/${name}`);
  });

  test.each([
    ['more than seven days', { expiresMs: 7 * DAY + 1000 }, 'invalid-input', 'seven days'],
    ['no time at all', { expiresMs: 0 }, 'invalid-input', 'a second at least'],
    ['a folder', () => ({ bucket: made.buckets.folder }), 'invalid-input', 'vault serve'],
    ['a bucket that the vault has not', { bucket: 's3://other' }, 'invalid-input', 'no bucket s3://other'],
  ] as const)('are not made for %s', async (_, options, code, words) => {
    const before = objects().size;
    const error = await share(typeof options === 'function' ? options() : options).catch(
      (caught: unknown) => caught,
    );
    expect(isVaultError(error, code)).toBe(true);
    expect(String(error)).toContain(words);
    expect(objects().size).toBe(before);
  });

  test('are not made where no credentials can sign, and another bucket takes its place', async () => {
    vi.stubEnv('AWS_ACCESS_KEY_ID', undefined);
    const key = made.folder.at('key.json');
    const good = await readFile(key);
    const reopened = async (request = {}): Promise<string> => {
      const password = (): Promise<string> => Promise.resolve(made.password);
      const { db, folder } = made;
      await using vault = await openVault({ db, password, baseFolder: folder.path, request });
      const content: SharedContent = { hash: 'ab'.repeat(32), name: 'x', async *content() {} };
      const link = await vault.share(content, { expiresMs: DAY }).catch((error: unknown) => error);
      return isVaultError(link) ? `${link.code}: ${link.message}` : made.buckets.gcs;
    };
    try {
      await writeUserAccount(key);
      expect(await reopened()).toMatch(
        /^denied: .*these Google credentials cannot sign.*GOOGLE_APPLICATION_CREDENTIALS/,
      );
      // One that is down might have given the link.
      vi.stubEnv('AWS_ACCESS_KEY_ID', 'AKIAIOSFODNN7EXAMPLE');
      let isDown = true;
      made.s3.fail(() => isDown, { reset: 'before' }, { times: 1000 });
      expect(await reopened({ maxWaitMs: 1000 })).toMatch(/^unavailable: /);
      isDown = false;
    } finally {
      await writeFile(key, good);
    }
    expect(await reopened()).toBe(made.buckets.gcs);
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'AKIAIOSFODNN7EXAMPLE');
  });
});
