/** What a browser shows of a link: one question, and nothing that runs. */
import { createHash } from 'node:crypto';
import type { Link } from '../vault/grants/links.ts';
import type { Answer } from './answers.ts';
import type { Exchange } from './exchange.ts';

const STYLE =
  'body{font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:15vh auto;padding:0 1rem;color-scheme:light dark}' +
  'h1{font-size:1.3rem;overflow-wrap:anywhere}input,button{font:inherit;padding:.4rem .8rem;margin:.3rem 0}';

const HEADERS = {
  'Content-Type': 'text/html; charset=utf-8',
  'Content-Security-Policy': [
    "default-src 'none'",
    `style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`,
    "base-uri 'none'; frame-ancestors 'none'; form-action 'self'",
  ].join('; '),
};

/** @param trouble what was wrong with what was sent before */
export function pageOf(link: Link, trouble: string | null): Answer {
  // Who has no password learns no name.
  const title = link.asksPassword ? 'A file' : escaped(link.name);
  const question = link.asksPassword
    ? '<p><label>Password <input type="password" name="password" required autofocus></label></p>'
    : '';
  const until = link.expiresAtMs === null ? '' : `<p>Until ${new Date(link.expiresAtMs).toUTCString()}.</p>`;
  const form = `<form method="post">${question}<button>Download</button></form>${until}`;
  return { status: trouble === null ? 200 : 403, headers: HEADERS, text: htmlOf(title, trouble, form) };
}

/** The same answer for whoever wants a page. */
export function failurePage({ status, headers, message = '' }: Answer): Answer {
  return { status, headers: { ...headers, ...HEADERS }, text: htmlOf('Download', message, '') };
}

export function wantsPage(exchange: Exchange): boolean {
  return /\btext\/html\b/.test(exchange.request.headers.accept ?? '');
}

function htmlOf(title: string, trouble: string | null, form: string): string {
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex"><title>Download</title><style>${STYLE}</style></head>
<body><main><h1>${title}</h1>${trouble === null ? '' : `<p role="alert">${escaped(trouble)}</p>`}
${form}</main></body></html>
`;
}

function escaped(text: string): string {
  return text.replaceAll(/[&<>"']/g, (one) => `&#${one.charCodeAt(0)};`);
}
