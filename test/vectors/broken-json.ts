// What the cases of must-fail.json are made of.
import example from './format-example.json' with { type: 'json' };

export interface MustFail {
  readonly kind: Kind;
  /** What is wrong with it; unique within its kind. */
  readonly name: string;
  readonly expect: 'damaged' | 'unsupported';
  /** The object's name. A manifest that has none lies under the SHA-256 of its bytes. */
  readonly object?: string;
  /** Of a chunk: the entry of a content's table that lists it, in hex. */
  readonly entry?: string;
  /** Of a table: the content's, in bytes; a chunk size of null for one that is cut by content, and then how many chunks. */
  readonly size?: number;
  readonly chunkSize?: number | null;
  readonly chunks?: number;
  /** Of an index, beside the size of its files: what its manifest says. */
  readonly entries?: number;
  readonly contentSize?: number;
  /** The object: text as it is, other bytes in hex. */
  readonly text?: string;
  readonly bytes?: string;
}

/** What a reader is given the bytes as: in a place of the example's vault, with the example's keys. */
export type Kind =
  | 'marker'
  | 'keyring'
  /** A keyring after the rotation, with the keys of its root, and those of the root before that it gives. */
  | 'rotated keyring'
  | 'deletion'
  | 'sweep'
  | 'put marker'
  | 'manifest'
  /** With the keys after the rotation, and those of the root before. */
  | 'rotated manifest'
  | 'shard'
  /** The only shard of a chunk, of 1+0. */
  | 'chunk'
  /** The table of a content at depth 0, out of the chunks that it lay in. */
  | 'table'
  /** The index of a folder, out of the chunks that it lay in. */
  | 'index'
  /** A keyring, whose first keyslot is opened with the example's password. */
  | 'keyslot'
  /** A locked manifest, opened with the password of its lock. */
  | 'lock'
  /** The label of the first keyslot, and the URL of the bucket. */
  | 'label'
  | 'url';

export type Change = readonly [name: string, expect: MustFail['expect'], bytes: Uint8Array];

/** The objects of the example by what they are; `object` gives the first whose name starts so. */
export function object(prefix: string): { readonly name: string; readonly bytes: Buffer } {
  for (const [name, one] of Object.entries(example.objects)) {
    if (!name.startsWith(prefix)) continue;
    const given: { readonly text?: string; readonly bytes?: string } = one;
    const bytes = given.bytes === undefined ? Buffer.from(given.text ?? '') : Buffer.from(given.bytes, 'hex');
    return { name, bytes };
  }
  throw new Error(`The example has no object ${prefix}.`);
}

/** Texts that are no strict JSON of an object with this format. */
export function brokenJson(text: string): readonly (readonly [string, MustFail['expect'], Buffer])[] {
  const cases: readonly (readonly [string, MustFail['expect'], string])[] = [
    ['of nothing', 'damaged', ''],
    ['that is cut short', 'damaged', text.slice(0, -1)],
    ['with white space', 'damaged', text.replace(':', ': ')],
    ['with a line feed behind it', 'damaged', `${text}\n`],
    ['with a byte order mark', 'damaged', `\ufeff${text}`],
    ['with a repeated field', 'damaged', text.replace('{', '{"format":"vault/2",')],
    ['with an unknown field', 'damaged', text.replace(/\}$/, ',"extra":1}')],
    ['with a needless escape', 'damaged', text.replace('vault/2', String.raw`vault\/2`)],
    ['that is an array', 'damaged', `[${text}]`],
    ['without a format', 'damaged', text.replace('"format":"vault/2",', '')],
    ['of another format', 'damaged', text.replace('vault/2', 'other/2')],
    ['of a newer format', 'unsupported', text.replace('vault/2', 'vault/3')],
    ['of a newer format, with white space', 'unsupported', ` ${text.replace('vault/2', 'vault/3')}`],
    ['of an older format', 'unsupported', text.replace('vault/2', 'vault/1')],
  ];
  const notUtf8 = Buffer.concat([Buffer.from(text.slice(0, -1)), Buffer.from(',"a":"\xff"}', 'latin1')]);
  return [
    ...cases.map(([name, expect, changed]) => [name, expect, Buffer.from(changed)] as const),
    ['that is not UTF-8', 'damaged', notUtf8],
  ];
}

/** Replaces a text that is there. */
export function swap(text: string, from: string | RegExp, to: string): string {
  const changed = text.replace(from, to);
  if (changed === text) throw new Error(`There is no ${String(from)} to replace.`);
  return changed;
}
