import type { Catalog } from '../catalog.ts';
import { descriptionMethods } from './descriptions.ts';
import type { Engine } from './engine.ts';
import { fileMethods } from './files.ts';
import { garbageMethods } from './garbage.ts';
import { putMethods } from './puts.ts';

/** The catalog in an SQL database: one implementation for all of them, over what an engine can do. */
export function sqlCatalog(engine: Engine): Catalog {
  return {
    label: engine.label,
    ...descriptionMethods(engine),
    ...putMethods(engine),
    ...fileMethods(engine),
    ...garbageMethods(engine),
    close: () => engine.close(),
  };
}
