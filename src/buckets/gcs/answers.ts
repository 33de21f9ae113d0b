import { VaultError } from '../../errors.ts';
import { retainedError, type ListedObject } from '../bucket.ts';
import { PROXY_CREDENTIALS } from '../connection.ts';
import { retryAfterMs } from '../date.ts';
import { brief } from '../explanation.ts';
import type { HttpAnswer } from '../http.ts';

// What the JSON API of Google Cloud Storage answers, as values and as errors. Statuses and reasons:
// https://cloud.google.com/storage/docs/json_api/v1/status-codes

/** What is being done, for messages, and the permission that it takes. */
export interface Task {
  /** In the infinitive: `read a/b in gs://bucket`. */
  readonly task: string;
  readonly permission: string;
  /** Whether somebody else's server is asked, of which Google's tools know nothing. */
  readonly isForeign: boolean;
  readonly signal?: AbortSignal | undefined;
}

export interface Content {
  /** Bytes. */
  readonly size: number;
  /** CRC-32C, big-endian, in base64: as the API writes it. */
  readonly checksum: string;
}

/** How to let the tool in, for messages. */
export const LOG_IN =
  'Log in with "gcloud auth application-default login", or let GOOGLE_APPLICATION_CREDENTIALS name a key file.';

/**
 * What a successful answer tells of. The fields that are asked for must be with it, `kind` among them: the others may all be absent, and
 * then the answer of a filter on the way, be it JSON, would tell of an empty bucket or of an object that nothing keeps.
 */
export function resourceOf(
  answer: HttpAnswer,
  kind: 'storage#bucket' | 'storage#object' | 'storage#objects',
  task: Task,
): Record<string, unknown> {
  const value = parsed(answer);
  if (!isRecord(value)) throw incomprehensible(task);
  if (value['kind'] !== kind) throw incomprehensible(task, ` (it is not marked as "kind": "${kind}")`);
  return value;
}

/** Sees to it that a download comes from the service, which has a header of its own with every object. */
export function requireObject({ headers }: HttpAnswer, task: Task): void {
  if (Object.keys(headers).some((name) => name.startsWith('x-goog-'))) return;
  throw incomprehensible(task, ' (it has no x-goog-generation)');
}

/** The content that an answer with an object's resource tells of. */
export function contentOf(answer: HttpAnswer, task: Task): Content {
  const { size, crc32c } = resourceOf(answer, 'storage#object', task);
  // 64-bit numbers are strings in this API's JSON.
  if (typeof size !== 'string' || typeof crc32c !== 'string') throw incomprehensible(task);
  return { size: Number(size), checksum: crc32c };
}

/** One page of a listing: full names, in the order of the service. */
export function pageOf(
  answer: HttpAnswer,
  task: Task,
): { readonly items: readonly ListedObject[]; readonly nextPageToken: string | null } {
  const { items = [], nextPageToken = null } = resourceOf(answer, 'storage#objects', task);
  if (!Array.isArray(items) || (nextPageToken !== null && typeof nextPageToken !== 'string')) {
    throw incomprehensible(task);
  }
  return {
    items: items.map((item: unknown) => {
      if (!isRecord(item) || typeof item['name'] !== 'string') throw incomprehensible(task);
      const size = Number(item['size']);
      if (!Number.isSafeInteger(size) || size < 0) throw incomprehensible(task);
      return { name: item['name'], size, retainedUntilMs: retainedUntilOf(item) ?? undefined };
    }),
    nextPageToken,
  };
}

/**
 * Whose absence an answer of 404 tells: the service says it in words only. A download is answered with the bare
 * words, everything else with JSON around them.
 *
 * @returns null if the words are not the service's own
 */
export function missingThing(answer: HttpAnswer): 'bucket' | 'object' | null {
  const { message } = explanationOf(answer);
  if (message.startsWith('No such object: ')) return 'object';
  if (message.startsWith('The specified bucket does not exist')) return 'bucket';
  return null;
}

/** What else an answer of 404 tells in a bucket that is there: that the object is missing, unless it is a page of somebody on the way. */
export function requireNoPage({ body }: HttpAnswer, task: Task): void {
  if (/^\s*</.test(body.toString('utf8', 0, 1_000))) throw incomprehensible(task);
}

/** Whether an answer of 412 is about the request's own precondition: an organisation's policies fail with 412 too. */
export function isConditionNotMet(answer: HttpAnswer): boolean {
  return !explanationOf(answer).reasons.includes('orgPolicyConstraintFailed');
}

