/** Sealing of manifests: of a single one here, of many small ones that are put at once in the threads. */
import { batched } from '../../concurrency/batched.ts';
import { manifestHash } from '../../crypto/manifest.ts';
import type { NewManifest } from '../../crypto/manifest.ts';
import type { SealedManifest } from '../chunks/chunk-jobs.ts';
import type { Session } from '../session.ts';

/** Fewer are sealed sooner than a thread is started. */
const FEWEST = 8;
/** Manifests for a thread at a time. */
const MOST = 48;
/** One thread keeps up with all else that a small file takes. */
const IN_FLIGHT = 1;

/** What gathers the small manifests of a session. */
const gathering = new WeakMap<Session, (manifest: NewManifest) => Promise<SealedManifest | undefined>>();

/** @throws as `ManifestSealer.seal` */
export async function sealManifest(
  session: Session,
  manifest: NewManifest,
): Promise<NonNullable<SealedManifest>> {
  // Of others a part takes the time: chunks to be stored, a password to be made a key of.
  const isSmall = manifest.lock === null && manifest.content.inline !== null && manifest.folder === undefined;
  const sealed = isSmall ? await gather(session, manifest) : null;
  // What cannot be sealed tells here what is wrong.
  return sealed ?? sealHere(session, manifest);
}

function sealHere({ sealer }: Session, manifest: NewManifest): NonNullable<SealedManifest> {
  const bytes = sealer.seal(manifest);
  return { bytes, hash: manifestHash(bytes) };
}

function gather(session: Session, manifest: NewManifest): Promise<SealedManifest | undefined> {
  let seal = gathering.get(session);
  if (seal === undefined) {
    seal = batched(
      async (all: readonly NewManifest[]) => {
        if (all.length < FEWEST) return new Map(all.map((one) => [one, null]));
        const answers = await session.workers.manifests(session.sealer.session, all);
        return new Map(all.map((one, at) => [one, answers[at] ?? null]));
      },
      { most: MOST, inFlight: IN_FLIGHT },
    );
    gathering.set(session, seal);
  }
  return seal(manifest);
}
