/** Schedules as cron, systemd and Kubernetes read them. Each has its own way to quote, and its own characters that mean something. */
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
  /** What the jobs' own names begin with. */
  readonly name: string;
  /** What to run, before the options and the verb. */
  readonly program: readonly string[];
  readonly shared: readonly string[];
  readonly jobs: readonly Job[];
  readonly variables: readonly (readonly [name: string, value: string])[];
  /** A kind of secret, and so on no command line, which everybody can see; null where no monitor is told. */
  readonly pingUrl: string | null;
  /** URLs. */
  readonly buckets: readonly string[];
  /** The buckets that are folders of this machine. */
  readonly folders: readonly string[];
  /** What is put. */
  readonly paths: readonly string[];
  /** Where the catalog is, if it is a file, and what it is a link to. */
  readonly catalogFolders: readonly string[];
  /** Null where a command gives it. */
  readonly passwordFile: string | null;
  /** Its entry point is vault. */
  readonly image: string;
  /** Whose files they are. */
  readonly user: { readonly uid: number; readonly gid: number };
}

const PING = 'VAULT_PING_URL';

/** Longest command that every cron takes, in bytes. Lines of their own for variables would help little: they may be no longer, and not every cron takes them. */
const MAX_CRON_COMMAND = 998;

/** Lines for a crontab. @throws `invalid-input` for what versions of cron read differently */
export function cronText(schedule: Schedule): string {
  const { program, shared, jobs, variables, pingUrl, buckets } = schedule;
  const environment = variables.map(([name, value]) => `${name}=${cronQuoted(value)}`);
  const lines = jobs.map((job) => {
    const { verb, args, time } = job;
    const when = `${time.minute} ${time.hour} ${time.monthDay ?? '*'} * ${time.weekDay ?? '*'}`;
    const words = [...program, ...shared, ...args].map(cronQuoted);
    // The hashes are for whoever looks on; what is wrong comes on standard error.
    const command = [...environment, ...words].join(' ') + (verb === 'put' ? ' >/dev/null' : '');
    if (Buffer.byteLength(command) > MAX_CRON_COMMAND) {
      throw invalidInput(`The line of ${verb} is too long for cron; ${longestPart(schedule, job)}`);
    }
    return `${when} ${command}\n`;
  });
  const places = buckets.map((url) => `#   ${url}\n`).join('');
  const monitor = pingUrl === null ? '' : `# Holds for all lines that follow.\n${PING}=${pingUrl}\n`;
  return `# For "crontab -e". Cron's mail is the alert: nothing is printed unless something needs attention.\n# Buckets:\n${places}${monitor}${lines.join('')}`;
}

