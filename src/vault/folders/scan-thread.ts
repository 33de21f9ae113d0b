/** The thread that scans a folder ahead of the one that stores it: see `scan-ahead.ts`. */
import { on } from 'node:events';
import { parentPort, workerData } from 'node:worker_threads';
import { enlargeNewSpace } from '../../concurrency/heap.ts';
import { toThreadError } from '../../concurrency/thread-error.ts';
import { systemClock } from '../../host.ts';
import { readAccounts } from './accounts.ts';
import { makeExcludes } from './excludes.ts';
import { packBatch } from './scan-batch.ts';
import { scan } from './scan.ts';
import type { Missed, ScannedEntry } from './scan.ts';
import type { ScanMessage, ScanStart } from './scan-ahead.ts';

/** Entries that are told at once, unless they take longer to find than this, in ms. */
const BATCH = 256;
const BATCH_MS = 100;

async function main(port: NonNullable<typeof parentPort>, start: ScanStart): Promise<void> {
  enlargeNewSpace();
  const asked = on(port, 'message');
  const tell = (message: ScanMessage, moved: ArrayBuffer[] = []): void => port.postMessage(message, moved);
  let entries: ScannedEntry[] = [];
  let missed: Missed[] = [];
  let since = systemClock.monotonic();
  const flush = async (): Promise<void> => {
    await asked.next();
    const batch = packBatch(entries);
    tell({ kind: 'batch', batch, missed }, [batch.numbers.buffer, batch.state.buffer, batch.bytes.buffer]);
    entries = [];
    missed = [];
    since = systemClock.monotonic();
  };
  try {
    const options = {
      ...start.options,
      excludes: await makeExcludes(start.excludes.map((each) => Buffer.from(each))),
      accounts: await readAccounts(),
      onMissed: (one: Missed) => missed.push(one),
    };
    for await (const entry of scan(Buffer.from(start.root), options)) {
      entries.push(entry);
      if (entries.length >= BATCH || systemClock.monotonic() - since > BATCH_MS) await flush();
    }
    await flush();
    tell({ kind: 'end' });
  } catch (error) {
    tell({ kind: 'failed', error: toThreadError(error) });
  }
  port.close();
}

// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- whoever starts the thread gives it this
if (parentPort !== null) await main(parentPort, workerData as ScanStart);
