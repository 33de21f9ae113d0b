import type { BucketInfo } from '../../vault/manage/buckets.ts';
import type { ChunkPlacement, FileDetails } from '../../vault/read/inspect.ts';
import type { Vault } from '../../vault/vault.ts';
import { formatRedundancy } from '../../format/shard.ts';
import { fileAsJson, modifiedMs } from '../../vault/files/as-json.ts';
import { ATTENTION, DONE, worst, type ExitCode } from '../exit.ts';
import { warnTo, withVault, type Invocation } from '../arguments/invocation.ts';
import { catalogLocation } from '../arguments/options.ts';
import { withoutSecret } from '../../catalog/location.ts';
import { withFilesMeant } from '../arguments/references.ts';
import { tableFor } from '../terminal/table.ts';
import { count, grouped, showName, showSize, showTime } from '../terminal/text.ts';

/** Columns of the picture where the output has no width of its own. */
const USUAL_WIDTH = 80;
/** From no chunk of a cell to all of them. */
const SHADES = ['·', '░', '▒', '▓', '█'] as const;

/** `vault info`: files' details and where their shards are; without a file, the vault's own. */
export async function info(invocation: Invocation, references: readonly string[]): Promise<ExitCode> {
  const { output, options, signal, terminal } = invocation;
  return withVault(invocation, async (vault) => {
    if (references.length === 0) return vaultInfo(invocation, vault);
    return withFilesMeant(vault, { verb: 'info', references }, async (meant) => {
      const codes: ExitCode[] = [];
      for (const reference of meant) {
        const file = await vault.inspect(reference, { signal, onWarning: warnTo(terminal) });
        if (codes.length > 0 && options.json !== true) await output.write('\n');
        codes.push(await fileInfo(invocation, file, summarize(file, vault.buckets)));
      }
      const lacking = codes.filter((code) => code !== DONE).length;
      terminal.summary(
        lacking === 0
          ? `${count(meant.length, 'file')}: every shard has its place.`
          : `${count(meant.length, 'file')}, of which ${grouped(lacking)} lack shards.`,
        { files: meant.length, lacking },
      );
      return worst(codes);
    });
  });
}

async function vaultInfo(
  { output, options, environment, terminal }: Invocation,
  { id, redundancy: coded, buckets }: Vault,
): Promise<ExitCode> {
  const redundancy = formatRedundancy(coded);
  await (options.json === true
    ? output.json({ vaultId: id, redundancy, buckets })
    : output.write(
        facts([
          ['vault', id],
          ['catalog', withoutSecret(catalogLocation(options, environment))],
          ['redundancy', redundancy],
          ...buckets.map(({ url, state }): [string, string] => [
            'bucket',
            state === 'active' ? url : `${url} (${state})`,
          ]),
        ]),
      ));
  terminal.summary(`${count(buckets.length, 'bucket')}, ${redundancy}.`, { buckets: buckets.length });
  return DONE;
}

async function fileInfo(invocation: Invocation, file: FileDetails, summary: Summary): Promise<ExitCode> {
  const { output, options, terminal } = invocation;
  if (options.json === true) {
    await output.json({
      ...fileAsJson(file),
      redundancy: formatRedundancy(file.placed ?? file.redundancy),
      survives: file.survives,
      storedBytes: file.storedBytes,
      chunksDegraded: summary.degraded,
      chunksLost: summary.lost,
      buckets: summary.rows.map(({ url, shards }) => ({ url, shards })),
      placement: file.placement.map(({ redundancy, ...chunk }) => ({
        ...chunk,
        redundancy: formatRedundancy(redundancy),
      })),
    });
  } else {
    await output.write(fileFacts(file, summary) + picture(invocation, file, summary));
  }
  if (summary.degraded === 0 && summary.lost === 0) return DONE;
  const lost =
    summary.lost === 0 ? '' : ` ${count(summary.lost, 'chunk has', 'chunks have')} too few to be read.`;
  terminal.warn(
    `${count(summary.degraded + summary.lost, 'chunk lacks', 'chunks lack')} shards.${lost} "vault repair" replaces what is missing or damaged.`,
    { kind: 'degraded' },
    `degraded ${file.hash}`,
  );
  return ATTENTION;
}

interface BucketShare {
  readonly url: string;
  readonly shards: number;
  /** Of the objects that its shards are. */
  readonly bytes: number;
  /** Whether the chunk that comes at this place first in the file has a shard here. */
  readonly has: readonly boolean[];
}

interface Summary {
  readonly rows: readonly BucketShare[];
  /** Chunks that lack shards and can be read, and those that cannot. */
  readonly degraded: number;
  readonly lost: number;
}

