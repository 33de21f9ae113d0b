import { afterAll, beforeAll, expect, it } from 'vitest';
import type { LinkOptions } from '../../src/vault/grants/links.ts';
import { catalogRows } from '../support/catalog-place.ts';
import { CHEAP_KDF, putBytes } from '../vault/harness.ts';
import { rowsOf, servedVault } from './harness.ts';
import type { Answered, AskOptions, ServedVault } from './harness.ts';

const NAME = '<img src=x onerror=alert(1)>&".txt';
const BROWSER = { accept: 'text/html,*/*' };
let served: ServedVault;
let token = '';
beforeAll(async () => {
  served = await servedVault();
  const { vault } = served.made;
  await putBytes(vault, Buffer.from('for you'), { name: NAME });
  await putBytes(vault, Buffer.from('locked'), {
    name: 'locked',
    lock: { password: 'lock', cost: CHEAP_KDF },
  });
  ({ token } = await vault.tokens.add({ label: '', scopes: ['admin'], expiresAtMs: null }));
});
afterAll(async () => {
  await served[Symbol.asyncDispose]();
});

const withToken = (path: string, how: AskOptions = {}): Promise<Answered> =>
  served.ask(path, { ...how, headers: { authorization: `Bearer ${token}`, ...how.headers } });

async function make(
  fields: Record<string, unknown> = {},
  name = NAME,
): Promise<{ path: string; id: string }> {
  const made = await withToken(`/api/files/${encodeURIComponent(name)}/links`, {
    method: 'POST',
    body: JSON.stringify(fields),
  });
  expect(made.status).toBe(201);
  return { path: new URL(String(made.json['url'])).pathname, id: String(made.json['id']) };
}

/** A link that could not be made over HTTP. */
async function special(options: Partial<LinkOptions>): Promise<string> {
  const { vault } = served.made;
  const file = await vault.resolve(NAME);
  const whole = { expiresAtMs: null, mostDownloads: null, password: null, lockPassword: null, ...options };
  return `/d/${(await vault.links.add(file, whole)).secret}`;
}

const downloads = async (id: string): Promise<unknown> => {
  const { json } = await withToken('/api/links');
  return rowsOf(json['links']).find((link) => link['id'] === id)?.['downloads'];
};

it('A link gives its file to whoever has it, without a token, and is listed with the times it was used', async () => {
  const { path, id } = await make();
  expect(path).toMatch(/^\/d\/[A-Za-z0-9_-]{43}$/);
  for (let i = 1; i <= 2; i += 1) {
    const got = await served.ask(path);
    expect([got.status, got.bytes.toString()]).toEqual([200, 'for you']);
    expect(got.headers).toMatchObject({
      'content-type': 'application/octet-stream',
      'x-content-type-options': 'nosniff',
    });
    expect(await downloads(id)).toBe(i);
  }
  expect(await withToken(`/api/links?file=${encodeURIComponent(NAME)}`)).toMatchObject({ status: 200 });
  expect(await withToken('/api/links?file=locked')).toMatchObject({ status: 200, json: { links: [] } });
});

it('HEAD, and the page that a browser shows first, use nothing up', async () => {
  const { path, id } = await make({ downloads: 1 });
  expect(await served.ask(path, { method: 'HEAD' })).toMatchObject({
    status: 200,
    headers: { 'content-length': '7' },
  });
  const page = await served.ask(path, { headers: BROWSER });
  expect(page.status).toBe(200);
  expect(page.bytes.toString()).toContain('&#60;img src=x onerror=alert(1)&#62;&#38;&#34;.txt');
  expect(page.bytes.toString()).not.toContain('<img');
  expect(page.headers['content-security-policy']).toMatch(
    /^default-src 'none'; style-src 'sha256-[^']+'; .*form-action 'self'$/,
  );
  expect(await served.ask(path)).toMatchObject({ status: 405, headers: { allow: 'POST, HEAD' } });
  expect(await downloads(id)).toBe(0);
  const got = await served.ask(path, { method: 'POST', headers: { ...BROWSER, origin: 'null' }, body: '' });
  expect([got.status, got.bytes.toString()]).toEqual([200, 'for you']);
  expect(await served.ask(path, { method: 'POST', body: '' })).toMatchObject({ status: 404 });
});

it('Of many who ask at once as many get the file as may', async () => {
  const { path } = await make({ downloads: 3 });
  const got = await Promise.all(
    Array.from({ length: 8 }, () => served.ask(path, { method: 'POST', body: '' })),
  );
  expect(got.filter(({ status }) => status === 200)).toHaveLength(3);
  expect(got.filter(({ status }) => status === 404)).toHaveLength(5);
});

