/** The page of a link, in a real browser. */
import { randomBytes } from 'node:crypto';
import { readFile, readdir, rm } from 'node:fs/promises';
import { Encrypter } from 'age-encryption';
import type { Browser, Page } from 'puppeteer-core';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import type { Share, ShareOptions } from '../../src/vault/share/share.ts';
import { startChromium } from '../support/chromium.ts';
import { cloudVault } from '../support/cloud-vault.ts';
import type { CloudVault } from '../support/cloud-vault.ts';

const NAME = '<img src=x onerror="document.title=1">&amp; "it".pdf';
const BYTES = randomBytes(300_000);

let made: CloudVault;
let browser: Browser;
let page: Page;
/** What the page has said of itself that nobody wants to hear. */
let complaints: string[] = [];

beforeAll(async () => {
  made = await cloudVault();
  browser = await startChromium(made.folder.at('profile'));
});
afterAll(async () => {
  await browser.close();
  await made[Symbol.asyncDispose]();
  vi.unstubAllEnvs();
});
afterEach(async () => {
  await page.close();
  made.s3.clockOffsetMs = 0;
  complaints = [];
});

const share = (options: Partial<ShareOptions> = {}): Promise<Share> =>
  made.vault.share(
    {
      hash: 'ab'.repeat(32),
      name: `docs/${NAME}`,
      content: async function* () {
        yield BYTES;
      },
    },
    { expiresMs: 3_600_000, partSize: 128 * 1024, bucket: made.buckets.s3, ...options },
  );

/** Gives a place where a test can look. */
const PICKER = `async ({ suggestedName }) => {
  globalThis.suggested = suggestedName;
  return (await navigator.storage.getDirectory()).getFileHandle('saved', { create: true });
}`;

/** @param disk whether the browser can write files to disk as they come; headless, it has nobody to ask where */
async function visit(link: string, { disk = false } = {}): Promise<void> {
  page = await browser.newPage();
  page.setDefaultTimeout(60_000);
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error') complaints.push(message.text());
  });
  const client = await page.createCDPSession();
  await client.send('Browser.setDownloadBehavior', {
    behavior: 'allow',
    downloadPath: made.folder.at('saved'),
  });
  await page.evaluateOnNewDocument(`showSaveFilePicker = ${disk ? PICKER : 'undefined'}`);
  await page.goto(link);
}

/** The same link with a password, which costs next to nothing to try. */
async function locked(link: string, password: string): Promise<string> {
  const [url = '', identity = ''] = link.split('#');
  const lock = new Encrypter();
  lock.setPassphrase(password);
  lock.setScryptWorkFactor(10);
  return `${url}#${Buffer.from(await lock.encrypt(identity)).toString('base64url')}`;
}

const textOf = async (selector: string): Promise<string> =>
  String(await page.evaluate(`document.querySelector('${selector}').textContent`));
const status = async (words: string): Promise<void> => {
  await page.waitForFunction(
    `document.querySelector('#status').textContent.includes(${JSON.stringify(words)})`,
  );
};
const save = async (): Promise<void> => {
  await page.waitForSelector('#save:not([hidden])');
  await page.click('#save');
};
/** What is in the file that the page has been given to write to. */
const written = async (): Promise<string> =>
  String(
    await page.evaluate(`(async () => {
    const file = await (await (await navigator.storage.getDirectory()).getFileHandle('saved', { create: true })).getFile();
    const bytes = new Uint8Array(await file.arrayBuffer());
    return Array.from(bytes, (byte) => String.fromCharCode(byte)).join('');
  })()`),
  );

/** What has been saved as a download. */
async function downloaded(): Promise<Buffer> {
  return vi.waitFor(
    async () => {
      const name = (await readdir(made.folder.at('saved'))).find((one) => !one.endsWith('.crdownload'));
      const bytes = await readFile(made.folder.at('saved', name ?? ''));
      expect(bytes.length).toBe(BYTES.length);
      await rm(made.folder.at('saved'), { recursive: true });
      return bytes;
    },
    { interval: 50 },
  );
}

