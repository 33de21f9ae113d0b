/** Pictures of what people see, in wide and in narrow terminals. */
import { randomBytes } from 'node:crypto';
import { rename, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Sandbox } from './run.ts';
import { sandbox } from './run.ts';
import { screenOf } from './screen.ts';

let box: Sandbox;
beforeAll(async () => {
  box = await sandbox();
  await box.makeVault();
  await writeFile(box.at('notes.txt'), 'hello\n');
  await writeFile(box.at('日本語のとても長い名前のファイル-with-more-in-ascii.bin'), randomBytes(70_000));
  for (const name of ['notes.txt', '日本語のとても長い名前のファイル-with-more-in-ascii.bin']) {
    await utimes(box.at(name), 1_700_000_000, 1_700_000_000);
    await box.run(['put', name]);
  }
});
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

/** The screen after a command, with what differs from run to run made the same: digits of hashes, times, folders. */
async function picture(args: readonly string[], columns: number): Promise<{ lines: string[]; raw: string }> {
  const run = box.terminal(args, { columns });
  await run.exit;
  const lines = screenOf(run.raw, columns).map((line) =>
    line
      .replace(/\b[0-9a-f]{12,64}\b/g, (hash) => 'h'.repeat(hash.length))
      .replaceAll(/\d{4}-\d\d-\d\d \d\d:\d\d/g, 'yyyy-mm-dd hh:mm'),
  );
  for (const line of lines) expect(Array.from(line).length).toBeLessThanOrEqual(columns);
  return { lines: lines.filter((line, index) => line !== '' || index < lines.length - 1), raw: run.raw };
}

describe('ls', () => {
  test('has whole names where there is room', async () => {
    expect((await picture(['ls'], 100)).lines).toEqual([
      'HASH            SIZE  STORED            NAME',
      'hhhhhhhhhhhh  68 KiB  yyyy-mm-dd hh:mm  日本語のとても長い名前のファイル-with-more-in-ascii.bin',
      'hhhhhhhhhhhh     6 B  yyyy-mm-dd hh:mm  notes.txt',
      '2 files, 68 KiB.',
    ]);
  });

  test('shortens names in their middle where there is not', async () => {
    expect((await picture(['ls'], 60)).lines).toEqual([
      'HASH            SIZE  STORED            NAME',
      'hhhhhhhhhhhh  68 KiB  yyyy-mm-dd hh:mm  日本語のと…ascii.bin',
      'hhhhhhhhhhhh     6 B  yyyy-mm-dd hh:mm  notes.txt',
      '2 files, 68 KiB.',
    ]);
  });

  test('--long has everything on a wide terminal', async () => {
    const { lines } = await picture(['ls', '-l', 'notes.txt'], 170);
    expect(lines).toEqual([
      `HASH${' '.repeat(62)}BYTES  STORED            MODIFIED          EXPIRES  CHUNKS  NAME`,
      `${'h'.repeat(64)}      6  yyyy-mm-dd hh:mm  yyyy-mm-dd hh:mm  -             0  notes.txt`,
      '1 file, 6 B.',
    ]);
  });

  test.each<[number, string]>([
    [120, 'HASH          BYTES  STORED            MODIFIED          EXPIRES  CHUNKS  NAME'],
    [110, 'HASH          BYTES  STORED            MODIFIED          EXPIRES  NAME'],
    [90, 'HASH          BYTES  STORED            MODIFIED          NAME'],
    [72, 'HASH          BYTES  STORED            NAME'],
    [40, 'HASH          STORED            NAME'],
  ])('--long fits %i columns', async (columns, heading) => {
    const { lines } = await picture(['ls', '-l'], columns);
    expect(lines[0]).toBe(heading);
  });

  test('--long keeps whole hashes for programs', async () => {
    expect((await box.run(['ls', '-l', 'notes.txt'])).stdout).toMatch(
      /^[0-9a-f]{64} {2}6 {2}.* notes\.txt\n$/,
    );
  });
});

test('conditions have colours, unless NO_COLOR says otherwise', async () => {
  await rm(join(box.bucket(1), 'chunks'), { recursive: true });
  const { lines, raw } = await picture(['verify'], 100);
  expect(lines[0]).toMatch(/^HASH +CONDITION +NAME +WHAT IS WRONG$/);
  expect(lines[1]).toMatch(/^h{12} {2}degraded {3}日本語/);
  // Yellow, and green for a bucket that answers.
  expect(raw).toContain('\u001b[33mdegraded\u001b[39m');
  expect(raw).toContain('\u001b[32mactive\u001b[39m');
  const plain = box.terminal(['verify'], { env: { NO_COLOR: '1' } });
  await plain.exit;
  expect(plain.raw).not.toContain('\u001b[3');
  expect((await box.run(['repair'])).exit).toBe(0);
});

test.each([['bucket', 'ls'], ['status'], ['verify']])(
  'of a bucket that cannot be used, %s %s says why in full, however long its URL is',
  async (...verb) => {
    const args = verb.filter((word) => word !== undefined);
    await rename(box.bucket(1), `${box.bucket(1)}-away`);
    try {
      const why = `There is no folder ${box.bucket(1)} for the bucket file://${box.bucket(1)}. Is its disk mounted?`;
      const { lines } = await picture(args, 60);
      // A line may end at a space, which the picture has not.
      expect(lines.join('').replaceAll(' ', '')).toContain(`vault: warning: ${why}`.replaceAll(' ', ''));
      expect(lines.filter((line) => line.startsWith('file:///'))).toEqual([
        expect.stringMatching(/…\S*bucket-1 +\S.* unusable$/),
        expect.stringMatching(/…\S*bucket-2 +\S.* active$/),
        expect.stringMatching(/…\S*bucket-3 +\S.* active$/),
      ]);
      expect((await box.run(args)).stderr).toContain(`vault: warning: ${why}\n`);
      const warning = { kind: 'bucket-down', bucket: `file://${box.bucket(1)}`, message: why };
      const told = (await box.run([...args, '--json'])).stderr.split('\n');
      expect(told.map((line) => JSON.parse(line || '{}') as unknown)).toContainEqual({ warning });
    } finally {
      await rename(`${box.bucket(1)}-away`, box.bucket(1));
    }
  },
);

test('verify of an empty vault counts nothing, also where a bucket is away', async () => {
  await using empty = await sandbox();
  await empty.makeVault();
  await rename(empty.bucket(1), empty.at('away'));
  const run = empty.terminal(['verify']);
  expect(await run.exit).toBe(3);
  expect(run.shown).toContain('\r\n0 files; 0 chunks.\r\n');
});

test('what is no text is not sent to a terminal, unless it is meant', async () => {
  const [binary] = (await box.run(['ls', '-0', '*.bin'])).stdout.split('\0');
  for (const args of [
    ['cat', '*.bin'],
    ['get', binary ?? '', '-o', '-'],
  ]) {
    const run = box.terminal(args);
    expect(await run.exit).toBe(2);
    expect(run.shown).toMatch(/is not text, and would garble the terminal\. Write it to a file/);
    expect(run.raw.length).toBeLessThan(400);
  }
  const meant = box.terminal(['get', binary ?? '', '-o', '-', '--force']);
  expect(await meant.exit).toBe(0);
  expect(meant.raw.length).toBeGreaterThan(60_000);
  expect((await picture(['cat', 'notes.txt'], 80)).lines).toEqual(['hello']);
});
