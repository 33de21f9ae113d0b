import { Readable } from 'node:stream';
import { VaultError } from '../../errors.ts';
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

/** A key of a listing as `encoding-type=url` writes it: percent-encoded UTF-8, a space as a plus sign. */
export function decodeKey(encoded: string): string {
  return decodeURIComponent(encoded.replaceAll('+', ' '));
}
