import { VaultError, interrupted, messageOf, systemCode, type ErrorCode } from '../../errors.ts';
import { connectionAdvice, PROXY_CREDENTIALS } from '../connection.ts';
import { credentialFault } from '../credential-fault.ts';
import { retryAfterMs } from '../date.ts';
import { retainedError } from '../bucket.ts';
import { TooLarge } from '../http/answer-reader.ts';
import { UNSENDABLE } from '../http/exchanger.ts';
import { NotS3 } from './handler.ts';
import { brief } from '../explanation.ts';

/** What was being done when a request failed; the words of the message. */
export interface S3Attempt {
  readonly action: 'store' | 'read' | 'remove' | 'list' | 'link' | 'policy' | 'look' | 'extend';
  /** The object's name, or the prefix of a listing. */
  readonly name: string;
  /** The bucket, as messages call it. */
  readonly label: string;
  /** Whether it is a service of somebody else than Amazon. */
  readonly isForeign: boolean;
  readonly signal?: AbortSignal | undefined;
}

interface Meaning {
  readonly code: ErrorCode;
  /** What the user can do; '' where the service's own words say enough. */
  readonly next: string;
}

const PERMISSIONS: Meaning = {
  code: 'denied',
  next: 'Check that these credentials may use this bucket.',
};
const CREDENTIALS: Meaning = {
  code: 'denied',
  next: 'Check the access key and its secret (AWS_ACCESS_KEY_ID, AWS_PROFILE, ~/.aws).',
};
const EXPIRED: Meaning = {
  code: 'denied',
  next: 'Renew the credentials and run the command again; it resumes.',
};
/** The same where Amazon's own tools help. */
const EXPIRED_AT_AMAZON: Meaning = { ...EXPIRED, next: `${EXPIRED.next} Perhaps with "aws sso login".` };
const FULL: Meaning = { code: 'storage-full', next: 'Free some room there or raise the quota.' };
const NO_BUCKET: Meaning = {
  code: 'bucket-missing',
  next: "Check the bucket's name, its region and endpoint.",
};
const AGAIN: Meaning = { code: 'unavailable', next: '' };

/**
 * The error codes of S3 and its look-alikes that mean more, or something else, than their HTTP status.
 * Source: the list of error codes in the Amazon S3 API reference, and MinIO's and Ceph's for a full disk.
 */
const MEANINGS: ReadonlyMap<string, Meaning> = new Map([
  ['NoSuchBucket', NO_BUCKET],
  ['NoSuchKey', { code: 'object-missing', next: '' }],
  ['AccessDenied', PERMISSIONS],
  ['AllAccessDisabled', PERMISSIONS],
  ['AccountProblem', PERMISSIONS],
  ['InvalidAccessKeyId', CREDENTIALS],
  ['SignatureDoesNotMatch', CREDENTIALS],
  ['InvalidToken', CREDENTIALS],
  ['ExpiredToken', EXPIRED],
  ['ExpiredTokenException', EXPIRED],
  ['TokenRefreshRequired', EXPIRED],
  [
    'RequestTimeTooSkewed',
    {
      code: 'denied',
      next: 'The clock of this machine is wrong: set it (for example with NTP) and run again.',
    },
  ],
  [
    'InvalidObjectState',
    { code: 'denied', next: 'The object lies in an archive class: restore it there, then run again.' },
  ],
  ['QuotaExceeded', FULL],
  ['XMinioStorageFull', FULL],
  ['XMinioAdminBucketQuotaExceeded', FULL],
  // Altered or cut short on the way there: sending it again is the cure.
  ['BadDigest', AGAIN],
  ['XAmzContentChecksumMismatch', AGAIN],
  ['XAmzContentSHA256Mismatch', AGAIN],
  ['IncompleteBody', AGAIN],
  // Not every service gives these a 5xx status.
  ['RequestTimeout', AGAIN],
  ['RequestTimeoutException', AGAIN],
  ['SlowDown', AGAIN],
  ['ServiceUnavailable', AGAIN],
  ['InternalError', AGAIN],
  ['Throttling', AGAIN],
  ['ThrottlingException', AGAIN],
  ['TooManyRequests', AGAIN],
  ['RequestLimitExceeded', AGAIN],
  ['BandwidthLimitExceeded', AGAIN],
  ['TemporaryRedirect', AGAIN],
  ['OperationAborted', AGAIN],
  // Somebody removed the object while a conditional put of the same name was under way.
  ['ConditionalRequestConflict', AGAIN],
]);

/** What is done with an object that is there. */
const OF_OBJECTS: ReadonlySet<string> = new Set(['read', 'remove', 'look', 'extend']);

const WRONG_REGION = new Set([
  'PermanentRedirect',
  'AuthorizationHeaderMalformed',
  'IllegalLocationConstraintException',
]);

/** Errors of the SDK that say that it found no credentials, or could not renew them. */
const NO_CREDENTIALS = new Set(['CredentialsProviderError', 'TokenProviderError', 'ProviderError']);

