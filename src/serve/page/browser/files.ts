/** The list of files, and what can be done with each. */
import { nameText, sizeText, timeTree } from '../words.ts';
import { ask, pathOf, type Listed, type Session } from './api.ts';
import { showContents } from './contents.ts';
import { button, dialog, field, form, make, messageOf, takeAway, tell } from './elements.ts';
import { offerLink } from './links.ts';
import { uploadPanel } from './uploads.ts';

interface Page {
  readonly files: readonly Listed[];
  readonly next: string | null;
  readonly damaged?: boolean;
}

/** How long somebody stops typing before the list follows, in milliseconds. */
const TYPING_MS = 250;

export function filesView(session: Session): HTMLElement {
  const may = (scope: string): boolean => session.scopes.includes(scope);
  const view = make('div', {});
  const list = may('list') ? new FileList(session) : null;
  if (may('put')) view.append(uploadPanel(() => void list?.load()));
  if (list === null) view.append(make('p', { class: 'empty' }, 'This token may not list files.'));
  else view.append(list.element);
  return view;
}

class FileList {
  readonly element: HTMLElement;
  readonly #session: Session;
  readonly #search = make('input', {
    type: 'search',
    placeholder: 'Search names',
    'aria-label': 'Search names',
    id: 'search',
  });
  readonly #removed = make('input', { type: 'checkbox' });
  readonly #body = make('tbody');
  readonly #more = button('Show more', async () => this.load(true), { hidden: true });
  readonly #note = make('p', { class: 'empty', role: 'status' });
  #next: string | null = null;
  /** Which request is the newest: answers to others are old. */
  #turn = 0;

  constructor(session: Session) {
    this.#session = session;
    let timer = 0;
    this.#search.addEventListener('input', () => {
      clearTimeout(timer);
      timer = setTimeout(() => void this.load(), TYPING_MS);
    });
    this.#removed.addEventListener('change', () => void this.load());
    const head = ['Name', 'Size', 'Stored'].map((text) => make('th', { scope: 'col' }, text));
    const actions = make('th', { scope: 'col' }, make('span', { class: 'unseen' }, 'Actions'));
    this.element = make(
      'section',
      { class: 'card', 'aria-label': 'Files' },
      make(
        'div',
        { class: 'row tools' },
        this.#search,
        make('label', { class: 'check' }, this.#removed, 'Removed'),
      ),
      make('table', { class: 'files' }, make('thead', {}, make('tr', {}, ...head, actions)), this.#body),
      this.#note,
      this.#more,
    );
    void this.load();
  }

  /** Shows the list anew, or what follows. */
  async load(more = false): Promise<void> {
    const turn = (this.#turn += 1);
    const query = new URLSearchParams({ limit: '100' });
    if (this.#search.value.trim() !== '') query.set('search', this.#search.value.trim());
    if (this.#removed.checked) query.set('deleted', 'true');
    if (more && this.#next !== null) query.set('after', this.#next);
    try {
      const page = await ask<Page>(`api/files?${query.toString()}`);
      if (turn !== this.#turn) return;
      this.#show(page, more);
    } catch (error) {
      if (turn === this.#turn) this.#note.textContent = messageOf(error);
    }
  }

  #show({ files, next, damaged }: Page, more: boolean): void {
    const rows = files.map((file) => this.#row(file));
    const isHere = this.#body.contains(document.activeElement);
    if (more) this.#body.append(...rows);
    else this.#body.replaceChildren(...rows);
    if (isHere && !more) this.#search.focus();
    this.#next = next;
    this.#more.hidden = next === null;
    const nothing = this.#removed.checked ? 'Nothing was removed lately.' : 'Nothing is stored yet.';
    const empty = this.#search.value.trim() === '' ? nothing : 'No name fits.';
    this.#note.textContent =
      damaged === true
        ? 'Some records of the catalog were changed and are not shown: “vault repair” rebuilds them.'
        : this.#body.childElementCount === 0
          ? empty
          : '';
  }

  #row(file: Listed): HTMLTableRowElement {
    const { name, size, createdAt, locked, kind, expiresAt } = file;
    const row: HTMLTableRowElement = make(
      'tr',
      {},
      make(
        'th',
        { scope: 'row' },
        make('bdi', {}, nameText(name)),
        kind === 'folder' ? badge('folder') : null,
        locked ? badge('locked') : null,
        expiresAt === null ? null : make('span', { class: 'dim' }, ' ends ', timeTree(expiresAt, Date.now())),
      ),
      make('td', {}, size === null ? '?' : sizeText(size)),
      make('td', {}, timeTree(createdAt, Date.now())),
      make('td', { class: 'actions' }, ...this.#actions(file, (): void => takeAway(row))),
    );
    return row;
  }

  #actions(file: Listed, gone: () => void): Node[] {
    const label = (what: string): { readonly 'aria-label': string } => ({
      'aria-label': `${what} ${nameText(file.name)}`,
    });
    const may = (scope: string): boolean => this.#session.scopes.includes(scope);
    if (this.#removed.checked) {
      const back = async (): Promise<void> => {
        await undelete(file);
        gone();
      };
      return may('delete') ? [button('Bring back', back, label('Bring back'))] : [];
    }
    const remove = async (): Promise<void> => {
      await ask(pathOf(file.hash), { method: 'DELETE' });
      tell(`${nameText(file.name)} was removed. It can be brought back for seven days.`, {
        undo: async () => {
          await undelete(file);
          await this.load();
        },
      });
      gone();
      // A version before it may be the newest now.
      await this.load();
    };
    const contents = (): void => showContents(file, { mayRead: may('read') });
    return [
      ...(may('read') ? [downloadOf(file)] : []),
      ...(file.kind === 'folder' && !file.locked ? [button('Contents', contents, label('Contents of'))] : []),
      button('Versions', async () => this.#versions(file), label('Versions of')),
      ...(may('read')
        ? [button('Link', () => offerLink(file, { mayList: may('admin') }), label('Link to'))]
        : []),
      ...(may('delete') ? [button('Delete', remove, label('Delete'))] : []),
    ];
  }

  async #versions({ name }: Listed): Promise<void> {
    const query = new URLSearchParams({ name, all: 'true', limit: '1000' });
    const { files } = await ask<Page>(`api/files?${query.toString()}`);
    const rows = files.map((file) => {
      const { createdAt, size, hash } = file;
      const row = make(
        'li',
        {},
        make(
          'span',
          {},
          make('b', {}, timeTree(createdAt, Date.now())),
          make(
            'span',
            { class: 'dim' },
            size === null ? '' : `${sizeText(size)}, `,
            make('code', {}, hash.slice(0, 12)),
          ),
        ),
        make(
          'span',
          { class: 'actions' },
          ...this.#actions(file, () => takeAway(row)).filter(({ textContent }) => textContent !== 'Versions'),
        ),
      );
      return row;
    });
    dialog(`Versions of ${nameText(name)}`, () => [make('ul', { class: 'versions' }, ...rows)]);
  }
}

function badge(text: string): Node {
  return make('span', { class: 'badge' }, text);
}

async function undelete({ hash, name }: Listed): Promise<void> {
  await ask(`api/undelete/${hash}`, { method: 'POST' });
  tell(`${nameText(name)} is back.`);
}

/** A link for a file that is open to whoever may read it; a question for its password where it is locked. */
function downloadOf(file: Listed): Node {
  const { hash, name, locked, kind } = file;
  const label = `Download ${nameText(name)}`;
  if (locked) return button('Download', () => unlock(file), { 'aria-label': label });
  const href = pathOf(hash) + (kind === 'folder' ? '?format=zip' : '');
  return make('a', { class: 'button', href, download: true, 'aria-label': label }, 'Download');
}

/** The browser saves a file as it comes only if no header has to be sent: a link that is good for a minute carries the password. */
function unlock({ hash, name }: Listed): void {
  const password = make('input', { type: 'password', autocomplete: 'off', required: true });
  dialog(`${nameText(name)} is locked`, (close) => {
    const act = async (): Promise<void> => {
      const json = { lock_password: password.value, expires_in: 60, downloads: 1 };
      const { url } = await ask<{ readonly url: string }>(`${pathOf(hash)}/links`, { method: 'POST', json });
      const action = `d/${url.slice(url.lastIndexOf('/') + 1)}`;
      const download = make('form', { method: 'post', action, hidden: true });
      document.body.append(download);
      download.submit();
      download.remove();
      close();
    };
    return [form([field('Password of the file', password)], { label: 'Download', act })];
  });
}
