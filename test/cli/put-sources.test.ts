/** What a command prints as a source, and the end of the command. */
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { commandSource } from '../../src/cli/arguments/put-sources.ts';
import type { OpenSource } from '../../src/vault/write/file-source.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const NEVER = new AbortController().signal;

/** Reads a source as a put does. */
async function readAll(command: string, allowEmpty = false): Promise<string> {
  const opened = await commandSource(command, allowEmpty).open();
  try {
    const parts: Buffer[] = [];
    for (;;) {
      const part = Buffer.alloc(100_000);
      const length = await opened.read(part, NEVER);
      parts.push(part.subarray(0, length));
      if (length < part.length) break;
    }
    await opened.verify();
    return Buffer.concat(parts).toString();
  } finally {
    await opened.close();
  }
}

/** Reads lines that the command prints early. */
async function readLines(opened: OpenSource, lines: number): Promise<string[]> {
  let text = '';
  while (text.split('\n').length <= lines) {
    const part = Buffer.alloc(1);
    await opened.read(part, NEVER);
    text += part.toString();
  }
  return text.trim().split('\n');
}

/** Whether a process runs; what waits to be collected does not. */
async function runs(pid: string): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ') Z');
  return !/\) [ZX]/.test(stat);
}

test('gives all that a command prints, if it ends with 0', async () => {
  expect(await readAll('printf one; sleep 0.05; printf two')).toBe('onetwo');
  expect(await readAll('seq 100000')).toMatch(/^1\n2\n[^]*\n100000\n$/);
  // What it has started may still print when it has ended.
  expect(await readAll('(sleep 0.1; printf late) & printf early')).toBe('earlylate');
  // It has no standard input, and a pipe's end is not its own.
  expect(await readAll('cat; printf none; exec >&-; sleep 0.1')).toBe('none');
});

test.each([
  ['exit 3', 'source-changed', 'The command failed (exit code 3), so nothing was stored.'],
  ['seq 100000; false', 'source-changed', 'The command failed (exit code 1), so nothing was stored.'],
  ['printf x; exec >&-; sleep 0.1; exit 4', 'source-changed', 'The command failed (exit code 4)'],
  ['printf x; kill -9 $$', 'source-changed', 'The command failed (it was ended by SIGKILL)'],
  ["sh -c 'kill -TERM $$'; exit $?", 'source-changed', 'The command failed (it was ended by SIGTERM)'],
  [
    'no-such-command-anywhere',
    'invalid-input',
    'could not be started, so nothing was stored: there is no such',
  ],
  ['/etc/passwd', 'invalid-input', 'could not be started, so nothing was stored: it may not be run'],
  [`: ${'x'.repeat(300_000)}`, 'invalid-input', 'could not be started, so nothing was stored: spawn E2BIG'],
  ['true', 'invalid-input', 'Nothing came from the command, so nothing was stored. --allow-empty'],
])('%.40s is %s', async (command, code, message) => {
  await expect(readAll(command)).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
});

test('an empty output is taken if that is asked for, and a failure is not', async () => {
  expect(await readAll('true', true)).toBe('');
  await expect(readAll('false', true)).rejects.toMatchObject({ code: 'source-changed' });
});

describe('a command that is given up', () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  beforeEach(async () => {
    folder = await temporaryFolder();
  });
  afterEach(async () => {
    await folder[Symbol.asyncDispose]();
  });

  test('is not even started before it is read', async () => {
    const opened = await commandSource(`touch ${folder.at('started')}`, false).open();
    await delay(50);
    await opened.close();
    await expect(readFile(folder.at('started'))).rejects.toThrow('ENOENT');
  });

  test.each([
    ['', ''],
    ['what heeds no SIGTERM, ', "trap '' TERM; "],
  ])('ends with %sall that it has started', async (_, trap) => {
    const opened = await commandSource(
      `${trap}sleep 1000 & echo $!; (sleep 1000; true) & echo $!; echo $$; sleep 1000; true`,
      false,
    ).open();
    const pids = await readLines(opened, 3);
    for (const pid of pids) expect(await runs(pid)).toBe(true);
    const abort = new AbortController();
    const reading = opened.read(Buffer.alloc(10), abort.signal);
    abort.abort();
    await expect(reading).rejects.toMatchObject({ code: 'interrupted' });
    const startedAtMs = performance.now();
    await opened.close();
    expect(performance.now() - startedAtMs).toBeLessThan(2_000);
    for (const pid of pids) while (await runs(pid)) await delay(5);
    expect(process.listenerCount('exit')).toBe(listeners);
  });

  test('may clear up', async () => {
    const opened = await commandSource(
      `trap 'echo ended > ${folder.at('said')}; exit' TERM; echo; sleep 1000 & wait`,
      false,
    ).open();
    await readLines(opened, 1);
    await opened.close();
    expect(await readFile(folder.at('said'), 'utf8')).toBe('ended\n');
  });

  test('leaves what it has left behind running, if it ended with 0', async () => {
    const pidFile = folder.at('pid');
    await readAll(`sleep 1000 >&- 2>&- & echo $! | tee ${pidFile}`);
    const pid = (await readFile(pidFile, 'utf8')).trim();
    await delay(50);
    expect(await runs(pid)).toBe(true);
    process.kill(Number(pid));
  });
});

const listeners = process.listenerCount('exit');
