import { mkdir, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { readSourceTree } from './support/source-tree.ts';
import type { Import, SourceFacts } from './support/source-tree.ts';
import { temporaryFolder } from './support/temporary-folder.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/**
 * The parts of the program from the ground up, each with what belongs to it. The first pattern that fits a path says its
 * part: a contract lies in the folder of its drivers. Imports point to lower floors or stay within a part.
 */
const FLOORS: readonly (readonly (readonly [part: string, paths: RegExp])[])[] = [
  [['errors', /^src\/(errors|shell-word)\.ts$/]],
  [['host', /^src\/host\.ts$/]],
  [
    ['bucket contract', /^src\/buckets\/bucket\.ts$/],
    ['catalog contract', /^src\/catalog\/(catalog|location)\.ts$/],
    ['format', /^src\/format\//],
    ['disk', /^src\/disk\//],
    ['concurrency', /^src\/concurrency\//],
  ],
  [
    ['crypto', /^src\/crypto\//],
    ['bucket drivers', /^src\/buckets\//],
    ['catalog drivers', /^src\/catalog\//],
  ],
  [['vault', /^src\/vault\//]],
  [['composition root', /^src\/(compose|making)\.ts$/]],
  [['server', /^src\/serve\//]],
  [
    ['library', /^src\/index\.ts$/],
    // In browsers, and on nothing of the rest.
    ['share page', /^src\/share-page\//],
    ['cli', /^src\/cli\//],
  ],
];

/** Buckets and databases are known by their contracts; only the composition root knows which kinds there are. */
const KNOWS_NO_DRIVER = new Set(['vault', 'server', 'library', 'cli']);
const DRIVERS = new Set(['bucket drivers', 'catalog drivers']);

/**
 * The rooms of the vault, and which others each may import. Any room may know the types of `call.ts` (what every verb takes)
 * and `session.ts` (what every operation works with).
 */
const ROOMS: Readonly<Record<string, readonly string[]>> = {
  call: [],
  session: ['buckets', 'chunks', 'protocol'],
  buckets: [],
  chunks: ['buckets'],
  keys: ['buckets'],
  protocol: ['buckets', 'chunks', 'keys'],
  files: ['buckets', 'chunks', 'protocol'],
  grants: ['read'],
  write: ['buckets', 'chunks', 'files', 'folders', 'keys', 'protocol'],
  remove: ['buckets', 'chunks', 'files', 'keys', 'protocol'],
  read: ['buckets', 'chunks', 'files', 'open', 'protocol'],
  folders: ['chunks', 'files', 'read'],
  verify: ['buckets', 'chunks', 'files', 'keys', 'protocol'],
  repair: ['buckets', 'chunks', 'files', 'keys', 'protocol'],
  manage: ['buckets', 'keys', 'protocol', 'repair'],
  open: ['buckets', 'chunks', 'keys', 'protocol'],
  recover: ['buckets', 'chunks', 'files', 'folders', 'keys', 'open', 'protocol', 'repair'],
  roots: ['buckets', 'chunks', 'files', 'keys', 'protocol', 'recover', 'remove', 'write'],
  share: ['buckets', 'keys', 'manage'],
  vault: [
    'folders',
    'grants',
    'keys',
    'manage',
    'open',
    'read',
    'recover',
    'remove',
    'repair',
    'roots',
    'share',
    'verify',
    'write',
  ],
};
/** Known by their types alone. */
const TYPE_ROOMS = new Set(['call', 'session']);

/** Which files may import a package. Types of one may be seen beside it, in the files of the same driver. */
const PACKAGES: Readonly<Record<string, RegExp>> = {
  '@google-cloud/storage': /^src\/buckets\/gcs\//,
  '@aws-sdk/client-s3': /^src\/buckets\/s3\//,
  'google-auth-library': /^src\/buckets\/gcs\/api\.ts$/,
  '@aws-sdk/s3-request-presigner': /^src\/buckets\/s3\/driver\.ts$/,
  'age-encryption': /^src\/(crypto\/share|share-page\/page)\.ts$/,
  '@aws-sdk/credential-providers': /^src\/buckets\/s3\/client\.ts$/,
  '@smithy/core': /^src\/buckets\/s3\/(client|requests)\.ts$/,
  'better-sqlite3': /^src\/catalog\/sqlite\//,
  pg: /^src\/catalog\/postgres\//,
  kysely: /^src\/catalog\//,
  '@node-rs/argon2': /^src\/crypto\/keys\.ts$/,
  '@node-rs/crc32': /^src\/(format\/shard\.ts$|buckets\/(gcs|s3)\/)/,
  inquirer: /^src\/cli\/terminal\/prompt\.ts$/,
  ora: /^src\/cli\/terminal\/progress\.ts$/,
  commander: /^src\/cli\/(main|program|verbs|arguments\/repeated|help\/(describe|tree|page|man))\.ts$/,
  fastify: /^src\/serve\/(server|routes)\.ts$/,
  '@fastify/busboy': /^src\/serve\/multipart\.ts$/,
  'client-zip': /^src\/serve\/zip\.ts$/,
  'prom-client': /^src\/serve\/metrics\.ts$/,
  ignore: /^src\/vault\/folders\/excludes\.ts$/,
  picomatch: /^src\/cli\/arguments\/pattern\.ts$/,
  'smol-toml': /^src\/cli\/arguments\/config\.ts$/,
  'fast-string-width': /^src\/cli\/terminal\/width\.ts$/,
  uqr: /^src\/serve\/page\/browser\/links\.ts$/,
};

/** What every start of the program may load beside Node's own modules; the rest waits until it is needed. */
const EAGER_PACKAGES = new Set(['commander']);
/** What takes long to load of Node's own, and is not needed to say how a command is used. */
const LATE_MODULES = /^node:(child_process|crypto|https?|net|tls|worker_threads)$/;
const ENTRIES = ['src/cli/main.ts', 'src/index.ts'];

/** The outer world, and where it may be touched: everybody else is given the host. */
const OUTER_WORLD: Readonly<Record<string, RegExp>> = {
  process: /^src\/(cli\/|(host|concurrency\/removed-folder)\.ts$)/,
  console: /^src\/cli\//,
  'process.env': /^src\/cli\/arguments\/environment\.ts$/,
  'process.kill': /^src\/cli\/(end|arguments\/shell-command|terminal\/typed-ahead)\.ts$/,
  'process.pid': /^src\/cli\/(end|terminal\/typed-ahead)\.ts$/,
  // A browser has a clock of its own.
  'Date.now': /^src\/(host|serve\/page\/browser\/\w+)\.ts$/,
  'new Date': /^src\/host\.ts$/,
  performance: /^src\/host\.ts$/,
};
const OUTER_MODULES = new Set(['node:process', 'node:console', 'node:readline', 'node:tty']);

const VAGUE_FOLDER = /(^|\/)(utils?|helpers?|common|shared|types?|services?|managers?|misc|lib)(\/|$)/;
const MOST_LINES = 400;

function placeOf(path: string): { readonly floor: number; readonly part: string } | null {
  for (const [floor, parts] of FLOORS.entries()) {
    for (const [part, paths] of parts) if (paths.test(path)) return { floor, part };
  }
  return null;
}

function brokenFloors(tree: readonly SourceFacts[]): string[] {
  return tree.flatMap(({ path, imports }) => {
    const from = placeOf(path);
    if (from === null) return [`${path} belongs to no part of the program`];
    return imports
      .filter(({ target }) => target.startsWith('src/'))
      .flatMap(({ target }) => {
        const to = placeOf(target);
        if (to === null) return [`${path} imports ${target}, which belongs to no part of the program`];
        if (to.part === from.part) return [];
        if (to.floor >= from.floor) return [`${path} (${from.part}) imports ${target} (${to.part})`];
        return KNOWS_NO_DRIVER.has(from.part) && DRIVERS.has(to.part)
          ? [`${path} (${from.part}) imports the driver ${target}`]
          : [];
      });
  });
}

/** The room of a file of the vault: its folder, or its own name if it lies in none; null for other files. */
function roomOf(path: string): string | null {
  return /^src\/vault\/([^/]+?)(?:\/|\.ts$)/.exec(path)?.[1] ?? null;
}

function brokenRooms(tree: readonly SourceFacts[]): string[] {
  return tree.flatMap(({ path, imports }) => {
    const from = roomOf(path);
    if (from === null) return [];
    const allowed = ROOMS[from];
    if (allowed === undefined) return [`${path} is in no room of the vault`];
    const broken = imports.filter(({ target, kind }) => {
      const to = roomOf(target);
      if (to === null || to === from) return false;
      return TYPE_ROOMS.has(to) ? kind !== 'type' : !allowed.includes(to);
    });
    return [...new Set(broken.map(({ target }) => `${path} imports ${target}`))];
  });
}

function packageOf({ target }: Import): string | null {
  if (target.startsWith('src/') || target.startsWith('node:')) return null;
  return /^(@[^/]+\/)?[^/]+/.exec(target)?.[0] ?? target;
}

function strayPackages(tree: readonly SourceFacts[]): string[] {
  return tree.flatMap(({ path, imports }) =>
    imports.flatMap((one) => {
      const name = packageOf(one);
      return name === null || PACKAGES[name]?.test(path) === true ? [] : [`${path} imports ${one.target}`];
    }),
  );
}

/** Packages that are loaded before anything is asked for. */
function eagerPackages(tree: readonly SourceFacts[]): string[] {
  return loadedBy(tree, ENTRIES, (one) => {
    const name = packageOf(one);
    return name !== null && !EAGER_PACKAGES.has(name);
  });
}

/** What an entry loads, however deep, before anything is asked for, with the file that does it. */
function loadedBy(
  tree: readonly SourceFacts[],
  entries: readonly string[],
  isMeant: (one: Import) => boolean,
): string[] {
  const files = new Map(tree.map((facts) => [facts.path, facts]));
  const found: string[] = [];
  const seen = new Set<string>();
  const load = (path: string): void => {
    if (seen.has(path)) return;
    seen.add(path);
    for (const one of files.get(path)?.imports ?? []) {
      if (one.kind !== 'eager') continue;
      if (files.has(one.target)) load(one.target);
      else if (isMeant(one)) found.push(`${path} loads ${one.target}`);
    }
  };
  for (const entry of entries) load(entry);
  return found;
}

function outsideWorld(tree: readonly SourceFacts[]): string[] {
  return tree.flatMap(({ path, globals, imports }) => {
    const names = globals.filter((name) => OUTER_WORLD[name]?.test(path) !== true);
    const modules = imports.map(({ target }) => target).filter((target) => OUTER_MODULES.has(target));
    const isCommandLine = placeOf(path)?.part === 'cli';
    return [...names, ...(isCommandLine ? [] : modules)].map((name) => `${path} uses ${name}`);
  });
}

function longFiles(tree: readonly SourceFacts[]): string[] {
  return tree
    .filter(({ lines }) => lines > MOST_LINES)
    .map(({ path, lines }) => `${path} has ${lines} lines`);
}

function vagueFolders(tree: readonly SourceFacts[]): string[] {
  return tree.map(({ path }) => path).filter((path) => VAGUE_FOLDER.test(path.replace(/\.ts$/, '')));
}

/** Circles of files that load each other, each told once. Types are gone by then and may refer to one another. */
function cycles(tree: readonly SourceFacts[]): string[] {
  const files = new Map(tree.map((facts) => [facts.path, facts]));
  const found: string[] = [];
  const done = new Set<string>();
  const walk = (path: string, trail: readonly string[]): void => {
    const start = trail.indexOf(path);
    if (start !== -1) {
      found.push([...trail.slice(start), path].join(' > '));
      return;
    }
    if (done.has(path)) return;
    for (const { target, kind } of files.get(path)?.imports ?? []) {
      if (kind !== 'type' && files.has(target)) walk(target, [...trail, path]);
    }
    done.add(path);
  };
  for (const path of files.keys()) walk(path, []);
  return found;
}

/** Sets of files that import each other round about, also where only types are imported. */
function tangles(tree: readonly SourceFacts[]): string[] {
  const files = new Map(tree.map((facts) => [facts.path, facts]));
  const reach = new Map<string, ReadonlySet<string>>();
  for (const path of files.keys()) {
    const seen = new Set<string>();
    const open = [path];
    for (let at = open.pop(); at !== undefined; at = open.pop()) {
      for (const { target } of files.get(at)?.imports ?? []) {
        if (!files.has(target) || seen.has(target)) continue;
        seen.add(target);
        open.push(target);
      }
    }
    reach.set(path, seen);
  }
  const found = new Set<string>();
  for (const [path, seen] of reach) {
    if (!seen.has(path)) continue;
    const members = [...seen].filter((other) => reach.get(other)?.has(path) === true);
    found.add(members.toSorted().join(', '));
  }
  return [...found].toSorted();
}

const file = (path: string, facts: Partial<SourceFacts> = {}): SourceFacts => ({
  path,
  lines: 1,
  imports: [],
  globals: [],
  ...facts,
});
const eager = (target: string): Import => ({ target, kind: 'eager' });

describe('the sources', () => {
  let tree: readonly SourceFacts[] = [];
  beforeAll(async () => {
    tree = await readSourceTree(ROOT, { folder: 'src', globals: Object.keys(OUTER_WORLD) });
  });

  it('are all seen by these rules', () => {
    expect(tree.map(({ path }) => path)).toEqual(
      expect.arrayContaining(['src/errors.ts', 'src/vault/write/put.ts', ...ENTRIES]),
    );
  });

  it('import from lower floors only, and know buckets and databases by their contracts', () => {
    expect(brokenFloors(tree)).toEqual([]);
  });

  it('of the vault import what their rooms may know', () => {
    const broken = brokenRooms(tree);
    expect(broken).toEqual([]);
  });

  it('import a package in its own place only', () => {
    expect(strayPackages(tree)).toEqual([]);
  });

  it('load a package when it is needed and not before', () => {
    expect(eagerPackages(tree)).toEqual([]);
  });

  it('load nothing that takes long to say how a command is used', () => {
    expect(loadedBy(tree, ['src/cli/main.ts'], ({ target }) => LATE_MODULES.test(target))).toEqual([]);
  });

  it('leave process and console to the command line, and clock and environment to the host', () => {
    expect(outsideWorld(tree)).toEqual([]);
  });

  it('load no file in a circle', () => {
    expect(cycles(tree)).toEqual([]);
  });

  it('know each other in no circle, also none of types', () => {
    expect(tangles(tree)).toEqual([]);
  });

  it(`have at most ${MOST_LINES} lines`, () => {
    expect(longFiles(tree)).toEqual([]);
  });

  it('are in no folder whose name says nothing', () => {
    expect(vagueFolders(tree)).toEqual([]);
  });
});

describe('the rules', () => {
  it.each([
    ['an import that points up', 'src/format/chunk.ts', 'src/crypto/seal.ts'],
    ['an import from a neighbour', 'src/crypto/erasure.ts', 'src/buckets/open.ts'],
    ['a contract that knows a driver', 'src/buckets/bucket.ts', 'src/buckets/folder/driver.ts'],
    ['a vault that knows a driver', 'src/vault/write/put.ts', 'src/buckets/folder/driver.ts'],
    ['a vault that knows the composition root', 'src/vault/write/put.ts', 'src/compose.ts'],
    ['a command that knows a driver', 'src/cli/commands/put.ts', 'src/catalog/sqlite/engine.ts'],
    ['a part that nobody has heard of', 'src/vault/write/put.ts', 'src/extras/new.ts'],
  ])('refuse %s', (_, path, target) => {
    expect(brokenFloors([file(path, { imports: [eager(target)] })])).toHaveLength(1);
    expect(brokenFloors([file(path, { imports: [{ target, kind: 'type' }] })])).toHaveLength(1);
  });

  it.each([
    ['an import that points up', 'src/vault/chunks/shards.ts', 'src/vault/write/put.ts'],
    ['an import from a neighbour', 'src/vault/verify/verify.ts', 'src/vault/repair/chunks.ts'],
    ['a room that knows the surface', 'src/vault/read/get.ts', 'src/vault/vault.ts'],
    ['a room that nobody has heard of', 'src/vault/extras/new.ts', 'src/errors.ts'],
  ])('refuse in the vault %s', (_, path, target) => {
    expect(brokenRooms([file(path, { imports: [eager(target)] })])).toHaveLength(1);
    expect(brokenRooms([file(path, { imports: [{ target, kind: 'type' }] })])).toHaveLength(1);
  });

  it('allow a room the types of the session, and not what it does', () => {
    const [path, target] = ['src/vault/read/get.ts', 'src/vault/session.ts'];
    expect(brokenRooms([file(path, { imports: [{ target, kind: 'type' }] })])).toEqual([]);
    expect(brokenRooms([file(path, { imports: [eager(target)] })])).toHaveLength(1);
  });

  it('have rooms that form no circle', () => {
    const rooms = Object.entries(ROOMS).map(([room, others]) =>
      file(room, { imports: TYPE_ROOMS.has(room) ? [] : others.map(eager) }),
    );
    expect(tangles(rooms)).toEqual([]);
  });

  it('allow a driver its contract and its neighbours', () => {
    const imports = [
      eager('src/buckets/bucket.ts'),
      eager('src/buckets/folder/walk.ts'),
      eager('src/errors.ts'),
    ];
    expect(brokenFloors([file('src/buckets/folder/driver.ts', { imports })])).toEqual([]);
  });

  it.each([
    ['src/vault/write/put.ts', 'pg'],
    ['src/buckets/s3/driver.ts', '@google-cloud/storage'],
    ['src/cli/commands/put.ts', 'left-pad/deep'],
  ])('refuse that %s imports %s', (path, target) => {
    expect(strayPackages([file(path, { imports: [{ target, kind: 'lazy' }] })])).toHaveLength(1);
  });

  it('refuse a package that is loaded at the start, however deep', () => {
    const sources = [
      file('src/cli/main.ts', { imports: [eager('src/compose.ts'), eager('commander')] }),
      file('src/compose.ts', { imports: [eager('src/buckets/s3/driver.ts')] }),
      file('src/buckets/s3/driver.ts', { imports: [eager('@aws-sdk/client-s3')] }),
    ];
    expect(eagerPackages(sources)).toEqual(['src/buckets/s3/driver.ts loads @aws-sdk/client-s3']);
    const lazily = sources.with(
      1,
      file('src/compose.ts', { imports: [{ target: 'src/buckets/s3/driver.ts', kind: 'lazy' }] }),
    );
    expect(eagerPackages(lazily)).toEqual([]);
  });

  it('refuse the outer world, except to the command line', () => {
    const facts = { globals: ['process'], imports: [eager('node:readline')] };
    expect(outsideWorld([file('src/vault/write/put.ts', facts)])).toHaveLength(2);
    expect(outsideWorld([file('src/cli/commands/put.ts', facts)])).toEqual([]);
    for (const name of ['Date.now', 'new Date', 'performance', 'process.env', 'process.kill']) {
      expect(outsideWorld([file('src/cli/commands/put.ts', { globals: [name] })])).toHaveLength(1);
    }
    expect(outsideWorld([file('src/host.ts', { globals: ['Date.now', 'performance'] })])).toEqual([]);
  });

  it('tell circles, and those that are of types alone', () => {
    const one = file('src/vault/a.ts', { imports: [eager('src/vault/b.ts')] });
    const other = file('src/vault/b.ts', { imports: [{ target: 'src/vault/a.ts', kind: 'lazy' }] });
    expect(cycles([one, other])).toEqual(['src/vault/a.ts > src/vault/b.ts > src/vault/a.ts']);
    const types = file('src/vault/b.ts', { imports: [{ target: 'src/vault/a.ts', kind: 'type' }] });
    expect(cycles([one, types])).toEqual([]);
    expect(tangles([one, types])).toEqual(['src/vault/a.ts, src/vault/b.ts']);
    expect(tangles([one, file('src/vault/b.ts')])).toEqual([]);
  });

  it('refuse long files and vague folders', () => {
    expect(longFiles([file('src/a.ts', { lines: 401 }), file('src/b.ts', { lines: 400 })])).toHaveLength(1);
    expect(
      vagueFolders([file('src/utils/a.ts'), file('src/vault/types.ts'), file('src/vault/a.ts')]),
    ).toEqual(['src/utils/a.ts', 'src/vault/types.ts']);
  });

  it('see every way to import, and what is used of the outer world', async () => {
    await using folder = await temporaryFolder();
    await mkdir(folder.at('src'));
    await writeFile(
      folder.at('tsconfig.json'),
      '{ "compilerOptions": { "noLib": true }, "include": ["src"] }',
    );
    await writeFile(
      folder.at('src', 'one.ts'),
      [
        "import a from 'a';",
        "import { b, type B } from './b.ts';",
        "import type { C } from '../c.ts';",
        "import { type D } from 'd';",
        "import 'e';",
        "export { f } from 'f';",
        "export type * from 'g';",
        "const h = import('h');",
        "type I = import('i').I;",
        "// import 'comment';",
        'const text = "import \'string\'; console";',
        "const late = import('j' + text);",
        "const k = require('k');",
        'const l = require(text);',
        'const member = { process: 1 }.process;',
        'if (process.env) (globalThis as { console?: unknown }).console;',
        'const m = [Date.now(), new Date(0), { Date: { now: 1 } }.Date.now];',
      ].join('\n'),
    );
    const [facts] = await readSourceTree(folder.path, {
      folder: 'src',
      globals: ['process', 'console', 'Date.now', 'new Date'],
    });
    expect(facts?.imports).toEqual([
      { target: 'a', kind: 'eager' },
      { target: 'src/b.ts', kind: 'eager' },
      { target: 'c.ts', kind: 'type' },
      { target: 'd', kind: 'type' },
      { target: 'e', kind: 'eager' },
      { target: 'f', kind: 'eager' },
      { target: 'g', kind: 'type' },
      { target: 'h', kind: 'lazy' },
      { target: 'i', kind: 'type' },
      { target: 'unknown', kind: 'lazy' },
      { target: 'k', kind: 'lazy' },
      { target: 'unknown', kind: 'lazy' },
    ]);
    expect(facts?.globals).toEqual(['Date.now', 'process']);
    expect(facts?.lines).toBe(16);
  });
});
