/** A share as somebody sees it who has its link, but neither vault nor browser. */
import { Decrypter } from 'age-encryption';

/** Who tries a password lets nothing else run, and connections that are kept end meanwhile. */
const CLOSING = { headers: { connection: 'close' } };

/** The page and what it names. */
export interface SharePage {
  readonly html: string;
  /** URLs of the parts. */
  readonly parts: readonly string[];
  /** What is behind the `#`. */
  readonly fragment: string;
  /** Sealed name and size. */
  readonly about: Buffer;
}

export async function readPage(link: string): Promise<SharePage> {
  const [url = '', fragment = ''] = link.split('#');
  const answer = await fetch(url, CLOSING);
  const html = await answer.text();
  if (answer.status !== 200) throw new Error(`${answer.status} ${html}`);
  const parts = [...html.matchAll(/<a href="([^"]+)"/g)].map(([, href = '']) =>
    href.replaceAll('&amp;', '&'),
  );
  return {
    html,
    parts,
    fragment,
    about: Buffer.from(/data-about="([^"]+)"/.exec(html)?.[1] ?? '', 'base64'),
  };
}

/** How a link is answered. */
export async function statusOf(url: string): Promise<number> {
  const answer = await fetch(url, CLOSING);
  // Of what is not read, the end of the connection is an error of its own.
  await answer.arrayBuffer();
  return answer.status;
}

/** The sealed file. */
export async function readParts({ parts }: SharePage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for (const url of parts) {
    const answer = await fetch(url, CLOSING);
    if (answer.status !== 200) throw new Error(String(answer.status));
    pieces.push(Buffer.from(await answer.arrayBuffer()));
  }
  return Buffer.concat(pieces);
}

/** Opens something sealed. @throws if it is not what was sealed for this key */
export async function open(sealed: Uint8Array, identity: string): Promise<Buffer> {
  const decrypter = new Decrypter();
  decrypter.addIdentity(identity);
  return Buffer.from(await decrypter.decrypt(sealed));
}

/** The key that a fragment holds under a password. @throws for a wrong one */
export async function unlock(fragment: string, password: string): Promise<string> {
  const decrypter = new Decrypter();
  decrypter.addPassphrase(password);
  return (await decrypter.decrypt(Buffer.from(fragment, 'base64url'), 'text')).trim();
}
