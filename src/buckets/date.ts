/**
 * The time that a server's answer says, in milliseconds since 1970.
 *
 * @param header the `Date` header (RFC 9110), to the second
 * @returns null if there is none, or it is no time
 */
export function dateOf(header: unknown): number | null {
  const date = typeof header === 'string' ? Date.parse(header) : Number.NaN;
  return Number.isNaN(date) ? null : date;
}
