/** Links: made for files, and followed by whoever has one. */
import { isVaultError, VaultError } from '../errors.ts';
import type { FoundLink, Link } from '../vault/grants/links.ts';
import type { FileInfo } from '../vault/files/records.ts';
import { asTime } from '../vault/files/as-json.ts';
import type { Stored } from '../vault/folders/stored-folder.ts';
import type { Vault } from '../vault/vault.ts';
import { failure, type Answer } from './answers.ts';
import type { Exchange } from './exchange.ts';
import { onePassword, openStored, toWhole, wholeStored } from './stored.ts';
import { storedAnswer } from './folders.ts';
import { pageOf, wantsPage } from './link-page.ts';
import { countOf, jsonOf, passwordOfForm, textOf } from './json.ts';
import type { Route, Serving } from './serving.ts';

/** How long a link is good unless told otherwise, and at most, in seconds. */
const USUAL_SECONDS = 3600;
const MOST_SECONDS = 366 * 86_400;

const NO_LINK = 'This link is wrong, has expired, was taken away or is used up.';

export const LINKS: readonly Route[] = [
  {
    method: 'POST',
    path: '/api/files/{ref...}/links',
    summary:
      'Makes a link to a file. JSON, all optional: expires_in (seconds), downloads, password, lock_password.',
    scope: 'read',
    body: ['application/json'],
    answers: [201],
    handle: makeLink,
  },
  {
    method: 'GET',
    path: '/api/links',
    summary: 'Links, the newest first, with the times they were used; those to one file with file.',
    scope: 'admin',
    query: ['file'],
    async handle(exchange, serving) {
      const { vault } = serving;
      const reference = exchange.query.get('file');
      const file = reference === null ? null : await resolveWhole(exchange, serving, reference);
      const hash = file?.hash ?? null;
      return { status: 200, json: { links: (await vault.links.list(hash)).map(factsOf) } };
    },
  },
  {
    method: 'DELETE',
    path: '/api/links/{id}',
    summary: 'Takes a link away.',
    scope: 'admin',
    async handle(exchange, { vault }) {
      return {
        status: 200,
        json: { status: 'success', removed: await vault.links.remove(exchange.parameters[0] ?? '') },
      };
    },
  },
  {
    method: 'GET',
    path: '/d/{link}',
    summary:
      'A page for a browser, which asks before it downloads; for programs the file, unless its downloads are counted.',
    scope: null,
    query: ['format'],
    answers: [200, 206, 304],
    failsInPages: true,
    handle: follow,
  },
  {
    method: 'POST',
    path: '/d/{link}',
    query: ['format'],
    summary:
      'The file of a link, or the folder as an archive. Its password in the header Vault-Password, or as password of a form.',
    scope: null,
    body: ['application/json', 'application/x-www-form-urlencoded'],
    failsInPages: true,
    handle: follow,
  },
];

export async function addLink(
  { vault, baseUrl, options: { clock } }: Serving,
  file: Pick<FileInfo, 'hash' | 'name' | 'locked'>,
  wanted: {
    readonly seconds?: number | null;
    readonly downloads?: number | null;
    readonly password?: string | null;
    readonly lockPassword: string | null;
  },
): Promise<{ readonly url: string; readonly id: string; readonly expiresAt: string | null }> {
  const { downloads = null, password = null, lockPassword } = wanted;
  const expiresAtMs = clock.now() + (wanted.seconds ?? USUAL_SECONDS) * 1000;
  const { secret, id } = await vault.links.add(file, {
    expiresAtMs,
    mostDownloads: downloads,
    password,
    lockPassword,
  });
  return { url: `${baseUrl}/d/${secret}`, id, expiresAt: asTime(expiresAtMs) };
}

async function makeLink(exchange: Exchange, serving: Serving): Promise<Answer> {
  const [reference = ''] = exchange.parameters;
  const fields = await jsonOf(exchange, ['expires_in', 'downloads', 'password', 'lock_password']);
  const lockPassword = textOf(fields, 'lock_password');
  const wanted = {
    seconds: countOf(fields, 'expires_in', MOST_SECONDS),
    downloads: countOf(fields, 'downloads', 1_000_000),
    password: textOf(fields, 'password'),
    lockPassword,
  };
  const file =
    lockPassword === null
      ? await resolveWhole(exchange, serving, reference)
      : wholeStored(await openStored(exchange, serving, { reference, password: lockPassword }));
  const { url, id, expiresAt } = await addLink(serving, file, wanted);
  return { status: 201, json: { status: 'success', url, id, expires_at: expiresAt } };
}

