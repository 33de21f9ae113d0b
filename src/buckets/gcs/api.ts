import type { GoogleAuth } from 'google-auth-library';
import { invalidInput, throwIfAborted, VaultError } from '../../errors.ts';
import { MAX_PAGE_SIZE } from '../bounds.ts';
import { dispositionOf, type PresignCall } from '../bucket.ts';
import { certificatesIn } from '../cloud-url.ts';
import { credentialFault } from '../credential-fault.ts';
import { exchangerFor, openHttpClient, type HttpAnswer, type HttpRequest } from '../http.ts';
import type { Environment } from '../../host.ts';
import { LOG_IN, type Task } from './answers.ts';
import { readKeyFile } from './key-file.ts';
import type { GcsOptions } from './url.ts';

// The SDK signs links, and its library of credentials gives tokens; the requests are made here. The SDK takes 75 ms to load,
// and its requests take no AbortSignal (an upload goes on after its stream is destroyed), wrap a buffer in several streams,
// and hash it at 80 MB/s.

/** What a token may do, of all that its owner may: read, write and list objects, and no more than that. */
const SCOPE = 'https://www.googleapis.com/auth/devstorage.read_write';
/** What it takes to lock an object. */
const LOCKING_SCOPE = 'https://www.googleapis.com/auth/devstorage.full_control';

// All requests wait for one request for a token: without a limit, a stalled one would stall them for good. The
// SDK repeats requests for tokens by itself; none for an object goes through it.
const TOKEN_TIMEOUT_MS = 30_000;

/** One request to the JSON API. */
export type ApiRequest = Pick<HttpRequest, 'method' | 'headers' | 'body' | 'onBytes' | 'spare'> & {
  /** Absolute path and query. */
  readonly path: string;
  /** Bytes; what JSON may take if not given. */
  readonly maxBodySize?: number;
  /** Whether it locks an object, which takes a token that may do more. */
  readonly locks?: boolean;
};

/** The JSON API of a server. */
export interface GcsApi {
  /**
   * Makes a request once, with the credentials that the server may have.
   *
   * @throws as `HttpClient.send`; `denied` if there are no usable credentials, or the server wants some that it may not have
   */
  send(request: ApiRequest, task: Task): Promise<HttpAnswer>;
  /**
   * A URL that reads an object for whoever has it (V4 signing process). It is good for this server alone, whoever that is.
   *
   * @throws `denied`
   */
  presign(
    object: { readonly bucket: string; readonly name: string },
    call: PresignCall,
    task: string,
  ): Promise<string>;
  /** Whether it is Google's own, or as good as that: it gets Google's credentials. */
  readonly isTrusted: boolean;
  close(): void;
}

/**
 * Opens the API of Google, or of another server. Nothing is connected before the first request.
 *
 * The URL of a bucket is in the catalog, where others may have written it, and a token is good for every bucket of its
 * owner, whoever shows it. So Google's own hosts get it, over TLS, and nobody else unless the user says so.
 *
 * @param options as `openGcsBucket`
 */
export async function openGcsApi(
  options: {
    readonly endpoint: string | null;
    readonly sendCredentials: boolean;
    readonly label: string;
    readonly environment?: Environment | undefined;
  } & Partial<GcsOptions>,
): Promise<GcsApi> {
  const { endpoint, sendCredentials, label, credentialsFile = null, userProject = null } = options;
  const ca = await certificatesIn(options.caFile ?? null, label);
  const environment = options.environment ?? {};
  // The library would look there by itself, and tell of a file that is none in the words of its parsers.
  const authFor = openAuths(credentialsFile ?? environment['GOOGLE_APPLICATION_CREDENTIALS'] ?? '');
  const apiEndpoint = apiEndpointFor(endpoint, environment);
  const base = new URL(apiEndpoint);
  const isTrusted = (sendCredentials && requirePrivate(base, label)) || isGoogles(base);
  const client = openHttpClient(exchangerFor(ca));

  async function credentials(
    url: URL,
    { task, signal }: Task,
    locks: boolean,
  ): Promise<Record<string, string>> {
    try {
      const auth = await authFor(locks ? LOCKING_SCOPE : SCOPE);
      return Object.fromEntries(await unlessAborted(auth.getRequestHeaders(url.href), signal));
    } catch (error) {
      throwIfAborted(signal);
      throw unusable({ task, credentialsFile }, error, isPassingFailure(error) ? 'unavailable' : 'denied');
    }
  }

  return {
    async send({ path, headers, maxBodySize = MAX_PAGE_SIZE, locks = false, ...request }, task) {
      throwIfAborted(task.signal);
      const url = new URL(apiEndpoint + path);
      if (userProject !== null) url.searchParams.set('userProject', userProject);
      const identity = isTrusted ? await credentials(url, task, locks) : {};
      const answer = await client.send({
        ...request,
        url,
        headers: { 'user-agent': 'shardvault', ...headers, ...identity },
        maxBodySize,
        task: task.task,
        signal: task.signal,
      });
      if (answer.status !== 401 || isTrusted) return answer;
      throw new VaultError(
        'denied',
        `Could not ${task.task}: ${url.host} wants credentials, and Google’s are sent to Google’s own hosts only. ` +
          'If it may have them, put credentials=send into the bucket’s URL.',
      );
    },

    async presign(object, call, task) {
      try {
        return await presignWith({ apiEndpoint, auth: await authFor(SCOPE) }, object, {
          ...call,
          userProject,
        });
      } catch (error) {
        if (error instanceof VaultError) throw error;
        throw unusable({ task, credentialsFile }, error, 'denied');
      }
    },

    isTrusted,

    close() {
      client.close();
    },
  };
}

