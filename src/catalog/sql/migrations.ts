import { sql, type Compilable } from 'kysely';
import { VaultError } from '../../errors.ts';
import type { Engine } from './engine.ts';

type Building = Pick<Engine, 'db' | 'dialect'>;

const STEPS: readonly ((engine: Building) => Compilable[])[] = [
  firstSchema,
  grantsTable,
  // Serves no query.
  ({ db: { schema } }) => [schema.dropIndex('files_by_expiry').ifExists()],
];

/** The version before the first step. Versions up to this one were never released, and their tables are other ones. */
const UNRELEASED = 100;

/** The schema that this version reads and writes. */
export const SCHEMA_VERSION = UNRELEASED + STEPS.length;

/**
 * The statements that take an empty database, or one of an older version, to `SCHEMA_VERSION`. The caller
 * runs them in one transaction together with the change of the recorded version.
 *
 * A step that has been released never changes again; a later schema is a further step. Each statement passes over what an
 * attempt that was broken off has made, for databases in which such statements cannot be taken back.
 *
 * @param engine the database
 * @param from the version found, which `requireKnownSchema` has let pass; 0 for an empty database
 */
export function migration(engine: Building, from: number): readonly Compilable[] {
  return STEPS.slice(from === 0 ? 0 : from - UNRELEASED).flatMap((step) => step(engine));
}

/**
 * Lets pass what this version reads or can take to its own schema; also 0, a database without tables.
 *
 * @param label the catalog's
 * @throws `unsupported` for a schema that is newer, or from before the first release
 */
export function requireKnownSchema(label: string, version: number): void {
  if (version > SCHEMA_VERSION) {
    throw new VaultError(
      'unsupported',
      `The catalog ${label} was written by a newer version of this program (schema ${version}, this one knows ${SCHEMA_VERSION}). Upgrade it on this machine too.`,
    );
  }
  if (version !== 0 && version <= UNRELEASED) {
    throw new VaultError(
      'unsupported',
      `The catalog ${label} was made by an unreleased version; rebuild it with "vault recover" in another place.`,
    );
  }
}

function firstSchema({ db, dialect }: Building): Compilable[] {
  const { schema } = db;
  const bytes = dialect.bytesType;
  return [
    schema
      .createTable('vault')
      .ifNotExists()
      .addColumn('one', 'integer', (column) => column.primaryKey().check(sql`one = 1`))
      .addColumn('id', bytes, (column) => column.notNull())
      .addColumn('epoch', 'bigint', (column) => column.notNull())
      .addColumn('keyring', bytes, (column) => column.notNull())
      .addColumn('writer', bytes, (column) => column.notNull()),
    schema
      .createTable('notes')
      .ifNotExists()
      .addColumn('key', bytes, (column) => column.notNull().primaryKey())
      .addColumn('value', bytes, (column) => column.notNull()),
    schema
      .createTable('buckets')
      .ifNotExists()
      .addColumn('number', 'integer', (column) => column.primaryKey())
      .addColumn('id', bytes, (column) => column.unique())
      .addColumn('record', bytes),
    ...filesTable({ db, dialect }),
    schema
      .createTable('chunks')
      .ifNotExists()
      .addColumn('id', bytes, (column) => column.notNull().primaryKey())
      .addColumn('k', 'integer', (column) => column.notNull())
      .addColumn('m', 'integer', (column) => column.notNull())
      .addColumn('sealing', bytes, (column) => column.notNull())
      .addColumn('sealed_size', 'bigint', (column) => column.notNull())
      .addColumn('shards', bytes, (column) => column.notNull())
      .modifyEnd(dialect.keyedTable),
  ];
}

function filesTable({ db: { schema }, dialect }: Building): Compilable[] {
  const bytes = dialect.bytesType;
  const hidden = sql.ref('hidden_at');
  return [
    schema
      .createTable('files')
      .ifNotExists()
      .addColumn('hash', bytes, (column) => column.notNull().primaryKey())
      .addColumn('writer', bytes, (column) => column.notNull())
      .addColumn('name_tag', bytes, (column) => column.notNull())
      .addColumn('record', bytes, (column) => column.notNull())
      .addColumn('version', 'bigint', (column) => column.notNull())
      .addColumn('created_at', 'bigint', (column) => column.notNull())
      .addColumn('expires_at', 'bigint')
      .addColumn('hidden_at', 'bigint'),
    // The last column lets hidden versions be passed over without a look at their rows.
    schema
      .createIndex('files_by_name')
      .ifNotExists()
      .on('files')
      .columns(['name_tag', 'version', 'created_at', 'hash', 'hidden_at']),
    schema
      .createIndex('files_by_time')
      .ifNotExists()
      .on('files')
      .columns(['created_at', 'hash'])
      .where(hidden, 'is', null),
    schema
      .createIndex('files_hidden')
      .ifNotExists()
      .on('files')
      .columns(['created_at', 'hash'])
      .where(hidden, 'is not', null),
    schema
      .createIndex('files_by_expiry')
      .ifNotExists()
      .on('files')
      .columns(['expires_at', 'hash'])
      .where(hidden, 'is', null)
      .where(sql.ref('expires_at'), 'is not', null),
  ];
}

function grantsTable({ db: { schema }, dialect }: Building): Compilable[] {
  const bytes = dialect.bytesType;
  return [
    schema
      .createTable('grants')
      .ifNotExists()
      .addColumn('id', bytes, (column) => column.notNull().primaryKey())
      .addColumn('kind', 'integer', (column) => column.notNull())
      .addColumn('record', bytes, (column) => column.notNull())
      .addColumn('expires_at', 'bigint')
      .addColumn('uses', 'bigint', (column) => column.notNull())
      .modifyEnd(dialect.keyedTable),
  ];
}
