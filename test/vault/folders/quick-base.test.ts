// The way to a new folder: its own path only where nobody else can put something in the place of a folder on it.
import { mkdirSync, renameSync } from 'node:fs';
import { chmod, chown, mkdir, realpath } from 'node:fs/promises';
import { platform } from 'node:os';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { diskCalls } from '../../../src/vault/folders/disk-calls.ts';
import type { DiskCalls } from '../../../src/vault/folders/disk-calls.ts';
import { openFolder, quickBase } from '../../../src/vault/folders/open-folder.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import type { TemporaryFolder } from '../../support/temporary-folder.ts';

let place: TemporaryFolder;
let calls: DiskCalls;
let own: string;
beforeEach(async () => {
  place = await temporaryFolder();
  await mkdir(place.at('above', 'new'), { recursive: true, mode: 0o700 });
  calls = await diskCalls(place.path, undefined);
  own = await realpath(place.at('above', 'new'));
});
afterEach(async () => {
  await place[Symbol.asyncDispose]();
});

const uid = BigInt(process.getuid?.() ?? 0);

async function wayTo(made = calls): Promise<string> {
  const opened = await openFolder(calls, own, { follow: false });
  try {
    const way = await quickBase(made, opened, uid);
    return way === opened.base ? 'descriptor' : way;
  } finally {
    await calls.close(opened.fd);
  }
}

describe.skipIf(platform() !== 'linux')('the way to a new folder', () => {
  test('is its path where all above it are of this user or root, and closed to others', async () => {
    expect(await wayTo()).toBe(own);
  });

  test.each([
    ['everybody', 0o777],
    ['a group', 0o770],
  ])('is its descriptor where %s may write above it', async (_, mode) => {
    await chmod(place.at('above'), mode);
    expect(await wayTo()).toBe('descriptor');
  });

  test('is its path where everybody may write above it but for what is of others', async () => {
    await chmod(place.at('above'), 0o1777);
    expect(await wayTo()).toBe(own);
  });

  test.skipIf(uid !== 0n)('is its descriptor where a folder above it is of somebody else', async () => {
    await chown(place.at('above'), 65_534, 65_534);
    expect(await wayTo()).toBe('descriptor');
  });

  test('is its descriptor where another folder takes its place meanwhile', async () => {
    const exchanging: DiskCalls = {
      ...calls,
      readlink(path) {
        const found = calls.readlink(path);
        renameSync(own, `${own}-moved`);
        mkdirSync(own, { mode: 0o700 });
        return found;
      },
    };
    expect(await wayTo(exchanging)).toBe('descriptor');
  });
});
