/** The names that this machine has for owners, as its plain files tell them. Those of a directory service are not known. */
import { readFile } from 'node:fs/promises';

export interface Accounts {
  /** The name of a user or group; null if it has none here. */
  user(uid: number): string | null;
  group(gid: number): string | null;
  /** The number of a user or group by name; null if there is none here. */
  uid(user: string): number | null;
  gid(group: string): number | null;
}

/** @param folder where `passwd` and `group` are; what cannot be read knows no names */
export async function readAccounts(folder = '/etc'): Promise<Accounts> {
  const [users, groups] = await Promise.all([readNames(`${folder}/passwd`), readNames(`${folder}/group`)]);
  return {
    user: (uid) => users.names.get(uid) ?? null,
    group: (gid) => groups.names.get(gid) ?? null,
    uid: (user) => users.numbers.get(user) ?? null,
    gid: (group) => groups.numbers.get(group) ?? null,
  };
}

interface Names {
  readonly names: ReadonlyMap<number, string>;
  readonly numbers: ReadonlyMap<string, number>;
}

async function readNames(path: string): Promise<Names> {
  const text = await readFile(path, 'utf8').catch(() => '');
  const names = new Map<number, string>();
  const numbers = new Map<string, number>();
  for (const line of text.split('\n')) {
    const [name = '', , digits = ''] = line.split(':');
    // Of several the first counts, as for the system itself. Others begin with + or - and mean a directory service.
    if (!/^[^+\-#]/.test(name) || !/^\d{1,10}$/.test(digits)) continue;
    const number = Number(digits);
    if (!names.has(number)) names.set(number, name);
    if (!numbers.has(name)) numbers.set(name, number);
  }
  return { names, numbers };
}
