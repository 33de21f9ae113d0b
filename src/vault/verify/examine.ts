/** How a chunk stands by its bytes: every shard of it is read, and compared with what the chunk's content makes it. */
import { isVaultError } from '../../errors.ts';
import { CHUNK_PREFIX, formatRedundancy, shardSize, type Redundancy } from '../../format/shard.ts';
import type { ChunkRow } from '../../catalog/catalog.ts';
import type { ChunkRef } from '../../format/manifest.ts';
import { mergedListing } from '../buckets/merged-listing.ts';
import { objectsOf, type ChunkMemory } from '../chunks/chunk-memory.ts';
import { ChunkReader } from '../chunks/chunk-reader.ts';
import { rowLocator } from '../chunks/row-locator.ts';
import { shardsOf, shardsOfRow, type ListedShard } from '../chunks/shard-sets.ts';
import { checkShards, codedObjects, fetchShard, openFromAny, stateOf, takeBack } from '../chunks/shards.ts';
import type { FetchedShard, ShardCandidate } from '../chunks/shards.ts';
import type { Session } from '../session.ts';
import { isOpen, judgeChunk, type BadShard, type Judgement, type PlacesHint } from './chunk-judgement.ts';
import { worse } from './condition.ts';
import type { Findings } from './findings.ts';

/** Shards of one kind that are read at most, for each that there should be: a hostile listing has any number. */
const MOST_FOR_ONE = 4;
/** Kinds of shards (sealing and redundancy) that are looked at. */
const MOST_KINDS = 8;

export interface ChunkToExamine {
  /** 64 hex digits. */
  readonly id: string;
  /** What proves it; null for a chunk of a locked file, whose shards are only as good as their checksums. */
  readonly proof: ChunkRef | null;
  /** Bytes of the sealed chunk at most. */
  readonly most: number;
  /** Bytes of its body at most. */
  readonly length: number;
  /** How many buckets may be lost without losing it, at least. */
  readonly spare: number;
}

interface Looked {
  readonly good: readonly ListedShard[];
  readonly bad: readonly BadShard[];
  /** Shards with right checksums that contradict each other, and nobody can tell which of them are false. */
  readonly isContradictory: boolean;
}

export interface ExaminerOptions {
  readonly findings: Findings;
  /** Asks all buckets for their markers, and notes those that have none any more. */
  readonly confirm: () => Promise<void>;
}

export class ChunkExaminer {
  readonly #session: Session;
  readonly #options: ExaminerOptions;
  readonly #rowOf: (id: string) => Promise<ChunkRow | undefined>;

  constructor(session: Session, options: ExaminerOptions) {
    this.#session = session;
    this.#options = options;
    this.#rowOf = rowLocator(session);
  }

  /** Reads a chunk's shards, and the chunk from them. @throws `interrupted` */
  async examine(chunk: ChunkToExamine, signal: AbortSignal): Promise<Judgement> {
    const { buckets } = this.#session;
    const row = await this.#rowOf(chunk.id);
    const recorded = row === undefined ? [] : shardsOfRow(row, buckets.all);
    const hint = row === undefined ? null : hintOf(row, this.#session);
    if (row !== undefined && recorded.length === row.k + row.m) {
      const first = await this.#look(chunk, recorded, signal);
      const judgement = this.#judge(first, chunk.spare, hint);
      if (judgement.condition === 'whole') return judgement;
    }
    const listed = await this.#list(chunk.id, signal);
    const known = new Set(listed.map(keyOf));
    const looked = await this.#look(
      chunk,
      [...listed, ...recorded.filter((shard) => !known.has(keyOf(shard)))],
      signal,
    );
    // No bucket's loss is believed whose marker is not there just now: it may be an unmounted disk.
    await this.#options.confirm();
    const judgement = this.#judge(looked, chunk.spare, hint);
    if (judgement.condition !== 'lost' && judgement.condition !== 'degraded') return judgement;
    return this.#asRead(judgement, chunk, signal);
  }

