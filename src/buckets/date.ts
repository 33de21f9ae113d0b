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

/**
 * Milliseconds that an answer asks to wait for, by its `Retry-After` and `Date` headers: seconds, or a date (RFC 9110, section
 * 10.2.3), which is the server's time, as the answer's own is.
 *
 * @returns null if it asks for nothing
 */
export function retryAfterMs(retryAfter: string | undefined, date: unknown): number | null {
  if (retryAfter !== undefined && /^\d+$/.test(retryAfter)) return Number(retryAfter) * 1_000;
  const [atMs, nowMs] = [dateOf(retryAfter), dateOf(date)];
  return atMs === null || nowMs === null ? null : Math.max(0, atMs - nowMs);
}
