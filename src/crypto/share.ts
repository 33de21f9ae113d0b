/**
 * Sealing a file for whoever has one link: an age file (https://age-encryption.org/v1) with a key of its own. FORMAT.md, "Shares".
 */
import { canonicalPassword } from './asked-password.ts';

export interface ShareKey {
  /** The link's fragment: the key itself, or sealed under the password. */
  readonly fragment: string;
  /** Seals bytes as they come. */
  seal(content: AsyncIterable<Uint8Array>): Promise<AsyncIterable<Uint8Array>>;
  sealText(text: string): Promise<Uint8Array>;
}

/** What trying a password costs: 128 MiB, as OWASP asks of scrypt at least, and no more than a phone's browser has. */
const SCRYPT_LOG_N = 17;

/**
 * Draws the key of a share. It is X25519, so that every `age` opens it.
 *
 * @param password without it, whoever has the link has the key. With it the fragment is what age calls a passphrase-protected
 *   identity file, in base64url: nothing in the bucket is a means to try passwords
 * @throws `invalid-input` for a password that is not valid Unicode
 */
export async function drawShareKey(password: string | null): Promise<ShareKey> {
  const age = await import('age-encryption');
  const identity = await age.generateX25519Identity();
  const encrypter = new age.Encrypter();
  encrypter.addRecipient(await age.identityToRecipient(identity));
  let fragment = identity;
  if (password !== null) {
    const lock = new age.Encrypter();
    lock.setPassphrase(canonicalPassword(password));
    lock.setScryptWorkFactor(SCRYPT_LOG_N);
    // Empty lines mean nothing to age. With this one the base64 of it all needs no padding, which tools would miss.
    fragment = Buffer.from(await lock.encrypt(`${identity}\n\n`)).toString('base64url');
  }
  return {
    fragment,
    seal: (content) => encrypter.encrypt(ReadableStream.from(owned(content))),
    sealText: (text) => encrypter.encrypt(text),
  };
}

/** Copies: streams keep what they are given for longer than a run of a file is valid, and cannot be given shared memory. */
async function* owned(content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  for await (const bytes of content) yield new Uint8Array(bytes);
}
