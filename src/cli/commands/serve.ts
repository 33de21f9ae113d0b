import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { createSecureContext } from 'node:tls';
import { DONE, type ExitCode } from '../exit.ts';
import { withVault, type Invocation } from '../arguments/invocation.ts';
import { parseDurationMs, parseSize, type Flags } from '../arguments/options.ts';
import { invalidInput, messageOf } from '../../errors.ts';
import type { ServeOptions } from '../../serve/server.ts';
import type { Vault } from '../../vault/vault.ts';
import type { Terminal } from '../terminal/terminal.ts';
import { jsonOf, quote } from '../terminal/text.ts';

export type ServeFlags = Flags<'listen' | 'publicUrl' | 'tlsCert' | 'tlsKey' | 'maxUpload' | 'grace'>;

/** How long a client may send or take next to nothing, in milliseconds. */
const IDLE_MS = 30_000;
/** How long a bucket that was given up is not asked, in milliseconds: the server outlives outages, unlike a command. */
const DOWN_MS = 3000;
/** Bytes of the log that wait for a reader. */
const MAX_UNREAD = 1024 * 1024;
/** What ending takes beside the grace for requests, in milliseconds. */
const CLOSING_MS = 5000;

/** `vault serve`: serves until it is told to end. Standard output has a line of JSON for each request. */
export async function serve(invocation: Invocation, flags: ServeFlags): Promise<ExitCode> {
  const { terminal, signal, clock } = invocation;
  const [host, port] = parseListen(flags.listen ?? '127.0.0.1:8750');
  const graceMs = parseDurationMs(flags.grace ?? '10s', '--grace');
  const maxUpload = parseSize(flags.maxUpload ?? '10G', '--max-upload');
  const publicUrl = flags.publicUrl === undefined ? null : parsePublicUrl(flags.publicUrl);
  const tls = await readTls(flags);
  const say = sayTo(terminal);
  const options: ServeOptions = {
    clock,
    host,
    port,
    tls,
    publicUrl,
    maxUpload,
    graceMs,
    idleMs: IDLE_MS,
    log: (entry) => say({ ...entry }),
    warn: (message, error) => {
      terminal.warn(message, { kind: 'request' });
      if (invocation.options.debug === true && error instanceof Error) terminal.trace(error.stack ?? '');
    },
  };
  const stopped = Promise.withResolvers<void>();
  signal.addEventListener('abort', () => stopped.resolve());
  const work = async (vault: Vault): Promise<ExitCode> => {
    await vault.ready();
    const { startServer } = await import('../../serve/server.ts');
    const server = await startServer(vault, options);
    invocation.interruption.patienceMs = graceMs + CLOSING_MS;
    say({ time: new Date(clock.now()).toISOString(), listening: server.url });
    terminal.note(`Serving on ${server.url}. Ctrl-C ends it.`);
    if (!signal.aborted) await stopped.promise;
    await server.stop();
    await new Promise<void>((resolve) => process.stdout.write('', () => resolve()));
    return DONE;
  };
  return withVault(invocation, work, undefined, { downMs: DOWN_MS });
}

/** Writes lines of the log, also while the server is being stopped. One that nobody reads is not kept for ever. */
function sayTo(terminal: Terminal): (entry: Readonly<Record<string, unknown>>) => void {
  const lost = (why: string): void => {
    const message = `Lines of the access log are lost: ${why}. Requests are served all the same.`;
    terminal.warn(message, { kind: 'access-log' }, 'access-log');
  };
  return (entry) => {
    if (process.stdout.writableLength >= MAX_UNREAD) return lost('nobody reads standard output');
    process.stdout.write(`${jsonOf(entry)}\n`, (error) => {
      if (error !== null && error !== undefined) lost(messageOf(error));
    });
  };
}

/** `127.0.0.1:8750`, `[::1]:8750`, `localhost:8750`; port 0 is one that is free. @throws `invalid-input` */
export function parseListen(text: string): readonly [host: string, port: number] {
  const [, bracketed, plain, digits = ''] = /^(?:\[([0-9a-f:.]+)\]|([^:[\]/]+)):(\d{1,5})$/i.exec(text) ?? [];
  const host = bracketed ?? plain ?? '';
  if (host === '' || Number(digits) > 65_535 || (bracketed !== undefined && isIP(bracketed) !== 6)) {
    throw invalidInput(
      `--listen ${quote(text)} is not an address and a port, for example 127.0.0.1:8750 or [::]:8750.`,
    );
  }
  return [host, Number(digits)];
}

function parsePublicUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  const isPlain = url !== null && url.search === '' && url.hash === '' && url.username === '';
  if (!isPlain || !/^https?:$/.test(url.protocol) || url.pathname !== '/') {
    throw invalidInput(
      `--public-url ${quote(text)} is not like https://files.example.com: a scheme, a name, perhaps a port.`,
    );
  }
  return url.origin;
}

async function readTls({ tlsCert, tlsKey }: ServeFlags): Promise<ServeOptions['tls']> {
  if (tlsCert === undefined && tlsKey === undefined) return null;
  if (tlsCert === undefined || tlsKey === undefined) {
    throw invalidInput('HTTPS needs both --tls-cert and --tls-key.');
  }
  try {
    const tls = { cert: await readFile(tlsCert), key: await readFile(tlsKey) };
    createSecureContext(tls);
    return tls;
  } catch (cause) {
    throw invalidInput(
      `The certificate of --tls-cert or the key of --tls-key cannot be used: ${messageOf(cause)}. Both are PEM files that belong together, the key without a passphrase.`,
      cause,
    );
  }
}
