import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { startGcsServer } from '../support/gcs-server.ts';
import { writeServiceAccount } from '../support/service-account.ts';
import { stubAwsEnvironment } from '../support/s3-bucket.ts';
import { EXAMPLE_CREDENTIALS, startS3Server } from '../support/s3-server.ts';
import type { S3Server } from '../support/s3-server.ts';
import { open, readPage, readParts, statusOf, unlock } from '../support/share-link.ts';
import { PASSWORD, sandbox } from './run.ts';
import type { Ended, RunOptions, Sandbox } from './run.ts';

const AWS = {
  AWS_ACCESS_KEY_ID: EXAMPLE_CREDENTIALS.accessKeyId,
  AWS_SECRET_ACCESS_KEY: EXAMPLE_CREDENTIALS.secretAccessKey,
  AWS_EC2_METADATA_DISABLED: 'true',
};
const HTML = '<b>&"x".txt';
const BYTES = randomBytes(200_000);

function lineOf({ stdout }: Ended): { readonly link: string } {
  return JSON.parse(stdout);
}

/** What a link opens, for whoever has it. */
async function opened(link: string, password?: string): Promise<{ name: string; bytes: Buffer }> {
  const page = await readPage(link);
  const identity = password === undefined ? page.fragment : await unlock(page.fragment, password);
  const about: { name: string } = JSON.parse((await open(page.about, identity)).toString());
  return { name: about.name, bytes: await open(await readParts(page), identity) };
}

