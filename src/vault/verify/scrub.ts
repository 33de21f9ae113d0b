import type { Bucket } from '../../buckets/bucket.ts';
import type { CallOptions } from '../call.ts';
export interface ScrubOptions extends CallOptions {
  readonly sample?: number;
  readonly random?: () => number;
}
export interface ScrubProblem {
  readonly name: string;
  readonly message: string;
}
export interface ScrubResult {
  readonly objects: number;
  readonly bytes: number;
  readonly checked: number;
  readonly problems: readonly ScrubProblem[];
  readonly ignored: number;
  readonly vaultIds: readonly string[];
}
export function scrubBucket(_b: Bucket, _o: ScrubOptions): Promise<ScrubResult> {
  throw new Error('later');
}
