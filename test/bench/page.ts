// A large file through the page, in a real browser: how much memory page, browser and server take meanwhile, and whether every
// byte comes back.
//
//     npm run bench -- page [--size <MiB>]
import { createHash, randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, createReadStream, openSync, readFileSync, statSync, writeSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { pipeline } from 'node:stream/promises';
import { parseArgs } from 'node:util';
import { sandbox } from '../cli/run.ts';
import { personAt } from '../serve/browsing.ts';
import type { Person } from '../serve/browsing.ts';
import { startChromium } from '../support/chromium.ts';

const { values } = parseArgs({
  options: { size: { type: 'string', default: '1024' } },
});
const size = Number(values.size) * 2 ** 20;
const PATIENCE_MS = 30 * 60_000;
const mebibytes = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MiB`;

await using box = await sandbox();
await box.makeVault();
for (const folder of ['profile', 'downloads']) await mkdir(box.at(folder));
const file = openSync(box.at('large'), 'w');
for (let at = 0; at < size; at += 2 ** 20) writeSync(file, randomFillSync(Buffer.allocUnsafe(2 ** 20)));
closeSync(file);
const server = box.start(['serve', '--listen', '127.0.0.1:0']);
const [line] = await once(createInterface({ input: server.process.stdout ?? process.stdin }), 'line');
const browser = await startChromium(box.at('profile'));
try {
  const person = await personAt(browser, /http:\/\/[^"]+/.exec(String(line))?.[0] ?? '', box.at('downloads'));
  await person.see('Drop files');
  process.stdout.write(`${mebibytes(size)} up and down:\n`);
  await watched('upload', person, async () => {
    await person.choose('Choose files', box.at('large'));
    await person.page.waitForFunction('document.body.innerText.includes("1 file stored.")', {
      timeout: PATIENCE_MS,
      polling: 200,
    });
  });
  await watched('download', person, async () => {
    await person.press('Download large');
    const path = box.at('downloads', 'large');
    while ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) < size) await delay(100);
  });
  const [sent, got] = await Promise.all([box.at('large'), box.at('downloads', 'large')].map(digestOf));
  process.stdout.write(sent === got ? 'every byte came back\n' : 'WHAT CAME BACK DIFFERS\n');
  process.exitCode = sent === got ? 0 : 1;
} finally {
  await browser.close();
  server.process.kill('SIGTERM');
  await server.ended;
}

/** Says how long something took, and how much memory was most of all meanwhile. */
async function watched(what: string, { page }: Person, work: () => Promise<void>): Promise<void> {
  const most = { page: 0, browser: 0, server: 0 };
  const look = async (): Promise<void> => {
    most.page = Math.max(most.page, (await page.metrics()).JSHeapUsedSize ?? 0);
    most.browser = Math.max(most.browser, residentBytes(browser.process()?.pid ?? 0));
    most.server = Math.max(most.server, residentBytes(server.process.pid ?? 0));
  };
  const before = { ...most };
  await look();
  Object.assign(before, most);
  const startedAtMs = performance.now();
  const timer = setInterval(() => void look().catch(() => undefined), 250);
  await work();
  clearInterval(timer);
  await look();
  const seconds = ((performance.now() - startedAtMs) / 1000).toFixed(1);
  const told = (['page', 'browser', 'server'] as const).map(
    (one) => `${one} ${mebibytes(before[one])} -> ${mebibytes(most[one])}`,
  );
  process.stdout.write(`${what.padEnd(9)} ${seconds.padStart(6)} s   ${told.join(',  ')}\n`);
}

function residentBytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
}

async function digestOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}
