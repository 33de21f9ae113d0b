// `npm run bench [-- folders] [options]`
import { argv } from 'node:process';

if (argv[2] === 'folders') {
  argv.splice(2, 1);
  await import('./folders.ts');
} else {
  await import('./bench.ts');
}
