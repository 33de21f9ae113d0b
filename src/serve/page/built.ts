/** What the build made for browsers. */
import { readFile } from 'node:fs/promises';

/** Whether this is bundled or not. */
const FOLDER = new URL(import.meta.url.endsWith('.ts') ? '../../../dist/page/' : './page/', import.meta.url);

export function builtFile(name: string): Promise<string> {
  return readFile(new URL(name, FOLDER), 'utf8');
}
