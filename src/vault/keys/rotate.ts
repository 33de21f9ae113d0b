/**
 * A new root for what is stored from now on. It makes the only keyslot that it can, one for whoever rotates: the secrets of the others
 * are not known. What was stored before stays readable, since the new root opens the one before it. FORMAT.md, "Roots".
 */
import { drawId, requireFull, wrapKeys } from '../../crypto/keys.ts';
import type { KdfCost, VaultKeys } from '../../crypto/keys.ts';
import { nextRoot } from '../../crypto/roots.ts';
import { labelIn, openBucketUrl, sealBucketUrl, sealLabel } from '../../crypto/texts.ts';
import { MAX_ROWS, type BucketRow } from '../../catalog/catalog.ts';
import { slicesOf } from '../../concurrency/batched.ts';
import { invalidInput, VaultError } from '../../errors.ts';
import { MAX_FORMER_WRITERS } from '../../format/keyring.ts';
import type { Keyring } from '../../format/keyring.ts';
import { MAX_ROOT_NUMBER } from '../../format/limits.ts';
import type { CallOptions, SecretOptions } from '../call.ts';
import type { Session } from '../session.ts';
import { openPlace, putPlace } from './bucket-places.ts';
import { afterChange } from './change-outcome.ts';
import { changeKeyring, refreshKeyring } from './keyring-store.ts';
import { infoOf, requireOther } from './keys.ts';
import type { KeyInfo } from './keys.ts';

export interface RotateOptions extends SecretOptions {
  /** What the own key opens with from then on: a password, or what a key file holds. */
  readonly secret: string;
  /** Argon2id's costs; for tests. */
  readonly kdfCost?: KdfCost | undefined;
}

export interface Rotation {
  /** The number of the new root. */
  readonly root: number;
  /** The own key, the only one that opens the vault now. */
  readonly key: KeyInfo;
  /** Those that open it no more. */
  readonly dropped: readonly KeyInfo[];
}

export async function rotateKeys(
  session: Session,
  { secret, kdfCost: cost, onStoring, signal }: RotateOptions,
): Promise<Rotation> {
  requireFull(session.keys, 'a new root');
  if (secret === '') throw invalidInput('The new password is empty.');
  // A marker of the root before would stand for puts under the new one.
  await session.guard.end();
  await refreshKeyring(session, signal, { thorough: true });
  const before = session.keys;
  const places = await session.catalog.setup.buckets();
  const { keys, step } = nextRoot(before, drawId());
  let dropped: readonly KeyInfo[] = [];
  const change = async (keyring: Keyring): Promise<Keyring | null> => {
    // Somebody has changed the keyring since that has it.
    if (keyring.root === keys.rootNumber) return null;
    requireRoom(keyring);
    const own = keyring.slots.find(({ writer }) => writer === before.writer.id);
    if (own === undefined) throw removed();
    // Else it would open the keyring from before, for whom buckets show that instead.
    await requireOther(session, keyring, secret);
    const label = labelIn(before, own);
    const slot = await wrapKeys(keys, secret, {
      role: 'full',
      createdAtMs: session.clock.now(),
      label,
      cost,
    });
    dropped = keyring.slots.filter((one) => one !== own).map((one) => infoOf(session, keyring, one));
    const { root } = keyring;
    const former = keyring.slots.map((one) => ({
      ...one,
      root,
      next: one === own ? keys.writer.id : null,
    }));
    return {
      ...keyring,
      root: keys.rootNumber,
      roots: [...keyring.roots, step],
      slots: [slot],
      former: [...keyring.former, ...former].map(({ writer, role, root: of, next, ...one }) => {
        return {
          writer,
          role,
          root: of,
          next,
          label: sealLabel(keys, writer, labelIn(before, { writer, ...one })),
        };
      }),
      buckets: keyring.buckets.map((one) => ({
        ...one,
        url: sealBucketUrl(keys, one.id, openBucketUrl(before, one)),
      })),
    };
  };
  await changeKeyring(session, change, { all: true, keys, onStoring, signal });
  await afterChange(() => renewCatalog(session, before, { places, signal }));
  const { keyring } = session.keyring;
  const slot = keyring.slots.find(({ writer }) => writer === keys.writer.id);
  if (slot === undefined) throw removed();
  return { root: keyring.root, key: infoOf(session, keyring, slot), dropped };
}

/** What the catalog says of this machine was sealed with the root before, and who may come in by it. */
async function renewCatalog(
  session: Session,
  before: VaultKeys,
  { places, signal }: { readonly places: readonly BucketRow[] } & Pick<CallOptions, 'signal'>,
): Promise<void> {
  for (const row of places) {
    const url = openPlace(before, row);
    if (url !== null) await putPlace(session, row.id, url);
  }
  const { grants } = session.catalog;
  for (const kind of ['token', 'link'] as const) {
    const ids = await Array.fromAsync(grants.list(kind, { signal }), ({ id }) => id);
    for (const some of slicesOf(ids, MAX_ROWS)) await grants.forget(some);
  }
}

function requireRoom({ root, former, slots }: Keyring): void {
  if (root < MAX_ROOT_NUMBER && former.length + slots.length <= MAX_FORMER_WRITERS) return;
  throw invalidInput(
    `A vault has at most ${MAX_ROOT_NUMBER} roots, and ${MAX_FORMER_WRITERS} removed keys. Make a new vault for what must be secret from now on.`,
  );
}

function removed(): VaultError {
  return new VaultError('wrong-password', 'The key that opened the vault was removed meanwhile.');
}
