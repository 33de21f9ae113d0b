/** Links: addresses by which somebody without the vault can fetch one file. */
import { fitsCheck, openForSecret, passwordCheck, sealForSecret } from '../../crypto/grants.ts';
import type { PasswordCheck } from '../../crypto/grants.ts';
import { invalidInput } from '../../errors.ts';
import type { StoredFile } from '../read/get.ts';
import type { Session } from '../session.ts';
import { addGrant, findGrant, listGrants, removeGrant, type Grant, type Opened } from './grants.ts';

export interface Link extends Grant {
  /** The file. */
  readonly hash: string;
  readonly name: string;
  /** Null: any number. */
  readonly mostDownloads: number | null;
  readonly downloads: number;
  /** Whether a password is asked for: the link's own, or that of the file's lock. */
  readonly asksPassword: boolean;
}

/** A link whose secret somebody has. */
export interface FoundLink extends Link {
  /** The password of the file's lock, which the link carries; null if it carries none. */
  readonly lockPassword: string | null;
  /** Whether a password is the link's own; true where it has none. */
  fits(password: string | null): Promise<boolean>;
}

export interface LinkOptions {
  readonly expiresAtMs: number | null;
  /** Null: any number. */
  readonly mostDownloads: number | null;
  /** The link's own; null: none. */
  readonly password: string | null;
  /** Of a locked file: its lock's password, which has opened it. With null whoever follows the link is asked for it. */
  readonly lockPassword: string | null;
}

export class Links {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  /**
   * Makes a link, whose secret is only ever told here.
   *
   * @throws `invalid-input` for a password of its own on a locked file whose lock it does not carry
   */
  async add(
    file: Pick<StoredFile, 'hash' | 'name' | 'locked'>,
    options: LinkOptions,
  ): Promise<Link & { readonly secret: string }> {
    const { expiresAtMs, mostDownloads, password } = options;
    const { hash, name, locked } = file;
    const lockPassword = locked ? options.lockPassword : null;
    const asksLock = locked && lockPassword === null;
    if (asksLock && password !== null) {
      throw invalidInput('A locked file has a password already: a link to it asks for that one.');
    }
    if (password === '') throw invalidInput('The password of a link is empty.');
    await this.#session.catalog.requireWritable();
    const check = password === null ? null : await passwordCheck(password);
    const { secret, ...grant } = await addGrant(this.#session, 'link', {
      expiresAtMs,
      seal: (key) => ({
        hash,
        name,
        mostDownloads,
        check,
        asksLock,
        lock: lockPassword === null ? null : sealForSecret(key, lockPassword),
      }),
    });
    const asksPassword = check !== null || asksLock;
    return { ...grant, hash, name, mostDownloads, downloads: 0, asksPassword, secret };
  }

  /** All links, or those to one file, the newest first. */
  async list(hash: string | null = null): Promise<readonly Link[]> {
    const links = (await listGrants(this.#session, 'link')).flatMap((grant) => linkOf(grant) ?? []);
    return hash === null ? links : links.filter((link) => link.hash === hash);
  }

  /** The link that a secret belongs to; null if there is none, or it has expired, was taken away or is used up. */
  async find(secret: string): Promise<FoundLink | null> {
    const grant = await findGrant(this.#session, 'link', secret);
    const link = grant === null ? null : linkOf(grant);
    if (grant === null || link === null) return null;
    if (link.mostDownloads !== null && link.downloads >= link.mostDownloads) return null;
    const check = checkOf(grant.fields['check']);
    const lock = grant.fields['lock'];
    return {
      ...link,
      lockPassword: typeof lock === 'string' ? openForSecret(secret, lock) : null,
      fits: async (password) => check === null || (password !== null && fitsCheck(password, check)),
    };
  }

  /** Counts a download. @returns false if there is none left */
  async use({ id, mostDownloads }: Link): Promise<boolean> {
    return this.#session.catalog.grants.use(id, mostDownloads);
  }

  /** Takes a link away. @param id its first 8 or more digits @returns its whole id @throws `file-not-found`; `invalid-input` */
  async remove(id: string): Promise<string> {
    await this.#session.catalog.requireWritable();
    return removeGrant(this.#session, 'link', id);
  }
}

function linkOf({ fields, uses, ...grant }: Opened): Link | null {
  const { hash, name, mostDownloads, check, asksLock } = fields;
  if (typeof hash !== 'string' || typeof name !== 'string') return null;
  return {
    ...grant,
    hash,
    name,
    mostDownloads: typeof mostDownloads === 'number' ? mostDownloads : null,
    downloads: uses,
    asksPassword: check !== null || asksLock === true,
  };
}

function checkOf(value: unknown): PasswordCheck | null {
  if (typeof value !== 'object' || value === null || !('salt' in value) || !('commitment' in value))
    return null;
  return { salt: String(value.salt), commitment: String(value.commitment) };
}
