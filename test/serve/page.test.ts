/** The page, in a real browser, against the built command. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, stat, writeFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import type { Browser } from 'puppeteer-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { sandbox } from '../cli/run.ts';
import type { Running, Sandbox } from '../cli/run.ts';
import { startChromium } from '../support/chromium.ts';
import type { Person } from './browsing.ts';
import { personAt } from './browsing.ts';
import { ask } from './harness.ts';

let box: Sandbox;
let server: Running;
let browser: Browser;
let url: string;
let token: string;
/** Somebody who stays signed in, and those who come once. */
let regular: Person | null = null;
const people: Person[] = [];

beforeAll(async () => {
  box = await sandbox();
  await box.makeVault();
  await mkdir(box.at('profile'));
  const [made, started] = await Promise.all([
    box.run(['token', 'add', '--scope', 'admin']),
    startChromium(box.at('profile')),
  ]);
  token = made.stdout.trim();
  browser = started;
  server = box.start(['serve', '--listen', '127.0.0.1:0']);
  const [line] = await once(createInterface({ input: server.process.stdout ?? process.stdin }), 'line');
  url = /http:\/\/[^"]+/.exec(String(line))?.[0] ?? '';
});
afterAll(async () => {
  await browser.close();
  server.process.kill('SIGTERM');
  await server.ended;
  await box[Symbol.asyncDispose]();
});
afterEach(async () => {
  const complaints = [regular, ...people].flatMap((person) => person?.complaints.splice(0) ?? []);
  await Promise.all(people.splice(0).map((person) => person[Symbol.asyncDispose]()));
  if (complaints.length > 0) throw new Error(`The browser complained: ${complaints.join('\n')}`);
});

/** Somebody with a fresh profile. */
async function somebody(at = url): Promise<Person> {
  const person = await personAt(browser, at, await mkdtemp(box.at('downloads-')));
  people.push(person);
  return person;
}

/** The page anew, for whoever is signed in. */
async function signedIn(): Promise<Person> {
  if (regular === null) {
    regular = await personAt(browser, url, await mkdtemp(box.at('downloads-')));
    await regular.fill('Token', token);
    await regular.press('Sign in');
  } else await regular.page.goto(`${url}/?`);
  await regular.see('Drop files');
  return regular;
}

const api = async (path: string, method = 'GET', body: string | Uint8Array | null = null) =>
  ask(`${url}${path}`, { method, body, headers: { authorization: `Bearer ${token}` } });
const put = async (name: string, body: string | Uint8Array): Promise<string> =>
  String((await api(`/api/files/${encodeURIComponent(name)}`, 'PUT', body)).json['hash']);

describe('the page', () => {
  it('has at most 60 KB', async () => {
    const answers = await Promise.all(
      ['/', '/page.js', '/page.css', '/icon.svg'].map((path) => ask(url + path, {})),
    );
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    expect(answers.reduce((sum, { bytes }) => sum + bytes.length, 0)).toBeLessThan(60_000);
  });

  it('lets in who has a token, keeps it from scripts, and forgets it', async () => {
    const person = await somebody();
    await person.fill('Token', 'vault_wrong');
    await person.press('Sign in');
    await person.see('This token is wrong');
    await person.fill('Token', token);
    await person.press('Sign in');
    await person.see('Drop files');
    expect(
      await person.value('document.cookie + JSON.stringify({ ...localStorage, ...sessionStorage })'),
    ).toBe('{}');
    expect(await person.value('document.documentElement.outerHTML')).not.toContain(token);
    await person.page.reload();
    await person.see('Drop files');
    await person.press('Sign out');
    await person.see('Token');
    expect(await person.value("fetch('api/files').then(({ status }) => status)")).toBe(401);
  });

  it('runs no script but its own, and makes no HTML of text', async () => {
    const person = await signedIn();
    const [blocked, sink] = [
      'x = document.createElement("script"); x.textContent = "window.ran = 1"',
      'document.body.innerHTML = "<b>"',
    ];
    expect(await person.value(`try { ${sink} } catch (error) { error.name }`)).toBe('TypeError');
    await person.value(`(() => { const ${blocked}; document.head.append(x); })()`).catch(() => null);
    await delay(50);
    expect(await person.value('window.ran ?? null')).toBe(null);
    // The browser says so each time, and so would fail any test here.
    expect(
      person.complaints.filter((text) => /Content Security Policy|Trusted/.test(text)).length,
    ).toBeGreaterThan(0);
    person.complaints.length = 0;
  });
});

describe('files', () => {
  it('go in and come back, byte for byte, in flat memory', async () => {
    const content = randomBytes(64 * 2 ** 20);
    await writeFile(box.at('big.bin'), content);
    const person = await signedIn();
    const before = (await person.page.metrics()).JSHeapUsedSize ?? 0;
    const most = await peakBytes();
    await person.choose('Choose files', box.at('big.bin'));
    await person.see('1 file stored.');
    await person.press('Download big.bin');
    const path = await person.downloaded();
    await expect.poll(async () => (await stat(path)).size).toBe(content.length);
    expect(content.equals(await readFile(path))).toBe(true);
    const after = (await person.page.metrics()).JSHeapUsedSize ?? Infinity;
    expect(after - before).toBeLessThan(8 * 2 ** 20);
    // What uploads and downloads may hold together, and what the engine keeps of it.
    expect((await peakBytes()) - most).toBeLessThan(256 * 2 ** 20);
  });

  it('of a folder keep its names; what is cancelled is not there', async () => {
    await mkdir(box.at('trip', 'day 1'), { recursive: true });
    await writeFile(box.at('trip', 'day 1', 'a.txt'), 'a');
    await writeFile(box.at('trip', 'b#?.txt'), 'b');
    await writeFile(box.at('slow.bin'), randomBytes(4_000_000));
    const person = await signedIn();
    await person.choose('Choose a folder', box.at('trip'));
    await person.see('2 files stored.');
    await person.see('trip/day 1/a.txt');
    expect((await api('/api/files/trip%2Fb%23%3F.txt')).bytes.toString()).toBe('b');
    await person.limit(200_000);
    await person.choose('Choose files', box.at('slow.bin'));
    await person.press('Cancel slow.bin');
    await person.see('Cancelled.');
    await person.see('0 files stored, 1 not.');
    await person.limit(null);
    expect(await api('/api/files/slow.bin')).toMatchObject({ status: 404 });
  });

  it('that were stored as a folder come one by one, and all as a zip', async () => {
    await mkdir(box.at('tree', 'in <b>'), { recursive: true });
    await writeFile(box.at('tree', 'in <b>', 'leaf'), 'a leaf');
    expect(await box.run(['put', 'tree'])).toMatchObject({ exit: 0 });
    const person = await signedIn();
    await person.press('Contents of tree');
    await person.press('Open in <b>');
    await person.press('Download leaf');
    expect(await readFile(await person.downloaded(), 'utf8')).toBe('a leaf');
    await person.press('Up');
    await person.press('Close');
    await person.press('Download tree');
    expect(await readFile(await person.downloaded(), 'latin1')).toMatch(/^PK[\s\S]*a leaf/);
  });

  it('are found, removed, and brought back', async () => {
    const old = await put('plan.txt', 'old');
    await put('plan.txt', 'new plan');
    const person = await signedIn();
    await person.fill('Search names', 'PLAN');
    await person.see('plan.txt');
    await person.press('Versions of plan.txt');
    await person.see(old.slice(0, 12));
    await person.press('Close');
    await person.press('Delete plan.txt');
    await person.press('Undo');
    await person.see('plan.txt is back.');
    await person.press('Delete plan.txt');
    await person.press('Removed');
    await person.press('Bring back plan.txt');
    await expect.poll(async () => (await api('/api/files/plan.txt')).bytes.toString()).toBe('new plan');
  });

  it('with a lock open with its password alone', async () => {
    await writeFile(box.at('diary.txt'), 'dear diary');
    const person = await signedIn();
    await person.press('Lock and folder');
    await person.fill('Lock with a password', 'schlüssel');
    await person.choose('Choose files', box.at('diary.txt'));
    await person.see('The two passwords of the lock differ.');
    await person.fill('The password again', 'schlüssel');
    await person.choose('Choose files', box.at('diary.txt'));
    await person.see('1 file stored.');
    await person.press('Download diary.txt');
    await person.fill('Password of the file', 'wrong');
    await person.page.keyboard.press('Enter');
    await person.see('password');
    await person.page.waitForSelector('dialog .trouble:not(:empty)');
    await person.fill('Password of the file', 'schlüssel');
    await person.page.keyboard.press('Enter');
    expect(await readFile(await person.downloaded(), 'utf8')).toBe('dear diary');
  });

  it('with names full of HTML are shown as they are called', async () => {
    const names = [
      '<img src=x onerror=window.ran=1>',
      '"><script>window.ran=1</script>',
      'a\u202egpj.exe',
      '&lt;b&gt; ${1} {{1}}',
      'javascript:alert(1)',
    ];
    for (const name of names) await put(name, name);
    const person = await signedIn();
    for (const name of names) await person.see(name.replace('\u202e', '\\u{202e}'));
    await person.press(`Versions of ${names[0] ?? ''}`);
    await person.see(`Versions of ${names[0] ?? ''}`);
    await person.press('Close');
    await person.press(`Link to ${names[1] ?? ''}`);
    await person.press('Make a link');
    await person.see('Links to it');
    await person.press('Close');
    await person.press(`Download ${names[1] ?? ''}`);
    expect(await readFile(await person.downloaded(), 'utf8')).toBe(names[1]);
    await person.press(`Delete ${names[0] ?? ''}`);
    await person.see(`${names[0] ?? ''} was removed.`);
    expect(await person.value('window.ran ?? null')).toBe(null);
  });
});

describe('a link', () => {
  it('is made with a code to scan, opens in another browser, and is taken away', async () => {
    await put('for-you.txt', 'hello you');
    const person = await signedIn();
    await person.press('Link to for-you.txt');
    await person.fill('Password of the link', 'hush');
    await person.press('Make a link');
    await person.page.waitForSelector('.qr path');
    const link = String(await person.value('document.querySelector(".result input").value'));
    await person.see('used 0×');
    const other = await somebody(link);
    await other.fill('Password', 'wrong');
    await other.press('Download');
    await other.see('This password is wrong.');
    await other.fill('Password', 'hush');
    await other.press('Download');
    expect(await readFile(await other.downloaded(), 'utf8')).toBe('hello you');
    await person.press('Close');
    await person.press('Links');
    await person.see('used 1×');
    await person.press('Revoke the link to for-you.txt');
    await person.see('The link to for-you.txt is gone.');
    await other.page.goto(link);
    await other.see('was taken away');
  });

  it('that has expired says so', async () => {
    await put('brief.txt', 'x');
    const { json } = await api('/api/files/brief.txt/links', 'POST', '{"expires_in":1}');
    await delay(1100);
    const person = await somebody(String(json['url']));
    await person.see('has expired');
    expect(await person.value('document.forms.length')).toBe(0);
  });
});

describe('the status', () => {
  it('shows what each bucket and each pair would cost, in the page and in a report that needs nothing', async () => {
    await put('status <b>.bin', randomBytes(100_000));
    const person = await signedIn();
    await person.press('Status');
    await person.see('All is well');
    await person.see('Any one bucket may be lost.');
    const cells =
      'document.querySelectorAll(".losses .safe").length + " " + document.querySelectorAll(".losses .lost").length';
    expect(await person.value(cells)).toBe('3 3');
    const { exit } = await box.run(['report', '-o', 'report.html']);
    expect(exit).toBe(0);
    const text = await readFile(box.at('report.html'), 'utf8');
    for (const secret of [token, 'correct horse']) expect(text).not.toContain(secret);
    const reader = await somebody(`file://${box.at('report.html')}`);
    await reader.see('Any one bucket may be lost.');
    expect(await reader.value(cells)).toBe('3 3');
    expect(await reader.value('performance.getEntriesByType("resource").length')).toBe(0);
  });
});

describe('everybody', () => {
  it('can do all with the keyboard alone', async () => {
    const hash = await put('keys.txt', 'by keys');
    const person = await somebody();
    const { keyboard } = person.page;
    const focused = async (): Promise<string> =>
      String(
        await person.value(
          'document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent',
        ),
      );
    const reach = async (name: string): Promise<void> => {
      for (let tabs = 0; tabs < 80 && (await focused()) !== name; tabs += 1) await keyboard.press('Tab');
      expect(await focused()).toBe(name);
    };
    await person.see('Token');
    await keyboard.type(token);
    await keyboard.press('Enter');
    await person.see('Drop files');
    await keyboard.press('/');
    expect(await focused()).toBe('Search names');
    await keyboard.type('keys');
    await person.page.waitForFunction('document.querySelectorAll(".files tbody tr").length === 1');
    await reach('Versions of keys.txt');
    await keyboard.press('Enter');
    await person.see(hash.slice(0, 12));
    await keyboard.press('Escape');
    expect(await focused()).toBe('Versions of keys.txt');
    await reach('Download keys.txt');
    await keyboard.press('Enter');
    expect(await readFile(await person.downloaded(), 'utf8')).toBe('by keys');
    await reach('Delete keys.txt');
    await keyboard.press('Enter');
    await person.see('keys.txt was removed.');
    expect(await focused()).toBe('Search names');
    await reach('Undo');
    await keyboard.press('Space');
    await person.see('keys.txt is back.');
    await reach('Choose files');
    await writeFile(box.at('typed.txt'), 'typed');
    await person.chooseBy(() => keyboard.press('Space'), box.at('typed.txt'));
    await person.see('1 file stored.');
    await reach('Status');
    await keyboard.press('Enter');
    await person.see('If I lose');
  });

  it('sees it on a phone and in the dark, and hears what each control is called', async () => {
    await put('seen.bin', randomBytes(1000));
    const person = await signedIn();
    await person.page.setViewport({ width: 360, height: 740 });
    for (const view of ['files', 'links', 'status']) {
      await person.value(`location.hash = '${view}'`);
      await person.page.waitForSelector(
        { files: '.files tr', links: '.card', status: '.losses' }[view] ?? '',
      );
      const wide =
        '[...document.querySelectorAll("body *")].filter((one) => one.closest(".scroll, .unseen") === null && one.getBoundingClientRect().right > 361).map((one) => `${one.tagName}.${one.className}`)';
      expect([view, await person.value(wide)]).toEqual([view, []]);
      expect(await person.value('document.documentElement.scrollWidth')).toBeLessThanOrEqual(360);
      const nameless = JSON.stringify(
        await person.page.accessibility.snapshot({ interestingOnly: true }),
      ).match(/\{"role":"(button|link|textbox|searchbox|checkbox|combobox)","name":""/g);
      expect(nameless).toBe(null);
    }
    const back = async (scheme: string): Promise<unknown> => {
      await person.page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
      return person.value('getComputedStyle(document.body).backgroundColor');
    };
    expect([await back('light'), await back('dark')]).toEqual(['rgb(245, 246, 244)', 'rgb(20, 24, 23)']);
    expect(await person.value('document.querySelector("#told").role')).toBe('status');
  });
});

/** The most memory that the server ever had. */
async function peakBytes(): Promise<number> {
  const text = await readFile(`/proc/${server.process.pid ?? 0}/status`, 'utf8');
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(text)?.[1]) * 1024;
}