function altered(id: string, what: string, change: (bytes: Buffer) => Uint8Array): void {
  const objects = made.s3.objects('bucket');
  const key = [...objects.keys()].find((one) => one.includes(id) && one.endsWith(what)) ?? '';
  made.s3.store('bucket', key, change(objects.get(key)?.bytes ?? Buffer.alloc(0)));
}

describe('the page of a link', () => {
  test.each(['gcs', 's3'] as const)('saves the file, as it was, from %s', async (cloud) => {
    const { link } = await share({ bucket: made.buckets[cloud] });
    await visit(link);
    await save();
    await status('Saved.');
    expect(Buffer.compare(await downloaded(), BYTES)).toBe(0);
    // Names are text, whatever is in them.
    expect(await textOf('h1')).toBe(NAME);
    expect(await page.title()).toBe(NAME);
    expect(await page.$$('img')).toEqual([]);
    expect(await textOf('#facts')).toContain('293 KiB');
    expect(complaints).toEqual([]);
    // The key has gone nowhere.
    const asked = made.s3.requests.map(({ url, headers }) => url + JSON.stringify(headers));
    asked.push(...made.gcs.requests.map(({ url, headers }) => url.href + JSON.stringify(headers)));
    expect(asked.join('\n')).not.toContain(link.split('#')[1]);
  });

  test('writes it to disk as it comes, where the browser can', async () => {
    await visit((await share()).link, { disk: true });
    await save();
    await status('Saved.');
    expect(await page.evaluate('suggested')).toBe('_img src=x onerror=_document.title=1__&amp; _it_.pdf');
    expect((await written()) === BYTES.toString('latin1')).toBe(true);
    expect(complaints).toEqual([]);
  });

  test.each([
    [
      'altered',
      '.00001',
      (bytes: Buffer) => Buffer.concat([bytes.subarray(0, -1), Buffer.from([(bytes.at(-1) ?? 0) ^ 1])]),
    ],
    ['cut', '.00002', (bytes: Buffer) => bytes.subarray(0, -1)],
    // Where age has begun no new piece.
    ['cut to whole parts', '.00002', () => Buffer.alloc(0)],
  ] as const)('saves nothing of what was %s', async (_, what, change) => {
    const { link, id } = await share();
    altered(id, what, change);
    await visit(link, { disk: true });
    await page.evaluate(
      `navigator.storage.getDirectory().then((folder) => folder.removeEntry('saved').catch(() => {}))`,
    );
    await save();
    await status('cut short or altered');
    expect(await written()).toBe('');
    expect(await page.evaluate(`document.querySelector('#save').disabled`)).toBe(false);
  });

  test('takes the password, and no other', async () => {
    const { link } = await share();
    await visit(await locked(link, 'open sesame'));
    await page.type('#password', 'open sesam');
    await page.keyboard.press('Enter');
    await status('does not open');
    expect(await textOf('h1')).toBe('A shared file');
    await page.type('#password', 'e');
    await page.keyboard.press('Enter');
    await page.waitForSelector('#save:not([hidden])');
    expect(await textOf('h1')).toBe(NAME);
    expect(complaints).toEqual([]);
  });

  test('says when the link has expired or been taken back, or is not whole', async () => {
    const { link, id } = await share();
    await visit(link);
    made.s3.clockOffsetMs = 3_700_000;
    await save();
    await status('expired');
    made.s3.clockOffsetMs = 0;
    altered(id, '.00000', () => Buffer.alloc(0));
    await page.goto('about:blank');
    await page.goto(link.slice(0, -3));
    await status('not whole');
    await page.goto('about:blank');
    await page.goto(link.split('#', 1)[0] ?? '');
    await status('not whole');
    await page.goto('about:blank');
    await made.vault.removeShares([id]);
    expect((await page.goto(link))?.status()).toBe(404);
  });

  test('asks nothing of anybody else, whatever has got into it', async () => {
    const { link, id } = await share();
    altered(id, '.page', (bytes) =>
      Buffer.from(
        bytes.toString().replace('</main>', '</main><script>fetch("/stolen")</script><img src="/stolen">'),
      ),
    );
    await visit(link);
    await page.waitForSelector('#save:not([hidden])');
    expect(complaints.join('\n')).toMatch(/Content Security Policy/);
    expect(made.s3.requests.some(({ url }) => url.includes('stolen'))).toBe(false);
  });
});
