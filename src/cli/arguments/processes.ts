/** How a put's process is told alive from gone, by others on the same machine. */
import { readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { systemCode } from '../../errors.ts';
import type { ProcessTable } from '../../vault/session.ts';

/**
 * Words are `host/namespace/pid`. A word of another machine, or of another container, says nothing here; a number that
 * the system has given to another process since looks alive: then the time since the put was last heard of decides.
 */
export function processTable(): ProcessTable {
  const here = `${hostname()}/${processNamespace()}`;
  return {
    self: `${here}/${process.pid}`,
    isGone(owner) {
      const at = owner.lastIndexOf('/');
      const pid = Number(owner.slice(at + 1));
      return owner.slice(0, at) === here && Number.isInteger(pid) && pid > 0 && !isRunning(pid);
    },
  };
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it runs, as somebody else.
    return systemCode(error) !== 'ESRCH';
  }
}

/** Containers may share a host's name and not its process numbers. */
function processNamespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid');
  } catch {
    return 'pid';
  }
}
