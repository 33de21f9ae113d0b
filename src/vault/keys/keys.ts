/** The vault's keys: a keyslot for each person and machine that opens it. FORMAT.md, "Keyslots", "Keyring". */
import { drawId, requireFull, unwrapKeys, wrapKeys } from '../../crypto/keys.ts';
import type { KdfCost } from '../../crypto/keys.ts';
import { labelIn, openLabel, sealLabel } from '../../crypto/texts.ts';
import { invalidInput, VaultError } from '../../errors.ts';
import type { FormerWriter, Keyring, Keyslot, Role } from '../../format/keyring.ts';
import { lineagesOf } from '../../format/lineage.ts';
import { MAX_KEYSLOTS } from '../../format/limits.ts';
import type { CallOptions, SecretOptions } from '../call.ts';
import type { Session } from '../session.ts';
import { answering, changeKeyring, refreshKeyring } from './keyring-store.ts';

/** A key of the vault, without its secret. */
export interface KeyInfo {
  /** 32 hex digits. */
  readonly writer: string;
  /** What people call it; may be empty. */
  readonly label: string;
  readonly role: Role;
  readonly createdAtMs: number;
  /** The label of the key that made it; its writer if that has none. Null for a key that was made with the vault. */
  readonly by: string | null;
  /** Whether it is the one that this vault was opened with. */
  readonly own: boolean;
}

export interface ListedKey extends KeyInfo {
  /** When the newest of what it has stored was stored, as far as the catalog knows; null if it knows of nothing. */
  readonly lastUsedAtMs: number | null;
}

export interface NewKey extends SecretOptions {
  /** A password, or what a key file holds. */
  readonly secret: string;
  /** Of at most 1,024 bytes; of keys that have one, each has another. */
  readonly label?: string | undefined;
  /** `full` unless given. */
  readonly role?: Role | undefined;
  /** Argon2id's costs; for tests. */
  readonly kdfCost?: KdfCost | undefined;
}

export interface RemoveKeyOptions extends CallOptions {
  /** Also the one that opened this vault. */
  readonly own?: boolean | undefined;
}

export async function listKeys(session: Session, { signal }: CallOptions = {}): Promise<ListedKey[]> {
  await refreshKeyring(session, signal);
  const newest = new Map<string, number>();
  const { headOf } = lineagesOf(session.keyring.keyring);
  for await (const { writer: by, createdAtMs } of session.catalog.files.walk({ signal })) {
    const writer = headOf(by);
    newest.set(writer, Math.max(newest.get(writer) ?? createdAtMs, createdAtMs));
  }
  const { keyring } = session.keyring;
  return keyring.slots.map((slot) =>
    Object.assign(infoOf(session, keyring, slot), { lastUsedAtMs: newest.get(slot.writer) ?? null }),
  );
}

/** See `Vault.addKey`. The holder is a writer of its own. */
export async function addKey(session: Session, wanted: NewKey): Promise<KeyInfo> {
  const { secret, label = '', role = 'full', onStoring, onWarning, signal } = wanted;
  if (secret === '') throw invalidInput('The password of the new key is empty.');
  if (wanted.label === '') throw emptyLabel();
  const { keys } = session;
  const own = keys.writer.id;
  const writer = requireFull(keys, 'adding a key').writer(drawId());
  const createdAtMs = session.clock.now();
  const how = { role, createdAtMs, by: own, label, cost: wanted.kdfCost };
  const slot = await wrapKeys({ ...keys, writer }, secret, how);
  await changeKeyring(
    session,
    async (keyring) => {
      if (keyring.slots.some((one) => one.writer === slot.writer)) return null;
      if (keyring.slots.length >= MAX_KEYSLOTS) {
        throw invalidInput(`A vault has at most ${MAX_KEYSLOTS} keys. Remove one first.`);
      }
      requireFreeLabel(session, keyring, label);
      await requireOther(session, keyring, secret);
      return { ...keyring, slots: [...keyring.slots, slot], former: goingOn(session, keyring, slot, label) };
    },
    { all: false, onStoring, onWarning, signal },
  );
  return infoOf(session, session.keyring.keyring, slot);
}

/** The former writers, of which that with a new key's label and role has it go on with its names if a rotation has taken it away. */
function goingOn(
  { keys }: Session,
  { former, root }: Keyring,
  { writer, role }: Keyslot,
  label: string,
): readonly FormerWriter[] {
  const successors = new Set(former.map(({ next }) => next));
  const before = former.findLast(
    (one) =>
      (one.root < root || successors.has(one.writer)) &&
      one.next === null &&
      (one.role === role || successors.has(one.writer)) &&
      label !== '' &&
      labelIn(keys, one) === label,
  );
  return former.map((one) => (one === before ? { ...one, next: writer } : one));
}