it('A link is good no longer when it has expired, was taken away, or its file was removed', async () => {
  expect(await served.ask(await special({ expiresAtMs: Date.now() - 1 }))).toMatchObject({ status: 404 });
  const { path, id } = await make();
  expect(await served.ask(path)).toMatchObject({ status: 200 });
  expect(await withToken(`/api/links/${id.slice(0, 10)}`, { method: 'DELETE' })).toMatchObject({
    status: 200,
    json: { removed: id },
  });
  expect(await served.ask(path)).toMatchObject({ status: 404, code: 'file-not-found' });
  expect(await withToken(`/api/links/${id}`, { method: 'DELETE' })).toMatchObject({ status: 404 });
  expect(await served.ask(`/d/${'A'.repeat(43)}`)).toMatchObject({ status: 404 });
  await putBytes(served.made.vault, Buffer.from('x'), { name: 'short-lived' });
  const { path: dead } = await make({}, 'short-lived');
  await withToken('/api/files/short-lived', { method: 'DELETE' });
  // Nothing of the file that whoever has the link is not to know.
  const gone = 'This link is wrong, has expired, was taken away or is used up.';
  const answer = { status: 'error', error: { code: 'file-not-found', message: gone } };
  expect(await served.ask(dead)).toMatchObject({ status: 404, json: answer });
});

it('A password of its own is asked for, and a browser can give it', async () => {
  const { path } = await make({ password: 'pass word' });
  expect(await served.ask(path)).toMatchObject({ status: 403, code: 'wrong-password' });
  const page = await served.ask(path, { headers: BROWSER });
  expect(page.bytes.toString()).toMatch(/A file.*type="password"/s);
  expect(page.bytes.toString()).not.toContain('onerror');
  const send = (password: string): Promise<Answered> =>
    served.ask(path, {
      method: 'POST',
      headers: { ...BROWSER, 'Content-Type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams({ password }).toString(),
    });
  const wrong = await send('wrong');
  expect([wrong.status, wrong.bytes.toString()]).toEqual([
    403,
    expect.stringContaining('This password is wrong.'),
  ]);
  expect((await send('pass word')).bytes.toString()).toBe('for you');
  const half = {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: '{"password":"\\udfff"}',
  };
  expect(await served.ask(path, half)).toMatchObject({ status: 400, code: 'invalid-input' });
  const got = await served.ask(path, { headers: { 'vault-password': 'pass word' } });
  expect(got.bytes.toString()).toBe('for you');
});

function expectPage(page: Answered, status: number, text: string): void {
  expect([page.status, page.headers['content-type']]).toEqual([status, 'text/html; charset=utf-8']);
  expect(page.headers['content-security-policy']).toMatch(/^default-src 'none'; style-src 'sha256-/);
  expect(page.bytes.toString()).toContain(text);
}

it('A browser is told by a page why it gets nothing', async () => {
  const expired = await special({ expiresAtMs: Date.now() - 1 });
  expectPage(await served.ask(expired, { headers: BROWSER }), 404, 'has expired');
  expectPage(await served.ask(expired, { method: 'POST', headers: BROWSER }), 404, 'has expired');
  const { path } = await make({ password: 'pass word' });
  const guess = { method: 'POST', headers: { ...BROWSER, 'vault-password': 'wrong' } };
  for (let i = 0; i < 5; i += 1) expectPage(await served.ask(path, guess), 403, 'This password is wrong.');
  const late = await served.ask(path, guess);
  expectPage(late, 429, 'too many wrong passwords');
  expect(Number(late.headers['retry-after'])).toBeGreaterThan(0);
  const program = await served.ask(path, { ...guess, headers: { 'vault-password': 'wrong' } });
  expect(program).toMatchObject({ status: 429, code: 'too-many' });
});

it('A link to a locked file asks for the password of its lock, or carries it where it was given', async () => {
  const { path } = await make({}, 'locked');
  expect(await served.ask(path)).toMatchObject({ status: 403, code: 'wrong-password' });
  const got = await served.ask(path, { headers: { 'vault-password': 'lock' } });
  expect(got.bytes.toString()).toBe('locked');
  const { path: carries } = await make({ lock_password: 'lock' }, 'locked');
  expect((await served.ask(carries)).bytes.toString()).toBe('locked');
  const at = '/api/files/locked/links';
  expect(await withToken(at, { method: 'POST', body: '{"lock_password":"wrong"}' })).toMatchObject({
    status: 403,
  });
  expect(await withToken(at, { method: 'POST', body: '{"password":"own"}' })).toMatchObject({ status: 400 });
});

it.each([
  { expires_in: 0 },
  { expires_in: '1h' },
  { expires_in: 1e9 },
  { downloads: 0 },
  { downloads: 1.5 },
  { password: 1 },
  { password: '' },
  { password: 'a\uD800' },
  { lock_password: 'a\uD800' },
  { lock_password: [] },
  { Password: 'x' },
  { expire_in: 60 },
  { download: 1 },
])('%j makes no link', async (fields) => {
  const at = `/api/files/${encodeURIComponent(NAME)}/links`;
  expect(await withToken(at, { method: 'POST', body: JSON.stringify(fields) })).toMatchObject({
    status: 400,
    code: 'invalid-input',
  });
});

it('No row tells a secret, a name, or a password', async () => {
  const { path } = await make({ lock_password: 'lock' }, 'locked');
  const { path: withPassword } = await make({ password: 'pass word' });
  const rows = JSON.stringify([...(await catalogRows(served.made.db))], (_, value: unknown) =>
    value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : value,
  );
  for (const secret of [path.slice(3), withPassword.slice(3), 'onerror', 'pass word'])
    expect(rows).not.toContain(secret);
  expect(JSON.stringify(served.log)).not.toContain(path.slice(3));
});
