/** What the engine asks of its client processes, and what they answer. */
import { createHash } from 'node:crypto';
import type { ErrorCode } from '../../src/errors.ts';
import type { Redundancy } from '../../src/format/shard.ts';
import { seededRandom } from '../support/seeded-random.ts';

/** A file's content as a recipe: blocks that other files have too, and an end of its own. */
export interface Recipe {
  readonly seed: number;
  /** Numbers of 64 KiB blocks. */
  readonly blocks: readonly number[];
  /** Bytes after the blocks. */
  readonly rest: number;
}

export type Operation =
  | {
      readonly verb: 'put';
      readonly name: string;
      readonly recipe: Recipe;
      readonly chunkSize: number;
      readonly expired: boolean;
      /** Milliseconds that each piece of the source takes. */
      readonly pauseMs: number;
    }
  | { readonly verb: 'create'; readonly buckets: readonly string[]; readonly redundancy: Redundancy }
  | { readonly verb: 'get'; readonly reference: string }
  /** `now`: without a grace in which they can be brought back. */
  | { readonly verb: 'rm'; readonly references: readonly string[]; readonly now: boolean }
  | { readonly verb: 'undelete'; readonly references: readonly string[] }
  | { readonly verb: 'ls' }
  | { readonly verb: 'read all' }
  | {
      readonly verb: 'sweep';
      /** Whether removed files go whose grace is not over. */
      readonly ignoreGrace: boolean;
      /** Milliseconds to wait for running puts. */
      readonly waitMs: number;
    }
  | { readonly verb: 'verify'; readonly depth: 'listing' | 'data' }
  | { readonly verb: 'repair'; readonly depth: 'listing' | 'data'; readonly redundancy: Redundancy | null }
  | { readonly verb: 'recover'; readonly buckets: readonly string[]; readonly db: string | null }
  | { readonly verb: 'add bucket'; readonly url: string }
  | { readonly verb: 'remove bucket'; readonly url: string };

/** A file as it is listed and reads. */
export interface SeenFile {
  readonly hash: string;
  readonly name: string;
  readonly sha256: string;
}

export interface Answers {
  readonly put: { readonly hash: string; readonly unchanged: boolean; readonly degraded: boolean };
  readonly create: { readonly made: true };
  readonly 'read all': { readonly files: readonly SeenFile[] };
  readonly get: SeenFile;
  readonly rm: { readonly removed: readonly string[] };
  readonly undelete: { readonly restored: readonly string[] };
  readonly ls: { readonly listed: readonly (readonly [hash: string, name: string])[] };
  readonly sweep: { readonly outcome: 'clean' | 'unfinished'; readonly details: string };
  readonly verify: { readonly outcome: string; readonly details: string };
  readonly repair: { readonly outcome: string; readonly details: string };
  readonly recover: {
    readonly learned: number;
    readonly known: number;
    readonly trouble: readonly string[];
  };
  readonly 'add bucket': { readonly id: string };
  readonly 'remove bucket': { readonly removed: boolean; readonly reasons: readonly string[] };
}

export type Verb = Operation['verb'];
export type AnswerOf<O extends Operation> = Answers[O['verb']];

/** How an operation failed. */
export interface Failed {
  /** Null for what is no VaultError: a bug. */
  readonly code: ErrorCode | null;
  readonly message: string;
}

/** What a client process is started with, as JSON in its first argument. */
export interface ClientSettings {
  readonly db: string;
  readonly password: string;
  readonly baseFolder: string;
}

export interface Request {
  readonly id: number;
  readonly operation: Operation;
}

export interface Answer {
  readonly verb: Verb;
  readonly facts: Answers[Verb];
}

/** Whether an answer is one to an operation of this kind. */
export function answers<O extends Operation>(
  operation: O,
  answer: Answer,
): answer is { readonly verb: O['verb']; readonly facts: AnswerOf<O> } {
  return answer.verb === operation.verb;
}

export type Reply =
  { readonly id: number; readonly answer: Answer } | { readonly id: number; readonly failed: Failed };

const BLOCK = 64 * 1024;
const blocks = new Map<string, Uint8Array>();

/** The content that a recipe makes. */
export function contentOf({ seed, blocks: numbers, rest }: Recipe): Buffer {
  const end = seededRandom(seed + 7 * rest + numbers.length).bytes(rest);
  return Buffer.concat([...numbers.map((number) => blockOf(seed, number)), end]);
}

function blockOf(seed: number, number: number): Uint8Array {
  const key = `${seed} ${number}`;
  const known = blocks.get(key);
  if (known !== undefined) return known;
  const block = seededRandom(seed ^ (number * 0x9e3779b1)).bytes(BLOCK);
  blocks.set(key, block);
  return block;
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
