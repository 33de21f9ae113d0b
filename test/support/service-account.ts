import { createHash, createPublicKey, generateKeyPairSync, verify } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { parseSigningTime } from './sigv4.ts';

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const EMAIL = 'tester@example.iam.gserviceaccount.com';

/** Writes the key file of the one service account that a test server lets sign. */
export async function writeServiceAccount(path: string): Promise<string> {
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' });
  const facts = { type: 'service_account', client_email: EMAIL, private_key: key, private_key_id: '1' };
  await writeFile(path, JSON.stringify(facts));
  return path;
}

/** Writes credentials that can ask for tokens and cannot sign. */
export async function writeUserAccount(path: string): Promise<string> {
  const facts = { type: 'authorized_user', client_id: 'id', client_secret: 'secret', refresh_token: 'token' };
  await writeFile(path, JSON.stringify(facts));
  return path;
}

/**
 * Verifies a URL of the V4 signing process: https://cloud.google.com/storage/docs/authentication/canonical-requests
 *
 * @returns why it is refused; null if it is good
 */
export function whyUnsigned(method: string, url: URL, nowMs: number): string | null {
  const query = url.searchParams;
  const given = (name: string): string => query.get(`X-Goog-${name}`) ?? '';
  const time = given('Date');
  const signedAtMs = parseSigningTime(time);
  const seconds = Number(given('Expires'));
  const scope = `${time.slice(0, 8)}/auto/storage/goog4_request`;
  if (given('Algorithm') !== 'GOOG4-RSA-SHA256') return 'InvalidArgument';
  if (given('Credential') !== `${EMAIL}/${scope}` || Number.isNaN(signedAtMs)) return 'InvalidArgument';
  if (given('SignedHeaders') !== 'host') return 'InvalidArgument';
  if (!Number.isSafeInteger(seconds) || seconds < 1 || seconds > 604_800) return 'InvalidArgument';
  const parameters = [...query]
    .filter(([name]) => name !== 'X-Goog-Signature')
    .map(([name, value]) => `${encoded(name)}=${encoded(value)}`)
    .toSorted();
  // The service is never asked on a port of its own; the SDK signs for none.
  const headers = `host:${url.hostname}\n`;
  const canonical = [method, url.pathname, parameters.join('&'), headers, 'host', 'UNSIGNED-PAYLOAD'];
  const hash = createHash('sha256').update(canonical.join('\n')).digest('hex');
  const signed = ['GOOG4-RSA-SHA256', time, scope, hash].join('\n');
  const signature = Buffer.from(given('Signature'), 'hex');
  const isRight = verify('sha256', Buffer.from(signed), createPublicKey(privateKey), signature);
  if (!isRight) return 'SignatureDoesNotMatch';
  return nowMs > signedAtMs + seconds * 1000 || nowMs < signedAtMs - 900_000 ? 'ExpiredToken' : null;
}

function encoded(text: string): string {
  return encodeURIComponent(text).replaceAll(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
