/** Recipes of docs/keychains.md, word for word: stand-ins answer as the programs do, and the command opens the vault with what they print. */
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Sandbox } from './run.ts';
import { PASSWORD, sandbox } from './run.ts';

const PAGE = await readFile(new URL('../../docs/keychains.md', import.meta.url), 'utf8');
/** The lines of the page's blocks for a shell that run the vault. */
const LINES = [...PAGE.matchAll(/^```sh\n([\s\S]*?)^```$/gm)]
  .flatMap(([, block = '']) => block.split('\n'))
  .filter((line) => line.startsWith('vault '));

/**
 * What each program is told, word by word, and what it prints: `secret-tool` ends a line on a terminal alone, as `systemd-creds` does;
 * `security`, `pass`, `op` and `aws` always; `gcloud` never.
 */
const PROGRAMS: Readonly<Record<string, { readonly told: readonly string[]; readonly prints: string }>> = {
  'secret-tool': { told: ['lookup', 'service', 'shardvault', 'vault', 'home'], prints: PASSWORD },
  security: {
    told: ['find-generic-password', '-a', 'ada', '-s', 'shardvault', '-w'],
    prints: `${PASSWORD}\n`,
  },
  pass: { told: ['show', 'shardvault/home'], prints: `${PASSWORD}\n` },
  op: { told: ['read', 'op://Private/shardvault/password'], prints: `${PASSWORD}\n` },
  'systemd-creds': { told: ['cat', 'shardvault'], prints: PASSWORD },
  gcloud: {
    told: ['secrets', 'versions', 'access', 'latest', '--secret=shardvault'],
    prints: PASSWORD,
  },
  aws: {
    told: 'secretsmanager get-secret-value --secret-id shardvault --query SecretString --output text'.split(
      ' ',
    ),
    prints: `${PASSWORD}\n`,
  },
};

let box: Sandbox;
let env: Readonly<Record<string, string | undefined>>;

beforeAll(async () => {
  box = await sandbox();
  await box.makeVault();
  await mkdir(box.at('bin'));
  await mkdir(box.at('credentials'));
  await writeFile(box.at('credentials/shardvault'), PASSWORD, { mode: 0o400 });
  for (const [name, { told, prints }] of Object.entries(PROGRAMS)) {
    await writeFile(box.at(`${name}.out`), prints);
    const words = told.map((word) => `'${word}'`).join(' ');
    // Another word, or one more or less: it says so and fails.
    await writeFile(
      box.at('bin', name),
      `#!/bin/bash
wanted=(${words})
[ "\${wanted[*]@Q}" = "\${*@Q}" ] || { echo "${name} was told $*" >&2; exit 64; }
cat '${box.at(`${name}.out`)}'
`,
    );
    await chmod(box.at('bin', name), 0o755);
  }
  env = {
    VAULT_PASSWORD: undefined,
    USER: 'ada',
    CREDENTIALS_DIRECTORY: box.at('credentials'),
    PATH: `${box.at('bin')}:${process.env['PATH'] ?? ''}`,
  };
});
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

test('the page has a recipe for each', () => {
  const named = LINES.map((line) => /--password-command '([\w-]+)/.exec(line)?.[1]).filter(
    (name) => name !== undefined,
  );
  expect(new Set(named)).toEqual(new Set(Object.keys(PROGRAMS)));
});

test('each opens the vault with what the program prints', async () => {
  const ended = await Promise.all(LINES.map(async (line) => ({ line, ...(await box.shell(line, { env })) })));
  expect(LINES.length).toBeGreaterThan(7);
  expect(ended.filter(({ exit, stderr }) => exit !== 0 || stderr !== '')).toEqual([]);
});

test('a key file comes out of one as well, and one that is locked is told', async () => {
  await box.run(['key', 'add', '--label', 'machine', '--new-key-file', 'machine.key']);
  await writeFile(box.at('op.out'), await readFile(box.at('machine.key')));
  const line = LINES.find((one) => one.includes("'op read")) ?? '';
  expect(await box.shell(line, { env })).toMatchObject({ exit: 0, stderr: '' });
  await writeFile(
    box.at('bin', 'pass'),
    '#!/bin/sh\necho "gpg: decryption failed: No secret key" >&2\nexit 2\n',
  );
  expect(await box.shell(LINES.find((one) => one.includes("'pass show")) ?? '', { env })).toMatchObject({
    exit: 2,
    stderr: expect.stringContaining('The command of --password-command failed: exit code 2.'),
  });
});
