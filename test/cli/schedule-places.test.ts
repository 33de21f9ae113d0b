/** `vault schedule print`: what jobs are called, what of this machine they have, and what cannot be one. */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Ended, Sandbox } from './run.ts';
import { sandbox } from './run.ts';

let box: Sandbox;
beforeAll(async () => {
  box = await sandbox();
});
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

const bare = { VAULT_PASSWORD: undefined, VAULT_DB: undefined };

function print(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  const always = ['--bucket', 'b', '--password-file', 'p'];
  return box.run(['schedule', 'print', ...always, ...args], { env: { ...bare, ...env } });
}

const POD = ['--kubernetes', '--image', 'i'];

test('names of vaults that look alike make jobs and secrets with names of their own', async () => {
  const folder = box.at('..', 'home', '.config', 'shardvault');
  const long = 'a'.repeat(40);
  const names = [
    '',
    '家',
    '仕事',
    'my work',
    'My Work',
    'my-work',
    'my_work',
    `${long}1`,
    `${long}2`,
    'home2',
  ];
  await mkdir(folder, { recursive: true });
  await writeFile(
    `${folder}/config.toml`,
    names.map((name) => `[vault.${JSON.stringify(name)}]\ndb = "x.db"\n`).join(''),
  );
  const printed = new Set<string>();
  for (const name of names) {
    const { stdout } = await print(['--vault', name, 'd', ...POD]);
    const [job, secret] = [/name: "(\S+)-put"/, /generic (\S+)-password /].map(
      (one) => one.exec(stdout)?.[1],
    );
    expect(job).toMatch(/^vault-[a-z0-9]([a-z0-9-]*[a-z0-9])?$/);
    expect(job?.length).toBeLessThanOrEqual(40);
    expect(secret).toBe(job);
    printed.add(job ?? '');
  }
  await rm(folder, { recursive: true });
  expect(printed.size).toBe(names.length);
  for (const plain of ['vault-my-work', 'vault-home2']) expect(printed).toContain(plain);
});
