/** The page, and the session that it keeps in a cookie no script can read. */
import { failure, type Answer } from '../answers.ts';
import { SESSION_COOKIE, tokenShown } from '../access.ts';
import { builtFile } from './built.ts';
import type { Exchange } from '../exchange.ts';
import type { Route, Serving } from '../serving.ts';
import { SCOPES } from '../../vault/grants/tokens.ts';

/** Only its own scripts and styles, and no text that becomes HTML. */
const PAGE_HEADERS = {
  'Content-Security-Policy': [
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'",
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
  ].join('; '),
  'Cross-Origin-Opener-Policy': 'same-origin',
};

const asset = (path: string, file: string, type: string): Route => ({
  method: 'GET',
  path,
  summary: 'A part of the page for browsers.',
  scope: null,
  handle: async () => ({
    status: 200,
    headers: { ...PAGE_HEADERS, 'Content-Type': type },
    text: await builtFile(file),
  }),
});

export const PAGE: readonly Route[] = [
  asset('/', 'index.html', 'text/html; charset=utf-8'),
  asset('/page.js', 'page.js', 'text/javascript; charset=utf-8'),
  asset('/page.css', 'page.css', 'text/css; charset=utf-8'),
  asset('/icon.svg', 'icon.svg', 'image/svg+xml'),
  {
    method: 'GET',
    path: '/api/session',
    summary: 'What whoever asks may ask for: scopes, which are null where a token is needed.',
    scope: null,
    handle: async (exchange, serving) => {
      const session = await sessionOf(exchange, serving);
      return { status: 200, json: 'scopes' in session ? session : { scopes: null, open: false } };
    },
  },
  {
    method: 'POST',
    path: '/api/session',
    summary: 'Keeps the token that comes with the request in a cookie, until the browser ends.',
    scope: null,
    async handle(exchange, serving) {
      const session = await sessionOf(exchange, serving);
      const token = tokenShown(exchange);
      if (!('scopes' in session)) return session;
      if (token === null) return failure(401, 'unauthorized', 'A token is needed.');
      return { status: 200, json: session, headers: { 'Set-Cookie': cookie(serving, token) } };
    },
  },
  {
    method: 'DELETE',
    path: '/api/session',
    summary: 'Forgets the cookie.',
    scope: null,
    handle: (_, serving) =>
      Promise.resolve({
        status: 200,
        json: { status: 'success' },
        headers: { 'Set-Cookie': cookie(serving, '') },
      }),
  },
];

/** What may be asked for, or why nothing may. */
async function sessionOf(
  exchange: Exchange,
  { access }: Serving,
): Promise<Answer | { readonly scopes: readonly string[]; readonly open: boolean }> {
  const scopes: string[] = [];
  for (const scope of SCOPES) {
    const refused = await access.refused(exchange, scope);
    if (refused === null) scopes.push(scope);
    else if (refused.status !== 403 || exchange.by === null) return refused;
  }
  return { scopes, open: exchange.by === null };
}

function cookie({ baseUrl }: Serving, token: string): string {
  const secure = baseUrl.startsWith('https:') ? '; Secure' : '';
  return `${SESSION_COOKIE}=${token}; HttpOnly; SameSite=Strict; Path=/${secure}${token === '' ? '; Max-Age=0' : ''}`;
}
