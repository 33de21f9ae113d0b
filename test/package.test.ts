import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build, transform } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ensureBuilt } from './cli/build.ts';
import { temporaryFolder } from './support/temporary-folder.ts';
import type { TemporaryFolder } from './support/temporary-folder.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const run = promisify(execFile);

interface PackageFacts {
  readonly version: string;
  readonly engines: { readonly node: string };
  readonly bin: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly dependencies: Readonly<Record<string, string>>;
}

interface LockEntry {
  readonly resolved?: string;
  readonly gypfile?: boolean;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

async function packageFacts(): Promise<PackageFacts> {
  const facts: PackageFacts = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'));
  return facts;
}

/** Packages that the bundle in a folder imports. */
async function importedPackages(folder: string): Promise<string[]> {
  const { metafile } = await build({
    entryPoints: ['index', 'cli', 'worker', 'batch-thread', 'restore-thread', 'scan-thread'].map((name) =>
      join(folder, `${name}.js`),
    ),
    bundle: true,
    packages: 'external',
    format: 'esm',
    platform: 'node',
    outdir: folder,
    write: false,
    metafile: true,
  });
  const imported = Object.values(metafile.inputs)
    .flatMap(({ imports }) => imports.filter(({ external }) => external === true))
    .map(({ path }) => path);
  return [...new Set(imported)].filter((name) => !name.startsWith('node:')).toSorted();
}

describe('the package', () => {
  let folder: TemporaryFolder;
  let facts: PackageFacts;
  /** Where the package lies, unpacked, with nothing beside it but what it declares. */
  let installed = '';
  let files: readonly string[] = [];

  beforeAll(async () => {
    await ensureBuilt();
    folder = await temporaryFolder();
    facts = await packageFacts();
    const env = {
      ...process.env,
      HOME: folder.path,
      npm_config_cache: folder.at('npm'),
      npm_config_loglevel: 'error',
      // npm keeps its own compiled code in the folder for temporary files.
      NODE_DISABLE_COMPILE_CACHE: '1',
    };
    const { stdout } = await run(
      'npm',
      ['pack', '--ignore-scripts', '--json', '--pack-destination', folder.path],
      { cwd: ROOT, env },
    );
    const [packed]: [{ filename: string; files: { path: string }[] }] = JSON.parse(stdout);
    files = packed.files.map(({ path }) => path);
    await mkdir(folder.at('tmp'));
    await run('tar', ['-xzf', packed.filename], { cwd: folder.path });
    installed = folder.at('package');
    for (const name of Object.keys(facts.dependencies)) {
      const link = join(installed, 'node_modules', name);
      await mkdir(dirname(link), { recursive: true });
      await symlink(join(ROOT, 'node_modules', name), link);
    }
  });
  afterAll(async () => folder[Symbol.asyncDispose]());

  /** Runs the packed command with a home of its own. */
  const vault = async (...args: readonly string[]): Promise<string> => {
    const env = {
      PATH: process.env['PATH'],
      HOME: folder.path,
      TMPDIR: folder.at('tmp'),
      VAULT_PASSWORD: 'correct horse',
    };
    const { stdout } = await run(process.execPath, [join(installed, facts.bin['vault'] ?? ''), ...args], {
      env,
    });
    return stdout;
  };

  it('holds the command, the library and what explains them, and nothing else', () => {
    const expected =
      /^(package\.json|README\.md|LICENSE|FORMAT\.md|ARCHITECTURE\.md|CHANGELOG\.md|docs\/[\w-]+\.(md|py|json)|bin\/vault\.js|man\/[\w-]+\.1|dist\/[\w-]+\.js|dist\/page\/page\.(js|css)|dist\/page\/(index\.html|icon\.svg)|dist\/types\/.*\.d\.ts|dist\/(third-party-licenses\.txt|share-page\.html))$/;
    expect(files.filter((path) => !expected.test(path))).toEqual([]);
    const declared = [facts.bin['vault'], ...Object.values(facts.exports['.'] ?? {})].map((path) =>
      path?.replace('./', ''),
    );
    expect(files).toEqual(
      expect.arrayContaining([
        ...declared,
        'README.md',
        'LICENSE',
        'FORMAT.md',
        'CHANGELOG.md',
        'docs/threat-model.md',
        'man/vault-put.1',
        'dist/third-party-licenses.txt',
        'dist/share-page.html',
      ]),
    );
  });

  it('declares what it imports and imports what it declares', async () => {
    expect(await importedPackages(join(installed, 'dist'))).toEqual(
      Object.keys(facts.dependencies).toSorted(),
    );
  });

  it('brings the licence of every package that is bundled', async () => {
    const text = await readFile(join(installed, 'dist', 'third-party-licenses.txt'), 'utf8');
    for (const name of ['@aws-sdk/client-s3', 'kysely', 'pg', 'picomatch', 'smol-toml', 'fast-string-width'])
      expect(text).toMatch(new RegExp(`^${name} \\d`, 'm'));
    const free =
      /^(The )?MIT License|^\s*Apache License$|Permission (is hereby granted|to use, copy)|^Redistribution and use in source and binary forms, with or without|^SPDX-License-Identifier: (MIT|Apache-2\.0)$/im;
    expect(text.split(/^-{80}$/m).filter((section) => !free.test(section))).toEqual([]);
  });

  it('stores a file and lists it', async () => {
    expect(await vault('--version')).toBe(`${facts.version}\n`);
    await vault('init', '--local');
    const hash = await vault('put', join(ROOT, 'LICENSE'), '--name', 'LICENSE');
    expect(hash).toMatch(/^[0-9a-f]{64}\n$/);
    expect(await vault('ls', '--long')).toContain(`${hash.trim()} `);
  });

  it('keeps compiled code where nobody else can put any', async () => {
    await vault('--version');
    expect(await readdir(folder.at('.cache', 'shardvault'))).not.toEqual([]);
    expect(await readdir(folder.at('tmp'))).toEqual([]);
  });

  it('is a library with types', async () => {
    const consumer = folder.at('consumer');
    await mkdir(join(consumer, 'node_modules', '@types'), { recursive: true });
    await symlink(installed, join(consumer, 'node_modules', 'shardvault'));
    for (const name of ['@types/node', 'undici-types']) {
      await symlink(join(ROOT, 'node_modules', name), join(consumer, 'node_modules', name));
    }
    await writeFile(join(consumer, 'package.json'), '{ "type": "module" }');
    await writeFile(
      join(consumer, 'index.ts'),
      `import { fileSource, isVaultError, openVault } from 'shardvault';
      import type { PutResult } from 'shardvault';
      const location = { db: 'none.db', password: async (): Promise<string> => 'x', baseFolder: '/' };
      export async function store(path: string): Promise<PutResult> {
        await using vault = await openVault(location);
        // @ts-expect-error: a file needs a name, so these are real types and not any
        await vault.put(fileSource(path));
        return vault.put(fileSource(path), { name: path });
      }
      try {
        await store('file');
      } catch (error) {
        console.log(isVaultError(error, 'no-vault'));
      }`,
    );
    const options = '--module nodenext --target esnext --strict --noEmit --types node'.split(' ');
    const compiler = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
    // What is wrong it says on standard output.
    const compiling = run(process.execPath, [compiler, ...options, 'index.ts'], { cwd: consumer });
    expect(await compiling.catch((error: unknown) => error)).toMatchObject({ stdout: '' });
    const { stdout } = await run(process.execPath, ['index.ts'], { cwd: consumer });
    expect(stdout).toBe('true\n');
  });
});

describe('the start of the command', () => {
  const command = join(ROOT, 'bin', 'vault.js');
  /** Starts the command under a Node that says it has another version. */
  const startUnder = async (version: string): Promise<{ exit: number; stdout: string; stderr: string }> => {
    const pretence = `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '${version}' } })`;
    const preload = `data:text/javascript,${encodeURIComponent(pretence)}`;
    return new Promise((resolve) => {
      const child = execFile(
        process.execPath,
        ['--import', preload, command, '--version'],
        (_, stdout, stderr) => resolve({ exit: child.exitCode ?? -1, stdout, stderr }),
      );
    });
  };

  it.each(['18.20.0', '20.20.2', '22.14.0'])('says in one line that Node %s is too old', async (version) => {
    const { exit, stdout, stderr } = await startUnder(version);
    expect({ exit, stdout }).toEqual({ exit: 2, stdout: '' });
    expect(stderr).toMatch(/^vault: Node [\d.]+ is too old: 22\.15 or newer is needed\..*\n$/);
    expect(stderr).toContain(version);
  });

  it.each(['22.15.0', '24.0.0', '30.1.0'])('goes on under Node %s', async (version) => {
    expect(await startUnder(version)).toMatchObject({ exit: 0 });
  });

  it('is written so that an old Node can read it, and asks for what the package declares', async () => {
    const text = await readFile(command, 'utf8');
    const [old, recent] = await Promise.all(
      ['node14', 'esnext'].map(async (target) => transform(text, { target, format: 'esm' })),
    );
    expect(old?.code).toBe(recent?.code);
    expect((await packageFacts()).engines.node).toBe('>=22.15');
  });
});

describe('the lock', () => {
  it('has every package for every platform, names no registry and compiles nothing', async () => {
    const text = await readFile(join(ROOT, 'package-lock.json'), 'utf8');
    const { packages }: { packages: Readonly<Record<string, LockEntry>> } = JSON.parse(text);
    const missing = Object.values(packages)
      .flatMap(({ optionalDependencies = {} }) => Object.keys(optionalDependencies))
      .filter((name) => !Object.keys(packages).some((path) => path.endsWith(`node_modules/${name}`)));
    expect(missing).toEqual([]);
    expect(Object.values(packages).filter(({ resolved }) => resolved !== undefined)).toEqual([]);
    // npm leaves this out when it writes the lock, and would compile what comes compiled.
    expect(packages['node_modules/better-sqlite3']?.gypfile).toBe(false);
  });
});
