/** Who may ask for what. */
import { isIP } from 'node:net';
import { invalidInput } from '../errors.ts';
import type { Scope } from '../vault/grants/tokens.ts';
import type { Vault } from '../vault/vault.ts';
import { failure, type Answer } from './answers.ts';
import type { Exchange } from './exchange.ts';
import type { Slowdown } from './slowdown.ts';

/** Where the page keeps its token: no script can read it, and no other site's page makes a browser send it. */
export const SESSION_COOKIE = 'vault-session';

/** The token that came with a request; null if none did. */
export function tokenShown({ request: { headers } }: Exchange): string | null {
  const bearer = /^Bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1];
  if (bearer !== undefined) return bearer;
  // A page of another port of this machine is of the same site, but its requests are not of the same origin.
  if (!['same-origin', 'none', undefined].includes(headers['sec-fetch-site']?.toString())) return null;
  return new RegExp(`(?:^|; *)${SESSION_COOKIE}=([^;]+)`).exec(headers.cookie ?? '')?.[1] ?? null;
}

/** What proxies add to requests. One that adds nothing cannot be noticed. */
const OF_PROXIES =
  /^(via|cdn-loop|x-real-ip|x-forwarded|forwarded|(.+-)?(client-?ip|connecting-ip)|(x-forwarded|x-original|x-cluster|x-remote|x-proxyuser|x-envoy|x-arr|x-amzn|x-appengine|x-azure|x-appgw|cf|fly)-.+)$/;

/** Whether nobody but this machine reaches an address or name. */
function isLoopback(name: string): boolean {
  const host = name.toLowerCase();
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

export class Access {
  readonly #vault: Vault;
  readonly #publicUrl: string | null;
  readonly #slowdown: Slowdown;
  /** Whether no token has ever been seen: then this machine may do everything. Once there is one, that never comes back. */
  #open: boolean;

  private constructor(
    vault: Vault,
    {
      publicUrl,
      slowdown,
      open,
    }: { readonly publicUrl: string | null; readonly slowdown: Slowdown; readonly open: boolean },
  ) {
    this.#vault = vault;
    this.#publicUrl = publicUrl;
    this.#slowdown = slowdown;
    this.#open = open;
  }

  /** @throws `invalid-input` without any token, unless nobody but this machine is served */
  static async of(
    vault: Vault,
    options: { readonly host: string; readonly publicUrl: string | null; readonly slowdown: Slowdown },
  ): Promise<Access> {
    const open = !(await vault.tokens.any());
    if (open && (!isLoopback(options.host) || options.publicUrl !== null)) {
      throw invalidInput(
        'Without any token the server serves this machine alone. Make one with "vault token add --scope put,read,list,delete".',
      );
    }
    return new Access(vault, { ...options, open });
  }

  /** What to say to a request that may not be served; null for one that may. Who asks is noted for the log. @throws as `Vault.ready` */
  async refused(exchange: Exchange, scope: Scope): Promise<Answer | null> {
    if (this.#isForeign(exchange)) {
      return failure(403, 'forbidden', 'Requests of pages of other servers are not served.');
    }
    // Before tokens are looked for: a new root has ended them, too.
    await this.#vault.ready();
    if (this.#open && !(await this.#vault.tokens.any())) return refusedAsOpen(exchange);
    this.#open = false;
    const shown = tokenShown(exchange);
    if (shown === null) {
      return failure(401, 'unauthorized', 'A token is needed: Authorization: Bearer <token>.', {
        'WWW-Authenticate': 'Bearer',
      });
    }
    const token = await this.#vault.tokens.find(shown);
    if (token === null) {
      if (!(await this.#slowdown.wrongToken())) {
        return failure(429, 'too-many', 'Too many wrong tokens are being tried.', { 'Retry-After': '10' });
      }
      const wrong = 'This token is wrong, has expired or was taken away.';
      return failure(401, 'unauthorized', wrong, { 'WWW-Authenticate': 'Bearer error="invalid_token"' });
    }
    exchange.by = token.id.slice(0, 12);
    if (token.scopes.includes(scope) || token.scopes.includes('admin')) return null;
    return failure(403, 'forbidden', `This token is not good for "${scope}".`);
  }

  /** Whether a browser sends this for a page of another server. */
  #isForeign({ request }: Exchange): boolean {
    const { origin, host } = request.headers;
    if (origin === undefined) return false;
    const own = this.#publicUrl === null ? host : new URL(this.#publicUrl).host;
    return !URL.canParse(origin) || new URL(origin).host !== own?.toLowerCase();
  }
}

/**
 * Without tokens whoever sends requests from this machine may do everything: a proxy must not send those of others, and a page
 * whose name somebody lets point to this machine must not seem to be one of this server.
 */
function refusedAsOpen({ request: { headers } }: Exchange): Answer | null {
  if (Object.keys(headers).some((name) => OF_PROXIES.test(name))) {
    return failure(
      403,
      'forbidden',
      'A proxy passes requests on to this server, which needs a token for that: "vault token add".',
    );
  }
  const host = (headers.host ?? '').replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');
  if (isLoopback(host)) return null;
  return failure(
    403,
    'forbidden',
    'Without any token this server knows itself as 127.0.0.1 or localhost only.',
  );
}
