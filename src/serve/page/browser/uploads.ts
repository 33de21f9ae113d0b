/** What is chosen or dropped to be stored, and how. */
import { droppedOf, entriesOf, walk, type Dropped } from './dropped.ts';
import { button, field, make, tell } from './elements.ts';
import { Queue, type How } from './queue.ts';

/** @param onStored is called when something new is there */
export function uploadPanel(onStored: () => void): HTMLElement {
  const settings = new Settings();
  const list = make('ul', { class: 'uploads' });
  const queue = new Queue(list, onStored);
  const files = make('input', { type: 'file', multiple: true, hidden: true, 'aria-label': 'Files' });
  const folders = make('input', {
    type: 'file',
    webkitdirectory: true,
    hidden: true,
    'aria-label': 'A folder',
  });
  const take = async (some: AsyncIterable<Dropped> | Iterable<Dropped>): Promise<void> => {
    const how = settings.read();
    if (how !== null) await queue.add(some, how);
  };
  for (const input of [files, folders]) {
    input.addEventListener('change', () => {
      void take(droppedOf(input.files ?? []));
      input.value = '';
    });
  }
  const panel = make(
    'section',
    { class: 'card drop', 'aria-label': 'Upload' },
    make('p', { class: 'big' }, 'Drop files or folders here'),
    make(
      'p',
      { class: 'row' },
      button('Choose files', () => files.click(), { class: 'primary' }),
      button('Choose a folder', () => folders.click()),
    ),
    files,
    folders,
    settings.element,
    list,
  );
  takeDrops(panel, (entries) => void take(walk(entries)));
  addEventListener('beforeunload', (event) => {
    if (queue.isRunning) event.preventDefault();
  });
  return panel;
}

/** A lock for what is stored next, and where it goes. */
class Settings {
  readonly #password = make('input', { type: 'password', autocomplete: 'new-password', id: 'lock' });
  readonly #again = make('input', { type: 'password', autocomplete: 'new-password', id: 'lock-again' });
  readonly #folder = make('input', { type: 'text', id: 'into', placeholder: 'none', autocomplete: 'off' });
  readonly element = make(
    'details',
    {},
    make('summary', {}, 'Lock and folder'),
    make(
      'div',
      { class: 'fields' },
      field(
        'Lock with a password',
        this.#password,
        'Nobody reads the file without it, not even with the vault’s own. Empty: no lock.',
      ),
      field('The password again', this.#again),
      field('Into the folder', this.#folder),
    ),
  );

  /** Null, and said why, where they cannot be. */
  read(): How | null {
    const password = this.#password.value;
    const trouble = troubleOf(password, this.#again.value);
    if (trouble !== null) {
      tell(trouble, { isBad: true });
      this.#password.focus();
      return null;
    }
    const parts = this.#folder.value.split('/').filter((part) => part.trim() !== '');
    return { password, prefix: parts.map((part) => `${part}/`).join('') };
  }
}

function troubleOf(password: string, again: string): string | null {
  if (password !== again) return 'The two passwords of the lock differ.';
  // A header cannot have these.
  return /^\s|\s$|[\p{Cc}]/u.test(password) ? 'A lock’s password here has no spaces at its ends.' : null;
}

/** Files may be dropped anywhere on the page. */
function takeDrops(panel: HTMLElement, take: (entries: readonly FileSystemEntry[]) => void): void {
  const over = (isOver: boolean) => (event: DragEvent) => {
    if (!panel.isConnected || event.dataTransfer?.types.includes('Files') !== true) return;
    event.preventDefault();
    panel.classList.toggle('over', isOver);
  };
  addEventListener('dragover', over(true));
  addEventListener('dragleave', over(false));
  addEventListener('drop', (event) => {
    over(false)(event);
    if (event.defaultPrevented && event.dataTransfer !== null) take(entriesOf(event.dataTransfer));
  });
}
