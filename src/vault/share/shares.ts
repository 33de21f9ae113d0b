/** The shares that stand in the buckets: seen by their objects, the catalog knows nothing of them. */
import type { VaultKeys } from '../../crypto/keys.ts';
import { underAnyRoot } from '../../crypto/signing.ts';
import { openShareNote } from '../../crypto/texts.ts';
import { invalidInput, isVaultError, VaultError } from '../../errors.ts';
import {
  decodeShareNote,
  MAX_SHARE_NOTE_SIZE,
  parseShareObjectName,
  SHARES_PREFIX,
  shareObjectName,
} from '../../format/share.ts';
import type { ShareNote } from '../../format/share.ts';
import { checkEach, describeFailure, type VaultBucket } from '../buckets/bucket-set.ts';
import type { CallOptions } from '../call.ts';
import { refreshKeyring } from '../keys/keyring-store.ts';
import type { Session } from '../session.ts';

export interface ListedShare {
  /** 32 hex digits. */
  readonly id: string;
  readonly expiresAtMs: number;
  /** The bucket's URL. */
  readonly bucket: string;
  /** Whether the page is there that its link leads to. */
  readonly hasPage: boolean;
  /** Null if it is not there, or cannot be read: it was not stored or removed to its end, or is not this vault's. */
  readonly note: ShareNote | null;
  /** Bytes of its objects. */
  readonly bytes: number;
}

export interface ListedShares {
  /** Those that expire first come first. */
  readonly shares: readonly ListedShare[];
  /** URLs of buckets that could not be asked; each was warned of. */
  readonly unreachable: readonly string[];
}

type Found = Omit<ListedShare, 'note' | 'bytes' | 'hasPage'> & {
  bytes: number;
  hasPage: boolean;
  readonly names: string[];
};

export async function listShares(session: Session, options: CallOptions = {}): Promise<ListedShares> {
  const { found, unreachable } = await findShares(session, options);
  const shares = await Promise.all(
    found.map(async ([bucket, { id, expiresAtMs, bytes, hasPage }]) => {
      const note = await readNote(session, bucket, { id, expiresAtMs }, options.signal);
      return { id, expiresAtMs, bucket: bucket.url, hasPage, note, bytes };
    }),
  );
  return { shares: shares.toSorted((a, b) => a.expiresAtMs - b.expiresAtMs), unreachable };
}

export async function removeShares(
  session: Session,
  references: readonly string[],
  options: CallOptions = {},
): Promise<readonly string[]> {
  await refreshKeyring(session, options.signal);
  const { found, unreachable } = await findShares(session, options);
  const meant = references.map((reference) => {
    const fitting = found.filter(([, { id }]) => isMeant(id, reference));
    const ids = new Set(fitting.map(([, { id }]) => id));
    if (ids.size === 1) return fitting;
    throw ids.size > 1
      ? invalidInput(`Several shares begin with ${reference}. Say more of the id.`)
      : unknownShare(reference, unreachable);
  });
  for (const [bucket, { names }] of meant.flat()) {
    const storage = await bucket.checked(options.signal);
    // The page first: without it the link leads nowhere.
    for (const name of names.toReversed()) await storage.remove(name, { signal: options.signal });
  }
  return [...new Set(meant.flat().map(([, { id }]) => id))];
}

function isMeant(id: string, reference: string): boolean {
  return /^[0-9a-f]{8,32}$/i.test(reference) && id.startsWith(reference.toLowerCase());
}

function unknownShare(reference: string, unreachable: readonly string[]): VaultError {
  const none = `There is no share ${JSON.stringify(reference)}.`;
  return unreachable.length > 0
    ? new VaultError('unavailable', `${none} It may be in ${unreachable.join(', ')}, which cannot be asked.`)
    : new VaultError('file-not-found', `${none} "vault share ls" shows them, with their ids.`);
}

/** The shares of all buckets; of those that cannot be asked a warning is given. */
async function findShares(
  session: Session,
  { signal, onWarning }: CallOptions,
): Promise<{
  readonly found: readonly (readonly [VaultBucket, Found])[];
  readonly unreachable: readonly string[];
}> {
  const all: [VaultBucket, Found][] = [];
  const { failed } = await checkEach(session.buckets.all, async (bucket) => {
    const found = new Map<string, Found>();
    const storage = await bucket.checked(signal);
    for await (const { name, size } of storage.list(SHARES_PREFIX, { signal })) {
      const parsed = parseShareObjectName(name);
      if (parsed === null) continue;
      const { id, expiresAtMs, what } = parsed;
      const share = found.get(id) ?? {
        id,
        expiresAtMs,
        bucket: bucket.url,
        bytes: 0,
        hasPage: false,
        names: [],
      };
      found.set(id, share);
      share.bytes += size;
      share.hasPage ||= what === 'page';
      share.names.push(name);
    }
    for (const share of found.values()) all.push([bucket, share]);
  });
  for (const failure of failed) {
    onWarning?.({ kind: 'bucket-down', message: describeFailure(failure), bucket: failure.bucket.url });
  }
  return { found: all, unreachable: failed.map(({ bucket }) => bucket.url) };
}

async function readNote(
  session: Session,
  bucket: VaultBucket,
  { id, expiresAtMs }: Pick<ListedShare, 'id' | 'expiresAtMs'>,
  signal: AbortSignal | undefined,
): Promise<ShareNote | null> {
  const name = shareObjectName({ id, expiresAtMs, what: 'note' });
  try {
    const bytes = await (await bucket.open()).get(name, { maxSize: MAX_SHARE_NOTE_SIZE, signal });
    const open = (keys: VaultKeys): { readonly note: string } => ({
      note: openShareNote(keys, id, Buffer.from(bytes)),
    });
    return decodeShareNote(underAnyRoot(session.keys, open).note);
  } catch (error) {
    if (isVaultError(error, 'object-missing', 'damaged', 'unsupported', 'unavailable', 'denied')) return null;
    throw error;
  }
}
