/** Tokens and links in the catalog. Who has the database can take them away, and put back those that were taken away; make none. */
import type { GrantKind, GrantRow } from '../../catalog/catalog.ts';
import { drawSecret, idOfSecret } from '../../crypto/grants.ts';
import { requireFull } from '../../crypto/keys.ts';
import { openRecord, sealRecord } from '../../crypto/records.ts';
import { invalidInput, isVaultError, VaultError } from '../../errors.ts';
import type { Session } from '../session.ts';

/** How long something that has expired is remembered, in milliseconds. */
const REMEMBERED_MS = 86_400_000;

/** What both have. */
export interface Grant {
  /** 64 hex digits; no secret. */
  readonly id: string;
  readonly createdAtMs: number;
  /** Null if it does not expire. */
  readonly expiresAtMs: number | null;
  readonly expired: boolean;
}

export type Fields = Readonly<Record<string, unknown>>;

/** Stores a new one. @param seal what it grants, given its secret */
export async function addGrant(
  session: Session,
  kind: GrantKind,
  { expiresAtMs, seal }: { readonly expiresAtMs: number | null; readonly seal: (secret: string) => Fields },
): Promise<Grant & { readonly secret: string }> {
  const secret = drawSecret();
  const id = idOfSecret(secret, kind) ?? '';
  const createdAtMs = session.clock.now();
  const record = sealRecord(keyOf(session), `${kind} ${id}`, { ...seal(secret), createdAtMs, expiresAtMs });
  const { grants } = session.catalog;
  await grants.forgetExpired(createdAtMs - REMEMBERED_MS);
  await grants.put({ id, kind, record, expiresAtMs });
  return { id, createdAtMs, expiresAtMs, expired: isExpired(expiresAtMs, createdAtMs), secret };
}

/** A grant as the catalog has it. */
export interface Opened extends Grant {
  /** How often it was used. */
  readonly uses: number;
  readonly fields: Fields;
}

/** What a row grants; null for one that was changed by anybody else. */
function openGrant(session: Session, row: GrantRow): Opened | null {
  try {
    const value = openRecord(keyOf(session), `${row.kind} ${row.id}`, row.record);
    const fields: Fields = typeof value === 'object' && value !== null ? { ...value } : {};
    const { createdAtMs, expiresAtMs } = fields;
    if (typeof createdAtMs !== 'number' || (typeof expiresAtMs !== 'number' && expiresAtMs !== null))
      return null;
    // The column is only there to be searched.
    const expired = isExpired(expiresAtMs, session.clock.now());
    return { id: row.id, createdAtMs, expiresAtMs, expired, uses: row.uses, fields };
  } catch (error) {
    if (!isVaultError(error, 'damaged')) throw error;
    return null;
  }
}

function isExpired(expiresAtMs: number | null, nowMs: number): boolean {
  return expiresAtMs !== null && expiresAtMs <= nowMs;
}

/** All of a kind, the newest first; those whose rows were changed by anybody else are left out. */
export async function listGrants(session: Session, kind: GrantKind): Promise<readonly Opened[]> {
  const rows = await Array.fromAsync(session.catalog.grants.list(kind));
  return rows
    .flatMap((row) => openGrant(session, row) ?? [])
    .toSorted((a, b) => b.createdAtMs - a.createdAtMs);
}

/** What a secret gives; null if there is nothing, or it has expired. */
export async function findGrant(session: Session, kind: GrantKind, secret: string): Promise<Opened | null> {
  const id = idOfSecret(secret, kind);
  const row = id === null ? null : await session.catalog.grants.find(id);
  const grant = row?.kind === kind ? openGrant(session, row) : null;
  return grant === null || grant.expired ? null : grant;
}

/** Takes one away. @param prefix its id, or the first 8 or more digits of it @throws `file-not-found`; `invalid-input` */
export async function removeGrant(session: Session, kind: GrantKind, prefix: string): Promise<string> {
  if (!/^[0-9a-f]{8,64}$/.test(prefix)) {
    throw invalidInput(`The id of a ${kind} has 64 hex digits, of which the first 8 are enough.`);
  }
  const found: string[] = [];
  for await (const { id } of session.catalog.grants.list(kind)) if (id.startsWith(prefix)) found.push(id);
  const [id, ...others] = found;
  if (id === undefined)
    throw new VaultError('file-not-found', `No ${kind} has an id that begins with ${prefix}.`);
  if (others.length > 0) {
    throw invalidInput(`More than one ${kind} has an id that begins with ${prefix}. Give more digits.`);
  }
  await session.catalog.grants.forget([id]);
  return id;
}

/** Only who has all rights to a vault can let others in. */
function keyOf({ keys }: Session): Buffer {
  return requireFull(keys, 'making tokens and links').catalog;
}
