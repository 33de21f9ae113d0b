/** A person at the page: what they see, press and get, in a profile of their own. */
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Browser, BrowserContext, CDPSession, ElementHandle, Page } from 'puppeteer-core';

/** How long something may take to be seen. */
const PATIENCE_MS = 60_000;

export interface Person extends AsyncDisposable {
  readonly page: Page;
  /** What the browser complained of: scripts that failed, what the policy forbade. */
  readonly complaints: string[];
  /** Presses what is called so. */
  press(name: string): Promise<void>;
  /** Types into the field that is called so. */
  fill(name: string, text: string): Promise<void>;
  /** Waits until a text is seen. */
  see(text: string): Promise<void>;
  /** Chooses files by pressing what is called so. */
  choose(button: string, ...paths: readonly string[]): Promise<void>;
  /** The same by whatever opens the window for it. */
  chooseBy(act: () => Promise<void>, ...paths: readonly string[]): Promise<void>;
  /** Waits for the next download. @returns its path */
  downloaded(): Promise<string>;
  /** An expression's value in the page. */
  value(expression: string): Promise<unknown>;
  /** Lets no more than so many bytes a second out; null: all. */
  limit(bytesPerSecond: number | null): Promise<void>;
}

/** @param folder where downloads go */
export async function personAt(browser: Browser, url: string, folder: string): Promise<Person> {
  const context = await browser.createBrowserContext();
  const ended = await takeDownloads(browser, context, folder);
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  // Others look at their pages at the same time.
  await page.emulateFocusedPage(true);
  const complaints: string[] = [];
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('dialog', (shown) => {
    complaints.push(shown.message());
    void shown.dismiss();
  });
  page.on('console', (message) => {
    // That a request was refused is no fault of the page.
    if (message.type() === 'error' && !/Failed to load resource/.test(message.text()))
      complaints.push(message.text());
  });
  let session: CDPSession | null = null;
  const known = new Set<string>(await readdir(folder));
  const found = async (name: string, kinds: string): Promise<ElementHandle> => {
    const called = `one.ariaLabel ?? (one.labels?.[0]?.querySelector('span') ?? one.labels?.[0] ?? one).textContent.trim()`;
    const handle = await page.waitForFunction(
      `[...document.querySelectorAll('${kinds}')].findLast((one) => (${called}) === ${JSON.stringify(name)} && one.checkVisibility())`,
      { polling: 30 },
    );
    const element = handle.asElement();
    if (element === null) throw new Error(`There is no ${name}.`);
    return element;
  };
  const press = async (name: string): Promise<void> => {
    try {
      const one = await found(name, 'button, a, summary, input[type=checkbox]');
      // What was said a moment ago may be in front of it.
      await one.evaluate((element) => element.scrollIntoView({ block: 'center' }));
      await one.click();
    } catch (error) {
      // A list that was drawn anew meanwhile has another one.
      if (!/detached/.test(String(error))) throw error;
      await press(name);
    }
  };
  const chooseBy = async (act: () => Promise<void>, ...paths: readonly string[]): Promise<void> => {
    const [chooser] = await Promise.all([page.waitForFileChooser(), act()]);
    await chooser.accept([...paths]);
  };
  await page.goto(url);
  return {
    page,
    complaints,
    press,
    async fill(name, text) {
      const field = await found(name, 'input');
      await field.click({ count: 3 });
      await field.type(text);
    },
    async see(text) {
      await page.waitForFunction(`document.body.innerText.includes(${JSON.stringify(text)})`, {
        polling: 50,
      });
    },
    choose: async (button, ...paths) => chooseBy(async () => press(button), ...paths),
    chooseBy,
    async downloaded() {
      for (let waited = 0; waited < PATIENCE_MS; waited += 50) {
        const fresh = (await readdir(folder)).find((name) => !known.has(name) && ended.has(name));
        if (fresh !== undefined) {
          known.add(fresh);
          return join(folder, fresh);
        }
        await delay(50);
      }
      throw new Error('Nothing was downloaded.');
    },
    value: async (expression) => page.evaluate(expression),
    async limit(bytesPerSecond) {
      session ??= await page.createCDPSession();
      const uploadThroughput = bytesPerSecond ?? -1;
      const rest = { offline: false, latency: 0, downloadThroughput: -1 };
      await session.send('Network.emulateNetworkConditions', { ...rest, uploadThroughput });
    },
    async [Symbol.asyncDispose]() {
      await context.close();
    },
  };
}

/** It holds as long as whoever asked for it is there. @returns the names of what has come to its end, once it has: the files are there before */
async function takeDownloads(
  browser: Browser,
  context: BrowserContext,
  downloadPath: string,
): Promise<ReadonlySet<string>> {
  const session = await browser.target().createCDPSession();
  const { id: browserContextId } = context;
  const names = new Map<string, string>();
  const ended = new Set<string>();
  session.on('Browser.downloadWillBegin', ({ guid, suggestedFilename }) =>
    names.set(guid, suggestedFilename),
  );
  session.on('Browser.downloadProgress', ({ guid, state, filePath }) => {
    if (state === 'completed')
      ended.add(filePath === undefined ? (names.get(guid) ?? '') : basename(filePath));
  });
  await session.send('Browser.setDownloadBehavior', {
    behavior: 'allow',
    downloadPath,
    eventsEnabled: true,
    ...(browserContextId !== undefined && { browserContextId }),
  });
  return ended;
}