describe('vault share', () => {
  let box: Sandbox;
  let server: S3Server;

  const run = (args: readonly string[], { env, ...rest }: RunOptions = {}): Promise<Ended> =>
    box.run(args, { ...rest, env: { ...AWS, ...env } });
  beforeAll(async () => {
    [box, server] = await Promise.all([sandbox(), startS3Server()]);
    const folders = ['one', 'two'].map((name) => pathToFileURL(box.at(name)).href);
    await Promise.all(['one', 'two', 'docs'].map((name) => mkdir(box.at(name))));
    stubAwsEnvironment();
    await box.makeVault({ urls: [...folders, `s3://bucket?region=us-east-1&endpoint=${server.url}`] });
    await writeFile(box.at('docs', HTML), BYTES);
    await writeFile(box.at('secret.txt'), 'locked');
    await run(['put', 'docs', `docs/${HTML}`]);
    await run(['put', 'secret.txt', '--lock'], { env: { VAULT_LOCK_PASSWORD: 'own' } });
  });
  afterAll(async () => {
    await box[Symbol.asyncDispose]();
    await server.close();
    vi.unstubAllEnvs();
  });

  it('prints a link and nothing else, which is listed and taken back', async () => {
    const made = await run(['share', `docs/${HTML}`, '--verbose']);
    expect(made.exit).toBe(0);
    const link = made.stdout.trim();
    expect(made.stdout).toMatch(
      /^http:\/\/127\.0\.0\.1:\d+\/bucket\/shares\/\S+#AGE-SECRET-KEY-1[A-Z0-9]+\n$/,
    );
    expect(made.stderr).toContain('Whoever has the link can read');
    expect(made.stderr).not.toContain('AGE-SECRET-KEY');
    expect(await opened(link)).toEqual({ name: HTML, bytes: BYTES });
    const [, id = ''] = /share rm ([0-9a-f]{12})/.exec(made.stderr) ?? [];
    const listed = await run(['share', 'ls']);
    expect(listed.stdout).toContain(id);
    expect(listed.stdout).toContain(HTML);
    expect(listed.stdout).not.toContain('AGE-SECRET-KEY');
    const asJson = await run(['share', 'ls', '--json']);
    expect(JSON.parse(asJson.stdout)).toMatchObject({
      name: `docs/${HTML}`,
      size: BYTES.length,
      password: false,
      expired: false,
    });
    const removed = await run(['share', 'rm', id, '--json']);
    expect(JSON.parse(removed.stdout).id.slice(0, 12)).toBe(id);
    expect(await statusOf(link)).toBe(404);
    expect((await run(['share', 'rm', id])).exit).toBe(4);
  });

  it.each(['> /dev/full', '--json > /dev/full'])('takes back one that nobody has seen: %s', async (way) => {
    const { exit, stderr } = await box.shell(`vault share 'docs/${HTML}' ${way}`, { env: AWS });
    expect([exit, stderr]).toEqual([5, expect.stringContaining('taken back')]);
    expect((await run(['share', 'ls'])).stdout).toBe('');
  });

  it('takes a password, from a file or a variable, which is shown nowhere', async () => {
    await writeFile(box.at('password'), 'open sesame\n', { mode: 0o600 });
    const made = await run(['share', 'secret.txt', '--json', '--share-password-file', 'password'], {
      env: { VAULT_LOCK_PASSWORD: 'own' },
    });
    const { link } = lineOf(made);
    expect(link).not.toContain('AGE-SECRET-KEY');
    expect((await opened(link, 'open sesame')).bytes.toString()).toBe('locked');
    expect(made.stdout + made.stderr).not.toContain('sesame');
    const byVariable = await run(['share', 'secret.txt', '--json'], {
      env: { VAULT_LOCK_PASSWORD: 'own', VAULT_SHARE_PASSWORD: 'open sesame' },
    });
    expect((await opened(lineOf(byVariable).link, 'open sesame')).bytes.toString()).toBe('locked');
    const empty = await run(['share', 'secret.txt'], {
      env: { VAULT_LOCK_PASSWORD: 'own', VAULT_SHARE_PASSWORD: '' },
    });
    expect(empty).toMatchObject({ exit: 2, stdout: '' });
    const none = await run(['share', 'secret.txt', '--password', '--json'], {
      env: { VAULT_LOCK_PASSWORD: 'own' },
    });
    expect(none.exit).toBe(2);
    expect(none.stderr).toContain('--share-password-file');
    expect((await run(['share', 'secret.txt'], { env: { VAULT_LOCK_PASSWORD: 'other' } })).exit).toBe(12);
  });

  it('takes what lies in a folder, and a folder as a tar archive', async () => {
    const { link } = lineOf(await run(['share', 'docs', '--json', '--expires', '90m']));
    const { name, bytes } = await opened(link);
    expect(name).toBe('docs.tar');
    expect(bytes.subarray(257, 262).toString()).toBe('ustar');
    expect(bytes.includes(BYTES)).toBe(true);
    const expires = Number(new URL(link).searchParams.get('X-Amz-Expires'));
    expect(expires).toBeGreaterThan(5_300);
    expect(expires).toBeLessThanOrEqual(5_400);
  });

  it.each([
    ['for more than seven days', ['secret.txt', '--expires', '8d'], 2, 'seven days at most'],
    ['in a folder', ['secret.txt', '--bucket', 'one'], 2, 'vault serve'],
    ['of what is not there', ['nothing'], 4, 'nothing'],
  ] as const)('makes no link %s', async (_, args, exit, words) => {
    const ended = await run(['share', ...args], {
      env: { VAULT_LOCK_PASSWORD: 'own', VAULT_PASSWORD: PASSWORD },
    });
    expect({ exit: ended.exit, stdout: ended.stdout }).toEqual({ exit, stdout: '' });
    expect(ended.stderr).toContain(words);
  });

  it('lets no library talk for it', async () => {
    await using google = await startGcsServer();
    await using other = await sandbox();
    const key = await writeServiceAccount(other.at('key.json'));
    await other.makeVault({ urls: [`gs://bucket?endpoint=${google.url}&credentialsFile=${key}`] });
    await writeFile(other.at('f'), BYTES);
    await other.run(['put', 'f']);
    const { exit, stderr } = await other.run(['share', 'f', '--json']);
    expect(exit).toBe(0);
    for (const line of stderr.trimEnd().split('\n')) expect(() => void JSON.parse(line)).not.toThrow();
  });
});
