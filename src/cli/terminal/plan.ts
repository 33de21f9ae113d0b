/** What a dry run says on standard output: each step, or for people, unless they want them all, what is done for the same reason. */
import type { PlannedStep } from '../../vault/call.ts';
import type { Invocation } from '../arguments/invocation.ts';
import { referenceOf, writerAsJson } from './describe.ts';
import { count, showName, showSize } from './text.ts';

/** Why a step is taken, in words that fit behind one object and behind many. */
const REASONS: Readonly<Record<PlannedStep['reason'], string>> = {
  expired: 'expired',
  removed: 'removed, and no longer to be brought back',
  unneeded: 'not needed by any file',
  surplus: 'not needed beside a complete set of shards',
  chosen: 'chosen by an earlier sweep or repair, unless needed by now',
  missing: 'missing',
  damaged: 'damaged',
  moved: 'in a bucket that is being emptied',
  recoded: 'of another redundancy',
};

/** Names that are shown of what is done for the same reason. */
const SHOWN = 3;

interface Group {
  readonly action: PlannedStep['action'];
  readonly reason: PlannedStep['reason'];
  readonly names: string[];
  steps: number;
  bytes: number;
}

export class Plan {
  readonly #invocation: Pick<Invocation, 'output' | 'options' | 'terminal'>;
  readonly #groups = new Map<string, Group>();

  constructor(invocation: Pick<Invocation, 'output' | 'options' | 'terminal'>) {
    this.#invocation = invocation;
  }

  readonly add = async (step: PlannedStep): Promise<void> => {
    const { output, options, terminal } = this.#invocation;
    const { writer, ...facts } = step;
    const { action, reason, bytes, file } = step;
    const name = showName(
      file !== null && writer !== undefined ? referenceOf({ name: file, writer }) : (file ?? step.object),
    );
    if (options.json === true)
      await output.json(writer === undefined ? facts : { ...facts, ...writerAsJson(writer) });
    else if (options.verbose === true) {
      const why = [REASONS[reason], ...(step.bucket === null ? [] : [showName(step.bucket)])];
      const size = bytes === null ? '' : ` (${showSize(bytes)})`;
      // No progress is drawn into it.
      await terminal.asking(() => output.line(`${action} ${name}${size}: ${why.join(', ')}`));
    } else {
      const key = `${action} ${reason}`;
      const group = this.#groups.get(key) ?? { action, reason, names: [], steps: 0, bytes: 0 };
      this.#groups.set(key, group);
      group.steps += 1;
      group.bytes += bytes ?? 0;
      if (group.names.length < SHOWN && !group.names.includes(name)) group.names.push(name);
    }
  };

  /** Prints what was not printed step by step. */
  async end(): Promise<void> {
    const { output } = this.#invocation;
    for (const { action, reason, names, steps, bytes } of this.#groups.values()) {
      const size = bytes === 0 ? '' : ` (${showSize(bytes)})`;
      await output.line(`${action} ${count(steps, NOUNS[action])}${size}: ${REASONS[reason]}`);
      for (const name of names) await output.line(`  ${name}`);
      if (steps > names.length) await output.line('  ... (--verbose shows all)');
    }
  }
}

const NOUNS: Readonly<Record<PlannedStep['action'], string>> = {
  hide: 'file',
  remove: 'object',
  store: 'object',
};
