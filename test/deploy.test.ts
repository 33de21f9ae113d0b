/** What `deploy/` has for containers and services, as far as it can be checked where none of them runs. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { describeProgram } from '../src/cli/program.ts';
import { fieldsOf, rowsOf } from './serve/harness.ts';
import { problemOf } from './support/kubernetes.ts';

const run = promisify(execFile);
const DEPLOY = fileURLToPath(new URL('../deploy/', import.meta.url));
const at = (...parts: readonly string[]): string => join(DEPLOY, ...parts);
const KUBERNETES = ['base', 'gke'].map((folder) => at('kubernetes', folder));

type Fields = Record<string, unknown>;

/** @param names files; all but the list of them unless given */
async function manifestsIn(folder: string, given: readonly string[] | null = null): Promise<Fields[]> {
  const names = given ?? (await readdir(folder)).filter((name) => name !== 'kustomization.yaml');
  const texts = await Promise.all(names.map((name) => readFile(join(folder, name), 'utf8')));
  return texts.flatMap((text) => parseAllDocuments(text).map((one) => fieldsOf(one.toJS())));
}

/** The specs of pods in a manifest, however deep. */
function podsIn(value: unknown): Fields[] {
  const fields = fieldsOf(value);
  const inner = Object.values(fields).flatMap(podsIn);
  return Array.isArray(fields['containers']) ? [fields, ...inner] : inner;
}

/** Whether the command takes a line: nothing is run. */
async function isTaken(args: readonly string[]): Promise<boolean> {
  let taken = false;
  const program = new Command().exitOverride().configureOutput({ writeErr: () => undefined });
  describeProgram(program, {
    run: async () => {
      taken = true;
    },
    say: () => undefined,
    version: () => undefined,
  });
  await program.parseAsync(args, { from: 'user' }).catch(() => undefined);
  return taken;
}

describe('the manifests for Kubernetes', () => {
  it('are all listed, and are what the schemas of their kinds say, also put together where kubectl can', async () => {
    for (const folder of KUBERNETES) {
      const list = fieldsOf(parse(await readFile(join(folder, 'kustomization.yaml'), 'utf8')));
      const resources = [list['resources']]
        .flat()
        .map(String)
        .filter((name) => !name.startsWith('..'));
      const patches = rowsOf(list['patches']).map(({ path }) => String(path));
      const names = (await readdir(folder)).filter((name) => name !== 'kustomization.yaml');
      expect(new Set([...resources, ...patches])).toEqual(new Set(names));
      const built = await run('kubectl', ['kustomize', folder]).catch((error: unknown) => {
        if (fieldsOf(error)['code'] !== 'ENOENT') throw error;
        return { stdout: '' };
      });
      const whole = parseAllDocuments(built.stdout).map((one) => fieldsOf(one.toJS()));
      for (const manifest of [...(await manifestsIn(folder, resources)), ...whole])
        expect(await problemOf(manifest)).toBeNull();
    }
    const bad = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: {}, spec: { replicas: 'two' } };
    expect(await problemOf(bad)).toMatch(/^Deployment: /);
  });

  it('let pods do what they need and no more, and run commands that there are', async () => {
    const manifests = await manifestsIn(at('kubernetes', 'base'));
    const strict = podsIn(manifests).filter(({ securityContext }) => securityContext !== undefined);
    // The deployment, and the patch that every job has.
    expect(strict).toHaveLength(2);
    for (const pod of strict) {
      expect(pod).toMatchObject({
        automountServiceAccountToken: false,
        securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
        containers: [
          {
            resources: { limits: { memory: expect.any(String) } },
            securityContext: {
              allowPrivilegeEscalation: false,
              readOnlyRootFilesystem: true,
              capabilities: { drop: ['ALL'] },
            },
          },
        ],
      });
    }
    const lines = podsIn(manifests).flatMap(({ containers }) =>
      rowsOf(containers).flatMap(({ args }) => (Array.isArray(args) ? [args.map(String)] : [])),
    );
    expect(lines).toHaveLength(4);
    for (const line of lines) expect([line, await isTaken(line)]).toEqual([line, true]);
    expect(await isTaken(['serve', '--unheard-of'])).toBe(false);
  });
});

describe('the container', () => {
  it('is made of files that there are, and runs without rights', async () => {
    const text = await readFile(at('Dockerfile'), 'utf8');
    const sources = [...text.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, names = '']) =>
      names.split(' '),
    );
    expect(sources.length).toBeGreaterThan(6);
    expect(sources.filter((name) => !existsSync(at('..', name)))).toEqual([]);
    expect(text).toMatch(/^USER nonroot$/m);
    const [, command = ''] = /^CMD (\[.+\])$/m.exec(text) ?? [];
    expect(await isTaken(JSON.parse(command))).toBe(true);
    const { services } = fieldsOf(parse(await readFile(at('compose.yaml'), 'utf8')));
    const { command: served, read_only: isReadOnly } = fieldsOf(fieldsOf(services)['vault']);
    expect([await isTaken(Array.isArray(served) ? served.map(String) : []), isReadOnly]).toEqual([
      true,
      true,
    ]);
  });
});

describe('the units of systemd', () => {
  it('are right where systemd is there to say so', async () => {
    const units = (await readdir(at('systemd'))).map((name) => at('systemd', name));
    const { stderr } = await run('systemd-analyze', ['verify', ...units]).catch((error: unknown) => {
      if (fieldsOf(error)['code'] !== 'ENOENT') throw error;
      return { stderr: '' };
    });
    expect(stderr).toBe('');
  });
});
