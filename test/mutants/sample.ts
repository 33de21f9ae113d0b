/**
 * A part of all changes, for rooms whose every change would take hours. Stryker has no such choice, but checkers, which turn down
 * changes that do not compile: this one turns down what chance leaves out, so that it counts as neither noticed nor unnoticed.
 */
import { createHash } from 'node:crypto';
import { relative } from 'node:path';

/** What a checker is told of a change. */
interface Change {
  readonly id: string;
  readonly fileName: string;
  readonly location: unknown;
  readonly mutatorName: string;
  readonly replacement: string;
}

/** Which part is taken, and which one of that size. */
export interface Sample {
  readonly share: number;
  readonly seed: string;
}

/** The same changes are taken for the same seed, as long as their files are the same. */
export function isTaken({ share, seed }: Sample, change: Change): boolean {
  const { fileName, location, mutatorName, replacement } = change;
  const place = relative(process.cwd(), fileName);
  const facts = JSON.stringify([seed, place, location, mutatorName, replacement]);
  return createHash('sha256').update(facts).digest().readUInt32BE() < share * 2 ** 32;
}

/** Stryker runs checkers in processes of their own, which know the sample by the environment. */
const sample: Sample = {
  share: Number(process.env['MUTANTS_SHARE']),
  seed: process.env['MUTANTS_SEED'] ?? '',
};

export const strykerPlugins = [
  {
    kind: 'Checker',
    name: 'sample',
    value: {
      init: () => Promise.resolve(),
      group: (changes: readonly Change[]) => Promise.resolve([changes.map(({ id }) => id)]),
      check: (changes: readonly Change[]) =>
        Promise.resolve(
          Object.fromEntries(
            changes.map((change) => [
              change.id,
              isTaken(sample, change)
                ? { status: 'passed' }
                : { status: 'compileError', reason: 'Not in the sample.' },
            ]),
          ),
        ),
    },
  },
];

/** How many of all are likely caught, in 95 of 100 samples, if so many of a sample are (Wilson's interval). */
export function interval(caught: number, of: number): readonly [number, number] {
  const z = 1.96;
  const p = caught / of;
  const middle = p + z ** 2 / (2 * of);
  const half = z * Math.sqrt((p * (1 - p)) / of + z ** 2 / (4 * of ** 2));
  const scale = 1 + z ** 2 / of;
  return [(middle - half) / scale, (middle + half) / scale];
}
