/** A vault's status as metrics in Prometheus' text format. Names and meanings are an interface. */
import type { BucketReport } from '../../vault/manage/buckets.ts';
import type { CatalogFacts, VaultStatus } from '../../vault/read/status.ts';
import { showName } from '../terminal/text.ts';

/** The newest version of a name. */
export interface Age {
  readonly name: string;
  readonly storedAtMs: number;
  /** Whether that is in the future, so that nobody knows. */
  readonly future: boolean;
  /** Null where nobody asked. */
  readonly tooOld: boolean | null;
}

export interface Standing extends VaultStatus {
  readonly buckets: readonly BucketReport[];
  /** Bytes in the buckets that answer. */
  readonly storedBytes: number;
  /** Of the names that were given. */
  readonly ages: readonly Age[];
}

/** One metric: its name, what it says, and its values by labels. */
type Metric = readonly [
  name: string,
  help: string,
  values: readonly (readonly [labels: Readonly<Record<string, string>>, value: number])[],
];

/** @param good whether the command ends with 0 */
export function metricsText(standing: Standing, good: boolean): string {
  const { buckets, ages, safety, runs } = standing;
  const metrics: readonly Metric[] = [
    ...catalogMetrics(standing, good),
    ['vault_files', 'Names under which something is stored.', [[{}, standing.files]]],
    ['vault_degraded_versions', 'Versions less safe than they were stored for.', [[{}, standing.degraded]]],
    ['vault_logical_bytes', 'Bytes of all versions as they were put.', [[{}, standing.logicalBytes]]],
    ['vault_unique_bytes', 'Bytes of all chunks, each once, compressed.', [[{}, standing.uniqueBytes]]],
    ['vault_stored_bytes', 'Bytes in the buckets that answer.', [[{}, standing.storedBytes]]],
    [
      'vault_versions_by_safety',
      'Versions by how many buckets may be lost; -1: cannot be read now.',
      [...safety].map(([survives, files]) => [{ survives: String(survives) }, files]),
    ],
    [
      'vault_bucket_up',
      'Whether a bucket answers.',
      buckets.map(({ url, error }) => [{ bucket: url }, Number(error === null)]),
    ],
    [
      'vault_bucket_bytes',
      'Bytes in a bucket.',
      buckets.flatMap(({ url, bytes }) => (bytes === null ? [] : [[{ bucket: url }, bytes] as const])),
    ],
    [
      'vault_name_timestamp_seconds',
      'When the newest version of a name was stored.',
      ages
        .filter(({ future }) => !future)
        .map(({ name, storedAtMs }) => [{ name: showName(name) }, storedAtMs / 1000]),
    ],
    [
      'vault_last_run_timestamp_seconds',
      'When a verb ended last.',
      runs.map(({ verb, endedAtMs }) => [{ verb }, endedAtMs / 1000]),
    ],
    [
      'vault_last_run_exit_code',
      'The exit code it ended with.',
      runs.map(({ verb, facts }) => [{ verb }, Number(facts['exit'])]),
    ],
  ];
  return textOf(metrics);
}

/** Without the password. */
export function catalogMetricsText(facts: Omit<CatalogFacts, 'vaultId'>, good: boolean): string {
  return textOf(catalogMetrics(facts, good));
}

function catalogMetrics(
  { versions, removed, future, newestAtMs }: Omit<CatalogFacts, 'vaultId'>,
  good: boolean,
): readonly Metric[] {
  return [
    ['vault_good', 'Whether nothing needs attention.', [[{}, Number(good)]]],
    ['vault_versions', 'Versions of all names.', [[{}, versions]]],
    ['vault_removed_files', 'Removed files that can be brought back.', [[{}, removed]]],
    ['vault_future_versions', 'Versions that are dated in the future.', [[{}, future]]],
    [
      'vault_newest_timestamp_seconds',
      'When the newest version was stored that is not dated in the future.',
      newestAtMs === null ? [] : [[{}, newestAtMs / 1000]],
    ],
  ];
}

function textOf(metrics: readonly Metric[]): string {
  return metrics
    .filter(([, , values]) => values.length > 0)
    .map(([name, help, values]) => {
      const lines = values.map(([labels, value]) => `${name}${labelsText(labels)} ${value}\n`);
      return `# HELP ${name} ${help}\n# TYPE ${name} gauge\n${lines.join('')}`;
    })
    .join('');
}

function labelsText(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([key, value]) => `${key}="${escaped(value)}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

function escaped(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
