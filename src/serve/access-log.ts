/** What the log says of a request. */

/** One request, for whoever keeps the log: without names, tokens and passwords. */
export interface AccessEntry {
  readonly time: string;
  readonly client: string | null;
  readonly by: string | null;
  readonly method: string;
  /** The pattern of the path; null if nothing is there. */
  readonly route: string | null;
  readonly status: number;
  readonly code: string | null;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly ms: number;
}