/** @returns true @throws `invalid-input` for a server to which credentials would go in the clear */
function requirePrivate(base: URL, label: string): true {
  if (base.protocol !== 'http:' || isLoopback(base)) return true;
  throw invalidInput(
    `${label}: credentials are not sent to ${base.host} unencrypted. Use an endpoint that starts with https://.`,
  );
}

async function presignWith(
  { apiEndpoint, auth }: { readonly apiEndpoint: string; readonly auth: GoogleAuth },
  { bucket, name }: { readonly bucket: string; readonly name: string },
  call: PresignCall & { readonly userProject: string | null },
): Promise<string> {
  const { nowMs, seconds, contentType, userProject } = call;
  const signer: object = await auth.getClient();
  if (!('key' in signer) || typeof signer.key !== 'string') {
    throw new VaultError(
      'denied',
      `Could not make a link to ${name}: these Google credentials cannot sign. Links take the key file of a service account: name it with GOOGLE_APPLICATION_CREDENTIALS, or with credentialsFile in the bucket’s URL.`,
    );
  }
  const { Storage } = await import('@google-cloud/storage');
  const [url] = await new Storage({ apiEndpoint, authClient: auth })
    .bucket(bucket)
    .file(name)
    .getSignedUrl({
      version: 'v4',
      action: 'read',
      accessibleAt: nowMs,
      expires: nowMs + seconds * 1000,
      responseType: contentType,
      responseDisposition: dispositionOf(call),
      ...(userProject !== null && { queryParams: { userProject } }),
    });
  return url;
}

/** The SDK, which knows where the API is and whose credentials are used. */
/** Where requests go, as the SDK finds it. */
function apiEndpointFor(endpoint: string | null, environment: Environment): string {
  const url = endpoint ?? environment['STORAGE_EMULATOR_HOST'] ?? 'https://storage.googleapis.com';
  return (/^\w*:\/\//.test(url) ? url : `https://${url}`).replace(/\/+$/, '');
}

function unusable(
  { task, credentialsFile }: { readonly task: string; readonly credentialsFile: string | null },
  error: unknown,
  code: 'denied' | 'unavailable',
): VaultError {
  return new VaultError(
    code,
    `Could not ${task}: no usable Google credentials (${credentialFault(error)}). ${credentialsFile === null ? LOG_IN : 'Check the credentialsFile in its URL.'}`,
    { cause: error, unreachable: code === 'unavailable' && statusOf(error) === null },
  );
}

/** Who gives tokens of a scope. @param keyFile `''` for what the library finds */
function openAuths(keyFile: string): (scope: string) => Promise<GoogleAuth> {
  const known = new Map<string, Promise<GoogleAuth>>();
  return (scope) => {
    const auth = known.get(scope) ?? openAuth(keyFile, scope);
    known.set(scope, auth);
    // What fails is tried again.
    auth.catch(() => known.delete(scope));
    return auth;
  };
}

async function openAuth(keyFile: string, scopes: string): Promise<GoogleAuth> {
  const { GoogleAuth: Auth } = await import('google-auth-library');
  // The SDK's own would ask for everything that can be done in Google's cloud.
  return new Auth({
    scopes,
    ...(keyFile !== '' && { credentials: await readKeyFile(keyFile) }),
    // No request here is about a project. Without any, one would be looked for before a token is given out: with a
    // gcloud process, the metadata server and, for workload identity, an API that takes a permission of its own.
    projectId: 'not-used',
    clientOptions: { transporterOptions: { timeout: TOKEN_TIMEOUT_MS } },
  });
}

/** Whether what kept the SDK from getting a token can go away by itself. */
function isPassingFailure(error: unknown): boolean {
  // Only requests have a configuration; without one, the credentials were not found or not understood.
  if (!(error instanceof Error) || !('config' in error)) return false;
  const status = statusOf(error);
  return status === null || status === 408 || status === 429 || status >= 500;
}

/** The status that a request for a token was answered with; null if it was not. */
function statusOf(error: unknown): number | null {
  if (!(error instanceof Error) || !('response' in error)) return null;
  const { response } = error;
  if (typeof response !== 'object' || response === null || !('status' in response)) return null;
  return Number(response.status);
}

/** Lets go of some work when the signal is aborted; the work itself goes on, for the others who wait for it. */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return await work;
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const stop = (): void => reject(new Error('aborted'));
  signal.addEventListener('abort', stop);
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

/** Whether a URL is one of Google's own services, reached so that it can prove it. */
export function isGoogles({ protocol, hostname }: URL): boolean {
  return protocol === 'https:' && /(?:^|\.)googleapis\.com$/.test(hostname);
}

function isLoopback({ hostname }: URL): boolean {
  return /^(?:127\.\d+\.\d+\.\d+|\[::1\]|(?:.+\.)?localhost)$/.test(hostname);
}