/** What takes most of a line that is too long, and what to do about it. */
function longestPart({ variables, shared }: Schedule, { args }: Job): string {
  const parts = [
    ...variables.map(([name, value]) => ({
      what: name,
      text: value,
      advice: 'set a shorter one for this command',
    })),
    { what: 'the options', text: shared.join(' '), advice: 'shorten them' },
    { what: 'the paths', text: args.join(' '), advice: 'put a folder above them' },
  ];
  const [longest] = parts.toSorted((a, b) => b.text.length - a.text.length);
  return `its longest part is ${longest?.what}: ${longest?.advice}, or use --systemd.`;
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
export function systemdText(schedule: Schedule): string {
  const { name: base, program, shared, jobs, pingUrl, paths, folders, catalogFolders } = schedule;
  const variables = [...schedule.variables, ...(pingUrl === null ? [] : [[PING, pingUrl] as const])];
  const environment = variables.map(([name, value]) => `Environment=${unitQuoted(`${name}=${value}`)}\n`);
  const mounts = [...paths, ...folders, ...catalogFolders].map(unitQuoted);
  const units = jobs.flatMap(({ verb, args, time }) => {
    // Of what is run, a dollar would begin a variable.
    const words = [...program, ...shared, ...args].map((word) => unitQuoted(word).replaceAll('$', '$$$$'));
    const { minute, hour, monthDay, weekDay } = time;
    const day = `${weekDay === null ? '' : `${weekDay} `}*-*-${monthDay === null ? '*' : two(monthDay)}`;
    return [
      `# ${base}-${verb}.service\n[Unit]\nDescription=vault ${verb}\nWants=network-online.target\nAfter=network-online.target\nRequiresMountsFor=${mounts.join(' ')}\n\n[Service]\nType=oneshot\nNice=10\n${environment.join('')}ExecStart=${words.join(' ')}\n`,
      `# ${base}-${verb}.timer\n[Unit]\nDescription=vault ${verb}\n\n[Timer]\nOnCalendar=${day} ${two(hour)}:${two(minute)}:00\nRandomizedDelaySec=10min\nPersistent=true\n\n[Install]\nWantedBy=timers.target\n`,
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

/** Where a container finds the password, and where it may write. */
export const SECRET_FOLDER = '/run/secrets/vault';
const SCRATCH_FOLDER = '/run/vault';

/**
 * CronJobs for an image whose entry point is vault, as `deploy/Dockerfile` makes it. What is on this machine is mounted under the same
 * paths, for its user: it is for nodes that have it.
 */
export function kubernetesText(schedule: Schedule): string {
  const { name: base, shared, jobs, variables, pingUrl, passwordFile, image, user } = schedule;
  const { mounts, volumes } = placesOf(schedule);
  const secretName = `${base}-password`;
  const secret = { name: 'password', secret: { secretName, defaultMode: 0o440 } };
  const scratch = { name: 'scratch', emptyDir: {} };
  const env: Block[] = [...variables, ['XDG_DATA_HOME', SCRATCH_FOLDER], ['TMPDIR', SCRATCH_FOLDER]].map(
    ([name = '', value = '']) => ({ name, value: unexpanded(value) }),
  );
  if (pingUrl !== null)
    env.push({ name: PING, valueFrom: { secretKeyRef: { name: secretName, key: 'ping-url' } } });
  const podOf = (args: readonly string[]): Block => ({
    restartPolicy: 'Never',
    automountServiceAccountToken: false,
    securityContext: {
      runAsNonRoot: user.uid !== 0,
      runAsUser: user.uid,
      runAsGroup: user.gid,
      fsGroup: user.gid,
      seccompProfile: { type: 'RuntimeDefault' },
    },
    containers: [
      {
        name: 'vault',
        image,
        args: [...shared, ...args].map(unexpanded),
        env,
        securityContext: {
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          // Without them root could not read the files of others.
          ...(user.uid !== 0 && { capabilities: { drop: ['ALL'] } }),
        },
        volumeMounts: [
          { name: secret.name, mountPath: SECRET_FOLDER, readOnly: true },
          { name: scratch.name, mountPath: SCRATCH_FOLDER },
          ...mounts,
        ],
      },
    ],
    volumes: [secret, scratch, ...volumes],
  });
  const documents = jobs.map(({ verb, args, time }) => ({
    apiVersion: 'batch/v1',
    kind: 'CronJob',
    metadata: { name: `${base}-${verb}` },
    spec: {
      schedule: `${time.minute} ${time.hour} ${time.monthDay ?? '*'} * ${time.weekDay ?? '*'}`,
      concurrencyPolicy: 'Forbid',
      jobTemplate: { spec: { backoffLimit: 0, template: { spec: podOf(args) } } },
    },
  }));
  const give =
    passwordFile === null ? 'password=/dev/stdin (from your password command)' : `password=<password file>`;
  const monitor = pingUrl === null ? '' : ' --from-literal=ping-url=<URL of the monitor>';
  return `# First: kubectl create secret generic ${secretName} --from-file=${give}${monitor}\n# Credentials of clouds and databases are the pod's: a service account, or variables of a Secret.\n${documents.map((document) => `---\n${yamlOf(document, '')}`).join('')}`;
}

/** What of this machine a pod has, under the same paths. @throws `invalid-input` for what Kubernetes cannot mount there */
function placesOf({
  paths,
  folders,
  catalogFolders,
}: Schedule): Record<'mounts' | 'volumes', readonly Block[]> {
  const written = new Set([...folders, ...catalogFolders]);
  const all = [...new Set([...paths, ...written])].map((path, at) => ({ path, name: `place-${at}` }));
  for (const { path } of all) {
    const why = path.includes(':') ? 'it has a colon' : inTheWay(path);
    if (why !== null) throw invalidInput(`A pod cannot mount ${quote(path)} under its own path: ${why}.`);
  }
  return {
    mounts: all.map(({ path, name }) => ({ name, mountPath: path, readOnly: !written.has(path) })),
    volumes: all.map(({ path, name }) => ({ name, hostPath: { path } })),
  };
}

/** What a pod has itself: what it mounts, its kernel's, and what runs vault in the image that `deploy/Dockerfile` makes. */
const IN_POD = [
  SECRET_FOLDER,
  SCRATCH_FOLDER,
  '/proc',
  '/sys',
  '/dev',
  '/nodejs',
  '/lib',
  '/lib64',
  '/usr/lib',
  '/app/bin',
  '/app/dist',
  '/app/node_modules',
  '/app/package.json',
];

/** Why a path is not free in a pod; null if it is. */
function inTheWay(path: string): string | null {
  // There it is a link.
  const real = path.replace(/^\/var\/run(?=\/|$)/, '/run');
  const taken = IN_POD.find((one) => isWithin(one, real) || isWithin(real, one));
  if (taken === undefined) return null;
  const hides = isWithin(taken, real) ? 'it would hide' : 'it lies in';
  return `${hides} what the pod has itself at ${taken}. Name other folders`;
}

function isWithin(path: string, folder: string): boolean {
  return `${path}/`.startsWith(folder.replace(/\/?$/, '/'));
}

/** Kubernetes replaces $(NAME) in arguments and variables. */
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
    if (typeof item !== 'object' || Object.keys(item).length === 0)
      return `${indent}${key}: ${JSON.stringify(item)}\n`;
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
