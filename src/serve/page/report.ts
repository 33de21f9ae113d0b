/** The status of a vault as one file that needs nothing else, and runs nothing. */
import { createHash } from 'node:crypto';
import { builtFile } from './built.ts';
import { statusTree, type StatusView } from './status-view.ts';
import { h, htmlOf } from './tree.ts';

export async function reportHtml(view: StatusView): Promise<string> {
  const style = await builtFile('page.css');
  const digest = createHash('sha256').update(style).digest('base64');
  const policy = `default-src 'none'; style-src 'sha256-${digest}'; base-uri 'none'; form-action 'none'`;
  const head = [
    h('meta', { charset: 'utf-8' }),
    h('meta', { 'http-equiv': 'Content-Security-Policy', content: policy }),
    h('meta', { name: 'viewport', content: 'width=device-width, initial-scale=1' }),
    h('title', {}, 'Vault report'),
  ];
  const main = h(
    'main',
    { class: 'report' },
    h('h1', {}, 'Vault report'),
    statusTree(view, Date.parse(view.at)),
  );
  // A style is no text: it stands as it is.
  const tops = head.map(htmlOf).join('');
  return `<!doctype html>\n<html lang="en"><head>${tops}<style>${style}</style></head><body>${htmlOf(main)}</body></html>\n`;
}

/** The same, without names of files and places of buckets. */
export function redacted(view: StatusView): StatusView {
  return {
    ...view,
    buckets: view.buckets.map(({ url, error, ...bucket }, at) => ({
      ...bucket,
      url: `bucket ${at + 1} (${/^[a-z]+/.exec(url)?.[0] ?? ''})`,
      error: error === null ? null : 'does not answer.',
    })),
    nightly: view.nightly.map(({ nights }, at) => ({ name: `name ${at + 1}`, nights })),
  };
}
