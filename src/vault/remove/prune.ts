/** Choosing the versions that retention rules leave to removal. It changes nothing: `rm` removes them. */
import { mapOrdered } from '../../concurrency/map-ordered.ts';
import { isVaultError } from '../../errors.ts';
import type { CallOptions } from '../call.ts';
import { readManifestBytes } from '../files/manifests.ts';
import { openFileRow, openFileRowIfIntact, tagsOf } from '../files/records.ts';
import type { FileRecord } from '../files/records.ts';
import { versionsOf } from '../files/versions.ts';
import { writerOf, type Writer, type WrittenFile } from '../files/writers.ts';
import { requireRightClock } from '../protocol/clocks.ts';
import { isDeleted } from '../protocol/deletions.ts';
import type { Session } from '../session.ts';
import { isRule, judgeVersions, requireRules, type Judgement, type RetentionRules } from './retention.ts';
import { requireNamed, resolveAll } from './rm.ts';

export interface PruneOptions extends CallOptions {
  /** Files whose names are pruned, as for `get`; every name unless given. */
  readonly references?: readonly string[] | undefined;
  /** Nothing will be removed, so that a wrong clock does no harm. */
  readonly dryRun?: boolean | undefined;
  /** Whether of what machines have stored that can only store any number of versions may go. */
  readonly allowMany?: boolean | undefined;
}

/** The versions of one name, newest first. */
export type PrunedName = readonly Judgement<WrittenFile>[];

/** Questions to buckets about versions that are under way at once. */
const IN_FLIGHT = 16;

export async function* planPrune(
  session: Session,
  rules: RetentionRules,
  { references = [], dryRun = false, allowMany = false, signal }: PruneOptions = {},
): AsyncGenerator<PrunedName, void, undefined> {
  requireRules(rules);
  if (!dryRun) await requireRightClock(session.clock, session.buckets.all, 'Nothing was removed', signal);
  const newest =
    references.length === 0
      ? newestOfAll(session, signal)
      : await resolveAll(session, references, { all: false, hidden: false });
  const nowMs = session.clock.now();
  const done = new Set<string>();
  const everything = references.length === 0;
  for await (const record of newest) {
    const { hash, name, version } = record.info;
    // A first version that is the newest has none before it, and costs no question.
    const alone = everything && version === 1 && record.isProven;
    const { writer } = record.row;
    const versions = alone ? [record] : await versionsOf(session, name, { all: true, writer, signal });
    const [newestOfName] = versions;
    if (newestOfName === undefined) continue;
    // References may mean one twice; of everything, others may have stored one since it was listed.
    const { hash: first } = newestOfName.info;
    if (everything ? first !== hash && newestOfName.isProven && record.isProven : done.has(first)) continue;
    if (!everything) done.add(first);
    const by = writerOf(session, writer);
    const judged = await judgeStanding(session, versions, { rules, nowMs, by, signal });
    yield by.isFull || allowMany ? judged : await heldBack(session, judged, { writer, nowMs });
  }
}

/** How far back it is looked what has been usual: removed versions are known for that long, at least. */
const USUAL_MS = 7 * 86_400_000;

/**
 * A machine that can only store may be in the wrong hands, and flood a name so that what was stored before goes. If more versions of a
 * name would go than rules keep, and more than were removed in the last week, none goes. What such a machine can make up counts for
 * neither: versions that no rule applies to, those that have expired, and rows in a shared catalog.
 */
async function heldBack(
  session: Session,
  judged: PrunedName,
  { writer, nowMs }: { readonly writer: string; readonly nowMs: number },
): Promise<PrunedName> {
  const [first] = judged;
  const going = judged.filter(({ reasons }) => reasons.length === 0).length;
  const kept = judged.filter(({ reasons }) => reasons.some(isRule)).length;
  if (first === undefined || going <= kept) return judged;
  const tags = tagsOf(session, writer, first.version.name);
  const rows = await session.catalog.files.byName(tags, going + judged.length, { hidden: true });
  const usual = rows.filter((row) => {
    const { hiddenAtMs: atMs, expiresAtMs } = row;
    const isRecent = atMs !== null && atMs > nowMs - USUAL_MS && atMs < (expiresAtMs ?? Infinity);
    return isRecent && openFileRowIfIntact(session, row)?.isProven === true;
  });
  if (going <= usual.length) return judged;
  return judged.map((one) => (one.reasons.length === 0 ? { ...one, reasons: ['flood'] } : one));
}

async function* newestOfAll(
  session: Session,
  signal: AbortSignal | undefined,
): AsyncGenerator<FileRecord, void, undefined> {
  for await (const row of session.catalog.files.list({ all: false, signal })) yield openFileRow(session, row);
}

/**
 * Judges versions so that those that stay are there. A catalog that is old, or was changed, lists versions that have been removed, and
 * they would count in the place of others: so the buckets are asked for what stays, wherever something goes.
 */
async function judgeStanding(
  session: Session,
  records: readonly FileRecord[],
  how: {
    readonly rules: RetentionRules;
    readonly nowMs: number;
    readonly by: Writer;
    readonly signal: AbortSignal | undefined;
  },
): Promise<PrunedName> {
  const { by: writer } = how;
  const recordOf = new Map(records.map((record) => [{ ...record.info, writer }, record]));
  const late = new Set([...recordOf].flatMap(([version, { isLate }]) => (isLate ? [version] : [])));
  const missing = new Set<WrittenFile>();
  const asked = new Set<WrittenFile>();
  const set = { ...how, byDays: !writer.isFull, missing, late };
  for (;;) {
    const judged = judgeVersions([...recordOf.keys()], how.rules, set);
    if (judged.every(({ reasons }) => reasons.length > 0)) return judged;
    const unasked = judged.filter(({ version, reasons }) => reasons.length > 0 && !asked.has(version));
    const looks = mapOrdered(
      unasked,
      async ({ version }, signal) => {
        const record = recordOf.get(version);
        return { version, stands: record !== undefined && (await stands(session, record, signal)) };
      },
      { inFlight: IN_FLIGHT, signal: how.signal },
    );
    const before = missing.size;
    for await (const look of looks) {
      asked.add(look.version);
      if (!look.stands) missing.add(look.version);
    }
    if (missing.size === before) return judged;
  }
}

/** Whether a bucket has a version, under the name that its row says, and none that answers says that it was removed. */
async function stands(session: Session, record: FileRecord, signal: AbortSignal): Promise<boolean> {
  try {
    if (await isDeleted(session, record.info.hash, signal)) return false;
    await requireNamed(session, record, signal);
    await readManifestBytes(session, record.info.hash, { signal });
    return true;
  } catch (error) {
    if (!isVaultError(error, 'object-missing', 'damaged')) throw error;
    return false;
  }
}
