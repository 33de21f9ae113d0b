// `npm run bench [-- folders | serve | latency | ...] [options]`: see README.md.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { argv } from 'node:process';

const [, , named = ''] = argv;
const isNamed = /^[a-z-]+$/.test(named) && existsSync(join(import.meta.dirname, `${named}.ts`));
if (isNamed) argv.splice(2, 1);
for (const name of isNamed ? [named] : ['bench', 'latency', 'catalog-scale']) {
  try {
    await import(`./${name}.ts`);
  } catch (error) {
    // The others are measured all the same.
    console.error(error);
    process.exitCode = 1;
  }
}
