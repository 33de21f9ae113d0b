import type { Catalog } from '../catalog.ts';
import { SqlChunks } from './chunks.ts';
import type { Engine } from './engine.ts';
import { SqlFiles } from './files.ts';
import { SqlGrants } from './grants.ts';
import { SqlSetup } from './setup.ts';

/** The catalog in an SQL database: one implementation for all of them, over what an engine can do. */
export function sqlCatalog(engine: Engine): Catalog {
  return {
    label: engine.label,
    setup: new SqlSetup(engine),
    files: new SqlFiles(engine),
    chunks: new SqlChunks(engine),
    grants: new SqlGrants(engine),
    requireWritable: (options) => engine.requireWritable(options),
    close: () => engine.close(),
  };
}
