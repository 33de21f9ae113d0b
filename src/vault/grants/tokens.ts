/** Tokens: what programs show a server to be let in. */
import { invalidInput } from '../../errors.ts';
import type { Session } from '../session.ts';
import { addGrant, findGrant, listGrants, removeGrant, type Grant, type Opened } from './grants.ts';

/** What a token may be good for. `admin` is all of them, and who may come in. */
export const SCOPES = ['put', 'read', 'list', 'delete', 'admin'] as const;
export type Scope = (typeof SCOPES)[number];

export interface Token extends Grant {
  /** What people call it; may be empty. */
  readonly label: string;
  readonly scopes: readonly Scope[];
}

/** Begins every token, so that those who search for leaked secrets know one. */
const PREFIX = 'vault_';
const MAX_LABEL_SIZE = 1024;

export class Tokens {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  /**
   * Makes a token, which is only ever told here.
   *
   * @throws `invalid-input` without any scope, or for a label that is too long; `denied` on a keyslot that can only put
   */
  async add(wanted: {
    readonly label: string;
    readonly scopes: readonly Scope[];
    readonly expiresAtMs: number | null;
  }): Promise<Token & { readonly token: string }> {
    const { label, expiresAtMs } = wanted;
    const scopes = SCOPES.filter((scope) => wanted.scopes.includes(scope));
    if (scopes.length === 0) throw invalidInput('A token must be good for something.');
    if (Buffer.byteLength(label) > MAX_LABEL_SIZE) {
      throw invalidInput(`A label has at most ${MAX_LABEL_SIZE} bytes.`);
    }
    await this.#session.catalog.requireWritable();
    const { secret, ...grant } = await addGrant(this.#session, 'token', {
      expiresAtMs,
      seal: () => ({ label, scopes }),
    });
    return { ...grant, label, scopes, token: PREFIX + secret };
  }

  /** All tokens, the newest first; those whose rows were changed by anybody else are left out, and let nobody in. */
  async list(): Promise<readonly Token[]> {
    return (await listGrants(this.#session, 'token')).map(tokenOf);
  }

  /** Whether there is any row of a token, good or not. */
  async any(): Promise<boolean> {
    for await (const _ of this.#session.catalog.grants.list('token')) return true;
    return false;
  }

  /** The token that somebody shows; null if it is none, has expired or was taken away. */
  async find(text: string): Promise<Token | null> {
    if (!text.startsWith(PREFIX)) return null;
    const grant = await findGrant(this.#session, 'token', text.slice(PREFIX.length));
    return grant === null ? null : tokenOf(grant);
  }

  /** Takes a token away. @param id its first 8 or more digits @returns its whole id @throws `file-not-found`; `invalid-input` */
  async remove(id: string): Promise<string> {
    await this.#session.catalog.requireWritable();
    return removeGrant(this.#session, 'token', id);
  }
}

function tokenOf({ id, createdAtMs, expiresAtMs, expired, fields }: Opened): Token {
  const given: unknown[] = Array.isArray(fields['scopes']) ? fields['scopes'] : [];
  const scopes = SCOPES.filter((scope) => given.includes(scope));
  return { id, createdAtMs, expiresAtMs, expired, label: String(fields['label']), scopes };
}
