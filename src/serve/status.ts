/** How the vault stands, as the page and the report show it. */
import { formatRedundancy } from '../format/shard.ts';
import type { CallOptions } from '../vault/call.ts';
import { asTime } from '../vault/files/as-json.ts';
import type { Vault } from '../vault/vault.ts';
import type { StatusView } from './page/status-view.ts';
import type { Route } from './serving.ts';

export const STATUS: readonly Route[] = [
  {
    method: 'GET',
    path: '/api/status',
    summary: 'What the vault holds, how its buckets stand, and what would be lost with each and each pair.',
    scope: 'admin',
    async handle({ signal }, { vault, options: { clock } }) {
      return { status: 200, json: await statusViewOf(vault, { signal, nowMs: clock.now() }) };
    },
  },
];

/** Asks every bucket what it holds. */
export async function statusViewOf(
  vault: Vault,
  { nowMs, ...call }: CallOptions & { readonly nowMs: number },
): Promise<StatusView> {
  const [outlook, buckets] = await Promise.all([vault.outlook(call), vault.bucketReport(call)]);
  const { safety, losses, runs, newestAtMs, ...numbers } = outlook;
  const placeOf = new Map(buckets.map(({ id }, at) => [id, at]));
  return {
    ...numbers,
    at: asTime(nowMs) ?? '',
    redundancy: formatRedundancy(vault.redundancy),
    unreadable: safety.get(-1) ?? 0,
    storedBytes: buckets.reduce((sum, { bytes }) => sum + (bytes ?? 0), 0),
    newestAt: asTime(newestAtMs),
    buckets: buckets.map(({ url, state, objects, bytes, error }) => ({ url, state, objects, bytes, error })),
    losses: losses.map(({ buckets: ids, versions }) => ({
      buckets: ids.flatMap((id) => placeOf.get(id) ?? []),
      versions,
    })),
    runs: runs.map(({ verb, endedAtMs, facts: { exit } }) => ({
      verb,
      endedAt: asTime(endedAtMs),
      exit: typeof exit === 'number' ? exit : null,
    })),
  };
}
