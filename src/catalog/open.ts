import { requireNativePath } from '../disk/folders.ts';
import { throwIfAborted } from '../errors.ts';
import { systemClock } from '../host.ts';
import type { Clock, Environment } from '../host.ts';
import type { Catalog } from './catalog.ts';
import { isDatabaseUrl, requireLocation } from './location.ts';
import type { Engine } from './sql/engine.ts';
import { sqlCatalog } from './sql/catalog.ts';

export interface OpenCatalogOptions {
  /** Make the file or schema, and its tables, if there are none. Without it, a place without a catalog is `no-vault`. */
  readonly create?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  /** This machine's. */
  readonly clock?: Clock | undefined;
  /**
   * Where the variables that Postgres clients know (`PGSSLMODE`, `PGPASSFILE`, `HOME`, ...) are looked up. Undefined leaves it
   * to node-postgres, which knows some of them and looks into the process's own environment.
   */
  readonly environment?: Environment | undefined;
}

/**
 * Opens a catalog, and takes an older schema to the present one.
 *
 * @param location path of an SQLite file, or a `postgres://` URL
 * @returns the catalog; the caller closes it
 * @throws `no-vault`, `invalid-input` (a malformed URL, a database of something else), `denied`, `unavailable`,
 *   `damaged`, `unsupported` (written by a newer version, or by an unreleased one), `storage-full`, `interrupted`
 */
export async function openCatalog(location: string, options: OpenCatalogOptions = {}): Promise<Catalog> {
  return sqlCatalog(await openEngine(location, options));
}

/** A catalog that is gone when it is closed, for what is not to be written anywhere. */
export async function openScratch({ clock = systemClock }: OpenCatalogOptions = {}): Promise<Catalog> {
  const { openSqliteInMemory } = await import('./sqlite/engine.ts');
  return sqlCatalog(await openSqliteInMemory(clock));
}

/** The database under a catalog, opened as `openCatalog` does. @internal */
export async function openEngine(location: string, options: OpenCatalogOptions): Promise<Engine> {
  throwIfAborted(options.signal);
  requireLocation(location);
  const { create = false, clock = systemClock } = options;
  if (isDatabaseUrl(location)) {
    const { openPostgres } = await import('./postgres/engine.ts');
    return openPostgres(location, { ...options, create, clock });
  }
  requireNativePath(location);
  const { openSqlite } = await import('./sqlite/engine.ts');
  return openSqlite(location, { create, clock });
}
