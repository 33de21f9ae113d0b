/**
 * What must be in the vault: acknowledged puts minus acknowledged removals. What was cut short may have been done or not,
 * until the listing of a vault at rest tells.
 */
import type { SeededRandom } from '../support/seeded-random.ts';
import { contentOf, sha256 } from './operations.ts';
import type { AnswerOf, Operation, Recipe, SeenFile } from './operations.ts';

type Put = Extract<Operation, { verb: 'put' }>;
type Removal = Extract<Operation, { verb: 'rm' }>;
type Restoring = Extract<Operation, { verb: 'undelete' }>;

/** From when an operation was asked for to when its answer came, on the engine's clock; Infinity as long as it has not. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

interface Stored {
  readonly hash: string;
  readonly name: string;
  readonly sha256: string;
  /** Any sweep may remove it. */
  readonly expired: boolean;
  readonly put: Span;
  /** Whether the put that stored it has been answered, and not only one that found it unchanged. */
  isAnswered: boolean;
}

/** A put that has not been answered. */
interface PutAttempt {
  readonly put: Put;
  readonly sha256: string;
}

/** A removal; its answer null as long as there is none. */
interface RemovalAttempt {
  readonly references: ReadonlySet<string>;
  span: Span;
  removed: ReadonlySet<string> | null;
}

/** An undeletion; its answer null as long as there is none. */
interface RestoreAttempt {
  readonly references: ReadonlySet<string>;
  span: Span;
  restored: ReadonlySet<string> | null;
}

export class Model {
  /** Removed files that can be brought back, as far as is known at rest. */
  readonly #hidden = new Map<string, Stored>();
  /** Those of earlier rounds, too, that were never answered, as of `#removals`. */
  readonly #restores = new Set<RestoreAttempt>();
  readonly #files = new Map<string, Stored>();
  readonly #puts = new Set<PutAttempt>();
  /** Those of earlier rounds: what a put has left that failed may be found at any time. */
  readonly #late = new Set<PutAttempt>();
  /** Those of earlier rounds, too, that were never answered: their records may be found by the next sweep. */
  readonly #removals = new Set<RemovalAttempt>();
  /** Whether every record of removal has been heeded since the last look at all files. */
  #swept = false;