function resolveWhole(exchange: Exchange, serving: Serving, reference: string): ReturnType<Vault['resolve']> {
  return toWhole(exchange, serving, { reference, work: () => serving.vault.resolve(reference) });
}

/** Only what is asked for on purpose counts as a download: not HEAD, and not what shows a preview of a link. */
async function follow(exchange: Exchange, serving: Serving): Promise<Answer> {
  const { vault, slowdown } = serving;
  await vault.ready();
  const link = await vault.links.find(exchange.parameters[0] ?? '');
  if (link === null) {
    await slowdown.wrongToken();
    return failure(404, 'file-not-found', NO_LINK);
  }
  exchange.by = `link ${link.id.slice(0, 12)}`;
  const isBrowser = wantsPage(exchange);
  const isAsked = exchange.method === 'POST';
  if (!isAsked && isBrowser) return pageOf(link, null);
  if (exchange.method === 'GET' && link.mostDownloads !== null) {
    const message = 'The downloads of this link are counted: ask for the file with POST.';
    return failure(405, 'wrong-method', message, { Allow: 'POST, HEAD' });
  }
  const password = onePassword(exchange, isAsked ? await passwordOf(exchange) : null);
  try {
    const stored = await openLink(serving, link, { password, signal: exchange.signal });
    const answer = await storedAnswer(exchange, serving, { stored, usual: 'zip' });
    if (answer.content === undefined) return answer;
    return { ...answer, content: counted(answer.content, () => vault.links.use(link)) };
  } catch (error) {
    // Its own words would tell whoever has the link the file's hash.
    if (isVaultError(error, 'file-not-found')) return failure(404, 'file-not-found', NO_LINK);
    if (!isVaultError(error, 'wrong-password') || error.retryAfterMs !== null || !isBrowser) throw error;
    return pageOf(link, password === null ? null : 'This password is wrong.');
  }
}

async function passwordOf(exchange: Exchange): Promise<string | null> {
  const type = exchange.header('content-type') ?? '';
  if (/^application\/json/i.test(type)) return textOf(await jsonOf(exchange, ['password']), 'password');
  return passwordOfForm(exchange);
}

/** The file of a link. @throws `wrong-password`, also where one is asked for and none given */
async function openLink(
  { vault, slowdown }: Serving,
  link: FoundLink,
  { password, signal }: { readonly password: string | null; readonly signal: AbortSignal },
): Promise<Stored> {
  const lock = link.lockPassword ?? password;
  const open = async (): Promise<Stored> => {
    if (!(await link.fits(password)))
      throw new VaultError('wrong-password', 'This password does not fit the link.');
    return vault.find(link.hash, {
      signal,
      ...(lock !== null && { lockPassword: () => Promise.resolve(lock) }),
    });
  };
  if (!link.asksPassword) return open();
  if (password === null)
    throw new VaultError('wrong-password', 'This link asks for a password: send it as Vault-Password.');
  return slowdown.guessing(`link ${link.id}`, open);
}

/** Counts a download when its first bytes are there to be sent. */
async function* counted(
  content: AsyncIterable<Uint8Array>,
  use: () => Promise<boolean>,
): AsyncGenerator<Uint8Array, void, undefined> {
  let isUsed = false;
  for await (const run of content) {
    if (!isUsed && !(await use())) throw new VaultError('file-not-found', 'This link has just been used up.');
    isUsed = true;
    yield run;
  }
}

function factsOf(link: Link): Record<string, unknown> {
  const { id, hash, name, createdAtMs, expiresAtMs, mostDownloads, downloads, asksPassword, expired } = link;
  const times = { createdAt: asTime(createdAtMs), expiresAt: asTime(expiresAtMs), expired };
  return { id, hash, name, ...times, mostDownloads, downloads, asksPassword };
}
