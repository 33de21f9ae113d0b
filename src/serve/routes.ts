/** What is served where. */
import { VaultError } from '../errors.ts';
import type { Answer } from './answers.ts';
import { failure } from './answers.ts';
import type { Exchange } from './exchange.ts';
import { FILES } from './files.ts';
import { HEALTH } from './health.ts';
import { LINKS } from './links.ts';
import { openApiOf } from './openapi.ts';
import { PAGE } from './page/routes.ts';
import type { Route } from './serving.ts';
import { STATUS } from './status.ts';
import { UPLOADS } from './uploads.ts';

export const ROUTES: readonly Route[] = [
  ...HEALTH,
  ...LINKS,
  ...FILES,
  ...UPLOADS,
  ...PAGE,
  ...STATUS,
  {
    method: 'GET',
    path: '/openapi.json',
    summary: 'This description.',
    scope: null,
    handle: () => Promise.resolve({ status: 200, json: DESCRIPTION }),
  },
];

const DESCRIPTION = openApiOf(ROUTES);

const MATCHERS = ROUTES.map((route) => ({ route, pattern: patternOf(route.path) }));

/** The route of a request, whose parameters the exchange has from then on; or what to say where there is none. */
export function routeOf(exchange: Exchange): Route | Answer {
  const there = MATCHERS.flatMap(({ route, pattern }) => {
    const match = pattern.exec(exchange.path);
    return match === null ? [] : [{ route, found: match.slice(1) }];
  });
  if (there.length === 0) return failure(404, 'no-route', 'Nothing is served here. See /openapi.json.');
  const asked = exchange.method === 'HEAD' ? 'GET' : exchange.method;
  const matching = there.find(({ route }) => route.method === asked);
  if (matching === undefined) {
    const allowed = new Set(there.map(({ route }) => route.method));
    const Allow = [...allowed, ...(allowed.has('GET') ? ['HEAD'] : [])].join(', ');
    return failure(405, 'wrong-method', `This can be asked for with ${Allow}.`, { Allow });
  }
  exchange.parameters = matching.found.map(decoded);
  return matching.route;
}

function patternOf(path: string): RegExp {
  const pattern = path
    .split(/(\{[a-z]+(?:\.\.\.)?\})/)
    .map((part) =>
      part.startsWith('{') ? (part.endsWith('...}') ? '(.+)' : '([^/]+)') : part.replaceAll('.', '\\.'),
    );
  return new RegExp(`^${pattern.join('')}$`);
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch (cause) {
    throw new VaultError('invalid-input', 'The path is not UTF-8 in percent encoding.', { cause });
  }
}