/** The error that an unsuccessful answer other than 404 stands for. */
export function failureOf(answer: HttpAnswer, { task, permission, isForeign }: Task): VaultError {
  const { status } = answer;
  const { message, reasons } = explanationOf(answer);
  const error = (code: 'denied' | 'unavailable' | 'invalid-input', advice: string): VaultError =>
    new VaultError(
      code,
      `Could not ${task}: the service answered ${status}${message === '' ? '' : ` (${message})`}. ${advice}`.trim(),
      {
        retryAfterMs:
          code === 'unavailable' ? retryAfterMs(answer.headers['retry-after'], answer.headers.date) : null,
      },
    );
  const because = (...known: readonly string[]): boolean => known.some((reason) => reasons.includes(reason));

  // Rates are 429 today; some are documented as 403, whose reason a download gives in words only.
  if (
    because('rateLimitExceeded', 'userRateLimitExceeded', 'quotaExceeded') ||
    (status === 403 && /(?:rate limit|quota) exceeded/i.test(message))
  ) {
    return error('unavailable', '');
  }
  if (status === 401) return error('denied', isForeign ? 'It wants other credentials.' : LOG_IN);
  if (status === 407) return error('denied', PROXY_CREDENTIALS);
  // With another reason in some answers, and then in words.
  const [, until] = /cannot be deleted.*? until (\S+)/i.exec(message) ?? [];
  if (because('retentionPolicyNotMet', 'objectUnderActiveHold') || (status === 403 && until !== undefined)) {
    return retainedError(`Could not ${task}`, momentIn(until));
  }
  if (
    because('accountDisabled', 'UserProjectAccountProblem') ||
    (status === 403 && /billing/i.test(message))
  ) {
    return error('denied', 'Check the billing of the project that owns the bucket.');
  }
  if (status === 403) {
    if (isForeign) return error('denied', `It does not allow this account ${permission}.`);
    const lacks = `The account probably lacks ${permission} on the bucket`;
    if (!OF_OBJECT_ROLES.test(permission)) return error('denied', `${lacks}.`);
    const role = /\.(?:get|list)$/.test(permission) ? 'objectViewer' : 'objectUser';
    return error('denied', `${lacks}; the role roles/storage.${role} has it.`);
  }
  if (status === 400 && /requester pays/i.test(message)) {
    return error('denied', 'Name the project that pays: put userProject=<project> into the bucket’s URL.');
  }
  if (status === 412) return error('denied', 'Ask the administrator of the organisation.');
  if (status === 400 && /CRC32C|MD5/i.test(message)) {
    return error('unavailable', 'The bytes were changed on the way; try again.');
  }
  if (status === 408 || status === 409 || status === 429 || status >= 500) return error('unavailable', '');
  return error('invalid-input', 'Check the bucket’s URL.');
}

/** Permissions that the usual roles have. */
const OF_OBJECT_ROLES = /^storage\.objects\.(?:get|list|create|delete)$/;

/** A moment as the service writes it, in milliseconds since 1970; null if it is none. */
export function momentIn(text: unknown): number | null {
  const ms = typeof text === 'string' ? Date.parse(text) : NaN;
  return Number.isNaN(ms) ? null : ms;
}

/** Until when an object's resource says that it is kept, by its own lock or by the bucket's policy. */
export function retainedUntilOf(resource: Record<string, unknown>): number | null {
  const { retention, retentionExpirationTime } = resource;
  const moments = [isRecord(retention) ? retention['retainUntilTime'] : null, retentionExpirationTime];
  const known = moments.map(momentIn).filter((ms) => ms !== null);
  return known.length === 0 ? null : Math.max(...known);
}

/** What to say of an answer that somebody else has given, or of whatever answers like that. */
export function incomprehensible({ task }: Task, why = ''): VaultError {
  // As a network's log-in page would; so it may go away.
  return new VaultError(
    'unavailable',
    `Could not ${task}: the answer is not one of Google Cloud Storage${why}. Check the network and the endpoint.`,
  );
}

function explanationOf(answer: HttpAnswer): { message: string; reasons: readonly unknown[] } {
  const value = parsed(answer);
  const error = isRecord(value) ? value['error'] : undefined;
  if (!isRecord(error)) return { message: brief(answer.body.toString('utf8')), reasons: [] };
  const details: readonly unknown[] = Array.isArray(error['errors']) ? error['errors'] : [];
  return {
    message: brief(typeof error['message'] === 'string' ? error['message'] : ''),
    reasons: details.map((detail) => (isRecord(detail) ? detail['reason'] : undefined)),
  };
}

function parsed(answer: HttpAnswer): unknown {
  try {
    return JSON.parse(answer.body.toString('utf8'));
  } catch {
    return undefined;
  }
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
