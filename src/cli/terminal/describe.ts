/** How conditions and hashes are shown. */
import type { Style } from './terminal.ts';

/** Colours a condition of a file or a bucket by how much it asks for attention; what is none of these is an error. */
export function paintCondition(style: Style, text: string): string {
  if (text === 'whole' || text === 'active') return style('green', text);
  return style(['degraded', 'unknown', 'draining'].includes(text) ? 'yellow' : 'red', text);
}

/** How many digits of a hash are shown where space is short; `get` and the others take 8 or more. */
const SHORT_HASH_LENGTH = 12;

export function shortHash(hash: string): string {
  return hash.slice(0, SHORT_HASH_LENGTH);
}
