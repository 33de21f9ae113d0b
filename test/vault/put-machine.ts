/** A machine that can only store: its key, a catalog of its own, and no more rights to buckets than it needs. */
import { memoryBucket } from '../support/memory-bucket.ts';
import type { Bucket } from '../../src/buckets/bucket.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import type { Catalog } from '../../src/catalog/catalog.ts';
import { drawId, keysOfRoot, requireFull, wrapKeys } from '../../src/crypto/keys.ts';
import { changeKeyring } from '../../src/vault/keys/keyring-store.ts';
import { openSession } from '../../src/vault/open.ts';
import { recoverCatalog } from '../../src/vault/recover/recover.ts';
import type { Session } from '../../src/vault/session.ts';
import { Vault } from '../../src/vault/vault.ts';
import { catalogPlace } from '../support/catalog-place.ts';
import { putOnly } from '../support/put-only-bucket.ts';
import { CHEAP_KDF, parts } from './harness.ts';
import type { TestVault } from './harness.ts';

/** Adds a keyslot of another writer. @returns its id */
export async function addWriter(
  { session }: Pick<TestVault, 'session'>,
  key: { readonly label: string; readonly password: string; readonly role?: 'full' | 'put' },
): Promise<string> {
  const { root } = requireFull(session.keys, 'a test');
  const writer = drawId();
  const { vaultId, rootNumber } = session.keys;
  const slot = await wrapKeys(keysOfRoot(root, { vaultId, rootNumber, writer }), key.password, {
    role: key.role ?? 'put',
    createdAtMs: 0,
    label: key.label,
    cost: CHEAP_KDF,
  });
  const change = (keyring: Session['keyring']['keyring']): Session['keyring']['keyring'] => ({
    ...keyring,
    slots: [...keyring.slots, slot],
  });
  await changeKeyring(session, change, { all: true });
  return writer;
}

export interface PutMachine extends AsyncDisposable {
  readonly vault: Vault;
  readonly session: Session;
  readonly catalog: Catalog;
  /** Its writer's id. */
  readonly writer: string;
  /** What it was refused by the buckets. */
  readonly refused: string[];
  /** The same key with a catalog that is empty again. */
  again(): Promise<PutMachine>;
}

export interface PutMachineOptions {
  readonly label?: string;
  readonly now?: () => number;
  readonly logFolder?: string;
  /** The vault's own catalog, which is shared. */
  readonly db?: string;
  readonly wrapCatalog?: (catalog: Catalog) => Catalog;
}

/** Makes a key that can only store, and a machine that holds it. */
export async function putMachine(made: TestVault, options: PutMachineOptions = {}): Promise<PutMachine> {
  const { label = 'cron' } = options;
  const password = `the password of ${label}`;
  await addWriter(made, { label, password });
  return open(made, { ...options, password });
}

async function open(
  made: TestVault,
  options: PutMachineOptions & { readonly password: string },
): Promise<PutMachine> {
  const {
    now = Date.now,
    logFolder,
    password,
    wrapCatalog = (catalog: Catalog): Catalog => catalog,
  } = options;
  const refused: string[] = [];
  const opener = async (url: string): Promise<Bucket> => {
    const bucket = made.buckets.find((candidate) => candidate.url === url);
    if (bucket === undefined) throw new Error(`No test bucket ${url}`);
    return putOnly(memoryBucket(url, bucket.storage), (call) => void refused.push(call));
  };
  const place = await catalogPlace();
  const catalog = wrapCatalog(await openCatalog(options.db ?? place.location, { create: true }));
  const opened = { ...parts(catalog, opener, { now }), password: () => Promise.resolve(password), logFolder };
  if (options.db === undefined) {
    const urls = made.buckets.map(({ url }) => url);
    await recoverCatalog({ catalog, urls, opener, password: opened.password, parts: opened });
  }
  const session = await openSession(opened);
  const vault = new Vault(session);
  return {
    vault,
    session,
    catalog,
    writer: session.keys.writer.id,
    refused,
    again: () => open(made, options),
    async [Symbol.asyncDispose]() {
      await vault.close();
      await place[Symbol.asyncDispose]();
    },
  };
}
