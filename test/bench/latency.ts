// Buckets in clouds, beside rclone: the tests' own servers, whose every answer takes 30 ms longer; and how many requests commands make.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { EXAMPLE_CREDENTIALS } from '../support/s3-server.ts';
import { compare, hold, isWanted, OUT, processor, wall } from './lines.ts';
import { env, largeFile, remove, run, values, vault } from './workbench.ts';

const DELAY_MS = 30;
const BUCKETS = ['bucket-one', 'bucket-two', 'bucket-three'];
const KINDS = ['gcs', 's3'] as const;
type Kind = (typeof KINDS)[number];
interface SeenRequest {
  readonly method: string;
  readonly bucket: string;
  readonly name: string;
}

const { accessKeyId, secretAccessKey } = EXAMPLE_CREDENTIALS;
Object.assign(env, {
  AWS_ACCESS_KEY_ID: accessKeyId,
  AWS_SECRET_ACCESS_KEY: secretAccessKey,
  AWS_CONFIG_FILE: '/nonexistent',
  AWS_SHARED_CREDENTIALS_FILE: '/nonexistent',
});
const remotes = {
  gcs: { TYPE: 'google cloud storage', ANONYMOUS: 'true' },
  // One request for the file, whatever its size: the server knows no uploads in parts.
  s3: {
    TYPE: 's3',
    PROVIDER: 'Other',
    ACCESS_KEY_ID: accessKeyId,
    SECRET_ACCESS_KEY: secretAccessKey,
    REGION: 'us-east-1',
    UPLOAD_CUTOFF: '5G',
  },
};

let server: Worker | null = null;

/** An empty server of a kind in the place of the one before, a vault in three buckets there, and rclone's remote `peer`. */
async function begin(kind: Kind, delayMs: number, redundancy: string): Promise<void> {
  await server?.terminate();
  server = new Worker(new URL('server-thread.ts', import.meta.url), {
    workerData: { kind, delayMs, buckets: BUCKETS },
  });
  const [url]: string[] = await once(server, 'message');
  const remote = {
    ...remotes[kind],
    NO_CHECK_BUCKET: 'true',
    ENDPOINT: `${url}${kind === 's3' ? '' : '/storage/v1/'}`,
  };
  for (const [name, value] of Object.entries(remote)) env[`RCLONE_CONFIG_PEER_${name}`] = value;
  remove('vault');
  const scheme = kind === 's3' ? 's3' : 'gs';
  const urls = BUCKETS.flatMap((name) => ['--bucket', `${scheme}://${name}/vault?endpoint=${url}`]);
  run([...vault, 'init', ...urls, '--redundancy', redundancy, '--compression', 'off']);
}

const size = Math.min(200, Number(values.size));
const file = `large-${size}`;
const [out, restored] = OUT;
const rclone = ['rclone', '--quiet', 'copyto'];
for (const kind of KINDS) {
  const steps = [
    {
      name: `put of ${size} MiB, beside rclone`,
      aims: [wall(1)],
      prepare: () => largeFile(size),
      ours: [...vault, 'put', file],
      peer: [...rclone, file, 'peer:bucket-one/file'],
    },
    {
      name: `get of ${size} MiB, beside rclone`,
      aims: [wall(1.3), processor(2)],
      ours: [...vault, 'get', file, '-o', out],
      peer: [...rclone, 'peer:bucket-one/file', restored],
      restores: { from: file, ours: out, peer: restored },
    },
  ];
  await compare(`${kind}, ${DELAY_MS} ms a request`, steps, { begin: () => begin(kind, DELAY_MS, '1+0') });
}

/** The requests of a command. */
async function requestsOf(command: readonly string[]): Promise<readonly SeenRequest[]> {
  remove(...OUT);
  run([...vault, ...command]);
  server?.postMessage('tell');
  const [requests]: (readonly SeenRequest[])[] = server === null ? [] : await once(server, 'message');
  return requests ?? [];
}

async function countRequests(kind: Kind, redundancy: string): Promise<void> {
  const hundred = largeFile(100);
  await begin(kind, 0, redundancy);
  await requestsOf(['--version']);
  for (const command of [
    ['put', hundred],
    ['ls'],
    ['get', hundred, '-o', out],
    ['verify'],
    ['repair'],
    ['status'],
    ['rm', '--now', hundred],
    ['sweep'],
  ]) {
    const requests = await requestsOf(command);
    const line = `${kind}: requests of ${command[0]}, 100 MiB, ${redundancy}`;
    const markers = requests.filter(({ method, name }) => method === 'GET' && name.endsWith('/vault.json'));
    const most = Math.max(...BUCKETS.map((name) => markers.filter(({ bucket }) => bucket === name).length));
    hold(`${line} (${requests.length})`, 'reads of a marker', most, 1);
    if (command[0] === 'rm') hold(line, 'requests', requests.length, 310);
  }
}
try {
  for (const kind of KINDS.filter((one) => isWanted(`${one}: requests`)))
    for (const redundancy of ['1+0', '2+1']) await countRequests(kind, redundancy);
} finally {
  await (server as Worker | null)?.terminate();
}
