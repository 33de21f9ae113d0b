/** Content of entries out of the runs that it is stored in. */
import { dataSize } from '../../format/folder-index.ts';
import type { EntryContent } from '../../format/folder-index.ts';
import type { ReadContent } from './with-holes.ts';

/** Bytes of a folder's content, and where in it they begin. */
export interface Run {
  readonly start: number;
  readonly bytes: Uint8Array;
}

/** Gives the run that has a byte, valid until the next one is asked for. */
export type RunAt = (offset: number) => Promise<Run>;

const NOTHING = new Uint8Array(0);

/** @throws as `runAt` */
export function contentReader(runAt: RunAt): ReadContent {
  let run: Run = { start: 0, bytes: NOTHING };
  /** What of a content the run has from a byte on. */
  const partAt = ({ offset }: EntryContent, length: number, done: number): Uint8Array => {
    const at = offset + done - run.start;
    return at < 0 ? NOTHING : run.bytes.subarray(at, at + length - done);
  };
  const read: ReadContent = async function* ({ content }) {
    if (content === null) return;
    const length = dataSize(content);
    for (let done = 0; done < length;) {
      let part = partAt(content, length, done);
      if (part.length === 0) {
        run = await runAt(content.offset + done);
        part = partAt(content, length, done);
      }
      yield part;
      done += part.length;
    }
  };
  const atHand: ReadContent['atHand'] = ({ content }) => {
    if (content === null) return null;
    const length = dataSize(content);
    const part = partAt(content, length, 0);
    return part.length === length ? part : null;
  };
  return Object.assign(read, { atHand });
}
