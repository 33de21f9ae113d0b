/**
 * The variables of the process: taken once, and without what no other program has any business with. Every start loads this, so it
 * imports next to nothing.
 */
import { isDatabaseUrl } from '../../catalog/location.ts';
import { mayHoldSecret } from '../../errors.ts';
import type { Environment } from '../../host.ts';

/** Variables that are secrets, from here on known to this program alone. */
const SECRETS = [
  'VAULT_PASSWORD',
  'VAULT_NEW_PASSWORD',
  'VAULT_LOCK_PASSWORD',
  'VAULT_SHARE_PASSWORD',
  'VAULT_PING_URL',
  'PGPASSWORD',
];

/**
 * Takes the variables over. What is secret among them leaves the process's own, which every child inherits: password commands,
 * and whatever a cloud's library starts to get its credentials.
 *
 * @returns all variables as they were
 */
export function takeEnvironment(): Environment {
  const environment = { ...process.env };
  for (const name of SECRETS) delete process.env[name];
  const db = environment['VAULT_DB'] ?? '';
  if (isDatabaseUrl(db) || mayHoldSecret(db)) delete process.env['VAULT_DB'];
  return environment;
}
