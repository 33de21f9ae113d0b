/** The page: who is there, and what they see. */
import { statusTree, type StatusView } from '../status-view.ts';
import { ask, onSignedOut, Refused, type Session } from './api.ts';
import { button, elementOf, field, form, make, messageOf, tell } from './elements.ts';
import { filesView } from './files.ts';
import { listLinks } from './links.ts';

/** What can be looked at, by what stands behind the # of the address. */
const VIEWS = ['files', 'links', 'status'] as const;
type View = (typeof VIEWS)[number];

const app = document.querySelector('#app') ?? document.body;

function viewOf(session: Session, view: View): HTMLElement {
  switch (view) {
    case 'files':
      return filesView(session);
    case 'links': {
      const place = make('section', { class: 'card', 'aria-label': 'Links' });
      void listLinks(place);
      return place;
    }
    case 'status': {
      const place = make(
        'div',
        { 'aria-busy': 'true' },
        make('p', { class: 'empty' }, 'Asking every bucket …'),
      );
      void showStatus(place);
      return place;
    }
  }
}

async function showStatus(place: HTMLElement): Promise<void> {
  try {
    place.replaceChildren(elementOf(statusTree(await ask<StatusView>('api/status'), Date.now())));
  } catch (error) {
    place.replaceChildren(make('p', { class: 'trouble', role: 'alert' }, messageOf(error)));
  }
  place.ariaBusy = null;
}

function showSignedIn(session: Session): void {
  onSignedOut.call = () => showSignIn('This session has ended.');
  const scopes = { files: null, links: 'admin', status: 'admin' } as const;
  const views = VIEWS.filter((view) => {
    const scope = scopes[view];
    return scope === null || session.scopes.includes(scope);
  });
  const links = views.map((view) => make('a', { href: `#${view}` }, view[0]?.toUpperCase() + view.slice(1)));
  const main = make('main', { id: 'main', tabindex: -1 });
  const out = button(
    'Sign out',
    async () => {
      await ask('api/session', { method: 'DELETE' });
      showSignIn();
    },
    { class: 'quiet' },
  );
  const go = (): void => {
    const view = views.find((one) => `#${one}` === location.hash) ?? 'files';
    for (const link of links) link.ariaCurrent = link.hash === `#${view}` ? 'page' : null;
    main.replaceChildren(
      make('h1', { class: 'unseen' }, view[0]?.toUpperCase() + view.slice(1)),
      viewOf(session, view),
    );
    document.title = `${view[0]?.toUpperCase() + view.slice(1)} · vault`;
  };
  app.replaceChildren(
    make(
      'header',
      { class: 'top' },
      make('span', { class: 'brand' }, 'vault'),
      make('nav', { 'aria-label': 'Views' }, ...links),
      session.open ? null : out,
    ),
    main,
  );
  onhashchange = go;
  go();
}

function showSignIn(message = ''): void {
  onSignedOut.call = () => undefined;
  onhashchange = null;
  document.title = 'Sign in · vault';
  const token = make('input', {
    type: 'password',
    name: 'token',
    autocomplete: 'current-password',
    required: true,
    spellcheck: false,
  });
  const signIn = async (): Promise<void> => {
    const text = token.value.trim();
    if (!/^[\w-]*$/.test(text)) throw new Error('A token has letters, digits, - and _ alone.');
    const headers = { Authorization: `Bearer ${text}` };
    showSignedIn(await ask<Session>('api/session', { method: 'POST', headers }));
  };
  app.replaceChildren(
    make(
      'main',
      { class: 'card sign-in' },
      make('h1', { class: 'brand' }, 'vault'),
      form([field('Token', token, 'Made with “vault token add”.')], {
        label: 'Sign in',
        act: signIn,
        trouble: message,
      }),
    ),
  );
  token.focus();
}

addEventListener('keydown', (event) => {
  if (event.key !== '/' || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target instanceof HTMLInputElement || document.querySelector('dialog') !== null) return;
  const search = document.querySelector<HTMLInputElement>('#search');
  search?.focus();
  if (search !== null) event.preventDefault();
});

try {
  const session = await ask<Session | { readonly scopes: null }>('api/session');
  if (session.scopes === null) showSignIn();
  else showSignedIn(session);
} catch (error) {
  if (error instanceof Refused) showSignIn(error.message);
  else tell(messageOf(error), { isBad: true });
}
