// Makes a folder of many entries: `node test/bench/entries.ts <folder> <n>`. Of a thousand in each folder one in ten has a few bytes.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const IN_A_FOLDER = 1000;

export function makeEntries(root: string, count: number): void {
  for (let made = 0; made < count; made += IN_A_FOLDER) {
    const folder = join(root, `d${Math.floor(made / IN_A_FOLDER / 100)}`, `folder-${made / IN_A_FOLDER}`);
    mkdirSync(folder, { recursive: true });
    for (let i = 1; i < Math.min(IN_A_FOLDER, count - made); i += 1) {
      writeFileSync(join(folder, `entry-${i}`), i % 10 === 0 ? `${made + i}\n` : '');
    }
  }
}

const [, script = '', root, count] = process.argv;
if (resolve(script) === import.meta.filename) {
  if (root === undefined || !(Number(count) > 0)) throw new Error('Usage: node entries.ts <folder> <n>');
  makeEntries(root, Number(count));
}
