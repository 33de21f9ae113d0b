/** The engine's own way to buckets: to look at them, to damage them, and to take them away for a while. */
import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { namesIn, VAULT_FOLDERS } from './folder-audit.ts';
import type { ServerAnswer, ServerCommand, ServerKind, Trouble } from './servers.ts';

export interface Place {
  readonly url: string;
  /** What failed requests are like there; null for a folder. */
  readonly kind: 'folder' | ServerKind;
  /** All objects, read without the vault. */
  objects(): Promise<Map<string, Uint8Array>>;
  /** Changes an object without the vault; null removes it. */
  write(name: string, bytes: Uint8Array | null): Promise<void>;
  /** Takes the bucket away, or brings it back. Repeating it changes nothing. */
  outage(state: 'begins' | 'ends'): Promise<void>;
  /** Lets the next requests fail. */
  trouble(trouble: Trouble, times: number): Promise<void>;
  /** Lets no more requests fail, there and on the same servers. */
  calm(): Promise<void>;
  /** Forgets it, with all that is in it. */
  close(): Promise<void>;
}

const FOLDERS = ['', ...VAULT_FOLDERS];

/** A folder as a bucket. */
export async function folderPlace(path: string): Promise<Place> {
  await mkdir(path, { recursive: true });
  const away = `${path}.away`;
  return {
    url: pathToFileURL(path).href,
    kind: 'folder',
    async objects() {
      const objects = new Map<string, Uint8Array>();
      for (const folder of FOLDERS) {
        for (const name of await namesIn(join(path, folder))) {
          const bytes = await readFile(join(path, folder, name)).catch(() => null);
          if (bytes !== null) objects.set(folder === '' ? name : `${folder}/${name}`, bytes);
        }
      }
      return objects;
    },
    async write(name, bytes) {
      if (bytes === null) await rm(join(path, name), { force: true });
      else await writeFile(join(path, name), bytes).catch(() => undefined);
    },
    async outage(state) {
      const [from, to] = state === 'begins' ? [path, away] : [away, path];
      await rename(from, to).catch(() => undefined);
    },
    trouble: () => Promise.resolve(),
    calm: () => Promise.resolve(),
    // Its folder goes with that of the test.
    close: () => Promise.resolve(),
  };
}

/** More than one vault has. */
const SERVER_BUCKETS = Array.from({ length: 12 }, (_, i) => `bucket-${i}`);
const PROGRAM = fileURLToPath(new URL('servers.ts', import.meta.url));

/** Buckets on servers in a process of their own. */
export class ServerPlaces implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (answer: ServerAnswer) => void>();
  #lastId = 0;
  #used = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.on('message', (answer: ServerAnswer) => this.#waiting.get(answer.id)?.(answer));
  }

  static start(): ServerPlaces {
    return new ServerPlaces(
      fork(PROGRAM, SERVER_BUCKETS, { execArgv: [], stdio: ['ignore', 'inherit', 'inherit', 'ipc'] }),
    );
  }

  /** A bucket that has not been used yet. */
  async make(kind: ServerKind): Promise<Place> {
    const { urls } = await this.#ask({ do: 'start' });
    const bucket = SERVER_BUCKETS[this.#used % SERVER_BUCKETS.length] ?? '';
    const prefix = `vault-${this.#used}/`;
    this.#used += 1;
    const on = { kind, bucket };
    const scheme = kind === 'gcs' ? 'gs' : 's3';
    const region = kind === 'gcs' ? '' : 'region=us-east-1&';
    const objects = async (): Promise<Map<string, Uint8Array>> => {
      const answer = await this.#ask({ do: 'list', ...on });
      const ours = (answer.objects ?? []).filter(([name]) => name.startsWith(prefix));
      return new Map(
        ours.map(([name, base64]) => [name.slice(prefix.length), Buffer.from(base64, 'base64')]),
      );
    };
    const write = async (name: string, bytes: Uint8Array | null): Promise<void> => {
      const base64 = bytes === null ? null : Buffer.from(bytes).toString('base64');
      await this.#ask({ do: 'write', ...on, name, base64 });
    };
    return {
      url: `${scheme}://${bucket}/${prefix.slice(0, -1)}?${region}endpoint=${urls?.[kind] ?? ''}`,
      kind,
      objects,
      write: async (name, bytes) => write(prefix + name, bytes),
      close: async () => {
        for (const name of (await objects()).keys()) await write(prefix + name, null);
      },
      outage: async (state) => {
        await this.#ask({ do: 'outage', ...on, lasts: state === 'begins' });
      },
      trouble: async (trouble, times) => {
        await this.#ask({ do: 'trouble', ...on, trouble, times });
      },
      calm: async () => {
        await this.#ask({ do: 'calm' });
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.disconnect();
    await new Promise((resolve) => this.#child.once('exit', resolve));
  }

  async #ask(command: ServerCommand): Promise<ServerAnswer> {
    this.#lastId += 1;
    const id = this.#lastId;
    const { promise, resolve } = Promise.withResolvers<ServerAnswer>();
    this.#waiting.set(id, resolve);
    this.#child.send({ id, command });
    const answer = await promise;
    this.#waiting.delete(id);
    return answer;
  }
}
