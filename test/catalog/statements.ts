import type { CompiledQuery } from 'kysely';
import type { Engine, Session } from '../../src/catalog/sql/engine.ts';
import { sqlCatalog } from '../../src/catalog/sql/catalog.ts';
import { chunk, file, hex, store } from './samples.ts';

/** Enough rows for a second page of every listing, of a catalog of any size. */
const ENOUGH = 2500;

async function some(rows: AsyncIterable<unknown>): Promise<void> {
  let read = 0;
  for await (const _ of rows) if (++read === ENOUGH) return;
}

/** Every kind of statement that finding, listing, storing and removing run, with the values of their parameters. */
export async function statementsOf(engine: Engine): Promise<readonly CompiledQuery[]> {
  const statements: CompiledQuery[] = [];
  const recording = (session: Session): Session => ({
    run: (query) => {
      statements.push(query.compile());
      return session.run(query);
    },
  });
  const catalog = sqlCatalog({
    label: engine.label,
    db: engine.db,
    dialect: engine.dialect,
    read: (work) => engine.read((session) => work(recording(session))),
    writeOne: (durability, work) => engine.writeOne(durability, (session) => work(recording(session))),
    write: (durability, work) => engine.write(durability, (session) => work(recording(session))),
    close: () => engine.close(),
  });
  const id = hex(64);
  const row = file({ expiresAtMs: 5 });
  await store(catalog, row, [id, hex(64)]);
  await store(catalog, file(), [id]);
  const generation = hex(16);
  await catalog.beginPut({ generation, owner: 'test' });
  await catalog.recordChunks(generation, [chunk(id, generation)]);
  await catalog.discardPut(generation);
  await catalog.beginPut({ generation: hex(16), owner: 'gone' });
  await catalog.buryPuts({ leaseMs: 1000, isGone: () => true });
  await some(catalog.listFiles({ all: false }));
  await some(catalog.listFiles({ all: true }));
  await some(catalog.expiredFiles(10));
  await some(catalog.listChunks());
  await some(catalog.listChunks({ after: '0'.repeat(64) }));
  await some(catalog.garbage());
  await catalog.filesByHash('00', 2);
  await catalog.filesByName(row.nameTag, 2);
  await catalog.knownManifests([row.hash, hex(64)]);
  await catalog.locateChunks([id, hex(64)]);
  await catalog.filesOfChunks([id, hex(64)]);
  await catalog.pendingPuts();
  await catalog.deadPuts();
  await catalog.replaceFile(row);
  await catalog.removeFiles([row.hash, hex(64)]);
  return statements;
}
