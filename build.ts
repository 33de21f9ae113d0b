// Builds dist/: a bundle per entry point, because loading one file is several times faster than loading
// the two hundred small modules of the query builder (72 ms against 10 ms of every `vault ls`), and the
// type declarations of the library.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { build } from 'esbuild';
import type { Metafile, PluginBuild } from 'esbuild';
import own from './package.json' with { type: 'json' };
import { manPages } from './src/cli/help/man.ts';

/** Modules of Node's own that take milliseconds to load, and that many commands have no use for: loaded by what first needs them. */
const LATE = new Set(
  [
    'child_process',
    'fs/promises',
    'net',
    'readline/promises',
    'stream/consumers',
    'timers/promises',
    'tls',
    'v8',
    'worker_threads',
    'zlib',
  ].map((name) => `node:${name}`),
);
/** What of `node:fs/promises` is the same as the functions with callbacks, which are there already. */
const CALLBACKS =
  /^(?:access|link|lstat|mkdir|mkdtemp|readFile|readdir|rename|rm|rmdir|stat|unlink|writeFile)$/;

// Made elsewhere and then put in place, so that what runs meanwhile finds one build or the other.
const target = `node_modules/.build-${process.pid}`;
const { metafile } = await build({
  entryPoints: {
    index: 'src/index.ts',
    cli: 'src/cli/main.ts',
    worker: 'src/vault/chunks/chunk-worker.ts',
    'restore-thread': 'src/vault/folders/restore-thread.ts',
    'scan-thread': 'src/vault/folders/scan-thread.ts',
    'batch-thread': 'src/buckets/folder/batch-thread.ts',
    'removed-folder': 'src/concurrency/removed-folder.ts',
  },
  outdir: target,
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  // The S3 SDK has its modules there; of its CommonJS files everything would be bundled, and nothing could be imported by name.
  mainFields: ['module', 'main'],
  target: 'node22.15',
  // What npm installs beside us stays outside the bundle, except commander, which every command waits for. The query builder, the S3 SDK and the Postgres client are bundled:
  // one file loads faster than hundreds, and users install fifty packages less.
  external: [
    '@google-cloud/*',
    'inquirer',
    '@node-rs/*',
    'better-sqlite3',
    'google-auth-library',
    'ora',
    'pg-native',
  ],
  plugins: [{ name: 'late', setup: startsNothing }],
  chunkNames: '[name]-[hash]',
  legalComments: 'none',
  metafile: true,
  logLevel: 'warning',
});
for (const name of readdirSync(target).filter((each) => each.endsWith('.js'))) {
  const path = join(target, name);
  writeFileSync(path, withoutFacades(readFileSync(path, 'utf8'), name));
}
// What browsers get.
const forBrowsers = await build({
  entryPoints: ['browser/page.ts', 'page.css', 'index.html', 'icon.svg'].map(
    (file) => `src/serve/page/${file}`,
  ),
  outdir: join(target, 'page'),
  entryNames: '[name]',
  bundle: true,
  minify: true,
  format: 'esm',
  platform: 'browser',
  target: 'es2022',
  loader: { '.html': 'copy', '.svg': 'copy' },
  legalComments: 'none',
  metafile: true,
  logLevel: 'warning',
});
const shared = await sharePage();
writeFileSync(join(target, 'share-page.html'), shared.html);
writeFileSync(
  join(target, 'third-party-licenses.txt'),
  licenses([metafile, forBrowsers.metafile, shared.metafile].flatMap(({ inputs }) => Object.keys(inputs))),
);
mkdirSync('man', { recursive: true });
for (const [name, page] of manPages(own.version)) writeFileSync(join('man', name), page);
const types = join(target, 'types');
try {
  const compiler = ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json', '--outDir', types];
  execFileSync(process.execPath, compiler, { stdio: 'inherit' });
  keepReachable(types, 'index.d.ts');
} finally {
  // Also without the declarations: the bundle works, and what is wrong has been said.
  const previous = `${target}-previous`;
  if (existsSync('dist')) renameSync('dist', previous);
  renameSync(target, 'dist');
  rmSync(previous, { recursive: true, force: true });
}

/** The page that opens what "vault share" shares: one file, which loads nothing and runs nothing but its own script. */
async function sharePage(): Promise<{ readonly html: string; readonly metafile: Metafile }> {
  const { outputFiles, metafile: made } = await build({
    entryPoints: ['src/share-page/page.ts', 'src/share-page/page.css'],
    outdir: 'page',
    bundle: true,
    minify: true,
    format: 'iife',
    target: 'es2022',
    // Links have no use for these recipients of age, which are half of it.
    plugins: [{ name: 'without', setup: withoutUnused }],
    // They ask to be named wherever they go.
    legalComments: 'inline',
    metafile: true,
    write: false,
  });
  const textOf = (end: string): string =>
    (outputFiles.find(({ path }) => path.endsWith(end))?.text ?? '').trim();
  const [script, style] = [textOf('.js'), textOf('.css')];
  const html = readFileSync('src/share-page/page.html', 'utf8')
    .replace('[[script-hash]]', hash(script))
    .replace('[[style-hash]]', hash(style))
    .replace('<script></script>', () => `<script>${script}</script>`)
    .replace('<style></style>', () => `<style>${style}</style>`);
  return { html, metafile: made };
}

function hash(text: string): string {
  return `sha256-${createHash('sha256').update(text).digest('base64')}`;
}

