/** A vault's roots: a new one, and what lies under those before. */
import { requireFull } from '../../crypto/keys.ts';
import type { CallOptions } from '../call.ts';
import { rotateKeys, type RotateOptions, type Rotation } from '../keys/rotate.ts';
import type { Session } from '../session.ts';
import { resealFiles, type ResealOptions, type ResealResult } from './reseal.ts';

export class Roots {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  /** The number of the root that new files are stored under, from 1. */
  get current(): number {
    return this.#session.keys.rootNumber;
  }

  /**
   * Makes a new root for what is stored from now on. Every other key is taken away; what was stored before stays readable. The catalog
   * has to be synced then, as that of every machine: its records are proved by the root.
   *
   * @throws `wrong-password` if somebody else has just done so; what a bucket says that cannot be used: nothing was changed then
   */
  async rotate(options: RotateOptions): Promise<Rotation> {
    return rotateKeys(await this.#writable(), options);
  }

  /**
   * Stores anew, under the last root, every version that is stored under one before, and removes what it replaces. Cut short, it goes
   * on when it is repeated.
   *
   * @throws `unavailable` (or what it says) if a bucket cannot be used: what is stored anew shall be as safe as before
   */
  async reseal(options: ResealOptions & CallOptions = {}): Promise<ResealResult> {
    return resealFiles(await this.#writable(), options);
  }

  async #writable(): Promise<Session> {
    requireFull(this.#session.keys, 'a new root');
    await this.#session.catalog.requireWritable();
    return this.#session;
  }
}
