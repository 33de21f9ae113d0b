import type { Clock, Environment } from '../host.ts';
import type { Bucket } from './bucket.ts';

/** What a driver may need of the machine it runs on. */
export interface Machine {
  readonly clock?: Clock | undefined;
  readonly environment?: Environment | undefined;
  /** Threads for calls of file systems. */
  readonly fileThreads?: number | undefined;
}

/** A kind of bucket: how people write where one is, and how it is opened. Its driver is loaded when it is. */
export interface Kind<Location extends { readonly url: string }> {
  /** What stands before `://` in its URLs; lower case. */
  readonly scheme: string;
  /** A URL of this kind, for messages. */
  readonly example: string;
  /**
   * Understands a URL of this kind.
   *
   * @param base absolute path of the folder that relative paths start from; null: they are refused
   * @returns `url` is the normalised form: the same place written otherwise gives the same one
   * @throws `invalid-input`; the message never repeats what could be a credential
   */
  locate(text: string, base: string | null): Location;
  /** Connects to nothing before the first operation. */
  open(location: Location, machine: Machine): Promise<Bucket>;
}
