/** What lies in a stored folder. */
import { nameText, sizeText } from '../words.ts';
import { ask, pathOf, type Listed } from './api.ts';
import { button, dialog, make } from './elements.ts';

interface Entry {
  readonly path: string;
  /** Of a name that is no text. */
  readonly pathBytes?: string;
  readonly kind: string;
  readonly size: number | null;
}

interface Page {
  readonly entries: readonly Entry[];
  readonly next: string | null;
}

export function showContents({ name, hash }: Listed, { mayRead }: { readonly mayRead: boolean }): void {
  const list = make('ul', { class: 'versions' });
  const heading = make('p', { class: 'row' });
  const more = button('Show more', () => undefined, { hidden: true });
  let next: (() => Promise<void>) | null = null;
  more.addEventListener('click', () => void next?.());

  const load = async (path: string, after: string): Promise<void> => {
    const place = path === '' ? hash : `${hash}/${path}`;
    const page = await ask<Page>(`${pathOf(place, 'folders')}?limit=200&after=${after}`);
    // A folder is in its own list.
    const rows = page.entries.filter((entry) => entry.path !== path).map(row);
    if (after === '') list.replaceChildren(...rows);
    else list.append(...rows);
    const { next: following } = page;
    next = following === null ? null : async () => load(path, following);
    more.hidden = following === null;
    const up = path.split('/').slice(0, -1).join('/');
    heading.replaceChildren(
      ...(path === '' ? [] : [button('Up', async () => load(up, '')), make('bdi', {}, nameText(path))]),
    );
  };
  const row = ({ path, pathBytes, kind, size }: Entry): HTMLElement => {
    const last = nameText(path.slice(path.lastIndexOf('/') + 1));
    const label = (what: string): { readonly 'aria-label': string } => ({ 'aria-label': `${what} ${last}` });
    const actions = make('span', { class: 'actions' });
    if (kind === 'folder') actions.append(button('Open', async () => load(path, ''), label('Open')));
    if (kind === 'file' && mayRead && pathBytes === undefined) {
      const href = pathOf(`${hash}/${path}`);
      actions.append(make('a', { class: 'button', href, download: true, ...label('Download') }, 'Download'));
    }
    const about = kind === 'file' && size !== null ? sizeText(size) : kind;
    return make('li', {}, make('bdi', {}, last), make('span', { class: 'dim' }, about), actions);
  };
  dialog(`In ${nameText(name)}`, () => [heading, list, more]);
  void load('', '');
}
