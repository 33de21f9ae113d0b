import { Readable } from 'node:stream';
import type { S3Client } from '@aws-sdk/client-s3';
import { VaultError } from '../../errors.ts';
import { MAX_EXPLANATION_SIZE, MAX_PAGE_SIZE } from '../bounds.ts';
import { DEFAULT_MAX_OBJECT_SIZE } from '../bucket.ts';
import type { GetCall } from '../bucket.ts';
import type { S3Attempt } from './errors.ts';

/**
 * The whole body of a download.
 *
 * @param call of `get`
 * @throws `damaged` if it is larger, `unavailable` if it is cut short; errors of the connection as they are
 */
export async function readBody(
  output: { readonly Body?: unknown; readonly ContentLength?: number | undefined },
  { maxSize = DEFAULT_MAX_OBJECT_SIZE, onBytes }: Pick<GetCall, 'maxSize' | 'onBytes'>,
  attempt: S3Attempt,
): Promise<Uint8Array> {
  const body = output.Body;
  if (!(body instanceof Readable)) return new Uint8Array();
  const length = output.ContentLength ?? null;
  const tooLarge = (): VaultError =>
    new VaultError(
      'damaged',
      `${attempt.name} in ${attempt.label} has more bytes than the ${maxSize} it can have.`,
    );
  try {
    if (length !== null && length > maxSize) throw tooLarge();
    // Memory that is not used yet costs nothing, so that the promised length may be believed up to here.
    let bytes = Buffer.allocUnsafeSlow(length ?? Math.min(maxSize, 65_536));
    let filled = 0;
    for await (const part of body) {
      const chunk: Buffer = part;
      if (filled + chunk.length > maxSize) throw tooLarge();
      if (filled + chunk.length > bytes.length) {
        const larger = Buffer.allocUnsafeSlow(Math.min(maxSize, 2 * (filled + chunk.length)));
        bytes.copy(larger, 0, 0, filled);
        bytes = larger;
      }
      chunk.copy(bytes, filled);
      filled += chunk.length;
      onBytes?.(chunk.length);
    }
    if (length !== null && filled !== length) {
      throw new VaultError(
        'unavailable',
        `Could not read ${attempt.name} from ${attempt.label}: ${filled} of ${length} bytes arrived.`,
      );
    }
    return filled === bytes.length ? bytes : bytes.subarray(0, filled);
  } finally {
    body.destroy();
  }
}

/**
 * A key of a listing as `encoding-type=url` writes it: percent-encoded UTF-8, a space as a plus sign.
 *
 * @returns null if it is not written that way
 */
export function decodeKey(encoded: string): string | null {
  try {
    return decodeURIComponent(encoded.replaceAll('+', ' '));
  } catch {
    return null;
  }
}

/**
 * Has a client read every answer within a limit, except for objects, which `readBody` reads: the SDK would take into memory
 * whatever it is sent.
 */
export function boundAnswers(client: S3Client): void {
  client.middlewareStack.add(
    (next, { commandName }) =>
      async (args) => {
        const result = await next(args);
        const { response } = result;
        if (!isAnswer(response) || !(response.body instanceof Readable)) return result;
        const isSuccess = response.statusCode >= 200 && response.statusCode < 300;
        if (isSuccess && commandName === 'GetObjectCommand') return result;
        response.body = await readPage(response.body, isSuccess);
        return result;
      },
    // Innermost: what the SDK's own steps see is read already.
    { step: 'deserialize', priority: 'low', name: 'boundAnswers' },
  );
}

function isAnswer(response: unknown): response is { readonly statusCode: number; body: unknown } {
  return (
    typeof response === 'object' &&
    response !== null &&
    'body' in response &&
    'statusCode' in response &&
    typeof response.statusCode === 'number'
  );
}

/** An answer that is no object; of an explanation that is too long, nothing is left. */
async function readPage(body: Readable, isSuccess: boolean): Promise<Uint8Array> {
  const limit = isSuccess ? MAX_PAGE_SIZE : MAX_EXPLANATION_SIZE;
  const parts: Buffer[] = [];
  let size = 0;
  // Leaving the loop destroys the stream and its connection.
  for await (const part of body) {
    const chunk: Buffer = part;
    size += chunk.length;
    if (size > limit) {
      if (!isSuccess) return new Uint8Array();
      throw new VaultError(
        'damaged',
        `The service sent an answer of more than ${MAX_PAGE_SIZE} bytes. Whatever answers there does not work.`,
      );
    }
    parts.push(chunk);
  }
  return Buffer.concat(parts, size);
}
