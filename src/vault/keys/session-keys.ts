/** What of a session follows from its keys. */
import type { VaultKeys } from '../../crypto/keys.ts';
import { ManifestOpener, ManifestSealer } from '../../crypto/manifest.ts';
import type { Session } from '../session.ts';

/** What opens and seals manifests with some keys. */
export function manifestKeys(keys: VaultKeys): Pick<Session, 'keys' | 'sealer' | 'manifests'> {
  const manifests = keys.full === null ? null : new ManifestOpener(keys);
  return { keys, sealer: new ManifestSealer(keys), manifests };
}
