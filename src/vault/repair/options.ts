/** What repairing takes. */
import type { Redundancy } from '../../format/shard.ts';
import type { PlanOptions } from '../call.ts';

export interface RepairOptions extends PlanOptions {
  /** Hashes, prefixes or names; all files unless given. */
  readonly references?: readonly string[] | undefined;
  /** How to find out what to repair: by listings, or by reading everything. Default `listing`. */
  readonly depth?: 'listing' | 'data' | undefined;
  /** New redundancy of the vault: new files get it, and what is stored is coded anew. */
  readonly redundancy?: Redundancy | undefined;
  /** Has all that live files need locked until then at least, in milliseconds since 1970, where buckets can lock. */
  readonly retainUntilMs?: number | undefined;
}
