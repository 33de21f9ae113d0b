// What is selected of a stored folder is written the same way here and in a thread of its own.
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { isVaultError, VaultError } from '../../../src/errors.ts';
import { contentReader } from '../../../src/vault/folders/content-runs.ts';
import { restoreSelected } from '../../../src/vault/folders/restore-selected.ts';
import type { RestoreSelectedOptions } from '../../../src/vault/folders/restore-selected.ts';
import type { RestoredTree, TreeProblem } from '../../../src/vault/folders/restore-tree.ts';
import type { Wanted } from '../../../src/vault/folders/selection.ts';
import type { SelectedEntries } from '../../../src/vault/folders/stored-folder.ts';
import { THOROUGH } from '../../support/catalog-place.ts';
import { seededRandom } from '../../support/seeded-random.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import type { TemporaryFolder } from '../../support/temporary-folder.ts';
import { testVault } from '../harness.ts';
import type { TestVault } from '../harness.ts';
import { anyThings, factsOf, makeTree } from './tree.ts';

let place: TemporaryFolder;
let made: TestVault;
beforeEach(async () => {
  place = await temporaryFolder();
  await mkdir(place.at('docs'));
  made = await testVault({});
});
afterEach(async () => {
  await made[Symbol.asyncDispose]();
  await place[Symbol.asyncDispose]();
});

async function stored(wanted: Wanted | null = null): Promise<SelectedEntries> {
  const { hash } = await made.vault.put({ root: place.at('docs') }, { name: 'docs' });
  const found = await made.vault.find(hash);
  if (found.kind === 'file') throw new Error('a folder was stored');
  return found.folder.select(wanted);
}

async function makeDocs(): Promise<void> {
  await mkdir(place.at('docs', 'sub'));
  await writeFile(place.at('docs', 'a'), 'a');
  await writeFile(place.at('docs', 'large'), seededRandom(1).bytes(3_000_000));
  for (let i = 0; i < 40; i += 1) {
    await writeFile(place.at('docs', 'sub', `f${i}`), seededRandom(i).bytes(i * 1000));
  }
}

async function filesIn(folder: string): Promise<string[]> {
  const found = await readdir(folder, { recursive: true, withFileTypes: true });
  return found
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => relative(folder, join(parentPath, name)));
}

/** The same entries, of which some content cannot be read. */
function failing(selected: SelectedEntries, fails: (offset: number) => Error | null): SelectedEntries {
  return {
    ...selected,
    reader(busy) {
      const reader = selected.reader(busy);
      const runAt: typeof reader.runAt = async (offset) => {
        const error = fails(offset);
        if (error !== null) throw error;
        return reader.runAt(offset);
      };
      return { ...reader, runAt, readContent: contentReader(runAt) };
    },
  };
}

