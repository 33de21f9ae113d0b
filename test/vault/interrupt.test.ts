/** The caller's signal is aborted at every call that an operation makes: nothing is half done, and a repeat resumes. */
import { readdir } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { VaultError } from '../../src/errors.ts';
import { restoreFile } from '../../src/vault/read/restore.ts';
import type { CallOptions } from '../../src/vault/call.ts';
import { CUT_STRIDE } from '../support/catalog-place.ts';
import { faulty } from '../support/faulty-bucket.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import {
  all,
  bytesSource,
  CHUNK_SIZE,
  discrepancies,
  getBytes,
  putBytes,
  snapshotOf,
  testVault,
} from './harness.ts';
import type { Handle, Snapshot, TestVault, VaultCopy } from './harness.ts';

const random = seededRandom(17);
const shared = random.bytes(CHUNK_SIZE);
const OLD = Buffer.concat([shared, random.bytes(5000)]);
/** More chunks than are in flight at once. */
const NEW = Buffer.concat([shared, random.bytes(6 * CHUNK_SIZE)]);
const NEW_CHUNKS = 7;
/** Two of the old file, one of what has expired, two of what goes. */
const OTHER_CHUNKS = 5;
const HOUR_MS = 3_600_000;

let made: TestVault;
let start: Snapshot;
beforeAll(async () => {
  made = await testVault();
  await putBytes(made.vault, OLD, { name: 'old' });
  await putBytes(made.vault, OLD.subarray(0, 70_000), { name: 'expired', expiresAtMs: 1_000 });
  await putBytes(made.vault, random.bytes(70_000), { name: 'gone' });
  await made.session.guard.end();
  start = await snapshotOf(made);
});
afterAll(async () => {
  await made[Symbol.asyncDispose]();
});

/** Once for every call that an operation makes: aborts it there. */
async function atEachCall(
  operation: (handle: Handle, options: CallOptions, copy: VaultCopy) => Promise<unknown>,
  check: (copy: VaultCopy, outcome: string, step: string) => Promise<void>,
): Promise<void> {
  let calls = 0;
  for (let nth = 1; nth <= calls + CUT_STRIDE; nth += CUT_STRIDE) {
    await using copy = await start.copy();
    const abort = new AbortController();
    let writing = 0;
    const handle = await copy.open({
      around: async (step, proceed) => {
        const writes = step.call === 'put' || step.call === 'remove';
        if (writes) writing += 1;
        try {
          if (step.nth === nth) {
            calls = nth;
            abort.abort(new Error('Control-C'));
          }
          // A turn, so that what has been started side by side is under way together.
          await new Promise((resolve) => setImmediate(resolve));
          await proceed();
        } finally {
          if (writes) writing -= 1;
        }
      },
    });
    const outcome = await outcomeOf(operation(handle, { signal: abort.signal }, copy));
    await handle.session.guard.end();
    if (calls < nth) break;
    const { where, call } = handle.steps.log[nth - 1] ?? { where: '', call: '' };
    const step = `${where} ${call}, call ${nth}`;
    expect({ step, writing }).toEqual({ step, writing: 0 });
    await check(copy, outcome, step);
  }
  expect(calls).toBeGreaterThan(4);
}

async function outcomeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'done';
  } catch (error) {
    if (!(error instanceof VaultError)) throw error;
    return error.code;
  }
}

async function listed({ vault }: Handle): Promise<string[]> {
  return (await all(vault.list({ all: true }))).map(({ name }) => name).toSorted();
}

/** Days later, after sweeps, nothing is left over. */
async function expectTidy(copy: VaultCopy, step: string): Promise<void> {
  let nowMs = Date.now();
  const { vault, session } = await copy.open({ now: () => nowMs });
  for (let i = 0; i < 4; i += 1) {
    nowMs += 97 * HOUR_MS;
    await vault.sweep({ waitMs: 0 });
  }
  expect({ step, found: await discrepancies(session, copy.buckets) }).toEqual({ step, found: [] });
}

