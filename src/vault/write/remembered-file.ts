/** What this machine remembers of single files: a large one that is as it was when it was stored is not read again. */
import type { ChunkRef } from '../../format/manifest.ts';
import { isWhole, LoggedGroups } from '../folders/local-log.ts';
import type { FileFacts, LocalLogWriter, LoggedGroup, LogPlace } from '../folders/local-log.ts';
import type { ChunkWriter } from './chunk-writer.ts';
import type { FileIdentity } from './file-source.ts';

/** Bytes from which on files are remembered: smaller ones are read sooner than looked up. */
export const LEAST_REMEMBERED = 4 * 1024 * 1024;

export class RememberedFile {
  readonly #place: LogPlace;
  readonly #facts: FileFacts;
  readonly #readAtMs: number;
  readonly #log: LocalLogWriter | null;
  readonly #forceRead: boolean;
  #logged: LoggedGroup | null = null;

  /**
   * @param identity of the file, as it was opened
   * @param p `cut`: how it is cut into chunks, which then are others. `log`: where it is noted what is stored now; null for
   *   nowhere. `readAtMs`: when it was opened, at the latest
   */
  constructor(
    { device, ...facts }: FileIdentity,
    p: {
      readonly place: LogPlace;
      readonly cut: string;
      readonly log: LocalLogWriter | null;
      readonly readAtMs: number;
      readonly forceRead: boolean;
    },
  ) {
    this.#place = p.place;
    this.#facts = { ...facts, path: Buffer.from(`${device} ${p.cut}`) };
    this.#log = p.log;
    this.#readAtMs = p.readAtMs;
    this.#forceRead = p.forceRead;
  }

  /** Looks what was stored of it. @returns whether it is unchanged, as far as this machine knows */
  async recall(): Promise<boolean> {
    if (this.#forceRead) return false;
    const groups = new LoggedGroups(this.#place);
    try {
      const { whole } = await groups.find([this.#facts]);
      this.#logged = whole !== null && isWhole(whole, this.#facts.size) ? whole : null;
      return this.#logged !== null;
    } finally {
      await groups.close();
    }
  }

  /** What was recalled, if the buckets have all of it. */
  async find(writer: ChunkWriter, fullSize: number | null, signal: AbortSignal): Promise<LoggedGroup | null> {
    const logged = this.#logged;
    return logged !== null && (await writer.areThere(logged.refs(), fullSize, signal)) ? logged : null;
  }

  /** Notes a chunk of it, in order. */
  note(ref: ChunkRef): void {
    this.#log?.chunk(ref);
  }

  /** Notes that those were all. */
  async end(): Promise<void> {
    await this.#log?.endGroup({ files: [this.#facts], extents: null, gaps: null, readAtMs: this.#readAtMs });
  }
}
