/**
 * A vault that the first version wrote, with `test/fixtures/make-vault-v1.ts`: every later version reads it, checks it, and
 * rebuilds its catalog.
 */
import { createHash } from 'node:crypto';
import { cp, readFile } from 'node:fs/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { openCatalog } from '../../src/catalog/open.ts';
import { openVault, recoverVault } from '../../src/compose.ts';
import { formatRedundancy } from '../../src/format/shard.ts';
import type { Vault } from '../../src/vault/vault.ts';
import { folderDiscrepancies } from '../soak/folder-audit.ts';
import { catalogPlace, placeOfFile, sampled } from '../support/catalog-place.ts';
import type { CatalogPlace } from '../support/catalog-place.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import type { TemporaryFolder } from '../support/temporary-folder.ts';
import { getBytes, putBytes } from './harness.ts';

interface ExpectedFile {
  readonly name: string;
  readonly hash: string;
  readonly size: number;
  readonly sha256: string;
  readonly createdAt: string;
  readonly expiresAt: string | null;
  readonly removed: boolean;
}

const FIXTURE = fileURLToPath(new URL('../fixtures/vault-v1/', import.meta.url));
const expected: {
  readonly password: string;
  readonly vaultId: string;
  readonly redundancy: string;
  readonly files: readonly ExpectedFile[];
} = JSON.parse(await readFile(`${FIXTURE}expected.json`, 'utf8'));
const newestFirst = expected.files.filter(({ removed }) => !removed).toReversed();
const BUCKETS = ['bucket-1', 'bucket-2', 'bucket-3'];

function at(folder: TemporaryFolder, { location }: CatalogPlace): Parameters<typeof openVault>[0] {
  return {
    db: location,
    baseFolder: folder.path,
    password: () => Promise.resolve(expected.password),
  };
}

async function copyOfFixture(): Promise<TemporaryFolder> {
  const folder = await temporaryFolder();
  await cp(FIXTURE, folder.path, { recursive: true });
  return folder;
}

/** The catalog that was written with the copied vault. */
function catalogOf(folder: TemporaryFolder): Promise<CatalogPlace> {
  return placeOfFile(folder.at('catalog.db'));
}

/** Opens the copied catalog, which must be told where its buckets are now. */
async function openCopy(folder: TemporaryFolder, place: CatalogPlace): Promise<Vault> {
  const vault = await openVault(at(folder, place));
  for (const bucket of BUCKETS) {
    const marker: { readonly bucket: string } = JSON.parse(
      await readFile(folder.at(bucket, 'vault.json'), 'utf8'),
    );
    await vault.setBucketUrl(marker.bucket, pathToFileURL(folder.at(bucket)).href);
  }
  return vault;
}

/** What a vault lists and what the files hold, in the form of what is expected. */
async function contents(vault: Vault): Promise<ExpectedFile[]> {
  const files: ExpectedFile[] = [];
  for await (const { hash, name, size, createdAtMs, expiresAtMs } of vault.list({ all: true })) {
    const bytes = await getBytes(vault, hash, ({ message }) => {
      throw new Error(message);
    });
    files.push({
      name,
      hash,
      size,
      sha256: createHash('sha256').update(bytes).digest('hex'),
      createdAt: new Date(createdAtMs).toISOString(),
      expiresAt: expiresAtMs === null ? null : new Date(expiresAtMs).toISOString(),
      removed: false,
    });
  }
  return files;
}

test('is listed and read with the catalog that was written with it', async () => {
  await using folder = await copyOfFixture();
  await using place = await catalogOf(folder);
  await using vault = await openCopy(folder, place);
  expect(vault.id).toBe(expected.vaultId);
  expect(formatRedundancy(vault.redundancy)).toBe(expected.redundancy);
  expect(await contents(vault)).toEqual(newestFirst);
});

test('is found by name, the newest version, and by the beginning of a hash', async () => {
  await using folder = await copyOfFixture();
  await using place = await catalogOf(folder);
  await using vault = await openCopy(folder, place);
  for (const { name } of newestFirst) {
    const newest = newestFirst.find((file) => file.name === name);
    expect(await vault.get(name)).toMatchObject({ hash: newest?.hash });
  }
  for (const { hash } of newestFirst) expect(await vault.get(hash.slice(0, 12))).toMatchObject({ hash });
});

test('is whole when everything is read', async () => {
  await using folder = await copyOfFixture();
  await using place = await catalogOf(folder);
  await using vault = await openCopy(folder, place);
  const { outcome, files } = await vault.verify({ depth: 'data' });
  expect({ outcome, files }).toEqual({
    outcome: 'whole',
    files: { whole: newestFirst.length, unknown: 0, degraded: 0, lost: 0 },
  });
});

test('is rebuilt from its buckets and the password alone', async () => {
  await using folder = await copyOfFixture();
  const buckets = BUCKETS.map((bucket) => folder.at(bucket));
  await using place = await catalogPlace();
  const result = await recoverVault({ ...at(folder, place), buckets });
  expect(result).toMatchObject({ vaultId: expected.vaultId, complete: newestFirst.length, lost: [] });
  await using vault = await openVault(at(folder, place));
  expect(formatRedundancy(vault.redundancy)).toBe(expected.redundancy);
  expect(await contents(vault)).toEqual(newestFirst);
});

test.each(sampled(BUCKETS))('is rebuilt without %s', async (missing) => {
  await using folder = await copyOfFixture();
  const buckets = BUCKETS.filter((bucket) => bucket !== missing).map((bucket) => folder.at(bucket));
  await using place = await catalogPlace();
  const result = await recoverVault({ ...at(folder, place), buckets });
  expect(result).toMatchObject({ vaultId: expected.vaultId, lost: [], unreadableManifests: [] });
  await using vault = await openVault(at(folder, place));
  const names: string[] = [];
  for await (const { hash, name } of vault.list({ all: true })) {
    const sha256 = createHash('sha256')
      .update(await getBytes(vault, hash))
      .digest('hex');
    expect(newestFirst).toContainEqual(expect.objectContaining({ hash, name, sha256 }));
    names.push(name);
  }
  expect(names).toEqual(newestFirst.map(({ name }) => name));
});

test('takes new files, shares its chunks with them, and gives up its own', async () => {
  await using folder = await copyOfFixture();
  await using place = await catalogOf(folder);
  await using vault = await openCopy(folder, place);
  const chunks = newestFirst.find(({ name }) => name === 'chunks');
  const content = await getBytes(vault, 'chunks');
  const copy = await putBytes(vault, content, { name: 'a copy' });
  expect(copy).toMatchObject({ chunksStored: 0, unchanged: false });
  expect(await putBytes(vault, content, { name: 'chunks' })).toMatchObject({
    hash: chunks?.hash,
    unchanged: true,
  });
  await vault.remove(newestFirst.map(({ hash }) => hash));
  expect(await getBytes(vault, 'a copy')).toEqual(content);
  await vault.remove(['a copy']);
  await vault.sweep();
  const catalog = await openCatalog(place.location);
  try {
    const paths = BUCKETS.map((bucket) => folder.at(bucket));
    expect(await folderDiscrepancies(catalog, paths)).toEqual([]);
    expect(await catalog.counts()).toMatchObject({ files: 0, chunks: 0, garbage: 0 });
  } finally {
    await catalog.close();
  }
});
