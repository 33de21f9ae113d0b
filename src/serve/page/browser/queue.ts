/** Uploads under way and waiting: a few at a time, each with its progress. */
import { countText, nameText, sizeText } from '../words.ts';
import { send } from './api.ts';
import type { Dropped } from './dropped.ts';
import { button, make, messageOf, tell } from './elements.ts';

const AT_ONCE = 3;
/** Failures that are shown one by one. */
const MOST_SHOWN = 50;

export interface How {
  readonly password: string;
  /** Stands before every name. */
  readonly prefix: string;
}

export class Queue {
  readonly #list: HTMLElement;
  readonly #onStored: () => void;
  readonly #waiting: { readonly dropped: Dropped; readonly how: How }[] = [];
  readonly #total = make('li', { class: 'total' });
  #all = new AbortController();
  #running = 0;
  #counts = { files: 0, stored: 0, failed: 0, bytes: 0 };

  constructor(list: HTMLElement, onStored: () => void) {
    this.#list = list;
    this.#onStored = onStored;
  }

  get isRunning(): boolean {
    return this.#running > 0;
  }

  async add(some: AsyncIterable<Dropped> | Iterable<Dropped>, how: How): Promise<void> {
    if (!this.isRunning) this.#begin();
    const all = this.#all;
    try {
      for await (const dropped of some) {
        if (all.signal.aborted) return;
        this.#counts.files += 1;
        this.#waiting.push({ dropped, how });
        if (this.#running < AT_ONCE) void this.#work(all.signal);
      }
    } catch (error) {
      tell(`Not everything could be read: ${messageOf(error)}`, { isBad: true });
    }
    this.#show();
  }

  #begin(): void {
    this.#all = new AbortController();
    this.#counts = { files: 0, stored: 0, failed: 0, bytes: 0 };
    this.#list.replaceChildren(this.#total);
  }

  async #work(signal: AbortSignal): Promise<void> {
    this.#running += 1;
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      await this.#store(next.dropped, next.how, signal);
      this.#show();
    }
    this.#running -= 1;
    if (this.isRunning || this.#counts.files === 0) return;
    this.#end();
  }

  #end(): void {
    this.#show();
    const { stored, failed } = this.#counts;
    const bad = failed > 0 ? `, ${failed.toLocaleString('en-US')} not` : '';
    tell(`${countText(stored, 'file')} stored${bad}.`, { isBad: failed > 0 });
    if (stored > 0) this.#onStored();
  }

  async #store({ name, file }: Dropped, { password, prefix }: How, all: AbortSignal): Promise<void> {
    const stop = new AbortController();
    const bar = make('progress', { max: 1, value: 0, 'aria-label': `Progress of ${nameText(name)}` });
    const text = make('span', { class: 'dim' }, 'waiting');
    const cancel = button('Cancel', () => stop.abort(), { 'aria-label': `Cancel ${nameText(name)}` });
    const row = make('li', {}, make('bdi', {}, nameText(prefix + name)), bar, text, cancel);
    this.#list.append(row);
    let before = 0;
    try {
      const body = await file();
      await send(prefix + name, body, {
        password,
        signal: AbortSignal.any([stop.signal, all]),
        onProgress: (bytes) => {
          this.#counts.bytes += bytes - before;
          before = bytes;
          bar.value = body.size === 0 ? 1 : bytes / body.size;
          text.textContent = `${sizeText(bytes)} of ${sizeText(body.size)}`;
          this.#show();
        },
      });
      this.#counts.stored += 1;
      row.remove();
    } catch (error) {
      this.#counts.failed += 1;
      row.classList.add('bad');
      text.textContent = messageOf(error);
      bar.remove();
      cancel.remove();
      if (this.#counts.failed > MOST_SHOWN) row.remove();
    }
  }

  #show(): void {
    const { files, stored, failed, bytes } = this.#counts;
    const said = `${(stored + failed).toLocaleString('en-US')} of ${countText(files, 'file')}, ${sizeText(bytes)}`;
    const isDone = stored + failed === files;
    const bar = make('progress', {
      max: Math.max(1, files),
      value: stored + failed,
      'aria-label': 'Progress of all',
    });
    const before = this.#total.querySelector('span');
    if (before !== null && isDone === this.#total.classList.contains('done')) {
      before.textContent = said;
      this.#total.querySelector('progress')?.setAttribute('value', String(stored + failed));
      this.#total.querySelector('progress')?.setAttribute('max', String(Math.max(1, files)));
      return;
    }
    this.#total.classList.toggle('done', isDone);
    const cancel = button('Cancel all', () => {
      this.#waiting.length = 0;
      this.#counts.files = this.#counts.stored + this.#counts.failed + this.#running;
      this.#all.abort();
    });
    this.#total.replaceChildren(
      make('b', {}, isDone ? 'Done' : 'Uploading'),
      bar,
      make('span', { class: 'dim' }, said),
      ...(isDone ? [] : [cancel]),
    );
  }
}
