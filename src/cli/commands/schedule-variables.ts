/** What the clients of clouds, databases and the network find in the environment: a job has none of it unless it is carried along. */
import { isAbsolute, resolve } from 'node:path';
import type { Environment } from '../../host.ts';
import { workingFolder } from '../arguments/intact.ts';

/** Mean the same on every machine. */
const SETTINGS = `
  PGHOST PGPORT PGUSER PGDATABASE PGSSLMODE PGSSLNEGOTIATION PGCHANNELBINDING PGCONNECT_TIMEOUT PGAPPNAME PGOPTIONS
  AWS_REGION AWS_ROLE_ARN AWS_ENDPOINT_URL AWS_ENDPOINT_URL_S3 AWS_USE_FIPS_ENDPOINT AWS_USE_DUALSTACK_ENDPOINT
  GOOGLE_CLOUD_PROJECT STORAGE_EMULATOR_HOST https_proxy http_proxy no_proxy HTTPS_PROXY HTTP_PROXY NO_PROXY
  NODE_USE_ENV_PROXY NODE_USE_SYSTEM_CA NODE_TLS_REJECT_UNAUTHORIZED VAULT_DEBUG`
  .trim()
  .split(/\s+/);

/** Name files. */
const FILES = `
  PGPASSFILE PGSSLROOTCERT PGSSLCERT PGSSLKEY AWS_CONFIG_FILE AWS_SHARED_CREDENTIALS_FILE AWS_WEB_IDENTITY_TOKEN_FILE
  GOOGLE_APPLICATION_CREDENTIALS CLOUDSDK_CONFIG NODE_EXTRA_CA_CERTS`
  .trim()
  .split(/\s+/);

/** Parameters that name files. A host that is a path is a socket. */
const FILES_IN_URL =
  /[?&](sslrootcert(?==(?!system(?:&|$)|&|$))|(?:ssl(?:cert|key)|passfile)(?==[^&])|host(?==(?:\/|%2f)))/gi;

/** Tell this machine's own programs, users and settings. */
const MACHINE = ['PATH', 'HOME', 'XDG_CONFIG_HOME', 'XDG_DATA_HOME', 'AWS_PROFILE'];

export interface Variables {
  readonly carried: readonly (readonly [name: string, value: string])[];
  /** What jobs will lack, each with what to do. */
  readonly lacking: readonly string[];
}

/**
 * Variables for jobs that are to find what this command finds. No secret is carried.
 *
 * @param options `inPod`: the jobs are not on this machine; `uses`: what the vault needs, a database's URL and S3
 */
export function variablesFor(
  environment: Environment,
  {
    inPod,
    uses,
  }: { readonly inPod: boolean; readonly uses: { readonly database: string | null; readonly s3: boolean } },
): Variables {
  const carried: (readonly [string, string])[] = [];
  const lacking: string[] = [];
  const left: string[] = [];
  for (const name of [...(inPod ? [] : MACHINE), ...SETTINGS, ...FILES]) {
    const value = environment[name] ?? '';
    // A relative one of these is to be ignored, says their specification.
    if (value === '' || (name.startsWith('XDG_') && !isAbsolute(value))) continue;
    if (/_(proxy|url)/i.test(name) && value.includes('@'))
      lacking.push(`${name} may have a password in it, so that no job has it: set it for the jobs yourself.`);
    else if (name === 'PGHOST' ? !isAbsolute(value) : !FILES.includes(name) || value === 'system')
      carried.push([name, value]);
    else if (inPod) left.push(name);
    else carried.push([name, isAbsolute(value) ? value : resolve(workingFolder(), value)]);
  }
  if (uses.s3 && environment['AWS_SECRET_ACCESS_KEY'])
    lacking.push(
      `The keys for S3 are in variables here (AWS_SECRET_ACCESS_KEY), which no job has. ${inPod ? 'Give the pods a role, or variables of a Secret.' : 'Put them into ~/.aws/credentials, or give the jobs a role.'}`,
    );
  if (uses.database !== null && environment['PGPASSWORD'])
    lacking.push(
      `The database's password is in a variable here (PGPASSWORD), which no job has. ${inPod ? 'Give the pods that variable of a Secret.' : 'Put it into ~/.pgpass.'}`,
    );
  if (left.length > 0)
    lacking.push(
      `Files of this machine, which no pod has: ${left.join(', ')}. Mount what they name, and set them.`,
    );
  const inUrl = Array.from((uses.database ?? '').matchAll(FILES_IN_URL), ([, name = '']) => name);
  if (inPod && inUrl.length > 0)
    lacking.push(
      `Files of this machine, which no pod has: ${inUrl.join(', ')} in the database's URL. Mount them under the paths in --db.`,
    );
  return { carried, lacking };
}