/** What an error of the SDK says about the answer that it stands for. */
interface Answer {
  /** The `Code` of the error body; the SDK's own word if there was none. */
  readonly code: string;
  readonly status: number | null;
  readonly headers: ReadonlyMap<string, string>;
  /** Where the bucket really is, if the service said so. */
  readonly region: string | null;
  /** The header that the service will not have, if it said so. */
  readonly header: string;
  readonly message: string;
}

function field(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined;
}

function text(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}

function readAnswer(error: unknown): Answer {
  const status = field(field(error, '$metadata'), 'httpStatusCode');
  const raw = field(field(error, '$response'), 'headers');
  const headers = new Map<string, string>();
  for (const [key, value] of Object.entries(typeof raw === 'object' && raw !== null ? raw : {})) {
    if (typeof value === 'string') headers.set(key.toLowerCase(), value);
  }
  return {
    code: text(field(error, 'Code')) ?? text(field(error, 'name')) ?? '',
    status: typeof status === 'number' ? status : null,
    headers,
    region: headers.get('x-amz-bucket-region') ?? text(field(error, 'Region')),
    header: text(field(error, 'Header')) ?? '',
    // The SDK appends hints for developers, on lines of their own.
    message: messageOf(error).split('\n', 1)[0] ?? '',
  };
}

/** The code that a request was answered with. */
export function answerCodeOf(error: unknown): string {
  return readAnswer(error).code;
}

/** Whether the service or the bucket has no such thing as what it was asked for. */
export function isUnknownThere(error: unknown): boolean {
  const { code, status } = readAnswer(error);
  if (code === 'ObjectLockConfigurationNotFoundError') return true;
  if (code === 'NoSuchBucket') return false;
  return (
    status !== null && [400, 404, 405, 501].includes(status) && !MEANINGS.has(code) && !WRONG_REGION.has(code)
  );
}

/** A part of a request that not every service takes. */
export type OptionalPart = 'condition' | 'checksum';

/**
 * Which optional part of a request the service would not take: some answer 400 or 501 to headers that they do
 * not know. Null if the error is about something else.
 *
 * @param error what the request was answered with
 * @param sent the optional parts that it had, the likelier culprit first, for a service that does not name it
 */
export function refusedPart(error: unknown, sent: readonly OptionalPart[]): OptionalPart | null {
  const answer = readAnswer(error);
  if (answer.status !== 400 && answer.status !== 501) return null;
  if (MEANINGS.has(answer.code) || WRONG_REGION.has(answer.code)) return null;
  const said = `${answer.header} ${answer.message}`;
  const named = /if-none-match/i.test(said) ? 'condition' : /checksum/i.test(said) ? 'checksum' : null;
  if (named !== null) return sent.includes(named) ? named : null;
  return sent[0] ?? null;
}

/** Whether the service refused a conditional request because its condition does not hold. */
export function isConditionFailed(error: unknown): boolean {
  return readAnswer(error).status === 412;
}

/**
 * The VaultError for anything that a request of the S3 SDK rejected with; a VaultError is passed through.
 *
 * @param error what was caught
 * @param attempt what was being done
 */
export function translateS3Error(error: unknown, attempt: S3Attempt): VaultError {
  if (error instanceof VaultError) return error;
  if (attempt.signal?.aborted === true) return interrupted(attempt.signal);
  if (error instanceof TooLarge)
    return new VaultError('damaged', `${attempt.name} in ${attempt.label} has ${error.message}.`);
  const answer = readAnswer(error);
  const meaning =
    answer.status === null ? meaningWithoutAnswer(error, answer, attempt) : meaningOf(answer, attempt);
  const object = attempt.name === '' ? '' : `${attempt.name} `;
  const tried = {
    store: `Could not store ${object}in ${attempt.label}`,
    read: `Could not read ${object}from ${attempt.label}`,
    remove: `Could not remove ${object}from ${attempt.label}`,
    list: `Could not list the objects ${object}in ${attempt.label}`,
    link: `Could not make a link to ${object}in ${attempt.label}`,
    policy: `Could not ask ${attempt.label} whether it locks objects`,
    look: `Could not ask how long ${object}is locked in ${attempt.label}`,
    extend: `Could not lock ${object}in ${attempt.label}`,
  }[attempt.action];
  if (error instanceof NotS3) {
    return new VaultError('unavailable', `${tried}: ${error.message}. Check the network and the endpoint.`, {
      cause: error,
    });
  }
  if (isLocked(answer, attempt)) return retainedError(tried, null, error);
  return new VaultError(meaning.code, `${tried}: ${reasonOf(error, answer)}. ${meaning.next}`.trimEnd(), {
    cause: error,
    retryAfterMs: retryAfterMs(answer.headers.get('retry-after'), answer.headers.get('date')),
    unreachable: answer.status === null && meaning.code === 'unavailable',
  });
}

