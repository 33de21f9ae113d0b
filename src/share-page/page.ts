/** Opens a share in the browser of whoever has its link. The key is in the link's fragment, which no browser sends. */
import { Decrypter } from 'age-encryption';

/** Files that a browser without a way to write to disk as they come still saves, in bytes: they lie in its memory meanwhile. */
const MOST_IN_MEMORY = 512 * 1024 * 1024;

interface About {
  readonly name: string;
  readonly size: number;
}

/** What of the File System Access API is used, which not every browser has. */
interface SaveTarget {
  createWritable(): Promise<WritableStreamDefaultWriter<Uint8Array> & FileSystemWritableFileStream>;
}
declare global {
  interface Window {
    showSaveFilePicker?: (options: { readonly suggestedName: string }) => Promise<SaveTarget>;
  }
}

/** A failure whose words are for whoever reads the page. */
class Told extends Error {}

const ALTERED =
  'What lies there is not what was shared: it was cut short or altered. Nothing was saved. Ask for another link.';

function find<T extends HTMLElement>(id: string, kind: new () => T): T {
  const found = document.getElementById(id);
  if (found instanceof kind) return found;
  throw new Error(id);
}

const form = find('unlock', HTMLFormElement);
const password = find('password', HTMLInputElement);
const save = find('save', HTMLButtonElement);
const progress = find('progress', HTMLProgressElement);
const status = find('status', HTMLParagraphElement);
const urls = [...document.querySelectorAll<HTMLAnchorElement>('#parts a')].map(({ href }) => href);
const fragment = location.hash.slice(1);

function say(text: string, bad = false): void {
  status.textContent = text;
  status.classList.toggle('bad', bad);
}

function fail(error: unknown): void {
  say(error instanceof Told ? error.message : ALTERED, true);
}

function bytesOf(base64: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/** The key that the fragment holds, sealed under the password. */
async function unlocked(typed: string): Promise<string> {
  let sealed;
  try {
    sealed = bytesOf(fragment.replaceAll('-', '+').replaceAll('_', '/'));
  } catch {
    throw new Told('This link is not whole: copy all of it, with what is behind the #.');
  }
  const decrypter = new Decrypter();
  decrypter.addPassphrase(typed.normalize('NFC'));
  try {
    return (await decrypter.decrypt(sealed, 'text')).trim();
  } catch {
    throw new Told('This password does not open the link.');
  }
}

/** The sealed file, part after part. */
function sealedFile(signal: AbortSignal): ReadableStream<Uint8Array<ArrayBuffer>> {
  let next = 0;
  let reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>> | null = null;
  return new ReadableStream({
    async pull(controller) {
      try {
        for (;;) {
          const url = urls[next];
          if (reader === null && url === undefined) {
            controller.close();
            return;
          }
          reader ??= await open(url ?? '', signal);
          const { done, value } = await reader.read();
          if (!done) {
            controller.enqueue(value);
            return;
          }
          reader = null;
          next += 1;
        }
      } catch (error) {
        throw error instanceof Told ? error : new Told('The connection broke. Nothing was saved; try again.');
      }
    },
  });
}

async function open(
  url: string,
  signal: AbortSignal,
): Promise<ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>> {
  const answer = await fetch(url, { signal, cache: 'no-store', credentials: 'omit', redirect: 'error' });
  if (answer.ok && answer.body !== null) return answer.body.getReader();
  throw new Told(
    answer.status >= 500 || answer.status === 429
      ? 'The storage does not answer just now. Nothing was saved; try again.'
      : 'The link has expired, or has been taken back. Ask for another one.',
  );
}

/** Opens the file, and gives every run of it, verified, to a sink. */
async function decryptTo(
  decrypter: Decrypter,
  { size }: About,
  write: (bytes: Uint8Array<ArrayBuffer>) => Promise<void>,
): Promise<void> {
  const abort = new AbortController();
  try {
    let done = 0;
    const opened = (await decrypter.decrypt(sealedFile(abort.signal))).getReader();
    for (let run = await opened.read(); !run.done; run = await opened.read()) {
      await write(new Uint8Array(run.value));
      done += run.value.length;
      progress.value = size === 0 ? 1 : done / size;
    }
    if (done !== size) throw new Told(ALTERED);
  } finally {
    abort.abort();
  }
}

async function saveToDisk(decrypter: Decrypter, about: About, target: SaveTarget): Promise<void> {
  // The browser puts it in its place when it is closed, and not before.
  const file = await target.createWritable();
  try {
    await decryptTo(decrypter, about, (bytes) => file.write(bytes));
    await file.close();
  } catch (error) {
    await file.abort().catch(() => undefined);
    throw error;
  }
}

async function saveFromMemory(decrypter: Decrypter, about: About, suggestedName: string): Promise<void> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  await decryptTo(decrypter, about, (bytes) => Promise.resolve(void parts.push(bytes)));
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob(parts, { type: 'application/octet-stream' }));
  link.download = suggestedName;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

