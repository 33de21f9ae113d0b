/** Forms: what browsers and simple programs upload with, and how such files are had back. */
import { invalidInput } from '../errors.ts';
import { MAX_CHUNK_SIZE } from '../format/limits.ts';
import type { PutResult } from '../vault/write/put-call.ts';
import type { Answer } from './answers.ts';
import type { Exchange } from './exchange.ts';
import { pathName, store } from './files.ts';
import { onePassword, openStored, wholeOf, wholeStored } from './stored.ts';
import { storedAnswer } from './folders.ts';
import { addLink } from './links.ts';
import { jsonOf, passwordOfForm, requireKnown, textOf } from './json.ts';
import { readForm } from './multipart.ts';
import type { Route, Serving } from './serving.ts';

export const UPLOADS: readonly Route[] = [
  {
    method: 'POST',
    path: '/api/upload',
    summary: 'Stores the file of a form: password (its lock), chunk_size, then file.',
    scope: 'put',
    body: ['multipart/form-data'],
    async handle(exchange, serving) {
      const { hash } = await storeForm(exchange, serving);
      return { status: 200, json: { status: 'success', hash } };
    },
  },
  {
    method: 'GET',
    path: '/api/retrieve/{hash}',
    summary: 'A link to a file, good for an hour. The password of its lock in the header Vault-Password.',
    scope: 'read',
    query: ['password'],
    handle: retrieve,
  },
  {
    method: 'POST',
    path: '/api/retrieve/{hash}',
    summary: 'The same, with the password in the body: JSON or a form.',
    scope: 'read',
    body: ['application/json', 'application/x-www-form-urlencoded', 'multipart/form-data'],
    handle: retrieve,
  },
  {
    method: 'POST',
    path: '/upload/',
    summary: 'Stores the file of a form.',
    scope: 'put',
    body: ['multipart/form-data'],
    answers: [201],
    async handle(exchange, serving) {
      const { name } = await storeForm(exchange, serving);
      const url = `${serving.baseUrl}/upload/?file_name=${encodeURIComponent(name)}`;
      return { status: 201, json: { message: 'File uploaded successfully.', file_url: url } };
    },
  },
  {
    method: 'GET',
    path: '/upload/',
    summary: 'A file as a download: file_name.',
    faultsAre400: true,
    scope: 'read',
    query: ['file_name', 'password', 'format'],
    answers: [200, 206, 304],
    async handle(exchange, serving) {
      const reference = exchange.query.get('file_name');
      if (reference === null || reference === '') throw invalidInput('file_name is missing.');
      const password = exchange.query.get('password');
      const stored = await openStored(exchange, serving, { reference, password });
      return storedAnswer(exchange, serving, { stored });
    },
  },
];

/** Stores what a form holds. The form has to be whole before anything is listed. */
async function storeForm(exchange: Exchange, serving: Serving): Promise<PutResult> {
  const { fields, file } = await readForm(exchange.header('content-type') ?? '', exchange.body());
  requireKnown(fields.keys(), ['password', 'chunk_size']);
  if (file === null) throw invalidInput('The form has no file called "file".');
  if (/[/\\]/.test(file.name)) {
    throw invalidInput('The name of an uploaded file has no slashes here. PUT /api/files/<name> takes them.');
  }
  const query = new URLSearchParams([...fields]);
  return store(exchange, serving, {
    name: pathName(file.name),
    content: file.content,
    chunkSize: wholeOf({ query }, 'chunk_size', { most: MAX_CHUNK_SIZE }) ?? undefined,
    password: onePassword(exchange, fields.get('password') ?? null),
  });
}

async function retrieve(exchange: Exchange, serving: Serving): Promise<Answer> {
  const [reference = ''] = exchange.parameters;
  if (!/^[0-9a-f]{64}$/i.test(reference)) throw invalidInput('A hash has 64 hex digits.');
  const asked = exchange.method === 'POST' ? await passwordOfBody(exchange) : exchange.query.get('password');
  const file = wholeStored(await openStored(exchange, serving, { reference, password: asked }));
  const link = await addLink(serving, file, { lockPassword: onePassword(exchange, asked) });
  return { status: 200, json: { status: 'success', download_link: link.url, expires_at: link.expiresAt } };
}

/** The field `password` of a body of any kind; null if there is none. */
async function passwordOfBody(exchange: Exchange): Promise<string | null> {
  const type = exchange.header('content-type') ?? '';
  if (/^multipart\//i.test(type)) {
    const { fields, file } = await readForm(type, exchange.body());
    requireKnown(fields.keys(), ['password']);
    if (file !== null) throw invalidInput('No file is expected here.');
    return fields.get('password') ?? null;
  }
  if (/^application\/x-www-form-urlencoded/i.test(type)) {
    return passwordOfForm(exchange);
  }
  return textOf(await jsonOf(exchange, ['password']), 'password');
}
