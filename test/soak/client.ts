/** A process that works on a vault as its parent says, and may be killed at any time. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { openBucket } from '../../src/buckets/open.ts';
import { openCatalog } from '../../src/catalog/open.ts';
import { openVault, recoverVault } from '../../src/compose.ts';
import type { VaultLocation } from '../../src/compose.ts';
import { isVaultError } from '../../src/errors.ts';
import type { RepairResult } from '../../src/vault/repair/repair.ts';
import { createVault } from '../../src/vault/manage/create.ts';
import type { Vault } from '../../src/vault/vault.ts';
import type { FileSource } from '../../src/vault/write/file-source.ts';
import { CHEAP_KDF } from '../vault/harness.ts';
import { contentOf } from './operations.ts';
import type { Answers, ClientSettings, Operation, Reply, Request, SeenFile, Verb } from './operations.ts';

const settings: ClientSettings = JSON.parse(process.argv[2] ?? '');
const location: VaultLocation = {
  ...settings,
  password: () => Promise.resolve(settings.password),
  // Test servers stall at times.
  request: { timeoutMs: 3_000 },
};
let opened: Promise<Vault> | null = null;

process.on('message', (request: Request) => void handle(request));
// The parent has gone.
process.on('disconnect', () => process.exit());
await once(process, 'disconnect');

async function handle({ id, operation }: Request): Promise<void> {
  let reply: Reply;
  try {
    reply = { id, answer: { verb: operation.verb, facts: await perform(operation) } };
  } catch (error) {
    const code = isVaultError(error) ? error.code : null;
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    reply = { id, failed: { code, message: code === null ? text : messageChain(error) } };
  }
  process.send?.(reply);
}

function messageChain(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message} <- ${messageChain(error.cause)}` : error.message;
}

async function perform(operation: Operation): Promise<Answers[Verb]> {
  if (operation.verb === 'create') return create(operation);
  if (operation.verb === 'recover') return recover(operation);
  opened ??= openVault(location);
  let vault: Vault;
  try {
    vault = await opened;
  } catch (error) {
    opened = null;
    throw error;
  }
  switch (operation.verb) {
    case 'put': {
      const { name, chunkSize, expired } = operation;
      const source = slowSource(contentOf(operation.recipe), operation.pauseMs);
      const { hash, unchanged, degraded } = await vault.put(source, {
        name,
        chunkSize,
        expiresAtMs: expired ? 1 : null,
      });
      return { hash, unchanged, degraded };
    }
    case 'get':
      return get(vault, operation.reference);
    case 'rm': {
      const { references, now } = operation;
      const { removed } = await vault.remove(references, { graceMs: now ? 0 : undefined });
      return { removed: removed.map(({ hash }) => hash) };
    }
    case 'undelete': {
      const { restored } = await vault.undelete(operation.references);
      return { restored: restored.map(({ hash }) => hash) };
    }
    case 'ls': {
      const files = await Array.fromAsync(vault.list({ all: true }));
      return { listed: files.map(({ hash, name }) => [hash, name] as const) };
    }
    case 'read all': {
      const files: SeenFile[] = [];
      for await (const { hash } of vault.list({ all: true })) files.push(await get(vault, hash));
      return { files };
    }
    case 'sweep': {
      const { ignoreGrace, waitMs } = operation;
      const { expired, ...result } = await vault.sweep({ ignoreGrace, waitMs });
      const { objectsWaiting, foreignObjects, filesMissing, unreachable, blockedBy } = result;
      const open = objectsWaiting + foreignObjects + filesMissing.length + unreachable.length;
      const clean = open === 0 && blockedBy === null;
      const details = JSON.stringify({ ...result, expired: expired.length });
      return { outcome: clean ? 'clean' : 'unfinished', details };
    }
    case 'verify': {
      const result = await vault.verify({ depth: operation.depth });
      return { outcome: result.outcome, details: JSON.stringify(result) };
    }
    case 'repair': {
      const { depth, redundancy } = operation;
      const result = await vault.repair({ depth, redundancy: redundancy ?? undefined });
      return { outcome: outcomeOf(result), details: JSON.stringify(result) };
    }
    case 'add bucket': {
      const { id } = await vault.addBucket(operation.url);
      return { id };
    }
    case 'remove bucket': {
      const { removed, reasons } = await vault.removeBucket(operation.url);
      return { removed, reasons };
    }
  }
}

function outcomeOf({ filesLost, chunksLost, chunksDegraded, unreachable }: RepairResult): string {
  if (filesLost.length + chunksLost > 0) return 'lost';
  return chunksDegraded + unreachable.length > 0 ? 'degraded' : 'whole';
}

async function create({
  buckets,
  redundancy,
}: Extract<Operation, { verb: 'create' }>): Promise<Answers['create']> {
  const catalog = await openCatalog(location.db, { create: true });
  try {
    await createVault({
      catalog,
      urls: buckets,
      opener: async (url) => openBucket(url),
      redundancy,
      password: settings.password,
      kdfCost: CHEAP_KDF,
      nowMs: Date.now(),
    });
    return { made: true };
  } finally {
    await catalog.close();
  }
}

async function get(vault: Vault, reference: string): Promise<SeenFile> {
  const file = await vault.get(reference);
  const hash = createHash('sha256');
  for await (const bytes of file.content()) hash.update(bytes);
  return { hash: file.hash, name: file.name, sha256: hash.digest('hex') };
}

async function recover({
  buckets,
  db,
}: Extract<Operation, { verb: 'recover' }>): Promise<Answers['recover']> {
  const result = await recoverVault({ ...location, db: db ?? location.db, buckets });
  return {
    learned: result.learned,
    known: result.known,
    trouble: [
      ...result.missing.map((hash) => `missing: ${hash}`),
      ...result.unreadableManifests.map((hash) => `unreadable: ${hash}`),
      ...result.unusable.map(({ url, message }) => `unusable: ${url}: ${message}`),
    ],
  };
}

/** Bytes that come in pieces, with pauses. */
function slowSource(bytes: Uint8Array, pauseMs: number): FileSource {
  return {
    label: 'random bytes',
    reopens: true,
    open: () => {
      let at = 0;
      return Promise.resolve({
        size: bytes.length,
        modified: null,
        mode: null,
        async read(target) {
          if (pauseMs > 0) await delay(pauseMs);
          const piece = bytes.subarray(at, at + target.length);
          target.set(piece);
          at += piece.length;
          return piece.length;
        },
        verify: () => Promise.resolve(),
        close: () => Promise.resolve(),
      });
    },
  };
}
