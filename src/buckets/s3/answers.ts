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