/** Commander can start other programs, which nobody asks it for here: what that takes is 15 ms of every start. */
function startsNothing(building: PluginBuild): void {
  building.onLoad({ filter: /node_modules\/commander\/lib\/command\.js$/ }, ({ path }) => {
    const parts = readFileSync(path, 'utf8').split("import childProcess from 'node:child_process';");
    if (parts.length !== 2)
      throw new Error('Commander asks for processes in another way than is known here.');
    return { contents: parts.join('const childProcess = null;') };
  });
}

/**
 * Takes what a bundle needs of Node's own modules from the modules themselves. An import would make a facade with all that they
 * export, also what Node itself loads late: 30 ms of every start, for `node:fs` and `node:util` above all.
 *
 * @param text of a bundle
 */
function withoutFacades(text: string, name: string): string {
  const taken: string[] = [];
  const late = new Map<string, string>();
  const plain = text.replaceAll(
    /^import ([^"';]+) from "(node:[a-z0-9_/]+)";$/gm,
    (_, what: string, from: string) => {
      const [, main, names] = /^(?:\* as )?([\w$]+)?(?:, )?(\{[^}]*\})?$/.exec(what) ?? [];
      const whole = `process.getBuiltinModule('${from}')`;
      if (main !== undefined && LATE.has(from) && isOnly(main, '.', text)) late.set(main, whole);
      else if (main !== undefined) taken.push(`const ${main} = ${whole};`);
      for (const [, exported = '', local = exported] of names?.matchAll(/([\w$]+)(?: as ([\w$]+))?/g) ?? [])
        taken.push(`const ${local} = ${bindingOf(from, exported, isOnly(local, '(', text))};`);
      return '';
    },
  );
  const rest = plain.replaceAll(/(?<![\w$.])([\w$]+)(?=\.)/g, (local) => late.get(local) ?? local);
  if (/^(import|export)\b[^;]* from "node:/m.test(rest) || taken.some((each) => /[{ ]default:/.test(each)))
    throw new Error(`${name} imports something of Node in another way than is known here.`);
  // What is bundled from CommonJS asks for Node's own modules this way.
  if (rest.includes('var __require =')) {
    taken.push(
      `const require = (id) => process.getBuiltinModule(id) ?? process.getBuiltinModule('node:module').createRequire(import.meta.url)(id);`,
    );
  }
  return [...taken, rest].join('\n');
}

/** An expression for what a module of Node's own exports. */
function bindingOf(from: string, name: string, isCalled: boolean): string {
  const it = `process.getBuiltinModule('${from}').${name}`;
  if (from === 'node:fs/promises' && CALLBACKS.test(name))
    return `process.getBuiltinModule('node:util').promisify(process.getBuiltinModule('node:fs').${name})`;
  if (!LATE.has(from) || !isCalled) return it;
  return `function (...all) { return new.target ? new (${it})(...all) : ${it}(...all); }`;
}

/** Whether a name that a bundle imports is followed by one thing alone: it is only called, perhaps with `new`, or only looked into. */
function isOnly(local: string, next: '(' | '.', text: string): boolean {
  const name = local.replaceAll('$', String.raw`\$`);
  return !new RegExp(String.raw`^(?!import ).*(?<![\w$.])${name}(?![\w$${next}])`, 'm').test(text);
}

function withoutUnused(building: PluginBuild): void {
  const names = ['MLKEM768P256', 'MLKEM768X25519', 'p256'];
  const contents = names.map((name) => `export const ${name} = null;`).join('\n');
  building.onResolve({ filter: /^@noble\/(post-quantum\/hybrid|curves\/nist)\.js$/ }, ({ path }) => ({
    path,
    namespace: 'unused',
  }));
  building.onLoad({ filter: /.*/, namespace: 'unused' }, () => ({ contents }));
}

/** The licences of the packages that the bundle has parts of, each text once. They all ask for it to be kept. */
function licenses(inputs: readonly string[]): string {
  const folders = inputs.flatMap((path) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? []);
  const packages = [...new Set(folders)].toSorted().map((folder) => {
    const facts: unknown = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    if (typeof facts !== 'object' || facts === null || !('name' in facts) || !('version' in facts)) {
      throw new Error(`${folder} has no name and version.`);
    }
    const file = readdirSync(folder).find((name) => /^licen[cs]e/i.test(name));
    const text = file === undefined ? spdxOf(folder, facts) : readFileSync(join(folder, file), 'utf8').trim();
    return { title: `${String(facts.name)} ${String(facts.version)}\n`, text };
  });
  return [...Map.groupBy(packages, ({ text }) => text)]
    .map(([text, group]) => `${group.map(({ title }) => title).join('')}\n${text}\n`)
    .join(`\n${'-'.repeat(80)}\n\n`);
}

/** The name of the licence of a package that ships no text of it: others of its family do. */
function spdxOf(folder: string, facts: object): string {
  if (!('license' in facts) || typeof facts.license !== 'string')
    throw new Error(`${folder} has no licence.`);
  return `SPDX-License-Identifier: ${facts.license}`;
}

/** Removes the declarations that the library's own do not refer to. */
function keepReachable(folder: string, entry: string): void {
  const kept = new Set<string>();
  const keep = (path: string): void => {
    if (kept.has(path)) return;
    kept.add(path);
    const text = readFileSync(join(folder, path), 'utf8');
    for (const [, module = ''] of text.matchAll(/(?:from|import\() ?['"](\.[^'"]+)\.ts['"]/g)) {
      keep(normalize(join(dirname(path), `${module}.d.ts`)));
    }
  };
  keep(entry);
  for (const path of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    if (path.endsWith('.d.ts') && !kept.has(path)) rmSync(join(folder, path));
  }
  for (const path of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    const full = join(folder, path);
    if (existsSync(full) && !path.endsWith('.d.ts') && readdirSync(full).length === 0)
      rmSync(full, { recursive: true });
  }
}
