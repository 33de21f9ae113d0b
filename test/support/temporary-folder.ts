import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A folder of the test's own, removed with all that is in it at the end of the block: `await using`. */
export interface TemporaryFolder extends AsyncDisposable {
  readonly path: string;
  /** A path below it; nothing is made there. */
  at(...parts: readonly string[]): string;
}

/** @param parent where to make it; the system's folder for temporary files unless a test needs a special disk */
export async function temporaryFolder(parent: string = tmpdir()): Promise<TemporaryFolder> {
  const path = await mkdtemp(join(parent, 'vault-test-'));
  return {
    path,
    at: (...parts) => join(path, ...parts),
    async [Symbol.asyncDispose]() {
      // A test may have taken the permissions away.
      await chmod(path, 0o700).catch(() => undefined);
      await rm(path, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}