describe('Aborted at any call,', () => {
  test('a put leaves nothing listed and no marker, and a repeat sends only what is not there', async () => {
    await atEachCall(
      ({ vault }, options) => putBytes(vault, NEW, { name: 'new', ...options }),
      async (copy, outcome, step) => {
        const handle = await copy.open();
        const names = await listed(handle);
        // The commit itself is not interrupted.
        const stored = outcome === 'done';
        expect({ step, names, outcome }).toEqual({
          step,
          names: ['expired', 'gone', ...(stored ? ['new'] : []), 'old'],
          outcome: stored ? 'done' : 'interrupted',
        });
        const marks = copy.buckets.flatMap(({ storage }) =>
          [...storage.keys()].filter((name) => name.startsWith('puts/')),
        );
        expect({ step, marks }).toEqual({ step, marks: [] });
        const there = copy.buckets.flatMap(({ storage }) =>
          [...storage.keys()].filter((name) => name.startsWith('chunks/')),
        );
        await putBytes(handle.vault, NEW, { name: 'new' });
        const uploads = handle.steps.log.filter(
          ({ call, name }) => call === 'put' && name.startsWith('chunks/'),
        );
        // One chunk is shared with the old file.
        const expected = (OTHER_CHUNKS + NEW_CHUNKS - 1) * 3;
        expect({ step, shards: uploads.length + there.length }).toEqual({ step, shards: expected });
        expect((await getBytes(handle.vault, 'new')).equals(NEW)).toBe(true);
      },
    );
  });

  test('a removal has either removed the file or not begun', async () => {
    await atEachCall(
      ({ vault }, options) => vault.remove(['old'], options),
      async (copy, outcome, step) => {
        const handle = await copy.open();
        const names = await listed(handle);
        expect([
          ['expired', 'gone'],
          ['expired', 'gone', 'old'],
        ]).toContainEqual(names);
        expect({ outcome, kept: outcome === 'done' && names.includes('old') }).toMatchObject({ kept: false });
        await expectTidy(copy, step);
      },
    );
  });

  test('an undelete has either brought the file back or not begun', async () => {
    await atEachCall(
      async ({ vault }, options) => {
        await vault.remove(['old']);
        await vault.undelete(['old'], options);
      },
      async (copy, outcome, step) => {
        const handle = await copy.open();
        if (outcome !== 'done') await handle.vault.undelete(['old']).catch(() => undefined);
        expect((await getBytes(handle.vault, 'old')).equals(OLD)).toBe(true);
        await handle.session.guard.end();
        expect(await listed(handle)).toContain('old');
        await expectTidy(copy, step);
      },
    );
  });

  test('a sweep leaves the rest to the next one', async () => {
    await atEachCall(
      async ({ vault }, options) => {
        await vault.remove(['gone'], { graceMs: 0 });
        await vault.sweep({ waitMs: 0, ...options });
      },
      async (copy, outcome, step) => {
        expect(['done', 'interrupted']).toContain(outcome);
        await expectTidy(copy, step);
        const handle = await copy.open();
        expect(await listed(handle)).toEqual(['old']);
        expect((await getBytes(handle.vault, 'old')).equals(OLD)).toBe(true);
      },
    );
  });

  test('a restore leaves no file', async () => {
    await using folder = await temporaryFolder();
    await atEachCall(
      async ({ vault }, options) => {
        const file = await vault.get('old', options);
        await restoreFile(file, folder.at('old'), { existing: 'replace', ...options });
      },
      async (_, outcome, step) => {
        expect({ step, outcome, left: await readdir(folder.path) }).toEqual({
          step,
          outcome: 'interrupted',
          left: [],
        });
      },
    );
  });
});

describe('A signal that is aborted', () => {
  test('before the beginning stops every operation before its first call', async () => {
    await using copy = await start.copy();
    const handle = await copy.open();
    const signal = AbortSignal.abort();
    expect(await outcomeOf(handle.vault.put(bytesSource(NEW), { name: 'new', signal }))).toBe('interrupted');
    expect(await outcomeOf(handle.vault.sweep({ signal }))).toBe('interrupted');
    expect(await outcomeOf(handle.vault.remove(['old'], { signal }))).toBe('interrupted');
    expect(await outcomeOf(handle.vault.get('old', { signal }))).toBe('interrupted');
    expect(await outcomeOf(all(handle.vault.list({ signal })))).toBe('interrupted');
    expect(await listed(handle)).toEqual(['expired', 'gone', 'old']);
  });

  for (const operation of ['put', 'get', 'remove', 'list'] as const) {
    test(`ends the wait for a bucket that does not answer a ${operation}`, async () => {
      await using copy = await start.copy();
      const abort = new AbortController();
      const { vault } = await copy.open();
      if (operation === 'remove') await vault.remove(['gone'], { graceMs: 0 });
      for (const bucket of copy.buckets) {
        bucket.wrap = (plain) =>
          faulty(plain, (call) => {
            if (call.operation !== operation || call.name === 'vault.json') return null;
            setTimeout(() => abort.abort(), 5);
            return { kind: 'hang', heedsSignal: true };
          });
      }
      const options = { signal: abort.signal };
      const work = {
        put: () => putBytes(vault, NEW, { name: 'new', ...options }),
        get: () => vault.get('old', options),
        remove: () => vault.sweep(options),
        list: () => vault.sweep(options),
      }[operation];
      expect(await outcomeOf(work())).toBe('interrupted');
    });
  }
});
