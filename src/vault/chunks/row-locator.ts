import type { ChunkRow } from '../../catalog/catalog.ts';
import { batched } from '../../concurrency/batched.ts';
import { isVaultError } from '../../errors.ts';
import type { ReadSession } from '../session.ts';

/**
 * Looks up where the catalog believes chunks to be, many at once.
 *
 * @returns asks for one chunk by its id of 64 hex digits; a row that makes no sense says as little as none
 */
export function rowLocator({ catalog }: ReadSession): (id: string) => Promise<ChunkRow | undefined> {
  const locate = batched((ids: readonly string[]) => catalog.chunks.locate([...new Set(ids)]), {
    most: 500,
    inFlight: 2,
  });
  return async (id) => {
    try {
      return await locate(id);
    } catch (error) {
      if (isVaultError(error, 'damaged')) return undefined;
      throw error;
    }
  };
}
