/** The keyslots' copies: every bucket has all of them, so that any one and a password are enough. */
import { isVaultError } from '../errors.ts';
import { decodeKeyslot, keyslotObjectName, MAX_JSON_OBJECT_SIZE } from '../format/keyslot.ts';
import type { VaultBucket } from './bucket-set.ts';
import type { Findings } from './findings.ts';
import { withSignal } from './session.ts';
import type { Session } from './session.ts';

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
      if (copy === null || !isKeyslot(session, id, copy)) return null;
      const text = Buffer.from(copy).toString('latin1');
      votes.set(text, (votes.get(text) ?? 0) + 1);
      return text;
    };
    const inCatalog = vote(body);
    const copies: { readonly bucket: VaultBucket; readonly text: string | null }[] = [];
    for (const bucket of usable) {
      try {
        copies.push({ bucket, text: vote(await readKeyslot(bucket, id, signal)) });
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

/** Null if the bucket answers and has none, or something that cannot be one. */
async function readKeyslot(
  bucket: VaultBucket,
  id: string,
  signal: AbortSignal | undefined,
): Promise<Uint8Array | null> {
  try {
    const storage = await bucket.open();
    return await storage.get(keyslotObjectName(id), { maxSize: MAX_JSON_OBJECT_SIZE, ...withSignal(signal) });
  } catch (error) {
    if (isVaultError(error, 'object-missing', 'damaged')) return null;
    throw error;
  }
}

function isKeyslot(session: Session, id: string, body: Uint8Array): boolean {
  try {
    const slot = decodeKeyslot(body);
    return slot.id === id && slot.vaultId === session.vaultId;
  } catch (error) {
    // What needs a newer version cannot be judged here; it counts as it is.
    if (isVaultError(error, 'unsupported')) return true;
    if (isVaultError(error, 'damaged')) return false;
    throw error;
  }
}
