/** A real browser, as npm brings it. */
import { randomBytes } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { access, mkdir, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { createBrotliDecompress } from 'node:zlib';
import { launch } from 'puppeteer-core';
import type { Browser } from 'puppeteer-core';

const PACKED = new URL(import.meta.resolve('@sparticuz/chromium')).href.replace(
  /build\/.*$/,
  'bin/chromium.br',
);
const FOLDER = fileURLToPath(new URL('../../node_modules/.chromium/', import.meta.url));

/** @param profile a folder for what it keeps */
export async function startChromium(profile: string): Promise<Browser> {
  return launch({
    executablePath: await unpacked(),
    headless: 'shell',
    userDataDir: profile,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

/** The program, which takes seconds to unpack: the next tests find it. */
async function unpacked(): Promise<string> {
  const { mtimeMs, size } = await stat(fileURLToPath(PACKED));
  const path = join(FOLDER, `chromium-${size}-${Math.round(mtimeMs)}`);
  try {
    await access(path);
  } catch {
    await mkdir(FOLDER, { recursive: true });
    const part = `${path}.${randomBytes(4).toString('hex')}`;
    await pipeline(
      createReadStream(fileURLToPath(PACKED)),
      createBrotliDecompress(),
      createWriteStream(part, { mode: 0o755 }),
    );
    await rename(part, path);
  }
  return path;
}
