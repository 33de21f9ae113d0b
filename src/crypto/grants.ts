/** Secrets of tokens and links: 256 random bits, of which the catalog has a digest alone. No part of the format. */
import { createHash, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto';
import { passwordKeys, DEFAULT_KDF_COST, KEY_SIZE } from './keys.ts';
import { openRecord, sealRecord } from './records.ts';

export type Granting = 'token' | 'link';

const SALT_SIZE = 32;

/** A new secret as text: 43 characters that need no escaping in a URL. */
export function drawSecret(): string {
  return randomBytes(KEY_SIZE).toString('base64url');
}

/** What a secret is found by; null for a text that is no secret. A token's is no link's. */
export function idOfSecret(secret: string, granting: Granting): string | null {
  if (!/^[A-Za-z0-9_-]{43}$/.test(secret)) return null;
  return createHash('sha256').update(`vault/2 ${granting}\n${secret}`).digest('hex');
}

/** Seals a text for whoever has a link's secret: the holders of the vault's own keys cannot open it. */
export function sealForSecret(secret: string, text: string): string {
  return sealRecord(keyOf(secret), 'link', text).toString('base64');
}

/** Undoes `sealForSecret`. @throws `damaged` */
export function openForSecret(secret: string, sealed: string): string {
  return String(openRecord(keyOf(secret), 'link', Buffer.from(sealed, 'base64')));
}

function keyOf(secret: string): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, '', 'vault/2 link', KEY_SIZE));
}

/** What a password is checked against. */
export interface PasswordCheck {
  /** Base64. */
  readonly salt: string;
  readonly commitment: string;
}

export async function passwordCheck(password: string): Promise<PasswordCheck> {
  const salt = randomBytes(SALT_SIZE);
  const { commitment } = await passwordKeys(password, { cost: DEFAULT_KDF_COST, salt });
  return { salt: salt.toString('base64'), commitment: commitment.toString('base64') };
}

export async function fitsCheck(password: string, check: PasswordCheck): Promise<boolean> {
  const salt = Buffer.from(check.salt, 'base64');
  const { commitment } = await passwordKeys(password, { cost: DEFAULT_KDF_COST, salt });
  const expected = Buffer.from(check.commitment, 'base64');
  return expected.length === commitment.length && timingSafeEqual(expected, commitment);
}
