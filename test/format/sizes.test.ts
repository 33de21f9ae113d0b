/** Objects that are larger than any, which test/vectors/must-fail.json would be megabytes longer for: judged by their size alone. */
import { sign } from 'node:crypto';
import { expect, test } from 'vitest';
import { ManifestOpener, manifestHash } from '../../src/crypto/manifest.ts';
import { openPutMarker } from '../../src/crypto/put-marker.ts';
import { openDeletion, openSweepList, verifyKeyring } from '../../src/crypto/signing.ts';
import { MAX_KEYRING_SIZE, MAX_MANIFEST_SIZE } from '../../src/format/limits.ts';
import { MAX_DELETION_SIZE, MAX_PUT_MARKER_SIZE, MAX_SWEEP_SIZE } from '../../src/format/removal.ts';
import { encodeSigned, SIGNATURE_FRAME_SIZE } from '../../src/format/signed.ts';
import { outcome } from '../crypto/samples.ts';
import { object } from '../vectors/broken-json.ts';
import { FULL, INPUTS } from '../vectors/format-example.ts';

const opener = new ManifestOpener(FULL);
/** The newer a format, the more would be said of it if it were looked at. */
const TEXT = '{"format":"vault/3"}';

test.each([
  ['keyring', 'keyring', MAX_KEYRING_SIZE, (bytes: Buffer) => verifyKeyring(FULL, bytes, 2)],
  [
    'deletion record',
    'deleted',
    MAX_DELETION_SIZE,
    (bytes: Buffer) => openDeletion(FULL, bytes, '00'.repeat(32)),
  ],
  ['sweep list', 'sweep', MAX_SWEEP_SIZE, (bytes: Buffer) => openSweepList(FULL, bytes, INPUTS.sweep)],
] as const)('a %s that is larger than any is damaged, whatever its format', (_, kind, most, read) => {
  const { full } = FULL;
  if (full === null) throw new Error('These are full keys.');
  const sized = (size: number): Buffer => {
    const more = size - TEXT.length - 10 - SIGNATURE_FRAME_SIZE;
    const text = Buffer.from(TEXT.replace('}', `,"more":"${'x'.repeat(more)}"}`));
    const message = Buffer.concat([Buffer.from(`vault/2 ${kind}\n`), text]);
    return encodeSigned({ signed: text, signature: sign(null, message, full.signing) });
  };
  expect(sized(most)).toHaveLength(most);
  expect(outcome(() => read(sized(most)))).toBe('unsupported');
  expect(outcome(() => read(sized(most + 1)))).toBe('damaged');
});

test.each([
  ['manifest', MAX_MANIFEST_SIZE, 'manifests/', (bytes: Buffer) => opener.open(bytes, manifestHash(bytes))],
  ['put marker', MAX_PUT_MARKER_SIZE, 'puts/', (bytes: Buffer) => openPutMarker(FULL, bytes)],
] as const)(
  'a %s that is larger than any is damaged, before anything of it is looked at',
  (_, most, prefix, read) => {
    const sized = (size: number): Buffer => {
      const bytes = Buffer.alloc(size);
      bytes.set(object(prefix).bytes);
      return bytes;
    };
    expect(() => read(sized(most))).toThrow(/something behind its end|does not open/);
    expect(() => read(sized(most + 1))).toThrow('has an impossible size');
  },
);
