/** The page that opens a share in a browser: what the build has made of src/share-page, with what is this share's. */
import { readFile } from 'node:fs/promises';

/** @param share `about`: sealed; `urls`: of the parts of the file, in order, all below the same path */
export async function sharePage(share: {
  readonly about: Uint8Array;
  readonly urls: readonly string[];
  readonly expiresAtMs: number;
}): Promise<Buffer> {
  const file = import.meta.url.endsWith('.ts') ? '../../../dist/share-page.html' : './share-page.html';
  const template = await readFile(new URL(file, import.meta.url), 'utf8');
  const { about, urls, expiresAtMs } = share;
  const { origin, pathname } = new URL(urls[0] ?? '');
  const values: Readonly<Record<string, string>> = {
    // Nothing but the parts can be asked for, whatever is done to the page: the key would go with it.
    source: origin + pathname.replace(/[^/]*$/, ''),
    about: Buffer.from(about).toString('base64'),
    expires: String(expiresAtMs),
    parts: urls.map((url, at) => `<li><a href="${escaped(url)}">${at + 1}</a></li>`).join('\n'),
  };
  return Buffer.from(template.replaceAll(/\{\{(\w+)\}\}/g, (_, key: string) => values[key] ?? ''));
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('"', '&quot;').replaceAll('<', '&lt;');
}
