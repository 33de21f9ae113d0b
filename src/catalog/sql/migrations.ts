import { sql } from 'kysely';
import type { Compilable } from 'kysely';
import { VaultError } from '../../errors.ts';
import { rawQuery } from './engine.ts';
import type { Engine } from './engine.ts';

/** The schema that this version reads and writes. */
export const SCHEMA_VERSION = 1;

/**
 * The statements that take an empty database, or one of an older version, to `SCHEMA_VERSION`. The caller
 * runs them in one transaction together with the change of the recorded version.
 *
 * A step that has been released never changes again; a later schema is a further step. Each statement passes over what an
 * attempt that was broken off has made, for databases in which such statements cannot be taken back.
 *
 * @param engine the database
 * @param from the version found; 0 for an empty database
 */
export function migration(engine: Pick<Engine, 'db' | 'dialect'>, from: number): readonly Compilable[] {
  return STEPS.slice(from).flatMap((step) => step(engine));
}

/** What to say of a catalog that a newer version has upgraded. */
export function newerSchema(label: string, version: number): VaultError {
  return new VaultError(
    'unsupported',
    `The catalog ${label} was written by a newer version of this program (schema ${version}, this one knows ${SCHEMA_VERSION}). Upgrade it on this machine too.`,
  );
}

const STEPS: readonly ((engine: Pick<Engine, 'db' | 'dialect'>) => Compilable[])[] = [firstSchema];

function firstSchema({ db, dialect }: Pick<Engine, 'db' | 'dialect'>): Compilable[] {
  const { schema } = db;
  const bytes = dialect.bytesType;
  return [
    schema
      .createTable('vault')
      .ifNotExists()
      .addColumn('one', 'integer', (column) => column.primaryKey().check(sql`one = 1`))
      .addColumn('id', bytes, (column) => column.notNull())
      .addColumn('settings', bytes, (column) => column.notNull()),
    schema
      .createTable('keyslots')
      .ifNotExists()
      .addColumn('id', bytes, (column) => column.primaryKey())
      .addColumn('body', bytes, (column) => column.notNull()),
    schema
      .createTable('buckets')
      .ifNotExists()
      .addColumn('number', 'integer', (column) => column.primaryKey())
      .addColumn('id', bytes, (column) => column.unique())
      .addColumn('state', 'text')
      .addColumn('record', bytes),

    schema
      .createTable('files')
      .ifNotExists()
      .addColumn('generation', bytes, (column) => column.primaryKey())
      .addColumn('state', 'integer', (column) => column.notNull())
      .addColumn('owner', 'text', (column) => column.notNull())
      .addColumn('renewed_at', 'bigint', (column) => column.notNull())
      .addColumn('announced', bytes)
      .addColumn('hash', bytes, (column) => column.unique())
      .addColumn('name_tag', bytes)
      .addColumn('record', bytes)
      .addColumn('created_at', 'bigint')
      .addColumn('expires_at', 'bigint')
      .addColumn('seq', 'bigint', (column) => column.unique()),
    schema.createIndex('files_by_name').ifNotExists().on('files').columns(['name_tag', 'seq']),
    schema.createIndex('files_by_expiry').ifNotExists().on('files').columns(['expires_at', 'seq']),
    // Puts are few among many files.
    schema
      .createIndex('files_by_state')
      .ifNotExists()
      .on('files')
      .columns(['state'])
      .where(sql.ref('seq'), 'is', null),

    schema
      .createTable('chunks')
      .ifNotExists()
      .addColumn('id', bytes, (column) => column.primaryKey())
      .addColumn('k', 'integer', (column) => column.notNull())
      .addColumn('m', 'integer', (column) => column.notNull())
      .addColumn('sealed_size', 'bigint', (column) => column.notNull())
      .addColumn('shards', bytes, (column) => column.notNull())
      .modifyEnd(dialect.keyedTable),
    schema
      .createTable('refs')
      .ifNotExists()
      .addColumn('file', bytes, (column) => column.notNull().references('files.generation'))
      .addColumn('chunk', bytes, (column) => column.notNull().references('chunks.id'))
      .addPrimaryKeyConstraint('refs_pk', ['file', 'chunk'])
      .modifyEnd(dialect.keyedTable),
    schema.createIndex('refs_by_chunk').ifNotExists().on('refs').columns(['chunk']),

    schema
      .createTable('garbage')
      .ifNotExists()
      .addColumn('id', bytes, (column) => column.notNull())
      .addColumn('kind', 'integer', (column) => column.notNull())
      .addColumn('k', 'integer', (column) => column.notNull())
      .addColumn('m', 'integer', (column) => column.notNull())
      .addColumn('places', bytes, (column) => column.notNull())
      .addPrimaryKeyConstraint('garbage_pk', ['id', 'kind', 'places'])
      .modifyEnd(dialect.keyedTable),
    schema
      .createTable('strays')
      .ifNotExists()
      .addColumn('bucket', 'integer', (column) => column.notNull())
      .addColumn('name', bytes, (column) => column.notNull())
      .addColumn('seen_at', 'bigint', (column) => column.notNull())
      .addPrimaryKeyConstraint('strays_pk', ['bucket', 'name'])
      .modifyEnd(dialect.keyedTable),
    ...dialect.counters.map((counter) => rawQuery(db, counter)),
  ];
}
