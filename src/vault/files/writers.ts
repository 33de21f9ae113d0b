/** Who has stored what: the writers of a vault, and what people call them. */
import { labelIn } from '../../crypto/texts.ts';
import type { Keyslot } from '../../format/keyring.ts';
import { lineagesOf } from '../../format/lineage.ts';
import type { ReadSession } from '../session.ts';
import type { FileInfo } from './records.ts';

export interface Writer {
  /** 32 hex digits. */
  readonly id: string;
  /** What its key is called; its id if that has no name that counts. */
  readonly label: string;
  /** Whether it holds a full key, so that its word is as good as this session's. */
  readonly isFull: boolean;
  /** Whether it is this session's, or that goes on with its names. */
  readonly isOwn: boolean;
}

/** A file, and who has stored it. */
export interface WrittenFile extends FileInfo {
  readonly writer: Writer;
}

type Named = Pick<Keyslot, 'writer' | 'role' | 'label'>;

/** The writers that the keyring knows. */
export function writersOf({ keys, keyring }: Pick<ReadSession, 'keys' | 'keyring'>): Writer[] {
  const { headOf } = lineagesOf(keyring.keyring);
  return slotsOf(keyring).map((slot) => {
    const label = labelIn(keys, slot);
    return {
      id: slot.writer,
      label: label === '' ? slot.writer : label,
      isFull: isFull(slot),
      isOwn: headOf(slot.writer) === keys.writer.id,
    };
  });
}

/** Whether nobody can, or could, only store: then objects under the ids of chunks are what their names say, as far as buckets are honest. */
export function trustsAllWriters({ keyring }: Pick<ReadSession, 'keyring'>): boolean {
  return slotsOf(keyring).every(isFull);
}

function slotsOf({ keyring }: ReadSession['keyring']): readonly Named[] {
  return [...keyring.slots, ...keyring.former];
}

function isFull({ role }: Named): boolean {
  return role === 'full';
}

/** A writer; one that the keyring does not know is believed no more than one that can only store. */
export function writerOf(session: Pick<ReadSession, 'keys' | 'keyring'>, id: string): Writer {
  const known = writersOf(session).find((writer) => writer.id === id);
  return known ?? { id, label: id, isFull: false, isOwn: id === session.keys.writer.id };
}

/** As `writerOf`, for many files: the keyring is read once. */
export function writerFinder(session: Pick<ReadSession, 'keys' | 'keyring'>): (id: string) => Writer {
  const known = new Map(writersOf(session).map((writer) => [writer.id, writer]));
  return (id) => known.get(id) ?? writerOf(session, id);
}

/** What `<label>:<name>` or `<writer's id>:<name>` may mean. */
export function namedBy(
  session: ReadSession,
  reference: string,
): readonly { readonly writer: string; readonly name: string }[] {
  const known = writersOf(session).flatMap(({ id, label }) => [
    { writer: id, before: `${label}:` },
    { writer: id, before: `${id}:` },
  ]);
  const [id] = /^[0-9a-f]{32}(?=:)/.exec(reference) ?? [];
  if (id !== undefined) known.push({ writer: id, before: `${id}:` });
  const meant = new Map<string, string>();
  for (const { writer, before } of known)
    if (reference.startsWith(before)) meant.set(writer, reference.slice(before.length));
  return [...meant].map(([writer, name]) => ({ writer, name }));
}
