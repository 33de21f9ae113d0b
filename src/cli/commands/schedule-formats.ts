/** Schedules as cron, systemd and Kubernetes read them. Each has its own way to quote, and its own characters that mean something. */
import { dirname } from 'node:path';
import { invalidInput } from '../../errors.ts';
import { shellWord } from '../../shell-word.ts';
import { quote } from '../terminal/text.ts';

export interface Job {
  readonly verb: string;
  readonly args: readonly string[];
  readonly time: {
    readonly minute: number;
    readonly hour: number;
    /** Null: every one. */
    readonly monthDay: number | null;
    readonly weekDay: string | null;
  };
}

/** Texts have no control characters. Paths are absolute. */
export interface Schedule {
  /** What to run, before the verb. */
  readonly program: readonly string[];
  readonly shared: readonly string[];
  readonly jobs: readonly Job[];
  readonly variables: readonly (readonly [name: string, value: string])[];
  /** URLs. */
  readonly buckets: readonly string[];
  /** The buckets that are folders of this machine. */
  readonly folders: readonly string[];
  /** What is put. */
  readonly paths: readonly string[];
  /** The catalog, if it is a file. */
  readonly catalog: string | null;
  /** Null where a command gives it. */
  readonly passwordFile: string | null;
  /** Of a container that has vault in it. */
  readonly image: string;
}

/** Longest command that every cron takes. */
const MAX_CRON_COMMAND = 998;

/** Lines for a crontab. @throws `invalid-input` for what versions of cron read differently */
export function cronText({ program, shared, jobs, variables, buckets }: Schedule): string {
  const environment = variables.map(([name, value]) => `${name}=${cronQuoted(value)}`);
  const lines = jobs.map(({ verb, args, time }) => {
    const when = `${time.minute} ${time.hour} ${time.monthDay ?? '*'} * ${time.weekDay ?? '*'}`;
    const words = [...program, ...shared, ...args].map(cronQuoted);
    // The hashes are for whoever looks on; what is wrong comes on standard error.
    const command = [...environment, ...words].join(' ') + (verb === 'put' ? ' >/dev/null' : '');
    if (command.length > MAX_CRON_COMMAND) {
      throw invalidInput(
        `The line of ${verb} is too long for cron: put a folder above those paths, or use --systemd.`,
      );
    }
    return `${when} ${command}\n`;
  });
  const places = buckets.map((url) => `#   ${url}\n`).join('');
  return `# For "crontab -e". Cron's mail is the alert: nothing is printed unless something needs attention.\n# Buckets:\n${places}${lines.join('')}`;
}

/** A word as sh reads it, after cron has read the line: for cron a percent sign ends it. Outside of quotes both old and new ones take `\%`. */
function cronQuoted(text: string): string {
  if (text.includes('\\')) {
    throw invalidInput(
      `Versions of cron differ in what they make of the backslash in ${quote(text)}: use --systemd.`,
    );
  }
  return (
    text
      .split('%')
      .map((part) => (part === '' ? '' : shellWord(part)))
      .join('\\%') || "''"
  );
}

/** Units, one after the other, each after a line with its file's name. */
export function systemdText({ program, shared, jobs, variables, paths, folders, catalog }: Schedule): string {
  const environment = variables.map(([name, value]) => `Environment=${unitQuoted(`${name}=${value}`)}\n`);
  const mounts = [...paths, ...folders, ...(catalog === null ? [] : [dirname(catalog)])].map(unitQuoted);
  const units = jobs.flatMap(({ verb, args, time }) => {
    // Of what is run, a dollar would begin a variable.
    const words = [...program, ...shared, ...args].map((word) => unitQuoted(word).replaceAll('$', '$$$$'));
    const { minute, hour, monthDay, weekDay } = time;
    const day = `${weekDay === null ? '' : `${weekDay} `}*-*-${monthDay === null ? '*' : two(monthDay)}`;
    return [
      `# vault-${verb}.service\n[Unit]\nDescription=vault ${verb}\nWants=network-online.target\nAfter=network-online.target\nRequiresMountsFor=${mounts.join(' ')}\n\n[Service]\nType=oneshot\nNice=10\n${environment.join('')}ExecStart=${words.join(' ')}\n`,
      `# vault-${verb}.timer\n[Unit]\nDescription=vault ${verb}\n\n[Timer]\nOnCalendar=${day} ${two(hour)}:${two(minute)}:00\nRandomizedDelaySec=10min\nPersistent=true\n\n[Install]\nWantedBy=timers.target\n`,
    ];
  });
  return units.join('\n');
}