/** Some services refuse what Amazon would hide behind a delete marker. */
function isLocked({ status, message }: Answer, { action }: S3Attempt): boolean {
  return status === 403 && (action === 'remove' || action === 'store') && /object.?lock|WORM/i.test(message);
}

/** Words of the SDK's own for an answer that has none, or none that it understands. */
const NO_WORDS = /^(?:|UnknownError|Unknown|Error|@aws-sdk XML parse error.*)$/;

/** What the service said, with its code and status; what it says twice only once. */
function reasonOf(error: unknown, answer: Answer): string {
  if (answer.status === null) return credentialFault(error).replace(/[.\s]+$/, '');
  const status = `HTTP ${answer.status}`;
  const code = NO_WORDS.test(answer.code) ? '' : brief(answer.code);
  const message = NO_WORDS.test(answer.message) ? '' : brief(answer.message).replace(/[.\s]+$/, '');
  const named = code === '' ? status : `${code}, ${status}`;
  return message === '' || bare(message) === bare(code) ? named : `${message} (${named})`;
}

function bare(words: string): string {
  return words.replaceAll(/[^\p{L}\p{N}]/gu, '').toLowerCase();
}

function meaningWithoutAnswer(error: unknown, answer: Answer, { isForeign }: S3Attempt): Meaning {
  if (NO_CREDENTIALS.has(answer.code)) {
    const places = 'AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, ?profile= in the URL';
    return {
      code: 'denied',
      next: isForeign
        ? `Give the keys of this service: ${places}, or credentials=send there if it may have the role of this machine.`
        : `Give credentials as for the AWS command line: ${places}, "aws sso login", or the role of this machine.`,
    };
  }
  // Of what is sent, only they are the user's own words.
  if (systemCode(error) === UNSENDABLE) {
    return {
      ...CREDENTIALS,
      next: `${CREDENTIALS.next} There, or in the region, is a character that cannot be sent, perhaps a line break.`,
    };
  }
  const isConnection = systemCode(error) !== null || systemCode(field(error, 'cause')) !== null;
  if (isConnection || answer.code === 'TimeoutError') {
    return {
      code: 'unavailable',
      next: connectionAdvice(systemCode(error) === null ? field(error, 'cause') : error),
    };
  }
  // Neither an answer nor a fault of the connection: the SDK would not even send it.
  return { code: 'invalid-input', next: 'Check the URL of the bucket and the AWS configuration.' };
}

function meaningOf(answer: Answer, attempt: S3Attempt): Meaning {
  const { code, status } = answer;
  const isRefusal = status === 401 || status === 403 || status === 407;
  const known = MEANINGS.get(code);
  if (known !== undefined && known !== PERMISSIONS && !(isRefusal && isMissing(known))) {
    if (known === EXPIRED && !attempt.isForeign) return EXPIRED_AT_AMAZON;
    // Only what is asked for by name can be missing by itself.
    return known.code === 'object-missing' && !OF_OBJECTS.has(attempt.action) ? NO_BUCKET : known;
  }
  if (WRONG_REGION.has(code) || (status === 301 && answer.region !== null)) {
    return {
      code: 'invalid-input',
      next:
        answer.region === null
          ? 'The bucket is in another region, or behind another endpoint: correct ?region= or ?endpoint= in its URL.'
          : `The bucket is in the region ${answer.region}: put ?region=${answer.region} into its URL.`,
    };
  }
  if (status === null) return AGAIN;
  if (status === 407) return { code: 'denied', next: PROXY_CREDENTIALS };
  if (known === PERMISSIONS || isRefusal) return permissionsFor(attempt);
  // Only an answer that names the object proves that the object is missing; any other 404 may come from
  // something that is no S3 service at all.
  if (status === 404) return NO_BUCKET;
  if (status === 507) return FULL;
  if (status === 501)
    return { code: 'invalid-input', next: 'The service does not offer what is needed here.' };
  if (status >= 500 || status === 408 || status === 425 || status === 429) return AGAIN;
  // A success that cannot be parsed: a proxy or a login page in between.
  if (status < 300)
    return { code: 'unavailable', next: 'Whatever answered there is not S3, or cut it short.' };
  return { code: 'invalid-input', next: 'Check the URL of the bucket.' };
}

function isMissing({ code }: Meaning): boolean {
  return code === 'object-missing' || code === 'bucket-missing';
}

function permissionsFor({ action, isForeign }: S3Attempt): Meaning {
  const permission = {
    store: 's3:PutObject',
    read: 's3:GetObject',
    remove: 's3:DeleteObject',
    list: 's3:ListBucket',
    link: 's3:GetObject',
    policy: 's3:GetBucketObjectLockConfiguration',
    look: 's3:GetObjectRetention',
    extend: 's3:PutObjectRetention',
  }[action];
  const ambiguity =
    action === 'read' ? ' Without s3:ListBucket, S3 answers the same for an object that does not exist.' : '';
  return {
    code: 'denied',
    next: `The credentials need ${permission}${isForeign ? ', or what this service calls it,' : ''} on this bucket.${ambiguity}`,
  };
}
