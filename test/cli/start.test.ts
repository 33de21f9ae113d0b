// A command that is run for each file of a script takes as long as it takes to start: what it has no use for stays away.
import { writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { sandbox } from './run.ts';

/** Node's own modules that take 4 to 15 ms each. */
const SLOW = ['perf_hooks', 'readline/promises', 'tls', 'http', 'https', 'child_process'];

const PRINT = `process.on('exit', () => require('node:fs').writeSync(2, JSON.stringify(process.moduleLoadList)));\n`;

describe('A command for buckets in folders loads nothing of Node that it has no use for', () => {
  test.each([['put', 'f'], ['ls'], ['get', 'stored', '-o', '-'], ['rm', '-n', 'stored']])(
    '%s',
    async (...args) => {
      const box = await sandbox();
      await box.makeVault();
      await writeFile(box.at('f'), 'content');
      await box.run(['put', 'f', '--name', 'stored']);
      await writeFile(box.at('print.cjs'), PRINT);
      const { exit, stderr } = await box.run(args, {
        env: { NODE_OPTIONS: `--require=${box.at('print.cjs')}` },
      });
      const loaded = /\["Internal.*\]$/.exec(stderr)?.[0] ?? '[]';

      expect(exit).toBe(0);
      expect(loaded).toContain('"NativeModule crypto"');
      expect(SLOW.filter((name) => loaded.includes(`"NativeModule ${name}"`))).toEqual([]);
    },
  );
});
