import { afterAll, beforeAll, expect, it } from 'vitest';
import { putBytes } from '../vault/harness.ts';
import { fieldsOf, servedVault } from './harness.ts';
import type { ServedVault } from './harness.ts';

let served: ServedVault;
beforeAll(async () => {
  served = await servedVault();
  await putBytes(served.made.vault, Buffer.from('x'), { name: 'x' });
});
afterAll(async () => {
  await served[Symbol.asyncDispose]();
});

/** All that is served; what is added belongs into docs/http.md as well. */
const SERVED = [
  'GET /healthz',
  'GET /readyz',
  'GET /metrics',
  'POST /api/files/{ref}/links',
  'GET /api/links',
  'DELETE /api/links/{id}',
  'GET /d/{link}',
  'POST /d/{link}',
  'GET /api/files',
  'GET /api/files/{ref}',
  'DELETE /api/files/{ref}',
  'PUT /api/files/{ref}',
  'GET /api/folders/{ref}',
  'POST /api/upload',
  'GET /api/retrieve/{hash}',
  'POST /api/retrieve/{hash}',
  'POST /upload/',
  'GET /upload/',
  'POST /api/undelete/{ref}',
  'GET /api/status',
  'GET /api/session',
  'POST /api/session',
  'DELETE /api/session',
  'GET /',
  'GET /page.js',
  'GET /page.css',
  'GET /icon.svg',
  'GET /openapi.json',
];

it('The description has all that is served, and nothing else', async () => {
  const { json } = await served.ask('/openapi.json');
  const described = Object.entries(fieldsOf(json['paths'])).flatMap(([path, operations]) =>
    Object.keys(fieldsOf(operations)).map((method) => `${method.toUpperCase()} ${path}`),
  );
  expect(new Set(described)).toEqual(new Set(SERVED));
});

it.each(SERVED)('%s is there', async (operation) => {
  const [method = '', path = ''] = operation.split(' ');
  const answer = await served.ask(path.replaceAll(/\{[a-z]+\}/g, 'nothing'), {
    method,
    body: method === 'GET' ? null : '',
  });
  expect(['no-route', 'wrong-method', 'bug']).not.toContain(answer.code);
  expect(answer.status).not.toBe(405);
});

it('The description says what may be asked for, and what comes of it', async () => {
  const { json } = await served.ask('/openapi.json');
  const operation = fieldsOf(fieldsOf(fieldsOf(json['paths'])['/api/files/{ref}'])['get']);
  expect(operation).toMatchObject({
    parameters: [
      { name: 'ref', in: 'path', required: true },
      { name: 'format', in: 'query', required: false },
    ],
    responses: { 200: {}, 206: {}, 304: {}, default: { $ref: '#/components/responses/Error' } },
    security: [{ token: [] }],
  });
});

it('Metrics count requests by route, and have no names', async () => {
  await served.ask('/api/files/x');
  const { headers, bytes } = await served.ask('/metrics');
  expect(headers['content-type']).toContain('version=0.0.4');
  const text = bytes.toString();
  expect(text).toContain(
    'vault_http_request_seconds_count{method="GET",route="/api/files/{ref...}",status="200"} 1\n',
  );
  expect(text).toContain('vault_http_requests_running 1\n');
  for (const line of text.split('\n').filter((one) => one !== ''))
    expect(line).toMatch(/^(# (HELP|TYPE) vault_\w+ .+|vault_\w+(\{.+\})? [\d.e+-]+)$/);
});
