/** Tells a monitor that a verb begins and how it ends, as healthchecks.io and its like expect. */
import { invalidInput, messageOf } from '../errors.ts';
import type { Environment } from '../host.ts';
import { nonEmpty, type SharedOptions } from './arguments/options.ts';
import type { Terminal } from './terminal/terminal.ts';

/** How long a monitor may take to answer, in milliseconds. */
const PATIENCE_MS = 10_000;

/**
 * Says that a verb begins: GET `<url>/start`. The verb does not wait for the answer.
 *
 * @returns says how it ended: GET `<url>`, or `<url>/<exit code>`. A monitor that cannot be told is worth a warning and no more
 * @throws `invalid-input` for an impossible URL
 */
export function startPing(
  options: SharedOptions,
  environment: Environment,
  terminal: Terminal,
): (exit: number) => Promise<void> {
  const url = pingUrlOf(options, environment);
  if (url === null) return async () => undefined;
  const ping = async (end: string): Promise<void> => {
    const target = new URL(url);
    if (end !== '') target.pathname = `${target.pathname.replace(/\/$/, '')}/${end}`;
    try {
      const { ok, status } = await fetch(target, { signal: AbortSignal.timeout(PATIENCE_MS) });
      if (!ok) throw new Error(`it answers ${status}`);
    } catch (error) {
      const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
      // Its path is a kind of secret.
      terminal.warn(
        `${url.host} could not be told how this command went: ${messageOf(cause)}.`,
        { kind: 'ping' },
        'ping',
      );
    }
  };
  const started = ping('start');
  return async (exit) => {
    await started;
    await ping(exit === 0 ? '' : String(exit));
  };
}

/** Where the monitor is told; null where there is none. @throws `invalid-input` for an impossible URL */
export function pingUrlOf(options: SharedOptions, environment: Environment): URL | null {
  const text = nonEmpty(options.pingUrl) ?? nonEmpty(environment['VAULT_PING_URL']);
  if (text === null) return null;
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw invalidInput('--ping-url needs an http:// or https:// URL.');
  }
  // Which are not sent, and would be told of in messages.
  if (url.username !== '' || url.password !== '')
    throw invalidInput('--ping-url takes no user name or password in its URL.');
  return url;
}
