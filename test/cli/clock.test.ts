import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { warnTo } from '../../src/cli/arguments/invocation.ts';
import { startGcsServer } from '../support/gcs-server.ts';
import { sandbox } from './run.ts';
import type { Sandbox } from './run.ts';

/** What a command runs in on a machine whose clock is ahead by so many days; its buckets' clocks are right. */
async function daysAhead(box: Sandbox, days: number): Promise<{ readonly NODE_OPTIONS: string }> {
  const preload = box.at(`clock${days}.mjs`);
  await writeFile(
    preload,
    `const { now } = Date;
     Date.now = () => now() + ${days * 86_400_000};`,
  );
  return { NODE_OPTIONS: `--import=${preload}` };
}

test.each(['folders', 'a cloud'])(
  'with a wrong clock nothing in %s is removed early, and commands say that it is wrong',
  async (kind) => {
    await using box = await sandbox();
    await using server = await startGcsServer();
    const urls = ['a', 'b'].map((prefix) => `gs://bucket/${prefix}?endpoint=${server.url}`);
    await box.makeVault(kind === 'folders' ? {} : { urls });
    const ahead = await daysAhead(box, 10);
    const behind = await daysAhead(box, -10);
    const content = randomBytes(3_000_000);
    await writeFile(box.at('file'), content);

    const put = await box.run(['put', 'file'], { env: behind });
    expect(put.exit).toBe(0);
    expect(put.stderr.match(/This machine's clock is \d+ \w+ behind /g)).toEqual([
      "This machine's clock is 10 days behind ",
    ]);
    const hash = put.stdout.trim();

    const removed = await box.run(['rm', hash], { env: behind });
    expect(removed.exit).toBe(0);
    expect(removed.stderr).toContain("This machine's clock is 10 days behind ");
    // Seven days have passed neither by the right clock nor by what the record says.
    expect((await box.run(['sweep'])).exit).toBe(0);

    const swept = await box.run(['sweep'], { env: ahead });
    expect(swept.exit).toBe(2);
    expect(swept.stderr).toContain('Nothing was removed: this machine');

    expect((await box.run(['undelete', hash])).exit).toBe(0);
    expect((await box.run(['get', hash, '-o', 'copy'])).exit).toBe(0);
    expect((await readFile(box.at('copy'))).equals(content)).toBe(true);
  },
);

test.each([-1825, 1825])('rm --now by a clock that is wrong by %s days hides nothing', async (days) => {
  await using box = await sandbox();
  await box.makeVault();
  await writeFile(box.at('a'), randomBytes(100_000));
  await box.run(['put', 'a']);
  const wrong = await daysAhead(box, days);
  const removed = await box.run(['rm', 'a', '--now', '--json'], { env: wrong });
  expect(removed).toMatchObject({ exit: 2, stdout: '' });
  expect(removed.stderr).toContain('Nothing was removed: this machine');
  expect((await box.run(['ls'])).stdout).toContain(' a');
  expect((await box.run(['sweep'])).exit).toBe(0);
  expect((await box.run(['get', 'a', '-o', 'copy'])).exit).toBe(0);
  // With a grace that is not over by either clock it works.
  expect((await box.run(['rm', 'a'], { env: wrong })).exit).toBe(0);
});

test('what is dated in the future counts for no age, and status says so', async () => {
  await using box = await sandbox();
  await box.makeVault();
  await writeFile(box.at('a'), 'a');
  expect((await box.run(['put', 'a'], { env: await daysAhead(box, 365) })).exit).toBe(0);
  const ask = async (...args: readonly string[]): Promise<string> => {
    const { exit, stdout, stderr } = await box.run(['status', '--max-age', '1h', ...args]);
    expect({ args, exit, stderr }).toEqual({
      args,
      exit: 3,
      stderr: expect.stringMatching(/1 version is dated in the future/),
    });
    return stdout;
  };
  for (const how of [[], ['--no-password']]) {
    expect(await ask(...how)).toMatch(/^newest {6}none$/m);
    expect(JSON.parse(await ask(...how, '--json'))).toMatchObject({ future: 1, newestAt: null });
    const metrics = await ask(...how, '--prometheus');
    expect(metrics).toMatch(/^vault_future_versions 1$/m);
    expect(metrics).not.toContain('vault_newest_timestamp_seconds');
  }
  expect(await ask('a')).toMatch(/^newest of .*, in the future$/m);
  expect(await ask()).toMatch(/^last put .*, in the future$/m);
  expect(JSON.parse(await ask('a', '--json'))).toMatchObject({ names: [{ name: 'a', tooOld: true }] });
  expect(await ask('a', '--prometheus')).not.toContain('vault_name_timestamp_seconds');
  // Nor does it hide the age of what is stored since.
  await writeFile(box.at('a'), 'b');
  await box.run(['put', 'a']);
  for (const how of [[], ['--no-password']])
    expect(JSON.parse(await ask(...how, '--json'))).toMatchObject({
      future: 1,
      newestAt: expect.any(String),
    });
  expect(JSON.parse(await ask('a', '--json'))).toMatchObject({ names: [{ name: 'a', tooOld: false }] });
});

test('a wrong clock is one topic, whichever bucket it was compared with', () => {
  const topics = new Set<string | undefined>();
  const warn = warnTo({
    warn: (_message, _details, topic) => void topics.add(topic),
    inform: () => undefined,
  });
  for (const url of ['gs://a', 's3://b'])
    warn({ kind: 'clock', message: `3 days ahead of ${url}`, bucket: null });
  expect(topics.size).toBe(1);
});

describe('a time zone', () => {
  test.each(['<X>-5:45', 'CET-1CEST,M3.5.0,M10.5.0/3', 'IST-5:30', '/usr/share/zoneinfo/Europe/Berlin'])(
    'that is taken for another is told of (%s)',
    async (zone) => {
      await using box = await sandbox();
      await box.makeVault();
      const env = { TZ: zone };
      const said = `TZ "${zone}" is taken for GMT+0`;
      expect((await box.run(['ls', '--verbose'], { env })).stderr).toContain(said);
      expect((await box.run(['prune', '--keep-daily', '1', '-n'], { env })).stderr).toContain(said);
      expect(await box.run(['ls'], { env })).toMatchObject({ exit: 0, stderr: '' });
    },
  );

  test.each(['Europe/Berlin', ':Europe/Berlin', 'CET-1', 'EST5EDT', 'UTC', 'UTC0', ''])(
    'that is known is not (%j)',
    async (zone) => {
      await using box = await sandbox();
      await box.makeVault();
      expect((await box.run(['ls', '--verbose'], { env: { TZ: zone } })).stderr).not.toContain('TZ');
    },
  );
});
