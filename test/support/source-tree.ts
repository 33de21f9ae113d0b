import { readdir, readFile } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { SyntaxKind } from 'typescript/unstable/ast';
import type { Node, SourceFile } from 'typescript/unstable/ast';
import {
  isCallExpression,
  isExportDeclaration,
  isIdentifier,
  isImportDeclaration,
  isImportTypeNode,
  isLiteralTypeNode,
  isNamedImports,
  isNewExpression,
  isPropertyAccessExpression,
  isStringLiteral,
} from 'typescript/unstable/ast/is';
import { API } from 'typescript/unstable/sync';

/** One module that a source file refers to. */
export interface Import {
  /** A path from the root (`src/errors.ts`) or what stands in the file (`node:fs`, `pg`). */
  readonly target: string;
  /** `lazy`: by `import()` or `require()`, when it is called. `type`: gone at run time. */
  readonly kind: 'eager' | 'lazy' | 'type';
}

/** What the rules of the architecture are about. */
export interface SourceFacts {
  /** From the root, with forward slashes. */
  readonly path: string;
  readonly lines: number;
  readonly imports: readonly Import[];
  /** What is used among the names of variables, calls (`Date.now`) and makings without arguments (`new Date`) that were asked for. */
  readonly globals: readonly string[];
}

/**
 * Reads all TypeScript files of a folder with the compiler's own parser.
 *
 * @param root absolute path of the folder with the `tsconfig.json`
 * @param options `folder`: below the root; `globals`: names to look for
 */
export async function readSourceTree(
  root: string,
  options: { readonly folder: string; readonly globals: readonly string[] },
): Promise<readonly SourceFacts[]> {
  const names = await readdir(join(root, options.folder), { recursive: true });
  const paths = names
    .map((name) => posix.join(options.folder, name.replaceAll('\\', '/')))
    .filter((path) => path.endsWith('.ts'))
    .toSorted();
  const api = new API({ cwd: root });
  try {
    // What runs elsewhere is a project of its own.
    const configs = [
      'tsconfig.json',
      ...names.filter((name) => name.endsWith('tsconfig.json')).map((name) => join(options.folder, name)),
    ];
    const programs = configs.map((config) => {
      const openProject = join(root, config);
      return api
        .updateSnapshot({ openProject })
        .getProjects()
        .find(({ configFileName }) => configFileName === openProject)?.program;
    });
    return await Promise.all(
      paths.map(async (path) => {
        const parsed = programs
          .map((program) => program?.getSourceFile(join(root, path)))
          .find((found) => found !== undefined);
        if (parsed === undefined) throw new Error(`${path} is not part of the project.`);
        const text = await readFile(join(root, path), 'utf8');
        const { imports, globals } = factsOf(parsed, path, options.globals);
        return { path, lines: text.split('\n').length - 1, imports, globals };
      }),
    );
  } finally {
    api.close();
  }
}

function factsOf(
  file: SourceFile,
  path: string,
  globals: readonly string[],
): Pick<SourceFacts, 'imports' | 'globals'> {
  const imports: Import[] = [];
  const used = new Set<string>();
  const visit = (node: Node): void => {
    const found = importOf(node);
    if (found !== null) imports.push({ ...found, target: resolved(found.target, path) });
    const name = nameOf(node);
    if (name !== null && globals.includes(name)) used.add(name);
    node.forEachChild(visit);
  };
  visit(file);
  return { imports, globals: [...used].toSorted() };
}

function importOf(node: Node): Import | null {
  if (isImportDeclaration(node) && isStringLiteral(node.moduleSpecifier)) {
    const clause = node.importClause;
    const bindings = clause?.namedBindings;
    const onlyTypes =
      clause?.phaseModifier === SyntaxKind.TypeKeyword ||
      (clause?.name === undefined &&
        bindings !== undefined &&
        isNamedImports(bindings) &&
        bindings.elements.length > 0 &&
        bindings.elements.every((element) => element.isTypeOnly));
    return { target: node.moduleSpecifier.text, kind: onlyTypes ? 'type' : 'eager' };
  }
  if (isExportDeclaration(node) && node.moduleSpecifier !== undefined) {
    if (!isStringLiteral(node.moduleSpecifier)) return null;
    return { target: node.moduleSpecifier.text, kind: node.isTypeOnly ? 'type' : 'eager' };
  }
  if (isCallExpression(node) && loadsModule(node.expression)) {
    const [specifier] = node.arguments;
    // What cannot be read here must not pass unseen.
    const target = specifier !== undefined && isStringLiteral(specifier) ? specifier.text : 'unknown';
    return { target, kind: 'lazy' };
  }
  if (isImportTypeNode(node) && isLiteralTypeNode(node.argument)) {
    const { literal } = node.argument;
    return isStringLiteral(literal) ? { target: literal.text, kind: 'type' } : null;
  }
  return null;
}

/** `import(...)`, or `require(...)` as node:module makes it, for what must not wait. */
function loadsModule(callee: Node): boolean {
  return callee.kind === SyntaxKind.ImportKeyword || (isIdentifier(callee) && callee.text === 'require');
}

function resolved(specifier: string, importer: string): string {
  return specifier.startsWith('.') ? posix.join(posix.dirname(importer), specifier) : specifier;
}

/** What a node uses, as rules name it; null if no rule can be about it. */
function nameOf(node: Node): string | null {
  if (isIdentifier(node)) return isUse(node) ? node.text : null;
  if (isPropertyAccessExpression(node) && isIdentifier(node.expression)) {
    return `${node.expression.text}.${node.name.text}`;
  }
  if (!isNewExpression(node) || !isIdentifier(node.expression) || (node.arguments ?? []).length > 0)
    return null;
  return `new ${node.expression.text}`;
}

/** Whether an identifier stands for a variable, and is not the name of a member (`event.process`). */
function isUse(node: Node): boolean {
  const { parent } = node;
  if (isPropertyAccessExpression(parent)) return parent.expression === node;
  switch (parent.kind) {
    case SyntaxKind.PropertyAssignment:
    case SyntaxKind.PropertySignature:
    case SyntaxKind.PropertyDeclaration:
    case SyntaxKind.MethodSignature:
    case SyntaxKind.MethodDeclaration:
    case SyntaxKind.GetAccessor: {
      const name: unknown = Reflect.get(parent, 'name');
      return name !== node;
    }
    default:
      return true;
  }
}
