/** Elements made here and now. Text is never read as HTML. */
import type { Tree } from '../tree.ts';

type Value = string | number | boolean | ((event: Event) => void);
type Part = Node | Tree | string | null;

const SVG = 'http://www.w3.org/2000/svg';

/** An element; what begins with `on` listens. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Readonly<Record<string, Value>> = {},
  ...parts: readonly Part[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  fill(element, attributes, parts);
  return element;
}

/** What the page shares with the report, as elements. */
export function elementOf({ tag, attributes, children }: Tree, inside: Element | null = null): Element {
  const isSvg = tag === 'svg' || (inside?.namespaceURI === SVG && tag !== 'foreignObject');
  const element = isSvg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  fill(element, attributes, children);
  return element;
}

function fill(element: Element, attributes: Readonly<Record<string, Value>>, parts: readonly Part[]): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name.slice(2), value);
    else if (value !== false) element.setAttribute(name, value === true ? '' : String(value));
  }
  for (const part of parts) {
    if (part !== null)
      element.append(typeof part === 'object' && 'tag' in part ? elementOf(part, element) : part);
  }
}

export function button(
  label: string,
  act: () => void | Promise<void>,
  attributes: Readonly<Record<string, Value>> = {},
): HTMLButtonElement {
  const made = make('button', { type: 'button', ...attributes }, label);
  made.addEventListener('click', () => void run(made, act));
  return made;
}

/** Calls what a control does; meanwhile it cannot be pressed again, and what went wrong is said. */
async function run(control: HTMLButtonElement, act: () => void | Promise<void>): Promise<void> {
  control.ariaBusy = 'true';
  try {
    await act();
  } catch (error) {
    tell(messageOf(error), { isBad: true });
  } finally {
    control.ariaBusy = null;
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** How long something that was said can be read, in milliseconds. */
const READ_MS = 12_000;

export function tell(
  message: string,
  { isBad = false, undo }: { readonly isBad?: boolean; readonly undo?: () => Promise<void> } = {},
): void {
  const place = document.querySelector('dialog .told') ?? document.querySelector('#told');
  const said = make('div', { class: isBad ? 'toast bad' : 'toast' }, make('span', {}, message));
  const end = (): void => said.remove();
  if (undo !== undefined) {
    said.append(
      button('Undo', async () => {
        end();
        await undo();
      }),
    );
  }
  said.append(button('✕', end, { 'aria-label': 'Dismiss', class: 'quiet' }));
  place?.append(said);
  // Not under somebody's finger.
  const fade = (): void =>
    void setTimeout(() => (said.matches(':hover, :focus-within') ? fade() : end()), READ_MS);
  fade();
}

/** Takes a row away. Who stood on it with the keyboard stands on the next one. */
export function takeAway(row: Element): void {
  const next = row.nextElementSibling ?? row.previousElementSibling;
  const isHere = row.contains(document.activeElement);
  row.remove();
  const place = next?.querySelector<HTMLElement>('button, a');
  if (isHere) (place ?? document.querySelector<HTMLElement>('#search'))?.focus();
}

export function field(
  label: string,
  control: HTMLInputElement | HTMLSelectElement,
  hint: string | null = null,
): HTMLLabelElement {
  return make(
    'label',
    { class: 'field' },
    make('span', {}, label),
    control,
    hint === null ? null : make('small', {}, hint),
  );
}

/**
 * Fields that are sent together. What goes wrong is said beneath them, and what must be filled in is there to be typed anew.
 *
 * @param trouble what is said at first
 */
export function form(
  fields: readonly Part[],
  send: { readonly label: string; readonly act: () => Promise<void>; readonly trouble?: string },
): HTMLFormElement {
  const trouble = make('p', { role: 'alert', class: 'trouble' }, send.trouble ?? '');
  const submit = async (): Promise<void> => {
    trouble.textContent = '';
    try {
      await send.act();
    } catch (error) {
      trouble.textContent = messageOf(error);
      made.querySelector<HTMLInputElement>('input[required]')?.select();
    }
  };
  const onsubmit = (event: Event): void => {
    event.preventDefault();
    void submit();
  };
  const label = make('button', { class: 'primary' }, send.label);
  const made = make('form', { class: 'fields', onsubmit }, ...fields, trouble, label);
  return made;
}

/**
 * A window above the page; Esc closes it.
 *
 * @param parts is given what closes it
 */
export function dialog(title: string, parts: (close: () => void) => readonly Part[]): HTMLDialogElement {
  const heading = make('h2', { id: 'dialog-title' }, title);
  // Behind a window nothing is heard.
  const told = make('div', { class: 'told', role: 'status' });
  const shown = make('dialog', { 'aria-labelledby': 'dialog-title' });
  const close = (): void => shown.close();
  shown.append(
    make('header', {}, heading, button('✕', close, { 'aria-label': 'Close', class: 'quiet' })),
    make('div', { class: 'body' }),
    told,
  );
  fill(shown.children[1] ?? shown, {}, parts(close));
  shown.addEventListener('close', () => {
    document.querySelector('#told')?.append(...told.children);
    shown.remove();
  });
  shown.addEventListener('click', ({ target }) => {
    if (target === shown) close();
  });
  document.body.append(shown);
  shown.showModal();
  return shown;
}
