/** Who goes on with whose names: of a writer whose key was rotated, or taken away by a rotation, the next one. FORMAT.md, "Keyring". */
import type { FormerWriter, Keyring } from './keyring.ts';

export interface Lineages {
  /** The last writer of a line: itself, where nobody goes on. */
  readonly headOf: (writer: string) => string;
  /** All writers of the line that a writer is of, the last one first. */
  readonly lineOf: (writer: string) => readonly string[];
}

const known = new WeakMap<readonly FormerWriter[], Lineages>();

/** The lines of a keyring's writers; remembered. */
export function lineagesOf({ former }: Pick<Keyring, 'former'>): Lineages {
  const found = known.get(former) ?? makeLineages(former);
  known.set(former, found);
  return found;
}

function makeLineages(former: readonly FormerWriter[]): Lineages {
  const next = new Map(former.flatMap((one) => (one.next === null ? [] : [[one.writer, one.next] as const])));
  const headOf = (writer: string): string => {
    let head = writer;
    for (let steps = 0; steps < next.size; steps += 1) head = next.get(head) ?? head;
    return head;
  };
  const lines = new Map<string, string[]>();
  for (const writer of new Set([...next].flat())) {
    const head = headOf(writer);
    const line = lines.get(head) ?? [];
    lines.set(head, line);
    if (writer === head) line.unshift(writer);
    else line.push(writer);
  }
  const heads = new Map([...lines].flatMap(([head, line]) => line.map((writer) => [writer, head] as const)));
  return {
    headOf: (writer) => heads.get(writer) ?? writer,
    lineOf: (writer) => lines.get(heads.get(writer) ?? writer) ?? [writer],
  };
}
