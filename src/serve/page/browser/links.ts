/** Links: made, shown once, listed and taken away. */
import { encode } from 'uqr';
import { h, type Tree } from '../tree.ts';
import { nameText, timeTree } from '../words.ts';
import { ask, pathOf, type Link, type Listed } from './api.ts';
import { button, dialog, field, form, make, messageOf, takeAway, tell } from './elements.ts';

const DAY = 86_400;
const TIMES = [
  ['an hour', 3600],
  ['a day', DAY],
  ['7 days', 7 * DAY],
  ['30 days', 30 * DAY],
] as const;

/** Asks how the link should be, and makes it. */
export function offerLink({ name, hash, locked }: Listed, { mayList }: { readonly mayList: boolean }): void {
  const expires = make(
    'select',
    {},
    ...TIMES.map(([text, seconds]) =>
      make('option', { value: seconds, selected: seconds === 7 * DAY }, text),
    ),
  );
  const downloads = make('input', {
    type: 'number',
    min: 1,
    max: 1_000_000,
    placeholder: 'any number',
    inputmode: 'numeric',
  });
  const password = make('input', { type: 'password', autocomplete: 'new-password' });
  const lock = make('input', { type: 'password', autocomplete: 'off' });
  const result = make('div', { class: 'result' });
  const list = make('div');
  const refresh = (): void => {
    if (mayList) void listLinks(list, hash);
  };
  const makeLink = async (): Promise<void> => {
    const json = {
      expires_in: Number(expires.value),
      ...(downloads.value !== '' && { downloads: downloads.valueAsNumber }),
      ...(password.value !== '' && { password: password.value }),
      ...(lock.value !== '' && { lock_password: lock.value }),
    };
    const { url } = await ask<{ readonly url: string }>(`${pathOf(hash)}/links`, { method: 'POST', json });
    result.replaceChildren(...shown(url));
    result.querySelector('button')?.focus();
    refresh();
  };
  dialog(`Link to ${nameText(name)}`, () => [
    form(
      [
        field('Good for', expires),
        field('Downloads at most', downloads),
        field('Password of the link', password, 'Empty: whoever has the link has the file.'),
        locked
          ? field(
              'Password of the file',
              lock,
              'The link then opens the file. Empty: who follows it is asked.',
            )
          : null,
      ],
      { label: 'Make a link', act: makeLink },
    ),
    result,
    list,
  ]);
  refresh();
}

/** A new link: to copy, and to be scanned. */
function shown(url: string): Node[] {
  const text = make('input', { type: 'text', readonly: true, value: url, 'aria-label': 'The link' });
  text.addEventListener('focus', () => text.select());
  const copy = button(
    'Copy',
    async () => {
      // Browsers allow it over HTTPS and on this machine alone.
      try {
        await navigator.clipboard.writeText(url);
      } catch {
        text.select();
        tell('Copy the marked text with Ctrl-C.');
        return;
      }
      copy.textContent = 'Copied';
      tell('The link was copied.');
    },
    { class: 'primary' },
  );
  return [
    make('p', {}, 'The link is shown this once.'),
    make('p', { class: 'row' }, text, copy),
    make('div', { class: 'code' }, qrOf(url)),
  ];
}

/** Dark on light in any mode, with the margin that readers need. */
function qrOf(text: string): Tree {
  const { data, size } = encode(text, { border: 4, ecc: 'M' });
  const path = data
    .flatMap((row, y) => row.flatMap((isDark, x) => (isDark ? `M${x} ${y}h1v1h-1z` : [])))
    .join('');
  return h(
    'svg',
    {
      class: 'qr',
      viewBox: `0 0 ${size} ${size}`,
      role: 'img',
      'aria-label': 'QR code of the link',
      'shape-rendering': 'crispEdges',
    },
    h('rect', { width: size, height: size, fill: '#fff' }),
    h('path', { d: path, fill: '#000' }),
  );
}

/** Shows links in a place: those to one file, or all. */
export async function listLinks(place: HTMLElement, hash: string | null = null): Promise<void> {
  const query = hash === null ? '' : `?file=${hash}`;
  let links: readonly Link[];
  try {
    ({ links } = await ask<{ readonly links: readonly Link[] }>(`api/links${query}`));
  } catch (error) {
    place.replaceChildren(make('p', { class: 'trouble' }, messageOf(error)));
    return;
  }
  const rows = links.map((link) => {
    const row = make(
      'li',
      {},
      make('bdi', {}, nameText(link.name)),
      make('span', { class: 'dim' }, usesOf(link), ...whenOf(link)),
      button(
        'Revoke',
        async () => {
          await ask(`api/links/${link.id}`, { method: 'DELETE' });
          takeAway(row);
          tell(`The link to ${nameText(link.name)} is gone.`);
        },
        { 'aria-label': `Revoke the link to ${nameText(link.name)}` },
      ),
    );
    return row;
  });
  const none =
    hash === null ? [make('p', { class: 'empty' }, 'No links. Make one from the list of files.')] : [];
  place.replaceChildren(
    ...(rows.length === 0
      ? none
      : [make('h3', {}, hash === null ? 'Links' : 'Links to it'), make('ul', { class: 'links' }, ...rows)]),
  );
}

function usesOf({ downloads, mostDownloads, asksPassword }: Link): string {
  const most = mostDownloads === null ? '' : ` of ${mostDownloads.toLocaleString('en-US')}`;
  return `used ${downloads.toLocaleString('en-US')}${most}×${asksPassword ? ', asks for a password' : ''}, `;
}

function whenOf({ expired, expiresAt }: Link): (Tree | string)[] {
  if (expired) return ['expired'];
  return expiresAt === null ? ['for ever'] : ['ends ', timeTree(expiresAt, Date.now())];
}