async function saveFile(decrypter: Decrypter, about: About): Promise<void> {
  const suggestedName = (about.name.split('/').pop() ?? '').replaceAll(/[\\:*?"<>|\p{Cc}]/gu, '_') || 'file';
  if (window.showSaveFilePicker === undefined) {
    if (about.size > MOST_IN_MEMORY) {
      throw new Told(
        'This browser can save at most 512 MiB of such a file. Use Chrome or Edge, or open it with age, see below.',
      );
    }
    await saveFromMemory(decrypter, about, suggestedName);
  } else {
    await saveToDisk(decrypter, about, await window.showSaveFilePicker({ suggestedName }));
  }
  say('Saved.');
}

function sizeOf(bytes: number): string {
  const unit = Math.max(0, Math.min(4, Math.floor(Math.log2(Math.max(bytes, 1)) / 10)));
  const shown = bytes / 1024 ** unit;
  return `${shown.toFixed(unit === 0 || shown >= 100 ? 0 : 1)} ${['bytes', 'KiB', 'MiB', 'GiB', 'TiB'][unit] ?? ''}`;
}

/** Shows what there is to save. @throws `Told` */
async function show(identity: string): Promise<void> {
  const decrypter = new Decrypter();
  let about: About;
  try {
    decrypter.addIdentity(identity);
    const text = await decrypter.decrypt(bytesOf(document.body.dataset['about'] ?? ''), 'text');
    about = JSON.parse(text);
  } catch {
    throw new Told(`This link is not whole: copy all of it. Or its page was altered.`);
  }
  const until = new Date(Number(document.body.dataset['expires']));
  find('name', HTMLHeadingElement).textContent = about.name;
  find('facts', HTMLParagraphElement).textContent =
    `${sizeOf(about.size)}. The link is good until ${until.toLocaleString()}.`;
  document.title = about.name;
  form.hidden = true;
  save.hidden = false;
  save.addEventListener('click', () => {
    save.disabled = true;
    progress.hidden = false;
    progress.value = 0;
    say('');
    saveFile(decrypter, about)
      .catch((error: unknown) => {
        // Who closes the picker wants nothing.
        if (!(error instanceof DOMException && error.name === 'AbortError')) fail(error);
      })
      .finally(() => {
        save.disabled = false;
        progress.hidden = true;
      });
  });
  save.focus();
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  say('Opening …');
  // Once that is drawn: what tries the password lets nothing else run.
  setTimeout(() => {
    unlocked(password.value)
      .then(show)
      .then(() => say(''))
      .catch(fail);
  }, 50);
});

if (fragment.startsWith('AGE-SECRET-KEY-1')) show(fragment).catch(fail);
else if (fragment === '') say('This link is not whole: it has nothing behind a #.', true);
else {
  form.hidden = false;
  password.focus();
}
