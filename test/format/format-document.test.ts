// FORMAT.md says what the code does: its limits, its example, and the headings that the code refers to.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { MAX_BUCKET_URL_SIZE, MAX_LABEL_SIZE } from '../../src/crypto/texts.ts';
import { payloadSize } from '../../src/format/chunk.ts';
import { MAX_BUCKETS, MAX_FORMER_WRITERS } from '../../src/format/keyring.ts';
import * as limits from '../../src/format/limits.ts';
import { MANIFEST_HEADER_SIZE } from '../../src/format/manifest-object.ts';
import { INLINE_SIZE, MAX_INLINE_SIZE, TOP_ENTRIES } from '../../src/format/manifest.ts';
import {
  MAX_DELETION_SIZE,
  MAX_GRACE_MS,
  MAX_PUT_MARKER_SIZE,
  MAX_SWEEP_SIZE,
  PUT_HEADER_SIZE,
} from '../../src/format/removal.ts';
import { MAX_TABLE_ENTRIES, MIN_TABLE_ENTRIES, REF_SIZE } from '../../src/format/tables.ts';
import { withExample } from '../vectors/format-document.ts';

const ROOT = join(import.meta.dirname, '../..');
const text = readFileSync(join(ROOT, 'FORMAT.md'), 'utf8');
const sources = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.ts'))
  .map((path) => ({ path, source: readFileSync(join(ROOT, 'src', path), 'utf8') }));

/** A number that a module of the format keeps to itself: what stands behind its name. */
function constant(module: string, name: string): number {
  const source = sources.find(({ path }) => path === join('format', module))?.source ?? '';
  const value = new RegExp(`^(?:export )?const ${name} = ([0-9_ *+]+);$`, 'm').exec(source)?.[1];
  if (value === undefined) throw new Error(`src/format/${module} has no number ${name}.`);
  return value
    .replaceAll('_', '')
    .split('+')
    .reduce((sum, product) => sum + product.split('*').reduce((all, factor) => all * Number(factor), 1), 0);
}

const { KDF_LIMITS, MIN_PADDED_SIZE, SEAL_OVERHEAD } = limits;
const PART_FRAME = 4 + 32 + SEAL_OVERHEAD;

/** Row of the table: least and most. */
const LIMITS: readonly (readonly [what: string, least: number | null, most: number | null])[] = [
  ['data shards k', 1, limits.MAX_SHARDS],
  ['k + m', 1, limits.MAX_SHARDS],
  ['chunk size (body of a full chunk)', limits.MIN_CHUNK_SIZE, limits.MAX_CHUNK_SIZE],
  ["length of a listed chunk's body", 1, limits.MAX_CHUNK_SIZE],
  ['the same, where chunks are cut by content', 1, limits.MAX_CUT_SIZE],
  ['payload of a chunk', limits.PAYLOAD_TRAILER_SIZE, limits.MAX_PAYLOAD_SIZE],
  ['padded length in a table of ids', MIN_PADDED_SIZE, limits.MAX_PAYLOAD_SIZE],
  ['sealed chunk', limits.PAYLOAD_TRAILER_SIZE + SEAL_OVERHEAD, limits.MAX_SEALED_SIZE],
  ['padded payload of a small thing', MIN_PADDED_SIZE, null],
  ['window of a zstd frame, unless the body is larger', null, limits.MAX_ZSTD_WINDOW],
  ['keyring object', null, limits.MAX_KEYRING_SIZE],
  ['keyslots of a keyring', 1, limits.MAX_KEYSLOTS],
  ['former writers of a keyring', 0, MAX_FORMER_WRITERS],
  ['buckets of a keyring', 1, MAX_BUCKETS],
  ['entries of `requires`', null, constant('keyring.ts', 'MAX_REQUIREMENTS')],
  ['epoch', 1, limits.MAX_EPOCH],
  ['root number', 1, limits.MAX_ROOT_NUMBER],
  ['Argon2id memory, KiB', KDF_LIMITS.memoryKib.least, KDF_LIMITS.memoryKib.most],
  ['Argon2id passes', KDF_LIMITS.passes.least, KDF_LIMITS.passes.most],
  ['Argon2id lanes', KDF_LIMITS.lanes.least, KDF_LIMITS.lanes.most],
  ['memory × passes of one keyslot or lock, KiB', null, limits.MAX_KDF_WORK],
  ['memory × passes of one attempt to unlock, KiB', null, limits.MAX_UNLOCK_WORK],
  ['wrapped secrets', constant('keyring.ts', 'MIN_WRAPPED_SIZE'), constant('keyring.ts', 'MAX_WRAPPED_SIZE')],
  [
    'sealed label',
    constant('keyring.ts', 'MIN_SEALED_LABEL_SIZE'),
    constant('keyring.ts', 'MAX_SEALED_LABEL_SIZE'),
  ],
  [
    'sealed URL of a bucket',
    constant('keyring.ts', 'MIN_SEALED_LABEL_SIZE'),
    constant('keyring.ts', 'MAX_SEALED_URL_SIZE'),
  ],
  ['manifest object', MANIFEST_HEADER_SIZE + 2 * (PART_FRAME + MIN_PADDED_SIZE), limits.MAX_MANIFEST_SIZE],
  ["head of a manifest's part", null, constant('manifest-part.ts', 'MAX_HEAD_SIZE')],
  ['name of a file or folder, UTF-8', 1, limits.MAX_NAME_SIZE],
  ['size of a file or folder', 0, limits.MAX_FILE_SIZE],
  ['inline body', 0, MAX_INLINE_SIZE],
  ['version of a name', 1, limits.MAX_VERSION],
  ['depth of tables', 0, limits.MAX_TABLE_DEPTH],
  ['entries of a table in a manifest', null, TOP_ENTRIES],
  ['entries of a table in a chunk', 1, MAX_TABLE_ENTRIES],
  ['entries of a folder', 1, limits.MAX_FILE_SIZE],
  ['entry of an index', limits.MIN_ENTRY_SIZE, limits.MAX_ENTRY_SIZE],
  ['value of an attribute', 0, limits.MAX_ATTRIBUTE_SIZE],
  ['times, milliseconds either side of 1970', null, limits.MAX_TIME_MS],
  ['times, seconds either side of 1970', null, limits.MAX_TIME_SECONDS],
  ['deletion record object', null, MAX_DELETION_SIZE],
  ['grace of a deletion, milliseconds', 0, MAX_GRACE_MS],
  ['sweep list object', null, MAX_SWEEP_SIZE],
  ['names in a sweep list', 0, limits.MAX_SWEEP_OBJECTS],
  ['put markers that a sweep list waits for', 0, constant('removal.ts', 'MAX_WAITS')],
  ['put marker object', PUT_HEADER_SIZE + MIN_PADDED_SIZE + SEAL_OVERHEAD, MAX_PUT_MARKER_SIZE],
  ['ids in a put marker', 0, limits.MAX_MARKER_IDS],
  ['JSON, or a text in it, without a bound of its own', null, limits.MAX_JSON_SIZE],
];

