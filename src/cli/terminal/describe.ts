/** How conditions and hashes are shown. */
import type { Writer } from '../../vault/files/writers.ts';
import type { BucketCondition } from '../../vault/verify/condition.ts';
import type { Invocation } from '../arguments/invocation.ts';
import type { Column } from './table.ts';
import { styleFor } from './terminal.ts';

/** Conditions of files or buckets, coloured by how much they ask for attention; what is none of these is an error. */
export function conditionColumn({ environment }: Pick<Invocation, 'environment'>, heading: string): Column {
  const style = styleFor(process.stdout, environment);
  return { heading, align: 'left', paint: (text) => style(colourOf(text), text) };
}

function colourOf(condition: string): 'green' | 'yellow' | 'red' {
  if (condition === 'whole' || condition === 'active') return 'green';
  return ['degraded', 'unknown', 'draining'].includes(condition) ? 'yellow' : 'red';
}

/** How a bucket stands, in one word. */
export function stateOf({ state, error }: Pick<BucketCondition, 'state' | 'error'>): string {
  return error === null ? state : 'unusable';
}

/** How many digits of a hash are shown where space is short; `get` and the others take 8 or more. */
const SHORT_HASH_LENGTH = 12;

export function shortHash(hash: string): string {
  return hash.slice(0, SHORT_HASH_LENGTH);
}

/** By what a name is meant: one that another key has given has that key's label before it. */
export function referenceOf({
  name,
  writer,
}: {
  readonly name: string;
  readonly writer: Pick<Writer, 'isOwn' | 'label'>;
}): string {
  return writer.isOwn ? name : `${writer.label}:${name}`;
}

/** Who has stored a file, for programs; `label`: what people call that key, null if it has no label. */
export function writerAsJson(
  writer: Pick<Writer, 'id' | 'label'> | null,
): Record<'writer' | 'label', string | null> {
  if (writer === null) return { writer: null, label: null };
  return { writer: writer.id, label: writer.label === writer.id ? null : writer.label };
}
