/**
 * HPKE (RFC 9180) as far as manifests need it: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, export-only; modes base and psk.
 * One-shot sealing is not here: what is exported is a session's secret.
 */
import { createHmac, createSecretKey, diffieHellman, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { VaultError } from '../errors.ts';
import { publicBytes, publicKey } from './keys.ts';

/** Bytes of `enc`, of public keys, of shared and exported secrets. */
export const ENC_SIZE = 32;

/** A secret known to both sides beforehand, which proves who sends. */
export interface PreShared {
  /** 32 bytes or more. */
  readonly psk: Uint8Array;
  /** Not empty. */
  readonly pskId: Uint8Array;
}

export interface Setup {
  readonly info: Uint8Array;
  /** Absent in mode base. */
  readonly preShared?: PreShared | undefined;
}

/** A context that only exports. @param size 1 to 8,160 bytes */
export type Exporter = (context: Uint8Array, size: number) => Buffer;

/**
 * The sender's side.
 *
 * @param p `publicKey`: the receiver's, 32 bytes. `ephemeral`: X25519 private key, for test vectors only; drawn when absent
 * @returns `enc` for the receiver, 32 bytes
 * @throws `damaged` if the receiver's key is none
 */
export function setupSender(
  p: Setup & { readonly publicKey: Uint8Array; readonly ephemeral?: KeyObject | undefined },
): { readonly enc: Buffer; readonly exportSecret: Exporter } {
  const ephemeral = p.ephemeral ?? generateKeyPairSync('x25519').privateKey;
  const enc = publicBytes(ephemeral);
  const shared = sharedSecret(ephemeral, p.publicKey, { enc, receiver: p.publicKey });
  return { enc, exportSecret: schedule(shared, p) };
}

/**
 * The receiver's side.
 *
 * @param p `privateKey`: the receiver's, X25519. `enc`: 32 bytes from the sender
 * @throws `damaged` if `enc` is no key that a sender can have
 */
export function setupReceiver(
  p: Setup & { readonly privateKey: KeyObject; readonly enc: Uint8Array },
): Exporter {
  const receiver = publicBytes(p.privateKey);
  return schedule(sharedSecret(p.privateKey, p.enc, { enc: p.enc, receiver }), p);
}

// --- DHKEM, section 4.1 -------------------------------------------------------------------------------

const KEM_SUITE = Buffer.from('KEM\x00\x20', 'latin1');

function sharedSecret(
  own: KeyObject,
  other: Uint8Array,
  context: { readonly enc: Uint8Array; readonly receiver: Uint8Array },
): Buffer {
  const dh = agree(own, other);
  const prk = labeledExtract(KEM_SUITE, EMPTY, 'eae_prk', dh);
  const kemContext = Buffer.concat([context.enc, context.receiver]);
  return labeledExpand(KEM_SUITE, prk, { label: 'shared_secret', info: kemContext, size: 32 });
}

function agree(own: KeyObject, other: Uint8Array): Buffer {
  let dh: Buffer | null = null;
  if (other.length === ENC_SIZE) {
    try {
      dh = diffieHellman({ privateKey: own, publicKey: publicKey('x25519', other) });
    } catch {
      // OpenSSL refuses what gives all zeros; so do we below, whatever the library.
    }
  }
  if (dh === null || dh.every((byte) => byte === 0)) {
    throw new VaultError('damaged', 'A key that another was to be agreed on with is not a usable one.');
  }
  return dh;
}

// --- key schedule, section 5.1 ------------------------------------------------------------------------

const MODE_BASE = 0;
const MODE_PSK = 1;
/** KEM 0x0020, KDF 0x0001, AEAD 0xffff. */
const HPKE_SUITE = Buffer.from('HPKE\x00\x20\x00\x01\xff\xff', 'latin1');
const EMPTY = Buffer.alloc(0);

function schedule(shared: Buffer, { info, preShared }: Setup): Exporter {
  if (preShared !== undefined && (preShared.psk.length < 32 || preShared.pskId.length === 0)) {
    throw new RangeError('A pre-shared key has at least 32 bytes, and an id.');
  }
  const pskIdHash = labeledExtract(HPKE_SUITE, EMPTY, 'psk_id_hash', preShared?.pskId ?? EMPTY);
  const infoHash = labeledExtract(HPKE_SUITE, EMPTY, 'info_hash', info);
  const mode = Buffer.from([preShared === undefined ? MODE_BASE : MODE_PSK]);
  const context = Buffer.concat([mode, pskIdHash, infoHash]);
  const secret = labeledExtract(HPKE_SUITE, shared, 'secret', preShared?.psk ?? EMPTY);
  const exporter = labeledExpand(HPKE_SUITE, secret, { label: 'exp', info: context, size: 32 });
  return (exportContext, size) =>
    labeledExpand(HPKE_SUITE, exporter, { label: 'sec', info: exportContext, size });
}

// --- labeled HKDF, section 4 --------------------------------------------------------------------------

const VERSION = Buffer.from('HPKE-v1', 'ascii');

function labeledExtract(suite: Buffer, salt: Uint8Array, label: string, ikm: Uint8Array): Buffer {
  return createHmac('sha256', createSecretKey(salt))
    .update(VERSION)
    .update(suite)
    .update(label)
    .update(ikm)
    .digest();
}

function labeledExpand(
  suite: Buffer,
  prk: Buffer,
  { label, info, size }: { readonly label: string; readonly info: Uint8Array; readonly size: number },
): Buffer {
  if (size < 1 || size > 255 * 32) throw new RangeError(`${size} bytes cannot be exported.`);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(size);
  const labeled = Buffer.concat([length, VERSION, suite, Buffer.from(label, 'ascii'), info]);
  const key = createSecretKey(prk);
  const blocks: Buffer[] = [];
  let last: Buffer = EMPTY;
  for (let counter = 1; blocks.length * 32 < size; counter += 1) {
    last = createHmac('sha256', key)
      .update(last)
      .update(labeled)
      .update(Buffer.from([counter]))
      .digest();
    blocks.push(last);
  }
  return Buffer.concat(blocks).subarray(0, size);
}