function section(heading: string): string {
  const [, body] = text.split(`\n## ${heading}\n`);
  return body?.split('\n## ')[0] ?? '';
}

function numberIn(cell: string): number | null {
  return cell === '' ? null : Number(cell.replaceAll(',', ''));
}

test('the limits are those of the code, all of them', () => {
  const rows = section('1. Limits')
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .slice(2)
    .map((line) => {
      const [what = '', least = '', most = ''] = line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim());
      return [what, numberIn(least), numberIn(most)];
    });
  expect(rows).toEqual(LIMITS);
});

const shown = (count: number): string => count.toLocaleString('en-US');
const largestBody = 4 + constant('manifest-part.ts', 'MAX_HEAD_SIZE') + TOP_ENTRIES * REF_SIZE;
const largestPart = payloadSize(largestBody, false);
const largestFolderBody = largestBody + TOP_ENTRIES * REF_SIZE;
const largestFolderPart = payloadSize(largestFolderBody, false);

test.each([
  ['what goes inline', `contents of at most ${shown(INLINE_SIZE)} bytes inline`],
  ['the size of a label', `a label of at most ${shown(MAX_LABEL_SIZE)} bytes`],
  ['the size of a URL', `a bucket's URL of at most\n${shown(MAX_BUCKET_URL_SIZE)}`],
  ['where tables are cut', `at most ${shown(TOP_ENTRIES)} entries in the manifest`],
  ['the least of a table chunk', `at least its\n${MIN_TABLE_ENTRIES}th and`],
  ['the most of a table chunk', `after its ${shown(MAX_TABLE_ENTRIES)}th entry`],
  ['the largest part of a manifest', `= ${shown(largestBody)} bytes, padded to ${shown(largestPart)}`],
  [
    'the largest part of a folder',
    `folder, ${shown(largestFolderBody)}, padded to ${shown(largestFolderPart)}`,
  ],
  [
    'the largest manifest',
    `${shown(MANIFEST_HEADER_SIZE + 2 * PART_FRAME + largestPart + largestFolderPart)} in all`,
  ],
  [
    'the least of a chunk of the index',
    `at least\n${shown(constant('folder-index.ts', 'MIN_INDEX_BODY'))} bytes, and`,
  ],
  [
    'the most of a chunk of the index',
    `at least ${shown(constant('folder-index.ts', 'MAX_INDEX_BODY'))} bytes;`,
  ],
  ['an example of padding', `n = 305: E = 8, S = 4, step = 16, so ${payloadSize(300, false)}`],
])('the text has %s', (_, sentence) => {
  expect(text).toContain(sentence);
});

test('the example is that of the vectors', async () => {
  expect(await withExample(text)).toBe(text);
});

test('every heading that the code refers to is there', () => {
  const headings = [...text.matchAll(/^##+ (?:[0-9]+\. )?(.+)$/gm)].map(([, heading]) => heading);
  const references = [
    ...sources
      .map(({ source }) => source)
      .join('\n')
      .matchAll(/FORMAT\.md,\s(?: ?\* )?"([^"]+)"/g),
  ];
  expect(references.length).toBeGreaterThan(10);
  for (const [, heading] of references) expect(headings).toContain(heading);
});

test('every link within it leads somewhere', () => {
  const anchors = [...text.matchAll(/^##+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^a-z0-9 -]/g, '')
      .replaceAll(' ', '-'),
  );
  for (const [, anchor] of text.matchAll(/\]\(#([^)]+)\)/g)) expect(anchors).toContain(anchor);
});
