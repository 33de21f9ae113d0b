import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { redacted, reportHtml } from '../../src/serve/page/report.ts';
import { statusViewOf } from '../../src/serve/status.ts';
import type { Scope } from '../../src/vault/grants/tokens.ts';
import { rowsOf, servedVault } from './harness.ts';
import type { Answered, ServedVault } from './harness.ts';

let served: ServedVault;
beforeAll(async () => {
  served = await servedVault();
});
afterAll(async () => served[Symbol.asyncDispose]());

const add = async (...scopes: readonly Scope[]): Promise<string> =>
  (await served.made.vault.tokens.add({ label: '', scopes, expiresAtMs: null })).token;
const session = async (method: string, headers: Record<string, string> = {}): Promise<Answered> =>
  served.ask('/api/session', { method, headers });
const cookieOf = ({ headers }: Answered): string => headers['set-cookie']?.[0] ?? '';

describe('a session', () => {
  it('needs no token while there is none', async () => {
    expect((await session('GET')).json).toMatchObject({
      open: true,
      scopes: ['put', 'read', 'list', 'delete', 'admin'],
    });
  });

  it('is a cookie that no script and no other site has, as good as the token and as long', async () => {
    const made = await served.made.vault.tokens.add({
      label: '',
      scopes: ['list', 'read'],
      expiresAtMs: null,
    });
    expect((await session('GET')).json).toEqual({ scopes: null, open: false });
    const begun = await session('POST', { authorization: `Bearer ${made.token}` });
    expect(begun.json).toEqual({ scopes: ['read', 'list'], open: false });
    expect(cookieOf(begun)).toMatch(/^vault-session=\S+; HttpOnly; SameSite=Strict; Path=\/$/);
    const cookie = cookieOf(begun).split(';')[0] ?? '';
    expect(await served.ask('/api/files', { headers: { cookie } })).toMatchObject({ status: 200 });
    expect(await served.ask('/api/links', { headers: { cookie } })).toMatchObject({ status: 403 });
    expect(await served.ask('/api/files', { headers: { cookie: `a=b; ${cookie}; c=d` } })).toMatchObject({
      status: 200,
    });
    await served.made.vault.tokens.remove(made.id);
    expect(await served.ask('/api/files', { headers: { cookie } })).toMatchObject({ status: 401 });
  });

  it.each(['same-site', 'cross-site'])('is not one for a %s page', async (site) => {
    const cookie = `vault-session=${await add('list')}`;
    const ask = async (from: string): Promise<Answered> =>
      served.ask('/api/files', { headers: { cookie, 'sec-fetch-site': from } });
    expect(await ask('same-origin')).toMatchObject({ status: 200 });
    expect(await ask(site)).toMatchObject({ status: 401 });
  });

  it('is not begun with a wrong token, nor without one', async () => {
    for (const headers of [{}, { authorization: 'Bearer x' }] as Record<string, string>[]) {
      const refused = await session('POST', headers);
      expect([refused.status, cookieOf(refused)]).toEqual([401, '']);
    }
  });

  it('ends when it is asked to', async () => {
    expect(cookieOf(await session('DELETE'))).toBe(
      'vault-session=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0',
    );
  });

  it('is sent over HTTPS alone where the page is', async () => {
    const other = await served.replica({ publicUrl: 'https://files.example.com' });
    const headers = { authorization: `Bearer ${await add('list')}` };
    expect(cookieOf(await served.ask('/api/session', { method: 'POST', headers, at: other.url }))).toMatch(
      /; Secure$/,
    );
  });
});

describe('a report', () => {
  it('without names has none, nor a place of a bucket, and says which are down', async () => {
    const { vault } = served.made;
    const view = await statusViewOf(vault, { nowMs: Date.parse('2026-07-01T12:00:00Z') });
    const [bucket] = view.buckets;
    const down = {
      url: 'gs://acme/x',
      state: 'active',
      objects: null,
      bytes: null,
      error: 'gs://acme/x is away.',
    };
    const nightly = [{ name: 'shop.dump', nights: [true, false, null] }];
    const whole = { ...view, nightly, buckets: bucket === undefined ? [] : [bucket, down] };
    const names = ['memory:1', 'gs://acme/x is away.', 'shop.dump'];
    const [open, hidden] = await Promise.all([reportHtml(whole), reportHtml(redacted(whole))]);
    for (const name of names) expect([open.includes(name), hidden.includes(name)]).toEqual([true, false]);
    expect(hidden).toContain('bucket 2 (gs) does not answer.');
    expect(hidden).toContain('1 of 3 nights missed');
    for (const text of [open, hidden]) expect(text).not.toMatch(/<script|style=|\son\w+=|href=|src=/);
  });
});

describe('the list of files', () => {
  it('finds names, versions and what was removed, which comes back', async () => {
    const headers = { authorization: `Bearer ${await add('admin')}` };
    const stored = new Map<unknown, string>();
    const put = async (name: string, body: string): Promise<string> => {
      const { json } = await served.ask(`/api/files/${name}`, { method: 'PUT', headers, body });
      stored.set(json['version'], body);
      return String(json['hash']);
    };
    await put('Report.pdf', '1');
    const hash = await put('Report.pdf', '2');
    await put('other', '3');
    const names = async (query: string): Promise<unknown[]> => {
      const { json } = await served.ask(`/api/files?${query}`, { headers });
      return rowsOf(json['files']).map(
        ({ name, version }) => `${String(name)} ${String(stored.get(version))}`,
      );
    };
    expect(await names('search=rePORT')).toEqual(['Report.pdf 2']);
    expect(await names('name=Report.pdf&all=true')).toEqual(['Report.pdf 2', 'Report.pdf 1']);
    expect(await names('name=report.pdf')).toEqual([]);
    await served.ask(`/api/files/${hash}`, { method: 'DELETE', headers });
    expect(await names('deleted=true')).toEqual(['Report.pdf 2']);
    expect(await names('search=report')).toEqual(['Report.pdf 1']);
    const back = await served.ask(`/api/undelete/${hash}`, { method: 'POST', headers });
    expect(back.json).toEqual({ status: 'success', restored: [hash] });
    expect(await names('search=report')).toEqual(['Report.pdf 2']);
  });

  it('of what stands for the vault names no secret', async () => {
    const token = await add('admin');
    const { json, bytes } = await served.ask('/api/status', {
      headers: { authorization: `Bearer ${token}` },
    });
    expect(json).toMatchObject({ redundancy: '2+1', files: 2, unreadable: 0 });
    expect(json['losses']).toHaveLength(6);
    expect(bytes.toString()).not.toContain(token);
    const refused = await served.ask('/api/status', {
      headers: { authorization: `Bearer ${await add('list')}` },
    });
    expect(refused.status).toBe(403);
  });
});