/** See `Vault.removeKey`. Its writer stays known, so that what it has stored is found by its names. */
export async function removeKey(
  session: Session,
  reference: string,
  { own = false, signal }: RemoveKeyOptions = {},
): Promise<KeyInfo> {
  requireFull(session.keys, 'removing a key');
  const removed = await findKey(session, reference, signal);
  if (removed.own && !own) {
    throw invalidInput(
      `${nameOf(removed)} is the key that opened the vault here. Open it with another key to remove it, or say that it is meant.`,
    );
  }
  await changeKeyring(
    session,
    (keyring) => {
      const slot = keyring.slots.find((one) => one.writer === removed.writer);
      if (slot === undefined) return null;
      const slots = keyring.slots.filter((one) => one !== slot);
      if (!slots.some((one) => one.role === 'full')) {
        throw invalidInput(
          `${nameOf(removed)} is the last full key: without one nobody can read the vault. Add another one first.`,
        );
      }
      const { writer, role, label } = slot;
      const former = [...keyring.former, { writer, root: keyring.root, role, label, next: null }];
      return { ...keyring, slots, former };
    },
    { all: true, signal },
  );
  return removed;
}

export async function renameKey(
  session: Session,
  reference: string,
  { label, onWarning, signal }: CallOptions & { readonly label: string },
): Promise<KeyInfo> {
  requireFull(session.keys, 'renaming a key');
  if (label === '') throw emptyLabel();
  const found = await findKey(session, reference, signal);
  const { writer } = found;
  const sealed = sealLabel(session.keys, writer, label);
  await changeKeyring(
    session,
    (keyring) => {
      const slot = keyring.slots.find((one) => one.writer === writer);
      if (slot === undefined) throw unknownKey(reference);
      if (openLabel(session.keys, slot) === label) return null;
      requireFreeLabel(session, keyring, label);
      const renamed = { ...slot, label: sealed };
      return { ...keyring, slots: keyring.slots.map((one) => (one === slot ? renamed : one)) };
    },
    { all: false, onWarning, signal },
  );
  return { ...found, label };
}

/** The key that a label or the beginning of its writer means, for who is going to change it. @throws `file-not-found`; every bucket has the keyring then */
export async function findKey(session: Session, reference: string, signal?: AbortSignal): Promise<KeyInfo> {
  await refreshKeyring(session, signal, { thorough: true });
  return answering(session, () => keyOf(session, reference), { signal });
}

function keyOf(session: Session, reference: string): KeyInfo {
  const { keyring } = session.keyring;
  const [found, ...others] = keyring.slots
    .map((slot) => infoOf(session, keyring, slot))
    .filter(({ writer, label }) => label === reference || isBeginning(reference, writer));
  if (found === undefined || reference === '') throw unknownKey(reference);
  if (others.length === 0) return found;
  throw invalidInput(`"${reference}" means several keys. Give more digits of one.`);
}

/** Whether a reference is the beginning of a writer's id, 8 digits or more. */
function isBeginning(reference: string, writer: string): boolean {
  return /^[0-9a-f]{8,32}$/.test(reference) && writer.startsWith(reference);
}

function unknownKey(reference: string): VaultError {
  return new VaultError(
    'file-not-found',
    `No key has the label "${reference}", or a writer that begins so. "vault key ls" shows them.`,
  );
}

export function infoOf(session: Session, keyring: Keyring, slot: Keyslot): KeyInfo {
  const { writer, role, createdAtMs } = slot;
  const label = openLabel(session.keys, slot);
  const maker = [...keyring.slots, ...keyring.former].find((one) => one.writer === slot.by);
  const made = maker === undefined ? '' : openLabel(session.keys, maker);
  const by = slot.by === writer ? null : made || slot.by;
  return { writer, label, role, createdAtMs, by, own: writer === session.keys.writer.id };
}

function nameOf({ label, writer }: KeyInfo): string {
  return `The key ${label === '' ? writer.slice(0, 12) : `"${label}"`}`;
}

function emptyLabel(): VaultError {
  return invalidInput('The label is empty.');
}

function requireFreeLabel(session: Session, keyring: Keyring, label: string): void {
  // With a colon in it `a:b:c` could be a file of "a" as well as one of "a:b".
  if (/[\p{Cc}:]|^\s|\s$/u.test(label)) {
    throw invalidInput(
      'A label must not contain a colon, which separates it from a name, or control characters, or begin or end with a space.',
    );
  }
  const named = [...keyring.slots, ...keyring.former].find(({ writer }) => isBeginning(label, writer));
  if (named !== undefined) {
    throw new VaultError(
      'already-exists',
      `"${label}" means the key ${named.writer.slice(0, 12)} already, whose id begins so. Choose another label.`,
    );
  }
  if (label === '' || !keyring.slots.some((slot) => openLabel(session.keys, slot) === label)) return;
  throw new VaultError(
    'already-exists',
    `There is a key "${label}" already; if adding it was cut short, it opens with what that was given. Choose another label.`,
  );
}

/** Who shares a password shares a key: which of the two it opens would be chance. */
export async function requireOther(session: Session, keyring: Keyring, secret: string): Promise<void> {
  for (const slot of keyring.slots) {
    const place = { vaultId: session.vaultId, rootNumber: keyring.root };
    if ((await unwrapKeys(slot, secret, place)) === null) continue;
    const found = nameOf(infoOf(session, keyring, slot));
    throw new VaultError(
      'already-exists',
      `${found} has this password already. Each key needs one of its own.`,
    );
  }
}
