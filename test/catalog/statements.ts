import type { CompiledQuery } from 'kysely';
import type { Engine, Session } from '../../src/catalog/sql/engine.ts';
import { sqlCatalog } from '../../src/catalog/sql/catalog.ts';
import { chunk, file, hex, many } from './samples.ts';

/** Enough rows for a second page of every listing, of a catalog of any size. */
const ENOUGH = 2500;

async function some(rows: AsyncIterable<unknown>): Promise<void> {
  let read = 0;
  for await (const _ of rows) if (++read === ENOUGH) return;
}

/**
 * Every kind of statement that finding, listing, storing and removing run, with the values of their parameters. What they store
 * is forgotten again.
 */
export async function statementsOf(engine: Engine): Promise<readonly CompiledQuery[]> {
  const statements: CompiledQuery[] = [];
  const recording = (session: Session): Session => ({
    run: (query) => {
      statements.push(query.compile());
      return session.run(query);
    },
  });
  const { files, chunks } = sqlCatalog({
    label: engine.label,
    db: engine.db,
    dialect: engine.dialect,
    read: (work) => engine.read((session) => work(recording(session))),
    writeOne: (durability, work) => engine.writeOne(durability, (session) => work(recording(session))),
    write: (durability, work) => engine.write(durability, (session) => work(recording(session))),
    requireWritable: () => engine.requireWritable(),
    close: () => engine.close(),
  });
  // More than a page of each listing.
  const rows = many(1200, (i) => file({ expiresAtMs: 5, hiddenAtMs: i % 2 === 0 ? null : 5 }));
  for (let at = 0; at < rows.length; at += 600) await files.put(rows.slice(at, at + 600));
  const places = many(1000, () => chunk());
  await chunks.put(places);
  await chunks.put([chunk(places[0]?.id)]);
  for (const hidden of [true, false]) {
    await some(files.list({ all: false, hidden }));
    await some(files.list({ all: true, hidden }));
    await files.byPrefix('00', 2, { hidden });
    await files.byName([file().nameTag], 2, { hidden });
    await files.byName([file().nameTag, file().nameTag], 2, { hidden });
  }
  await some(files.walk());
  await some(files.walk({ after: '0'.repeat(64) }));
  await some(chunks.walk());
  await some(chunks.walk({ after: '0'.repeat(64) }));
  const hashes = rows.map((row) => row.hash);
  await files.byHashes([...hashes.slice(0, 10), hex(64)]);
  await files.hide([...hashes.slice(0, 10), hex(64)], 7);
  await chunks.locate([...places.slice(0, 10).map((row) => row.id), hex(64)]);
  for (let at = 0; at < hashes.length; at += 600) await files.forget(hashes.slice(at, at + 600));
  await chunks.forget(places.map((row) => row.id));
  return statements;
}