function summarize(file: FileDetails, buckets: readonly BucketInfo[]): Summary {
  const labels = new Set(buckets.map(({ url }) => url));
  for (const { shards } of file.placement) {
    for (const label of shards) if (label !== null) labels.add(label);
  }
  const rows = Array.from(labels, (url): BucketShare => {
    const has = file.placement.map(({ shards }) => shards.includes(url));
    let shards = 0;
    let bytes = 0;
    for (const chunk of file.placement) {
      const here = chunk.shards.filter((label) => label === url).length;
      shards += here;
      bytes += here * chunk.shardBytes;
    }
    return { url, shards, bytes, has };
  });
  const lacking = file.placement.filter((chunk) => stored(chunk) < chunk.redundancy.k + chunk.redundancy.m);
  const lost = lacking.filter((chunk) => stored(chunk) < chunk.redundancy.k).length;
  return { rows, degraded: lacking.length - lost, lost };
}

function stored({ shards }: ChunkPlacement): number {
  return shards.filter((label) => label !== null).length;
}

function fileFacts(file: FileDetails, { degraded, lost }: Summary): string {
  const modified = modifiedMs(file);
  const health =
    degraded + lost === 0
      ? ''
      : ` (${[degraded > 0 ? `${degraded} degraded` : '', lost > 0 ? `${lost} lost` : ''].filter(Boolean).join(', ')})`;
  return facts([
    ['name', showName(file.name)],
    ['hash', file.hash],
    [
      'size',
      file.size === null ? 'hidden by the lock' : `${showSize(file.size)} (${count(file.size, 'byte')})`,
    ],
    ['entries', file.entries === null ? null : grouped(file.entries)],
    ['incomplete', file.incomplete ? 'something could not be read when it was stored' : null],
    ['locked', file.locked ? 'with a password of its own' : null],
    ['stored', showTime(file.createdAtMs)],
    ['modified', modified === null ? null : showTime(modified)],
    ['expires', file.expiresAtMs === null ? null : showTime(file.expiresAtMs)],
    [
      'chunks',
      file.chunks === 0
        ? file.kind === 'folder'
          ? 'none: it has no content'
          : 'none: the content is in the manifest'
        : `${grouped(file.chunks)} ${file.chunkSize === null ? 'cut by content' : `of ${showSize(file.chunkSize)}`}${health}`,
    ],
    ['redundancy', safetyOf(file)],
    ['in buckets', showSize(file.storedBytes)],
  ]);
}

/** What may happen to the buckets, as the shards lie. */
function safetyOf({ placed, survives, redundancy, chunks, storedBytes }: FileDetails): string {
  if (chunks === 0 && storedBytes === 0) return 'no bucket that answers has it';
  const { k, m } = placed ?? redundancy;
  const what = chunks === 0 ? count(survives + 1, 'copy', 'copies') : `${k}+${m}`;
  return survives === 0
    ? `${what}: survives the loss of no bucket`
    : `${what}: survives the loss of any ${count(survives, 'bucket')}`;
}

function facts(rows: readonly (readonly [string, string | null])[]): string {
  return rows
    .filter(([, value]) => value !== null)
    .map(([label, value]) => `${label.padEnd(12)}${value}\n`)
    .join('');
}

/**
 * A table with a row for every bucket. Its last column is the file from beginning to end in cells: darker where more of
 * a cell's chunks have a shard in that bucket.
 */
function picture(invocation: Invocation, file: FileDetails, { rows }: Summary): string {
  if (file.placement.length === 0) return '';
  const width = invocation.output.width ?? USUAL_WIDTH;
  const table = tableFor(invocation, ['~BUCKET', '>SHARDS', '>SIZE', 'CHUNKS'], { width, piped: true });
  const texts = rows.map(({ url, shards, bytes }) => [showName(url), grouped(shards), showSize(bytes)]);
  const cells = table.roomBeside(texts, file.placement.length);
  return `\n${table.page(texts.map((text, index) => text.concat(shades(rows[index]?.has ?? [], cells))))}`;
}

function shades(has: readonly boolean[], cells: number): string {
  let text = '';
  for (let cell = 0; cell < cells; cell += 1) {
    const part = has.slice(
      Math.floor((cell * has.length) / cells),
      Math.floor(((cell + 1) * has.length) / cells),
    );
    const share = part.filter(Boolean).length / part.length;
    text += SHADES[share === 0 ? 0 : Math.max(1, Math.round(share * (SHADES.length - 1)))] ?? '';
  }
  return text;
}