describe.each([
  ['here', Infinity],
  ['in a thread', 0],
])('%s', (_, threadFrom) => {
  const problems: TreeProblem[] = [];
  beforeEach(() => {
    problems.length = 0;
  });

  const restore = async (
    selected: SelectedEntries,
    target: string,
    options: Partial<RestoreSelectedOptions> = {},
  ): Promise<RestoredTree> =>
    restoreSelected(selected, target, {
      force: false,
      owners: false,
      onProblem: (problem) => problems.push(problem),
      threadFrom,
      ...options,
    });

  test('any tree comes back as it was', async () => {
    await fc.assert(
      fc.asyncProperty(anyThings, async (things) => {
        for (const name of ['docs', 'out']) await rm(place.at(name), { recursive: true, force: true });
        await mkdir(place.at('docs'));
        await makeTree(place.at('docs'), things);
        await restore(await stored(), place.at('out'));
        expect(problems).toEqual([]);
        expect(await factsOf(place.at('out'))).toEqual(await factsOf(place.at('docs')));
      }),
      // Threads take a while to start.
      { numRuns: threadFrom === 0 && !THOROUGH ? 6 : 15 },
    );
  });

  test('a folder in it comes back alone, and what fits a pattern', async () => {
    await makeDocs();
    await restore(await stored({ path: Buffer.from('sub') }), place.at('sub'));
    expect(await factsOf(place.at('sub'))).toEqual(await factsOf(place.at('docs', 'sub')));
    await restore(await stored({ matches: (path) => path.endsWith('f7') }), place.at('f7'));
    expect(await readdir(place.at('f7'), { recursive: true })).toEqual(['sub', 'sub/f7']);
  });

  test('what is done is counted, and told as it goes', async () => {
    await makeDocs();
    const selected = await stored();
    let bytes = 0;
    let files = 0;
    const onBytes = (count: number, before: number): void => {
      bytes += count;
      files = before;
    };
    expect(await restore(selected, place.at('out'), { onBytes })).toMatchObject({ files: 42, folders: 1 });
    expect(bytes).toBe(selected.size);
    expect(files).toBeGreaterThan(0);
    await rm(place.at('out', 'a'));
    const again = await restore(selected, place.at('out'), { force: true });
    expect(again).toMatchObject({ files: 1, unchanged: 41 });
  });

  test('what exists is not written to, and the error says so', async () => {
    await makeDocs();
    await mkdir(place.at('out'));
    await writeFile(place.at('out', 'mine'), 'mine');
    await expect(restore(await stored(), place.at('out'))).rejects.toMatchObject({
      code: 'already-exists',
      message: `${place.at('out')} exists and is not empty. Name another folder, or use --force to replace what differs in it.`,
    });
    expect(await readdir(place.at('out'))).toEqual(['mine']);
  });

  test('content that is damaged is told of, and the others are there', async () => {
    await makeDocs();
    const selected = await stored();
    const damaged = failing(selected, (offset) =>
      offset === 0 ? new VaultError('damaged', 'It is damaged.') : null,
    );
    const done = await restore(damaged, place.at('out'));
    expect(done.missing).toBeGreaterThan(0);
    expect(problems[0]).toMatchObject({ kind: 'damaged', message: 'a is not restored. It is damaged.' });
    expect(Buffer.isBuffer(problems[0]?.path)).toBe(true);
    expect(await readFile(place.at('out', 'sub', 'f39'))).toEqual(
      Buffer.from(seededRandom(39).bytes(39_000)),
    );
  });

  test('any other error ends it, and is thrown as it was', async () => {
    await makeDocs();
    for (const error of [
      new VaultError('unavailable', 'It is away.', { cause: 'why' }),
      new Error('a bug'),
    ]) {
      const thrown = await restore(
        failing(await stored(), () => error),
        place.at(`out-${error.message}`),
      ).catch((caught: unknown) => caught);
      expect(thrown).toBe(error);
    }
  });

  test('what the caller throws when it is told of something ends it, too', async () => {
    await makeDocs();
    const error = new Error('of the caller');
    const onProblem = (): never => {
      throw error;
    };
    const damaged = failing(await stored(), () => new VaultError('damaged', 'It is damaged.'));
    const thrown = await restore(damaged, place.at('out'), { onProblem }).catch((caught: unknown) => caught);
    expect(thrown).toBe(error);
  });

  test('an abort ends it at once, and nothing is left but whole files', async () => {
    await makeDocs();
    const selected = await stored();
    const abort = new AbortController();
    const slow = failing(selected, (offset) => {
      if (offset > 0) abort.abort('enough');
      return null;
    });
    const thrown = await restore(slow, place.at('out'), { signal: abort.signal }).catch(
      (caught: unknown) => caught,
    );
    expect(isVaultError(thrown, 'interrupted')).toBe(true);
    for (const path of await filesIn(place.at('out'))) {
      const [restored, original] = await Promise.all(
        ['out', 'docs'].map(async (name) => readFile(place.at(name, path))),
      );
      expect(restored).toEqual(original);
    }
    await expect(restore(selected, place.at('later'), { signal: AbortSignal.abort() })).rejects.toMatchObject(
      { code: 'interrupted' },
    );
    expect(await readdir(place.path)).not.toContain('later');
  });
});