function two(value: number): string {
  return String(value).padStart(2, '0');
}

/** A word of a unit: a percent sign would begin a specifier. */
function unitQuoted(text: string): string {
  return `"${text.replace(/["\\]/g, '\\$&').replaceAll('%', '%%')}"`;
}

/** Where a container finds the password. */
const SECRET_FOLDER = '/etc/vault-password';

/** CronJobs. What is on this machine is mounted under the same paths: it is for nodes that have it. */
export function kubernetesText(schedule: Schedule): string {
  const { shared, jobs, paths, folders, catalog, passwordFile } = schedule;
  const mounts = [
    ...paths.map((path) => ({ path, readOnly: true })),
    ...folders.map((path) => ({ path, readOnly: false })),
    ...(catalog === null ? [] : [{ path: dirname(catalog), readOnly: false }]),
  ].filter(({ path }, at, all) => all.findIndex((other) => other.path === path) === at);
  const secret = { name: 'password', secret: { secretName: 'vault-password', defaultMode: 0o400 } };
  const volumes = [secret, ...mounts.map(({ path }, at) => ({ name: `place-${at}`, hostPath: { path } }))];
  const volumeMounts = [
    { name: secret.name, mountPath: SECRET_FOLDER, readOnly: true },
    ...mounts.map(({ path, readOnly }, at) => ({ name: `place-${at}`, mountPath: path, readOnly })),
  ];
  const [, db = '', opener = ''] = shared;
  const option = opener === '--key-file' ? opener : '--password-file';
  const documents = jobs.map(({ verb, args, time }) => {
    const command = ['vault', '--db', db, option, `${SECRET_FOLDER}/password`, ...args];
    const container = {
      name: 'vault',
      image: schedule.image,
      command: command.map(unexpanded),
      volumeMounts,
    };
    return {
      apiVersion: 'batch/v1',
      kind: 'CronJob',
      metadata: { name: `vault-${verb}` },
      spec: {
        schedule: `${time.minute} ${time.hour} ${time.monthDay ?? '*'} * ${time.weekDay ?? '*'}`,
        concurrencyPolicy: 'Forbid',
        jobTemplate: {
          spec: {
            backoffLimit: 0,
            template: { spec: { restartPolicy: 'Never', containers: [container], volumes } },
          },
        },
      },
    };
  });
  const give =
    passwordFile === null ? 'password=/dev/stdin (from your password command)' : `password=<password file>`;
  return `# First: kubectl create secret generic vault-password --from-file=${give}\n# Credentials of clouds are the pod's: a service account, or variables of a Secret.\n${documents.map((document) => `---\n${yamlOf(document, '')}`).join('')}`;
}

/** Kubernetes replaces $(NAME) in commands. */
function unexpanded(text: string): string {
  return text.replaceAll('$(', '$$$$(');
}

interface Block {
  readonly [key: string]: Plain;
}
type Plain = string | number | boolean | Block | readonly (string | Block)[];

/** Block style, each text in double quotes: written as JSON writes them, they are YAML. */
function yamlOf(block: Block, indent: string): string {
  const lines = Object.entries(block).map(([key, item]) => {
    if (typeof item !== 'object') return `${indent}${key}: ${JSON.stringify(item)}\n`;
    if (!isList(item)) return `${indent}${key}:\n${yamlOf(item, `${indent}  `)}`;
    const items = item.map((one) =>
      typeof one === 'string' ? `${JSON.stringify(one)}\n` : yamlOf(one, `${indent}    `).trimStart(),
    );
    return `${indent}${key}:\n${items.map((one) => `${indent}  - ${one}`).join('')}`;
  });
  return lines.join('');
}

function isList(value: Plain): value is readonly (string | Block)[] {
  return Array.isArray(value);
}
