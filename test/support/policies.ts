/** The rights that the README tells people to give, read from the page, as test servers enforce them. Forms that it does not use are refused. */
import { readFile } from 'node:fs/promises';
import type { S3Request } from './s3-requests.ts';

const PAGE = new URL('../../README.md', import.meta.url);

/** The code blocks of a language on the page. */
export async function blocksOf(language: string): Promise<string[]> {
  const page = await readFile(PAGE, 'utf8');
  return [...page.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)].flatMap(([, kind, text = '']) =>
    kind === language ? [text] : [],
  );
}

// --- S3 -----------------------------------------------------------------------------------------------

interface Statement {
  readonly Effect: string;
  readonly Action: string | readonly string[];
  readonly Resource: string | readonly string[];
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

const ACTIONS: Readonly<Record<string, string>> = {
  put: 's3:PutObject',
  get: 's3:GetObject',
  head: 's3:GetObject',
  delete: 's3:DeleteObject',
  list: 's3:ListBucket',
  'head-bucket': 's3:ListBucket',
};

/** Whether a policy allows requests: what is not allowed is refused ("Policy evaluation logic" in the IAM user guide). */
export function s3Policy(json: string): (request: S3Request) => boolean {
  const { Statement: statements }: { readonly Statement: readonly Statement[] } = JSON.parse(json);
  return (request) => {
    const action = ACTIONS[request.kind] ?? `s3:${request.kind}`;
    const resource = `arn:aws:s3:::${request.bucket}${request.key === '' ? '' : `/${request.key}`}`;
    return statements.some((statement) => {
      if (statement.Effect !== 'Allow') throw new Error(`The test knows no ${statement.Effect}.`);
      const conditions = Object.entries(statement.Condition ?? {});
      return (
        fits(statement.Action, action) &&
        fits(statement.Resource, resource) &&
        conditions.every(([operator, keys]) => holds(operator, keys, request))
      );
    });
  };
}

/** Whether a value is one of those that patterns with `*` stand for. */
function fits(patterns: string | readonly string[], value: string): boolean {
  return [patterns].flat().some((pattern) => {
    const parts = pattern.split('*').map((part) => part.replaceAll(/[$()+.?[\\\]^{|}]/g, String.raw`\$&`));
    return new RegExp(`^${parts.join('.*')}$`, 's').test(value);
  });
}

function holds(operator: string, keys: Readonly<Record<string, string>>, { headers }: S3Request): boolean {
  if (operator !== 'Null') throw new Error(`The test knows no ${operator}.`);
  return Object.entries(keys).every(([key, value]) => {
    if (key !== 's3:if-none-match') throw new Error(`The test knows no ${key}.`);
    return (headers['if-none-match'] === undefined) === (value === 'true');
  });
}

// --- Google Cloud Storage -----------------------------------------------------------------------------

/** Whether the page's roles allow a permission on a resource. */
export async function gcsPolicy(): Promise<(permission: string, resource: string) => boolean> {
  const page = await readFile(PAGE, 'utf8');
  const granted = new Map<string, readonly ((resource: string) => boolean)[]>();
  for (const [, permission = ''] of page.matchAll(/`(storage\.objects\.\w+)` without a condition/g))
    granted.set(permission, [() => true]);
  const conditional = /`(storage\.objects\.\w+)`\s+under\s+this\s+one:\n\n```text\n([\s\S]*?)```/g;
  for (const [, permission = '', condition = ''] of page.matchAll(conditional))
    granted.set(
      permission,
      condition
        .trim()
        .split(/\s*\|\|\s*/)
        .map(termOf),
    );
  return (permission, resource) => granted.get(permission)?.some((term) => term(resource)) ?? false;
}

/** A term of a condition in the Common Expression Language. */
function termOf(text: string): (resource: string) => boolean {
  const [, name] = /^resource\.name == "([^"]*)"$/.exec(text) ?? [];
  if (name !== undefined) return (resource) => resource === name;
  const [, prefix] = /^resource\.name\.startsWith\("([^"]*)"\)$/.exec(text) ?? [];
  if (prefix !== undefined) return (resource) => resource.startsWith(prefix);
  throw new Error(`The test knows no condition ${text}`);
}
