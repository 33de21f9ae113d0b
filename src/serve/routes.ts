/** What is served where. */
import type { HTTPMethods } from 'fastify';
import { failure } from './answers.ts';
import { FILES } from './files.ts';
import { FOLDERS } from './folders.ts';
import { HEALTH } from './health.ts';
import { LINKS } from './links.ts';
import { openApiOf } from './openapi.ts';
import { PAGE } from './page/routes.ts';
import type { Route } from './serving.ts';
import { STATUS } from './status.ts';
import { UPLOADS } from './uploads.ts';

/** What is served is in this list; the server, its log and its description follow. */
export const ROUTES: readonly Route[] = [
  ...HEALTH,
  ...LINKS,
  ...FILES,
  ...FOLDERS,
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

export interface Routed {
  readonly methods: readonly HTTPMethods[];
  readonly url: string;
  /** What follows a parameter that takes all the rest, which the router does not know. */
  readonly behind: string;
  readonly handle: Route['handle'];
  /** Answers where that does not follow. */
  readonly otherwise: Route['handle'];
  /** Null for what only says that a path can be asked for in other ways. */
  readonly route: Route | null;
}

/** Whether what stands in a path for parameters is there, and followed by what is to follow. */
export function fits(parameters: readonly string[], behind: string): boolean {
  return parameters.every((one) => one !== behind && one.endsWith(behind));
}

/** All routes, and for each path those that refuse other methods. @param known all methods */
export function routedOf(routes: readonly Route[], known: readonly HTTPMethods[]): readonly Routed[] {
  const served = routes.map((route) => {
    const methods: readonly HTTPMethods[] = route.method === 'GET' ? ['GET', 'HEAD'] : [route.method];
    const url = route.path.replace(/\{\w+\.\.\.\}.*$/, '*').replaceAll(/\{(\w+)\}/g, ':$1');
    const [, behind = ''] = /\.\.\.\}(.*)$/.exec(route.path) ?? [];
    return { methods, url, behind, handle: route.handle, route };
  });
  return [...Map.groupBy(served, ({ url }) => url)].flatMap(([url, group]): readonly Routed[] => {
    const otherwise: Route['handle'] = ({ parameters }) => {
      const there = group.filter(({ behind }) => fits(parameters, behind));
      const allowed = there.flatMap(({ methods }) => methods);
      return Promise.resolve(allowed.length === 0 ? noRoute() : wrongMethod(allowed));
    };
    const methods = known.filter((method) => group.every((one) => !one.methods.includes(method)));
    const refusing = { methods, url, behind: '', handle: otherwise, route: null };
    return [...group, refusing].map((one) => Object.assign(one, { otherwise }));
  });
}

function wrongMethod(allowed: readonly string[]): ReturnType<typeof failure> {
  const Allow = allowed.join(', ');
  return failure(405, 'wrong-method', `This can be asked for with ${Allow}.`, { Allow });
}

export function noRoute(): ReturnType<typeof failure> {
  return failure(404, 'no-route', 'Nothing is served here. See /openapi.json.');
}
