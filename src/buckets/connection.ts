import { globalAgent } from 'node:https';
import { isOutOfFiles, messageOf, MORE_FILES, systemCode } from '../errors.ts';
import { processWideOptions } from './http/exchanger.ts';

/** What to do about an answer of 407. */
export const PROXY_CREDENTIALS = 'The proxy wants credentials: put them into its URL.';

const UNKNOWN_HOST = new Set(['ENOTFOUND', 'EAI_AGAIN', 'EAI_NODATA', 'EAI_NONAME']);

const UNTRUSTED_CERTIFICATE = new Set([
  'CERT_HAS_EXPIRED',
  'CERT_NOT_YET_VALID',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'ERR_TLS_CERT_ALTNAME_INVALID',
]);

/**
 * What a user can do about a connection that failed; drivers put it at the end of their messages.
 *
 * @param error what Node's sockets, TLS or HTTP failed with
 */
export function connectionAdvice(error: unknown): string {
  const code = systemCode(error) ?? '';
  if (isOutOfFiles(error)) return MORE_FILES;
  if (UNKNOWN_HOST.has(code)) return `Check the host’s name in ${namedBy()}, and the network.`;
  if (code === 'ECONNREFUSED') return `Check host and port in ${namedBy()}, and whether the server runs.`;
  if (UNTRUSTED_CERTIFICATE.has(code)) {
    return 'Its certificate is not trusted here: check the URL, or name the issuer in NODE_EXTRA_CA_CERTS.';
  }
  // What TLS says of an answer in the clear.
  if (code === 'EPROTO' || code.startsWith('ERR_SSL_')) {
    return 'Check whether the endpoint is https:// or http://.';
  }
  if (code.startsWith('HPE_')) return 'Whatever answers there does not speak HTTP: check the URL.';
  return 'Check the network and the bucket’s URL, or try again later.';
}

/** What has named the host: with a proxy it is the proxy that is connected to. */
function namedBy(): string {
  const { proxyEnv = null } = processWideOptions(globalAgent);
  return proxyEnv === null
    ? 'the bucket’s URL'
    : 'the bucket’s URL or that of the proxy (https_proxy, http_proxy)';
}

/** Why a connection failed, in a few words. */
export function connectionFault(error: unknown): string {
  // A host with several addresses fails with an error for each and no words of its own. OpenSSL's take lines.
  const message = messageOf(error).split('\n', 1)[0]?.trim() ?? '';
  if (/wrong version number|packet length too long/i.test(message)) return 'it does not speak TLS';
  return message === '' ? (systemCode(error) ?? 'the connection failed') : message;
}
