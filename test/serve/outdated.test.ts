/** A server whose key or catalog was taken away from under it. */
import { randomBytes } from 'node:crypto';
import { rename } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { openCatalog } from '../../src/catalog/open.ts';
import { openSession } from '../../src/vault/open.ts';
import { Vault } from '../../src/vault/vault.ts';
import { behind, CHEAP_KDF, parts, putBytes } from '../vault/harness.ts';
import { servedVault } from './harness.ts';
import type { ServedVault } from './harness.ts';

const ANN = { secret: 'the password of ann', label: 'ann', kdfCost: CHEAP_KDF };

/** Asks for everything that needs the vault. @returns what was answered in another way than that the server is not good for it now */
async function answering(
  served: ServedVault,
  { link, words = /start it again/ }: { readonly link: string; readonly words?: RegExp },
): Promise<unknown[]> {
  const asked = [
    ['GET', '/readyz'],
    ['GET', '/api/files'],
    ['GET', '/api/files/a'],
    ['PUT', '/api/files/b'],
    ['DELETE', '/api/files/a'],
    ['GET', link],
    ['GET', '/api/session'],
  ] as const;
  const others: unknown[] = [];
  for (const [method, path] of asked) {
    const body = method === 'PUT' ? 'b' : null;
    const { status, code, bytes } = await served.ask(path, { method, body });
    if (status !== 503 || code !== 'unavailable' || !words.test(bytes.toString()))
      others.push([method, path, status, bytes.toString().slice(0, 200)]);
  }
  expect(await served.ask('/healthz')).toMatchObject({ status: 200 });
  return others;
}

async function withFileAndLink(): Promise<{ readonly served: ServedVault; readonly link: string }> {
  const served = await servedVault();
  await putBytes(served.made.vault, randomBytes(100_000), { name: 'a' });
  const { json } = await served.ask('/api/files/a/links', { method: 'POST', body: '{}' });
  return { served, link: new URL(String(json['url'])).pathname };
}

/** Another process, with the key of ann. */
async function asAnn(served: ServedVault, db = served.made.db): Promise<Vault> {
  const opener = (url: string): ReturnType<typeof Promise.resolve<ReturnType<typeof behind>>> => {
    const bucket = served.made.buckets.find((one) => one.url === url);
    if (bucket === undefined) throw new Error(url);
    return Promise.resolve(behind(bucket));
  };
  const given = { ...parts(await openCatalog(db), opener), password: () => Promise.resolve(ANN.secret) };
  return new Vault(await openSession(given));
}

it('A server whose catalog was moved away or made anew acknowledges nothing more, and is not ready', async ({
  skip,
}) => {
  const { served, link } = await withFileAndLink();
  await using _ = served;
  const { db } = served.made;
  if (db.startsWith('postgres')) skip();
  for (const suffix of ['', '-wal', '-shm']) await rename(db + suffix, `${db}-away${suffix}`);
  const words = /cannot be reached just now/;
  expect(await answering(served, { link, words })).toEqual([]);
  await (await openCatalog(db, { create: true })).close();
  expect(await answering(served, { link, words })).toEqual([]);
  expect(served.warnings[0]).toMatch(/moved.*while.*[Ss]tart.* again/s);
});

describe('a server whose key opens the vault no more says so', () => {
  it('after a new root', async () => {
    const { served, link } = await withFileAndLink();
    await using _ = served;
    const other = await served.made.reopen();
    await other.roots.rotate({ secret: 'another one entirely', kdfCost: CHEAP_KDF });
    expect(await answering(served, { link })).toEqual([]);
    expect(new Set(served.warnings.map((one) => one.split(' VaultError')[0]))).toMatchObject({ size: 1 });
    expect(served.warnings[0]).toMatch(/key rotate.*"vault serve" again/s);
  });

  it('after its key was removed', async () => {
    const { served, link } = await withFileAndLink();
    await using _ = served;
    await served.made.vault.addKey(ANN);
    await using ann = await asAnn(served);
    const own = (await ann.keys()).find(({ label }) => label !== 'ann');
    await ann.removeKey(own?.writer ?? '');
    expect(await answering(served, { link })).toEqual([]);
    expect(served.warnings[0]).toMatch(/was removed.*"vault serve" again/s);
  });

  it('but not for a password that is wrong', async () => {
    const { served } = await withFileAndLink();
    await using _ = served;
    await putBytes(served.made.vault, randomBytes(100), { name: 'l', lock: { password: 'x' } });
    const wrong = { headers: { 'vault-password': 'y' } };
    expect(await served.ask('/api/files/l', wrong)).toMatchObject({ status: 403, code: 'wrong-password' });
    expect(served.warnings).toEqual([]);
  });
});
