/** The description of what is served, made of the routes themselves. */
import type { Route } from './serving.ts';

/** @param routes all that are served */
export function openApiOf(routes: readonly Route[]): Record<string, unknown> {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routes) {
    const path = route.path.replaceAll('...}', '}');
    (paths[path] ??= {})[route.method.toLowerCase()] = operationOf(route);
  }
  return {
    openapi: '3.1.0',
    info: { title: 'vault', description: 'Files of a vault over HTTP.', version: '1' },
    paths,
    components: {
      securitySchemes: { token: { type: 'http', scheme: 'bearer' } },
      schemas: { Error: ERROR },
      responses: {
        Error: {
          description: 'What went wrong.',
          content: { 'application/json': { schema: reference('schemas/Error') } },
        },
      },
    },
  };
}

const TEXT = { type: 'string' };
const ERROR = {
  type: 'object',
  required: ['status', 'error'],
  properties: {
    status: { const: 'error' },
    error: { type: 'object', required: ['code', 'message'], properties: { code: TEXT, message: TEXT } },
  },
};

function operationOf({
  path,
  summary,
  scope,
  query = [],
  body,
  answers = [200],
}: Route): Record<string, unknown> {
  const inPath = [...path.matchAll(/\{([a-z]+)(?:\.\.\.)?\}/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: TEXT,
  }));
  const inQuery = query.map((name) => ({ name, in: 'query', required: false, schema: TEXT }));
  const responses = Object.fromEntries(
    answers.map((status) => [String(status), { description: meaningOf(status) }]),
  );
  return {
    summary: scope === null ? summary : `${summary} Scope: ${scope}.`,
    parameters: [...inPath, ...inQuery],
    ...(body !== undefined && {
      requestBody: { content: Object.fromEntries(body.map((type) => [type, {}])) },
    }),
    responses: { ...responses, default: reference('responses/Error') },
    security: scope === null ? [] : [{ token: [] }],
  };
}

function reference(to: string): Record<string, string> {
  return { $ref: `#/components/${to}` };
}

function meaningOf(status: number): string {
  return { 200: 'Done.', 201: 'Stored.', 206: 'A part.', 304: 'Not changed.' }[status] ?? 'Done.';
}
