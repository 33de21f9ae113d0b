/** The keyslots' copies: every bucket has all of them, so that any one and a password are enough. */
import type { Bucket } from '../../buckets/bucket.ts';
import { isVaultError } from '../../errors.ts';
import {
  decodeKeyslot,
  KEYSLOT_PREFIX,
  keyslotObjectName,
  MAX_JSON_OBJECT_SIZE,
} from '../../format/keyslot.ts';
import type { VaultBucket } from './bucket-set.ts';
import type { Findings } from '../verify/findings.ts';
import { withSignal } from '../session.ts';
import type { Session } from '../session.ts';

/** A keyslot as it should be, and the buckets where it is not so. */
export interface KeyslotVerdict {
  readonly id: string;
  readonly body: Uint8Array;
  readonly wrong: readonly VaultBucket[];
  /** Whether the catalog has it wrong. */
  readonly catalogWrong: boolean;
}

/**
 * Compares every keyslot of the catalog with its copies. Where they differ, what most of them say is right: a change to a keyslot
 * shows only when a password is tried. One of which no copy makes sense is left out.
 */
export async function examineKeyslots(
  session: Session,
  usable: readonly VaultBucket[],
  { findings, signal }: { readonly findings: Findings; readonly signal: AbortSignal | undefined },
): Promise<readonly KeyslotVerdict[]> {
  const verdicts: KeyslotVerdict[] = [];
  for (const { id, body } of await session.catalog.keyslots()) {
    const votes = new Map<string, number>();
    const vote = (copy: Uint8Array | null): string | null => {
      if (copy === null || !isKeyslot(session.vaultId, id, copy)) return null;
      const text = Buffer.from(copy).toString('latin1');
      votes.set(text, (votes.get(text) ?? 0) + 1);
      return text;
    };
    const inCatalog = vote(body);
    const copies: { readonly bucket: VaultBucket; readonly text: string | null }[] = [];
    for (const bucket of usable) {
      try {
        copies.push({ bucket, text: vote(await readKeyslot(await bucket.open(), id, signal)) });
      } catch (error) {
        if (!isVaultError(error) || error.code === 'interrupted') throw error;
        findings.bucketFailed(bucket, error);
      }
    }
    // The catalog's comes first, and wins where there are as many of another.
    const [right] = [...votes].toSorted((a, b) => b[1] - a[1]);
    if (right === undefined) continue;
    const wrong = copies.filter(({ text }) => text !== right[0]).map(({ bucket }) => bucket);
    for (const bucket of wrong) findings.keyslotWrong(bucket);
    verdicts.push({ id, body: Buffer.from(right[0], 'latin1'), wrong, catalogWrong: inCatalog !== right[0] });
  }
  return verdicts;
}

/** One wording of a keyslot. */
export interface KeyslotCopy {
  readonly id: string;
  readonly body: Uint8Array;
  /** How many buckets have it. */
  readonly votes: number;
}

/** Different wordings that are looked at: each may cost the stretching of a password, and a hostile bucket has any number. */
const MOST_COPIES = 100;

/**
 * The keyslots that buckets have, in all wordings, those that most have first: a bucket that is rotten or lies keeps nobody
 * from using what the others have.
 */
export async function collectKeyslots(
  buckets: readonly Bucket[],
  { vaultId, signal }: { readonly vaultId: string; readonly signal: AbortSignal | undefined },
): Promise<readonly KeyslotCopy[]> {
  const copies = new Map<string, KeyslotCopy>();
  for (const bucket of buckets) {
    let left = MOST_COPIES;
    try {
      for await (const { name } of bucket.list(KEYSLOT_PREFIX, withSignal(signal))) {
        const id = /^keyslots\/([0-9a-f]{32})\.json$/.exec(name)?.[1];
        if (id === undefined) continue;
        if (left === 0) break;
        left -= 1;
        const body = await readKeyslot(bucket, id, signal);
        if (body === null || !isKeyslot(vaultId, id, body)) continue;
        const key = Buffer.from(body).toString('latin1');
        copies.set(key, { id, body, votes: (copies.get(key)?.votes ?? 0) + 1 });
      }
    } catch (error) {
      if (!isVaultError(error) || error.code === 'interrupted') throw error;
    }
  }
  return [...copies.values()].toSorted((a, b) => b.votes - a.votes).slice(0, MOST_COPIES);
}

/** Null if the bucket answers and has none, or something that cannot be one. */
async function readKeyslot(
  bucket: Bucket,
  id: string,
  signal: AbortSignal | undefined,
): Promise<Uint8Array | null> {
  try {
    return await bucket.get(keyslotObjectName(id), { maxSize: MAX_JSON_OBJECT_SIZE, ...withSignal(signal) });
  } catch (error) {
    if (isVaultError(error, 'object-missing', 'damaged')) return null;
    throw error;
  }
}

function isKeyslot(vaultId: string, id: string, body: Uint8Array): boolean {
  try {
    const slot = decodeKeyslot(body);
    return slot.id === id && slot.vaultId === vaultId;
  } catch (error) {
    // What needs a newer version cannot be judged here; it counts as it is.
    if (isVaultError(error, 'unsupported')) return true;
    if (isVaultError(error, 'damaged')) return false;
    throw error;
  }
}
