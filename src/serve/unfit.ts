/** What a request may not have, whatever it asks for. */
import { failure, type Answer } from './answers.ts';
import type { Exchange } from './exchange.ts';
import { requireEncoded, requireKnown } from './json.ts';
import type { Route } from './serving.ts';

/** That something is only to be done to what is there, or is not: another request might change that in between. */
const CONDITIONS = ['if-match', 'if-none-match', 'if-unmodified-since'];

/** A path and perhaps a query, perhaps behind a server. The router would take what stands before a "#" for all of it. */
const TARGET = /^(?:https?:\/\/([^/?#]+))?(?=[/*])[^#]*$/i;

/** Headers of which all but the first would be ignored. */
const ONCE = ['Host', 'Authorization', 'Content-Type', 'Vault-Password'];

/**
 * Why a request is refused; null for one that is not.
 *
 * @param route null if nothing is served there
 * @throws `invalid-input` for parameters that mean nothing
 */
export function unfit({ request, method, query }: Exchange, route: Route | null): Answer | null {
  const { headers, httpVersion } = request;
  if (headers.host === undefined && httpVersion === '1.1') {
    return failure(400, 'bad-request', 'HTTP/1.1 needs the header Host.');
  }
  const twice = ONCE.find((name) => (request.headersDistinct[name.toLowerCase()]?.length ?? 0) > 1);
  if (twice !== undefined) {
    return failure(400, twice === 'Host' ? 'bad-request' : 'invalid-input', `${twice} is there twice.`);
  }
  const [target, authority = headers.host] = TARGET.exec(request.url ?? '') ?? [];
  if (target === undefined) {
    return failure(400, 'bad-request', 'A path begins with "/", and has no "#": send that as %23.');
  }
  if (authority?.toLowerCase() !== headers.host?.toLowerCase()) {
    return failure(400, 'bad-request', 'The address names another server than the header Host.');
  }
  if (headers.expect !== undefined && !/^100-continue$/i.test(headers.expect)) {
    return failure(417, 'bad-request', 'Nothing but 100-continue can be expected here.');
  }
  if (route !== null) {
    const { scope, query: known = [] } = route;
    // What is open to everybody takes whatever others have added to its address.
    if (scope !== null) requireEncoded('The query', request.url?.replace(/^[^?]*/, '') ?? '');
    const names = [...query.keys()].filter((name) => scope !== null || known.includes(name));
    requireKnown(names, known);
  }
  if (method === 'GET' || method === 'HEAD') return null;
  const isEncoded = !/^chunked$/i.test(headers['transfer-encoding'] ?? 'chunked');
  if (isEncoded || headers['content-encoding'] !== undefined || headers['content-range'] !== undefined) {
    const message = 'Parts of files and encoded bodies are not taken: send the whole file as it is.';
    return failure(400, 'invalid-input', message);
  }
  const condition = CONDITIONS.find((name) => headers[name] !== undefined);
  if (condition === undefined) return null;
  return failure(400, 'invalid-input', `Nothing is changed on a condition here: ${condition} is not taken.`);
}