  #judge({ good, bad, isContradictory }: Looked, spare: number, hint: PlacesHint | null): Judgement {
    const { keyring, buckets } = this.#session;
    const { unreachable, someUnreachable } = this.#options.findings;
    const judgement = judgeChunk({
      shards: good,
      bad: bad.map((shard) => (unreachable.has(shard.bucket) ? { ...shard, state: 'unknown' } : shard)),
      buckets: buckets.all,
      unreachable,
      someUnreachable,
      hint,
      spare,
      redundancy: keyring.keyring.redundancy,
    });
    if (!isContradictory) return judgement;
    const problem = { what: 'shards', problem: 'damaged', bucket: null } as const;
    return {
      ...judgement,
      condition: worse(judgement.condition, 'degraded'),
      problems: [...judgement.problems, problem],
    };
  }

  /** What a reader makes of it has the last word: it is the one that gives the bytes, or does not. */
  async #asRead(judgement: Judgement, chunk: ChunkToExamine, signal: AbortSignal): Promise<Judgement> {
    const { proof } = chunk;
    if (proof === null) return judgement;
    const reader = new ChunkReader(this.#session);
    try {
      await this.#withMemory(chunk, { k: 1, m: 0 }, (memory) => reader.read(memory, proof, signal));
      return { ...judgement, condition: 'degraded' };
    } catch (error) {
      if (!isVaultError(error) || signal.aborted) throw error;
      const isLost = error.code === 'damaged' && !judgement.problems.some(({ problem }) => isOpen(problem));
      return { ...judgement, condition: isLost ? 'lost' : 'degraded' };
    }
  }

  /** The chunk's shards that buckets list just now. */
  async #list(id: string, signal: AbortSignal): Promise<readonly ListedShard[]> {
    const { findings } = this.#options;
    const found: ListedShard[] = [];
    const listing = mergedListing(findings.usable, `${CHUNK_PREFIX}${id}.`, {
      signal,
      onFailure: (failure) => findings.bucketFailed(failure),
    });
    for await (const entry of listing) found.push(...shardsOf(entry));
    return found;
  }

  /** Reads shards, kind by kind, until one kind is whole. */
  async #look(chunk: ChunkToExamine, shards: readonly ListedShard[], signal: AbortSignal): Promise<Looked> {
    const kinds = Map.groupBy(shards, ({ name }) => `${name.sealing} ${formatRedundancy(name)}`);
    const sorted = [...kinds.values()].toSorted((a, b) => b.length - a.length).slice(0, MOST_KINDS);
    const good: ListedShard[] = [];
    const bad: BadShard[] = [];
    let isContradictory = false;
    for (const kind of sorted) {
      const [first] = kind;
      if (first === undefined) continue;
      const { k, m } = first.name;
      const looked = await this.#lookAtKind(chunk, kind.slice(0, MOST_FOR_ONE * (k + m)), signal);
      good.push(...looked.good);
      bad.push(...looked.bad);
      isContradictory ||= looked.isContradictory;
      if (this.#judge(looked, chunk.spare, null).condition === 'whole') return looked;
    }
    return { good, bad, isContradictory };
  }

  async #lookAtKind(
    chunk: ChunkToExamine,
    shards: readonly ListedShard[],
    signal: AbortSignal,
  ): Promise<Looked> {
    const bad: BadShard[] = [];
    const note = ({ bucket, name }: ShardCandidate, state: BadShard['state']): void => {
      bad.push({ bucket, index: name.index, state });
    };
    const fetched = await this.#fetch(shards, { most: chunk.most, note, signal });
    const checks = await checkShards(this.#session, fetched);
    // Of one sealing, unless somebody has taken the trouble to find another one with the same digits.
    const groups = Map.groupBy(
      fetched.filter((_, i) => checks[i] === true),
      ({ sealedSize, nonce }) => `${sealedSize} ${Buffer.from(nonce).toString('hex')}`,
    );
    const [intact = []] = [...groups.values()].toSorted((a, b) => b.length - a.length);
    for (const shard of fetched) if (!intact.includes(shard)) note(shard.candidate, 'damaged');
    const [first] = intact;
    const indices = new Set(intact.map(({ candidate }) => candidate.name.index));
    if (first === undefined || indices.size < first.candidate.name.k) {
      return { good: intact.map(asListed), bad, isContradictory: false };
    }
    const wrong = new Set(await this.#misfits(chunk, intact));
    if (chunk.proof === null) return { good: intact.map(asListed), bad, isContradictory: wrong.size > 0 };
    for (const { candidate, tooNew = false } of wrong) {
      if (tooNew) this.#options.findings.tooNew += 1;
      note(candidate, tooNew ? 'too-new' : 'damaged');
    }
    return { good: intact.filter((shard) => !wrong.has(shard)).map(asListed), bad, isContradictory: false };
  }

  async #fetch(
    shards: readonly ListedShard[],
    call: {
      readonly most: number;
      readonly note: (candidate: ShardCandidate, state: BadShard['state']) => void;
      readonly signal: AbortSignal;
    },
  ): Promise<FetchedShard[]> {
    const fetched = await Promise.all(
      shards.map(async (candidate) => {
        try {
          return [await fetchShard(candidate, call.most, { signal: call.signal })];
        } catch (error) {
          const tooNew = isVaultError(error, 'unsupported');
          if (tooNew) this.#options.findings.tooNew += 1;
          call.note(candidate, tooNew ? 'too-new' : stateOf(error));
          return [];
        }
      }),
    );
    return fetched.flat();
  }

  /** Those of some shards with right checksums that are not what the chunk's content makes them; all, if they do not open it. */
  async #misfits(chunk: ChunkToExamine, intact: readonly FetchedShard[]): Promise<readonly FetchedShard[]> {
    const [first] = intact;
    if (first === undefined) return [];
    const { k, m } = first.candidate.name;
    const redundancy = { k, m };
    return this.#withMemory(chunk, redundancy, async (memory) => {
      let picked = oneOfEach(intact).slice(0, k);
      if (!(await this.#remake(memory, chunk, { picked, redundancy }))) {
        const opened =
          chunk.proof === null ? null : await openFromAny(this.#session, memory, chunk.proof, intact);
        if (opened === null) return intact;
        picked = [...opened.picked];
        if (!(await this.#remake(memory, chunk, { picked, redundancy }))) return intact;
      }
      const sealedSize = picked[0]?.sealedSize ?? 0;
      const right = objectsOf(memory, k + m, shardSize(sealedSize, k));
      return intact.filter(({ candidate, object }) => {
        const made = right[candidate.name.index];
        return made === undefined || Buffer.compare(made, object) !== 0;
      });
    });
  }

  /** Makes all shard objects anew from k of them; whether those open the chunk, as far as that can be told. */
  async #remake(
    memory: ChunkMemory,
    { id, proof }: ChunkToExamine,
    { picked, redundancy }: { readonly picked: readonly FetchedShard[]; readonly redundancy: Redundancy },
  ): Promise<boolean> {
    const coded = codedObjects(picked);
    if (coded === null) return false;
    const { opened, objects } = await this.#session.workers.recode(memory, { id, proof, redundancy }, coded);
    takeBack(picked, objects);
    return opened;
  }

  async #withMemory<T>(
    { length }: ChunkToExamine,
    redundancy: Redundancy,
    work: (memory: ChunkMemory) => Promise<T>,
  ): Promise<T> {
    const { lender } = this.#session.memory.share(length, redundancy);
    const memory = await lender.borrow();
    try {
      return await work(memory);
    } finally {
      lender.giveBack(memory);
    }
  }
}

/** Where the catalog has last seen a chunk's shards. */
export function hintOf(row: ChunkRow, { buckets }: Session): PlacesHint {
  return {
    k: row.k,
    m: row.m,
    buckets: row.shards.map((place) => (place === null ? null : buckets.byNumber(place.bucket))),
  };
}

function oneOfEach(shards: readonly FetchedShard[]): FetchedShard[] {
  const byIndex = new Map<number, FetchedShard>();
  for (const shard of shards) {
    if (!byIndex.has(shard.candidate.name.index)) byIndex.set(shard.candidate.name.index, shard);
  }
  return [...byIndex.values()].toSorted((a, b) => a.candidate.name.index - b.candidate.name.index);
}

function asListed({ candidate, object }: FetchedShard): ListedShard {
  return { ...candidate, size: object.length };
}

function keyOf({ bucket, name }: ListedShard): string {
  return `${bucket.number} ${name.sealing} ${formatRedundancy(name)} ${name.index} ${name.upload}`;
}
