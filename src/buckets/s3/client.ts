import { S3Client, type S3ClientConfig } from '@aws-sdk/client-s3';
import { loadConfig, NODE_REGION_CONFIG_FILE_OPTIONS, NODE_REGION_CONFIG_OPTIONS } from '@smithy/core/config';
import { invalidInput, messageOf } from '../../errors.ts';
import { certificatesIn } from '../cloud-url.ts';
import { exchangerFor } from '../http.ts';
import { S3Handler } from './handler.ts';
import type { S3BucketOptions } from './options.ts';

/** Where a bucket's objects are, and who asks for them. */
export interface S3Place {
  readonly client: S3Client;
  readonly bucket: string;
  /** What the keys of all objects start with. */
  readonly root: string;
  readonly label: string;
  /** Whether the service is not Amazon's. */
  readonly isForeign: boolean;
  /** Who pays, if not the bucket's owner. */
  readonly payer: { readonly RequestPayer?: 'requester' };
}

/**
 * The SDK's client for a bucket, with one attempt a request. Sends nothing yet.
 *
 * @throws `invalid-input` if no region is known
 */
export async function openS3Client(
  options: S3BucketOptions,
): Promise<{ readonly client: S3Client; readonly handler: S3Handler }> {
  const identity = await identityFor(options);
  const ca = await certificatesIn(options.caFile ?? null, options.label);
  const handler = new S3Handler(exchangerFor(ca), options.maxSockets ?? 64);
  const region = options.region ?? (isForeign(options) ? regionElsewhere(options) : undefined);
  const client = makeClient(options, handler, { ...identity, ...(region === undefined ? {} : { region }) });
  try {
    await client.config.region();
    return { client, handler };
  } catch (error) {
    if (options.endpoint !== null)
      return { client: makeClient(options, handler, { ...identity, region: CUSTOMARY_REGION }), handler };
    throw invalidInput(
      `Could not open ${options.label}: ${messageOf(error).replace(/\.$/, '')}. Put ?region=<region> into its URL, or set AWS_REGION.`,
      error,
    );
  }
}

/** Services elsewhere rarely have regions, but a signature must name one. */
const CUSTOMARY_REGION = 'us-east-1';

/**
 * As the SDK finds it, except that nobody asks this machine's cloud: its region is none of another service, and where there is no such cloud
 * the question takes a second.
 */
function regionElsewhere({ profile }: S3BucketOptions): () => Promise<string> {
  return loadConfig(
    { ...NODE_REGION_CONFIG_OPTIONS, default: CUSTOMARY_REGION },
    { ...NODE_REGION_CONFIG_FILE_OPTIONS, ...(profile !== null && { profile }) },
  );
}

/** Whether the service is not Amazon's. */
export function isForeign({ endpoint }: Pick<S3BucketOptions, 'endpoint'>): boolean {
  return endpoint !== null && !isAmazons(endpoint);
}

/**
 * Whose requests a bucket gets.
 *
 * The URL of a bucket is in the catalog, where others may have written it, so its endpoint is not simply believed. A
 * signed request does not reveal the secret, and is worth nothing at another host than the one it is for. So whoever has
 * put keys into the environment or into a profile has said enough to use them with a service that speaks S3. What the
 * machine has been given (the role of an instance, a container or a pod) was never meant for another service: it is left
 * out there, unless the URL says `credentials=send`.
 */
async function identityFor(
  options: S3BucketOptions,
): Promise<Pick<S3ClientConfig, 'profile' | 'credentials'>> {
  const { profile, sendCredentials } = options;
  if (profile === null && (!isForeign(options) || sendCredentials)) return {};
  const { createCredentialChain, fromEnv, fromIni } = await import('@aws-sdk/credential-providers');
  // Left to itself, the SDK goes on to other credentials if the profile has none, and warns of them on the console.
  if (profile !== null) return { profile, credentials: fromIni({ profile }) };
  return { credentials: createCredentialChain(fromEnv(), fromIni()) };
}

/** Whether a URL is one of Amazon's own services, reached so that it can prove it. */
export function isAmazons(endpoint: string): boolean {
  const { protocol, hostname } = new URL(endpoint);
  return protocol === 'https:' && /(?:^|\.)(?:amazonaws\.com|amazonaws\.com\.cn|api\.aws)$/.test(hostname);
}

function makeClient(
  options: S3BucketOptions,
  handler: S3Handler,
  identity: Pick<S3ClientConfig, 'profile' | 'credentials' | 'region'>,
): S3Client {
  const silent = { trace() {}, debug() {}, info() {}, warn() {}, error() {} };
  const client = new S3Client({
    ...identity,
    ...(options.endpoint === null ? {} : { endpoint: options.endpoint }),
    forcePathStyle: options.forcePathStyle ?? options.endpoint !== null,
    // One attempt, whatever AWS_MAX_ATTEMPTS and AWS_RETRY_MODE say: `retrying` decides about another.
    maxAttempts: 1,
    retryMode: 'standard',
    followRegionRedirects: false,
    // A wrong clock is told, not worked around: graces and expiry times depend on it, too.
    disableClockSkewCorrection: true,
    // Checksums are computed and compared by the driver; the SDK's own would cost a second pass, and for streams the
    // aws-chunked encoding, which many services reject.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    // Otherwise bodies of 2 MiB and more cost another round trip each, on a connection of their own.
    expectContinueHeader: false,
    // Without one, the SDK writes on the console, for instance when many requests wait for a socket.
    logger: silent,
    requestHandler: handler,
  });
  // Otherwise it describes every request and answer, for nobody.
  client.middlewareStack.remove('loggerMiddleware');
  return client;
}

/** The SDK's options for a request; it does not take `undefined` for a signal. */
export function sendOptions(signal: AbortSignal | undefined): { readonly abortSignal?: AbortSignal } {
  return { ...(signal && { abortSignal: signal }) };
}
