import { MAX_EXPLANATION_LENGTH } from './bounds.ts';

/**
 * What a server says of a failure, fit for a message: one short line without markup or control characters.
 *
 * @param text whatever came
 * @returns '' if it says nothing
 */
export function brief(text: string): string {
  const words = text
    .replaceAll(/<(style|script)\b.*?<\/\1>|<[^>]*>/gs, ' ')
    .replaceAll(/[\s\p{Cc}\p{Cf}]+/gu, ' ')
    .trim();
  return words.length > MAX_EXPLANATION_LENGTH ? `${words.slice(0, MAX_EXPLANATION_LENGTH)}…` : words;
}
