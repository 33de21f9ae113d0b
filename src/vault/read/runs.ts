/**
 * When the verbs that look after a vault ended last, and how. Notes of the catalog, sealed: nobody else can say there that all was
 * checked. One that was changed counts as none.
 */
import { openRecord, sealRecord } from '../../crypto/records.ts';
import { isVaultError } from '../../errors.ts';
import { writerKeys } from '../files/records.ts';
import type { Session } from '../session.ts';

export const NOTED_VERBS = ['put', 'sweep', 'verify', 'repair', 'drill'] as const;
export type NotedVerb = (typeof NOTED_VERBS)[number];

/** What a verb had to say of itself at its end. */
export type RunFacts = Readonly<Record<string, unknown>>;

export interface Run {
  readonly verb: NotedVerb;
  readonly endedAtMs: number;
  readonly facts: RunFacts;
}

/** Bytes of a writer's id, which stands before what it sealed. */
const WRITER_SIZE = 16;

export async function noteRun(session: Session, verb: NotedVerb, facts: RunFacts): Promise<void> {
  const { writer } = session.keys;
  const sealed = sealRecord(writer.catalog, purposeOf(verb), { endedAtMs: session.clock.now(), facts });
  const note = Buffer.concat([Buffer.from(writer.id, 'hex'), sealed]);
  await session.catalog.setup.putNote(purposeOf(verb), note);
}

/** The last run of each verb that is known. */
export async function lastRuns(session: Session): Promise<readonly Run[]> {
  const runs = await Promise.all(NOTED_VERBS.map(async (verb) => lastRun(session, verb)));
  return runs.filter((run) => run !== null);
}

async function lastRun(session: Session, verb: NotedVerb): Promise<Run | null> {
  const note = await session.catalog.setup.note(purposeOf(verb));
  if (note === null) return null;
  const bytes = Buffer.from(note);
  try {
    const { catalog } = writerKeys(session, bytes.toString('hex', 0, WRITER_SIZE));
    const value = openRecord(catalog, purposeOf(verb), bytes.subarray(WRITER_SIZE));
    const fields = new Map<string, unknown>(Object.entries(Object(value)));
    const endedAtMs = fields.get('endedAtMs');
    return typeof endedAtMs === 'number'
      ? { verb, endedAtMs, facts: { ...Object(fields.get('facts')) } }
      : null;
  } catch (error) {
    if (!isVaultError(error, 'damaged', 'denied')) throw error;
    return null;
  }
}

function purposeOf(verb: NotedVerb): string {
  return `run ${verb}`;
}