  /** Files that nobody is known to have tried to remove. */
  get live(): readonly { readonly hash: string; readonly name: string }[] {
    return [...this.#files.values()].filter((file) => this.#removalBegan(file) === Infinity);
  }

  beginPut(put: Put): PutAttempt {
    const attempt = { put, sha256: sumOf(put.recipe) };
    this.#puts.add(attempt);
    return attempt;
  }

  /** @returns what is wrong with the answer */
  endPut(attempt: PutAttempt, { hash, unchanged }: AnswerOf<Put>, span: Span): string | null {
    this.#puts.delete(attempt);
    const { name, expired } = attempt.put;
    const known = this.#files.get(hash);
    if (known === undefined) {
      const stored = { hash, name, sha256: attempt.sha256, expired, put: span, isAnswered: !unchanged };
      this.#files.set(hash, stored);
      // An unchanged file may be that of a put that is under way, or was cut short.
      return unchanged && !this.#wasTried(stored)
        ? `a put of ${name} was answered with the unknown ${hash}`
        : null;
    }
    if (known.name !== name || known.sha256 !== attempt.sha256) {
      return `a put of ${name} was answered with another file, ${hash}`;
    }
    if (!unchanged && known.isAnswered) return `two puts were answered with the same hash ${hash}`;
    known.isAnswered ||= !unchanged;
    return this.#removedAt(known) < span.start
      ? `a put of ${name} was answered with the removed ${hash}`
      : null;
  }

  beginRemoval({ references }: Removal, start: number): RemovalAttempt {
    const attempt = { references: new Set(references), span: { start, end: Infinity }, removed: null };
    this.#removals.add(attempt);
    return attempt;
  }

  /**
   * @param removed null if the answer never came
   * @returns what is wrong with the answer
   */
  endRemoval(attempt: RemovalAttempt, removed: readonly string[] | null, span: Span): string | null {
    attempt.span = span;
    if (removed === null) return null;
    for (const hash of removed) {
      const file = this.#files.get(hash);
      if (file !== undefined && this.#removedAt(file) < span.start) return `${hash} was removed twice`;
    }
    attempt.removed = new Set(removed);
    return null;
  }

  /** The hash of a removed file, for somebody to bring it back; null if there is none. */
  removed(random: SeededRandom): string | null {
    const removed = [...this.#files.values()].filter((file) => this.#removalBegan(file) < Infinity);
    const files = [...removed, ...this.#hidden.values()];
    return files.length === 0 ? null : random.pick(files).hash;
  }

  beginRestoring({ references }: Restoring, start: number): RestoreAttempt {
    const attempt = { references: new Set(references), span: { start, end: Infinity }, restored: null };
    this.#restores.add(attempt);
    return attempt;
  }

  /** @returns what is wrong with the answer, which is null if it never came */
  endRestoring(attempt: RestoreAttempt, restored: readonly string[] | null, span: Span): string | null {
    attempt.span = span;
    if (restored === null) return null;
    attempt.restored = new Set(restored);
    const unknown = restored.find((hash) => !this.#files.has(hash) && !this.#hidden.has(hash));
    return unknown === undefined || this.#puts.size > 0
      ? null
      : `${unknown} was brought back, which nobody put`;
  }

  /** Everything that was removed is gone for good: it was swept. */
  forgetRemoved(): void {
    this.#hidden.clear();
    this.#swept = true;
  }

  /** What is wrong with an answered get. */
  checkGet(seen: SeenFile, span: Span): string | null {
    const file = this.#files.get(seen.hash);
    if (file === undefined) {
      return this.#wasTried(seen)
        ? null
        : `a get was answered with ${seen.hash} (${seen.name}), which nobody put`;
    }
    if (file.sha256 !== seen.sha256) return `WRONG BYTES: ${seen.hash} (${seen.name})`;
    return this.#removedAt(file) < span.start ? `${seen.hash} came back after its removal` : null;
  }

  /**
   * Whether a get or a removal may find nothing: there was no file of this hash or name for sure, or somebody was
   * removing one. A get by name may find a version that is removed while it is read, even if there are others.
   */
  mayBeGone(reference: string, span: Span): boolean {
    const meant = [...this.#files.values()].filter(
      (file) => (file.hash === reference || file.name === reference) && file.put.start < span.end,
    );
    const isSure = meant.some((file) => file.put.end < span.start);
    return !isSure || meant.some((file) => this.#removalBegan(file) < span.end);
  }

  /** What is wrong with a listing that was made while others worked. */
  checkListing(listed: readonly (readonly [hash: string, name: string])[], span: Span): string | null {
    const hashes = new Set(listed.map(([hash]) => hash));
    for (const file of this.#files.values()) {
      const { hash, name, put } = file;
      const mustBeThere = put.end < span.start && this.#removalBegan(file) > span.end;
      if (mustBeThere && !hashes.has(hash)) return `${hash} (${name}) is not listed`;
      if (hashes.has(hash) && this.#removedAt(file) < span.start) {
        return `${hash} (${name}) is listed after its removal`;
      }
    }
    return null;
  }

  /**
   * Compares what a vault at rest lists with what must be there, and takes it for the truth where that was not known.
   *
   * @returns what is wrong
   */
  settle(listed: readonly SeenFile[], now: number): readonly string[] {
    const problems: string[] = [];
    const seen = new Map(listed.map((file) => [file.hash, file]));
    for (const file of this.#files.values()) {
      const { hash, name } = file;
      const here = seen.get(hash);
      if (here === undefined) {
        if (this.#removalBegan(file) === Infinity) problems.push(`LOST: ${hash} (${name}) is not listed`);
        if (this.#mustBeBack(file))
          problems.push(`LOST: ${hash} (${name}) was brought back and is not listed`);
        this.#files.delete(hash);
        this.#hidden.set(hash, file);
      } else {
        if (this.#removedAt(file) < Infinity) problems.push(`${hash} (${name}) is listed after its removal`);
        if (here.sha256 !== file.sha256 || here.name !== name)
          problems.push(`WRONG BYTES: ${hash} (${name})`);
      }
    }
    for (const file of listed) {
      if (this.#files.has(file.hash)) continue;
      const hidden = this.#hidden.get(file.hash);
      if (hidden !== undefined && this.#isRestored(hidden)) {
        if (file.sha256 !== hidden.sha256) problems.push(`WRONG BYTES: ${file.hash} (${file.name})`);
        this.#hidden.delete(file.hash);
        this.#files.set(file.hash, { ...hidden, put: { start: now, end: now } });
        continue;
      }
      if (!this.#wasTried(file)) problems.push(`${file.hash} (${file.name}) is listed, and nobody put that`);
      const expired = this.#unanswered.some(({ put }) => put.name === file.name && put.expired);
      this.#files.set(file.hash, { ...file, expired, put: { start: now, end: now }, isAnswered: false });
    }
    for (const attempt of this.#puts) this.#late.add(attempt);
    this.#puts.clear();
    for (const attempt of this.#removals) {
      if (this.#swept || attempt.removed !== null) this.#removals.delete(attempt);
    }
    for (const attempt of this.#restores) {
      if (this.#swept || attempt.restored !== null) this.#restores.delete(attempt);
    }
    this.#swept = false;
    return problems;
  }

  #wasTried({ name, sha256: sum }: Pick<SeenFile, 'name' | 'sha256'>): boolean {
    return this.#unanswered.some((attempt) => attempt.put.name === name && attempt.sha256 === sum);
  }

  get #unanswered(): readonly PutAttempt[] {
    return [...this.#puts, ...this.#late];
  }

  /** When somebody began to remove a file, as far as that may have succeeded; Infinity if nobody did. */
  #removalBegan(file: Stored): number {
    if (file.expired) return file.put.start;
    let began = Infinity;
    for (const { references, span, removed } of this.#removals) {
      const concerns = references.has(file.hash) || references.has(file.name);
      const may = removed === null ? concerns && span.end > file.put.start : removed.has(file.hash);
      if (may) began = Math.min(began, span.start);
    }
    return began;
  }

  /** Whether somebody may have brought a file back. */
  #isRestored({ hash, name }: Stored): boolean {
    return [...this.#restores].some(
      ({ references, restored }) => restored?.has(hash) ?? (references.has(hash) || references.has(name)),
    );
  }

  /** Whether a file was surely brought back, after every removal of it. */
  #mustBeBack(file: Stored): boolean {
    const { hash, name, expired } = file;
    if (expired) return false;
    const removals = [...this.#removals].filter(
      ({ references, removed }) => removed?.has(hash) ?? (references.has(hash) || references.has(name)),
    );
    return [...this.#restores].some(
      ({ restored, span }) =>
        restored?.has(hash) === true && removals.every((removal) => removal.span.end < span.start),
    );
  }

  /** When a file's removal was acknowledged; Infinity if it was not, or somebody may have brought it back. */
  #removedAt(file: Stored): number {
    const { hash } = file;
    if (this.#isRestored(file)) return Infinity;
    const times = [...this.#removals].flatMap(({ removed, span }) =>
      removed?.has(hash) === true ? [span.end] : [],
    );
    return Math.min(Infinity, ...times);
  }
}

const sums = new Map<string, string>();

function sumOf(recipe: Recipe): string {
  const key = JSON.stringify(recipe);
  const known = sums.get(key);
  if (known !== undefined) return known;
  const sum = sha256(contentOf(recipe));
  sums.set(key, sum);
  return sum;
}
