import { VaultError } from '../errors.ts';
import type { Engine } from './engine.ts';

/** Opens a catalog in a Postgres database. */
export function openPostgres(location: string, options: { readonly create: boolean }): Promise<Engine> {
  return Promise.reject(
    new VaultError(
      'unsupported',
      `Catalogs in Postgres are not there yet (${location.length}, ${options.create}).`,
    ),
  );
}
