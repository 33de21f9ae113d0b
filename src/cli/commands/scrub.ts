import { invalidInput } from '../../errors.ts';
import { DAMAGED, DONE, TOO_OLD, type ExitCode } from '../exit.ts';
import { surroundings, withProgress, type Invocation } from '../arguments/invocation.ts';
import { ifGiven, parseFraction, type Flags } from '../arguments/options.ts';
import { count, showLines, showName } from '../terminal/text.ts';
import { scrubPlace } from '../../compose.ts';

export type ScrubFlags = Flags<'sample', never, 'bucket'>;

/** `vault verify --no-password`: checks buckets by the checksums in their objects alone, and prints what is damaged. */
export async function scrub(invocation: Invocation, flags: ScrubFlags): Promise<ExitCode> {
  const { output, options, terminal } = invocation;
  const { bucket = [] } = flags;
  if (bucket.length === 0) {
    throw invalidInput(
      'Without the password the buckets are not known: use --bucket <folder, gs:// or s3:// URL> for each one to check.',
    );
  }
  const sample = ifGiven(flags.sample, parseFraction, '--sample');
  const around = surroundings(invocation, bucket);
  let damaged = 0;
  let unknown = 0;
  for (const url of bucket) {
    const result = await withProgress(invocation, `Verifying ${url}`, async (call) =>
      scrubPlace(url, {
        ...call,
        ...around,
        sample,
      }),
    );
    const { problems, objects, foreignObjects, tooNew } = result;
    damaged += problems.length;
    unknown += tooNew;
    if (options.json === true) {
      const { bucketId: id, ...rest } = result;
      await output.json({ url, id, ...rest });
    } else
      for (const { name, message } of problems)
        await output.line(showLines(`${url} ${showName(name)}: ${message}`));
    terminal.note(
      `${url}: ${count(objects, 'object')} read, ${problems.length} damaged${foreignObjects > 0 ? `, ${count(foreignObjects, 'other file')} left alone` : ''}${tooNew > 0 ? `, ${count(tooNew, 'object')} of a newer version` : ''}.`,
    );
  }
  if (damaged === 0 && unknown > 0) {
    terminal.warn(
      `${count(unknown, 'object is', 'objects are')} of another version of the format, which this one cannot judge.`,
      { kind: 'unsupported' },
    );
    return TOO_OLD;
  }
  if (damaged === 0) return DONE;
  terminal.warn(
    `${count(damaged, 'object is', 'objects are')} damaged. "vault repair --read-data" replaces ${damaged === 1 ? 'it' : 'them'} from the other buckets.`,
    { kind: 'damaged' },
  );
  return DAMAGED;
}
