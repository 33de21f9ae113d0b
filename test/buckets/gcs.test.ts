import { Buffer } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Bucket } from '../../src/buckets/bucket.ts';
import { isGoogles } from '../../src/buckets/gcs/api.ts';
import { openGcsBucket } from '../../src/buckets/gcs/driver.ts';
import { parseGcsUrl } from '../../src/buckets/gcs/url.ts';
import type { GcsLocation } from '../../src/buckets/gcs/url.ts';
import { retrying } from '../../src/buckets/layers/retry.ts';
import type { Environment } from '../../src/host.ts';
import { VaultError } from '../../src/errors.ts';
import type { ErrorCode } from '../../src/errors.ts';
import { startGcsServer } from '../support/gcs-server.ts';
import type { Fault, GcsServer, GcsServerOptions, RequestKind } from '../support/gcs-server.ts';
import { writeServiceAccount, writeUserAccount } from '../support/service-account.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import type { TemporaryFolder } from '../support/temporary-folder.ts';
import { systemClock } from '../../src/host.ts';
import type { Clock } from '../../src/host.ts';
import { bucketConformance, codeOf, listAll, retentionConformance } from './conformance.ts';
import type { BucketUnderTest } from './conformance.ts';

async function open(
  server: Pick<GcsServer, 'url'>,
  bucket = 'bucket',
  prefix = 'backups',
  options: Partial<GcsLocation> & { clock?: Clock; environment?: Environment } = {},
): Promise<Bucket> {
  const label = `gs://${bucket}/${prefix}`;
  const plain = { sendCredentials: false, credentialsFile: null };
  return await openGcsBucket({ bucket, prefix, endpoint: server.url, label, ...plain, ...options });
}

function clockOf(server: Pick<GcsServer, 'clockOffsetMs'>): Clock {
  return { ...systemClock, now: () => Date.now() + server.clockOffsetMs };
}

async function fresh(options: GcsServerOptions = {}): Promise<BucketUnderTest> {
  const server = await startGcsServer(options);
  const folder = await temporaryFolder();
  const credentialsFile = await writeServiceAccount(folder.at('key.json'));
  return {
    bucket: await open(server, 'bucket', 'backups', { credentialsFile, clock: clockOf(server) }),
    reopen: async () => await open(server),
    openMissing: async () => await open(server, 'absent'),
    passTime: (ms) => {
      server.clockOffsetMs = ms;
    },
    cleanUp: async () => {
      await folder[Symbol.asyncDispose]();
      await server.close();
    },
  };
}

bucketConformance('gcs', () => fresh(), {
  openLocking: () => fresh({ settings: { objectRetention: true } }),
});
describe('gcs with versions', () => {
  retentionConformance({
    openFresh: () => fresh({ settings: { versioning: true } }),
    openLocking: () => fresh({ settings: { objectRetention: true, versioning: true } }),
  });
});

const BYTES = randomBytes(200_000);
const FEW_BYTES = Buffer.from('few');

type Operation = (bucket: Bucket, signal?: AbortSignal) => Promise<unknown>;

const call = (signal?: AbortSignal): { readonly signal?: AbortSignal } =>
  signal === undefined ? {} : { signal };

const put: Operation = async (bucket, signal) => {
  await bucket.put('new', BYTES, call(signal));
};
const replace: Operation = async (bucket, signal) => {
  await bucket.put('old', BYTES, { replace: true, ...call(signal) });
};
const get: Operation = async (bucket, signal) => await bucket.get('old', call(signal));
const remove: Operation = async (bucket, signal) => {
  await bucket.remove('old', call(signal));
};
const list: Operation = async (bucket, signal) => await listAll(bucket, '', call(signal));

const OPERATIONS: readonly (readonly [string, RequestKind, Operation])[] = [
  ['put', 'upload', put],
  ['put with replace', 'upload', replace],
  ['get', 'download', get],
  ['list', 'list', list],
  ['remove', 'delete', remove],
];

function status(code: number, reason = 'backendError', message = 'As told.'): Fault {
  return { fault: 'status', status: code, reason, message };
}

async function opening(options: {
  bucket?: string;
  prefix?: string;
  endpoint?: string;
  environment?: Environment;
}): Promise<Bucket> {
  const place = { bucket: 'bucket', prefix: '', endpoint: null, sendCredentials: false, label: 'gs://it' };
  return await openGcsBucket({ ...place, ...options });
}

async function errorOf(operation: Promise<unknown>): Promise<VaultError> {
  try {
    await operation;
  } catch (error) {
    if (error instanceof VaultError) return error;
    throw error;
  }
  throw new Error('There was no error.');
}

describe('Google Cloud Storage', () => {
  let server: GcsServer;
  let bucket: Bucket;

  const start = async (options?: GcsServerOptions): Promise<void> => {
    server = await startGcsServer(options);
    bucket = await open(server);
  };

  /** A server that wants credentials, and a bucket that may send them. */
  const startWithToken = async (options: GcsServerOptions = {}): Promise<void> => {
    await start({ token: 'access token', ...options });
    await bucket.close();
    bucket = await open(server, 'bucket', 'backups', { sendCredentials: true });
  };

  afterEach(async () => {
    await bucket.close();
    await server.close();
    vi.unstubAllEnvs();
  });

  test('what the URL asks for is sent', async () => {
    await start();
    await bucket.close();
    const kmsKey = 'projects/p/locations/l/keyRings/r/cryptoKeys/k';
    const place = {
      bucket: 'bucket',
      prefix: '',
      endpoint: server.url,
      sendCredentials: false,
      label: 'gs://it',
    };
    const options = { storageClass: 'NEARLINE', kmsKey, acl: 'projectPrivate', userProject: 'acme' };
    bucket = await openGcsBucket({ ...place, ...options });
    server.place('bucket', 'old', BYTES);
    for (const [, , operate] of OPERATIONS) await operate(bucket);
    const sent = server.requests.map(
      ({ url, kind }) => [kind, Object.fromEntries(url.searchParams)] as const,
    );
    for (const [kind, query] of sent) {
      const upload = kind === 'upload' ? { kmsKeyName: kmsKey, predefinedAcl: 'projectPrivate' } : {};
      expect(query).toMatchObject({ userProject: 'acme', ...upload });
    }
    expect(server.objects('bucket').get('new')?.storageClass).toBe('NEARLINE');
  });

  describe('requests', () => {
    beforeEach(async () => {
      await start();
      server.place('bucket', 'backups/old', BYTES);
    });

    test.each(OPERATIONS)('%s makes one', async (_, kind, operate) => {
      await operate(bucket);
      expect(server.requests.map((request) => request.kind)).toEqual([kind]);
    });

    test('put of what is stored already makes a second one, to compare', async () => {
      await bucket.put('old', BYTES);
      expect(server.requests.map((request) => request.kind)).toEqual(['upload', 'metadata']);
    });

    test('the service’s words say what is missing, without a second one', async () => {
      expect(await codeOf(bucket.get('absent'))).toBe('object-missing');
      await bucket.remove('absent');
      const other = await open(server, 'absent');
      for (const [, , operate] of OPERATIONS) expect(await codeOf(operate(other))).toBe('bucket-missing');
      await other.close();
      expect(server.count()).toBe(2 + OPERATIONS.length);
    });

    test('a listing makes one for every 1,000 names', async () => {
      for (let index = 1; index < 2_000; index += 1) server.place('bucket', `backups/${index}`, FEW_BYTES);
      expect(await listAll(bucket, '')).toHaveLength(2_000);
      expect(server.count('list')).toBe(2);
    });

    test('none is about the bucket itself', async () => {
      for (const [, , operate] of OPERATIONS) await operate(bucket);
      expect(await codeOf(bucket.get('absent'))).toBe('object-missing');
      expect(server.count('bucket')).toBe(0);
    });

    test('close closes the connections', async () => {
      await get(bucket);
      expect(await server.connections()).toBe(1);
      await bucket.close();
      await vi.waitFor(async () => expect(await server.connections()).toBe(0));
    });
  });

  describe('faults', () => {
    beforeEach(async () => {
      await start();
      server.place('bucket', 'backups/old', BYTES);
    });

    const FAULTS: readonly (readonly [string, Fault, ErrorCode])[] = [
      ['408', status(408), 'unavailable'],
      ['429', status(429, 'rateLimitExceeded'), 'unavailable'],
      ['500', status(500), 'unavailable'],
      ['502', status(502), 'unavailable'],
      ['503', status(503), 'unavailable'],
      ['504', status(504), 'unavailable'],
      ['403 for a rate', status(403, 'userRateLimitExceeded', 'User Rate Limit Exceeded'), 'unavailable'],
      ['403', status(403, 'forbidden'), 'denied'],
      ['403 for a closed account', status(403, 'accountDisabled'), 'denied'],
      ['412 for a policy', status(412, 'orgPolicyConstraintFailed'), 'denied'],
      ['400', status(400, 'invalid'), 'invalid-input'],
      ['400 for a checksum', status(400, 'invalid', 'Provided CRC32C "a" doesn\'t match.'), 'unavailable'],
      ['a redirect', status(307), 'invalid-input'],
      ['reset before', { fault: 'reset-before' }, 'unavailable'],
      ['reset after', { fault: 'reset-after' }, 'unavailable'],
    ];

    test.each(
      OPERATIONS.flatMap(([name, kind, operate]) =>
        FAULTS.map(([title, fault, code]) => [name, title, code, { kind, operate, fault }] as const),
      ),
    )('%s that ends with %s is %s, after one request', async (_, __, code, { kind, operate, fault }) => {
      server.fail(kind, fault);
      expect(await codeOf(operate(bucket))).toBe(code);
      expect(server.count()).toBe(1);
    });

    test('a server that is not there is unavailable', async () => {
      // A port that was given back may be another server's by now.
      const absent = await open({ url: 'http://127.0.0.1:1' });
      for (const [, , operate] of OPERATIONS) expect(await codeOf(operate(absent))).toBe('unavailable');
      await absent.close();
    });

    test.each([
      ['seconds', () => '7', 7_000, 7_000],
      ['a date', () => new Date(Date.now() + 3_600_000).toUTCString(), 3_500_000, 3_600_000],
      ['a date in the past', () => new Date(0).toUTCString(), 0, 0],
    ])('Retry-After as %s is passed on', async (_, retryAfter, least, most) => {
      server.fail('download', { fault: 'status', status: 503, retryAfter: retryAfter() });
      const { retryAfterMs } = await errorOf(get(bucket));
      expect(retryAfterMs).toBeGreaterThanOrEqual(least);
      expect(retryAfterMs).toBeLessThanOrEqual(most);
    });

    test('a Retry-After that says nothing counts as none', async () => {
      server.fail('download', { fault: 'status', status: 503, retryAfter: 'soon' });
      expect((await errorOf(get(bucket))).retryAfterMs).toBeNull();
    });

    test('a refusal before the end of an upload is told as what it is', async () => {
      server.fail('upload', { fault: 'status', status: 503, retryAfter: '3', early: true });
      const error = await errorOf(bucket.put('large', randomBytes(32 * 1024 * 1024)));
      expect(error.code).toBe('unavailable');
      expect(error.retryAfterMs).toBe(3_000);
      // The rest of the upload is not sent.
      await vi.waitFor(async () => expect(await server.connections()).toBe(0));
    });

    test('a download that says it is too large is not waited for', async () => {
      server.fail('download', { fault: 'stall-body', afterBytes: 0 });
      expect(await codeOf(bucket.get('old', { maxSize: BYTES.length - 1 }))).toBe('damaged');
    });

    test.each([
      ['cut short', { fault: 'cut-body', afterBytes: 100_000 }, 'unavailable'],
      ['cut before it begins', { fault: 'cut-body', afterBytes: 0 }, 'unavailable'],
      ['with a wrong bit', { fault: 'wrong-bytes' }, 'damaged'],
      ['with a wrong checksum', { fault: 'wrong-checksum' }, 'damaged'],
      ['without a checksum', { fault: 'no-checksum' }, 'success'],
    ] as const)('a download %s is %s', async (_, fault, code) => {
      server.fail('download', fault);
      expect(await codeOf(get(bucket))).toBe(code);
    });

    test.each([{ fault: 'wrong-checksum' }, { fault: 'no-checksum' }] as const)(
      'a download that is proved otherwise is compared with none: $fault',
      async (fault) => {
        server.fail('download', fault);
        expect((await bucket.get('old', { proved: true })).length).toBeGreaterThan(0);
        expect(server.count('metadata')).toBe(0);
      },
    );

    test('a download without a checksum is compared with the one that the service keeps', async () => {
      server.fail('download', { fault: 'no-checksum' });
      server.fail('metadata', { fault: 'wrong-checksum' });
      expect(await codeOf(get(bucket))).toBe('damaged');
    });

    test('an upload that is acknowledged with another checksum is damaged', async () => {
      server.fail('upload', { fault: 'wrong-checksum' });
      expect(await codeOf(put(bucket))).toBe('damaged');
    });

    test('an upload whose acknowledgement has no checksum is not taken for stored', async () => {
      server.fail('upload', { fault: 'no-checksum' });
      expect(await codeOf(put(bucket))).toBe('unavailable');
    });

    test('an upload whose acknowledgement was lost can be repeated', async () => {
      server.fail('upload', { fault: 'reset-after' });
      expect(await codeOf(put(bucket))).toBe('unavailable');
      await put(bucket);
      expect(server.objects('bucket').get('backups/new')?.bytes.equals(BYTES)).toBe(true);
    });

    test('a removal whose acknowledgement was lost can be repeated', async () => {
      server.fail('delete', { fault: 'reset-after' });
      expect(await codeOf(remove(bucket))).toBe('unavailable');
      await remove(bucket);
      expect(server.objects('bucket').has('backups/old')).toBe(false);
    });

    test('a removal that is called a success without a word of the service is looked after', async () => {
      server.fail('delete', { fault: 'page', type: 'application/json', body: 'null' }, { times: 2 });
      expect(await codeOf(remove(bucket))).toBe('unavailable');
      expect(server.objects('bucket').has('backups/old')).toBe(true);
      await expect(bucket.remove('absent')).resolves.toBeUndefined();
    });

    test('a listing that fails on its second page throws', async () => {
      for (let index = 0; index < 1_000; index += 1) server.place('bucket', `backups/${index}`, FEW_BYTES);
      server.fail(({ url }) => url.searchParams.has('pageToken'), status(503));
      expect(await codeOf(list(bucket))).toBe('unavailable');
    });

    test('an object that is removed while put looks at it is unavailable', async () => {
      server.fail('metadata', status(404, 'notFound', 'No such object: bucket/backups/old'));
      expect(await codeOf(bucket.put('old', BYTES))).toBe('unavailable');
    });

    test.each([
      ['bucket', 'object-missing', 'success'],
      ['absent', 'bucket-missing', 'bucket-missing'],
    ] as const)(
      'where %s answers 404 in words of its own, get is %s and remove %s',
      async (name, getCode, removeCode) => {
        const other = await open(server, name);
        server.fail(({ kind }) => kind !== 'list', status(404, 'notFound', 'Not Found'), { times: 2 });
        expect(await codeOf(other.get('never'))).toBe(getCode);
        expect(await codeOf(other.remove('never'))).toBe(removeCode);
        await other.close();
      },
    );

    test('a message of the service is passed on, but not a page of it', async () => {
      server.fail('download', status(500, 'backendError', `<title>Oh</title>${'no '.repeat(1_000)}`));
      const { message } = await errorOf(get(bucket));
      expect(message).toContain('500 (Oh no no');
      expect(message).not.toContain('<');
      expect(message.length).toBeLessThan(500);
    });
  });

  describe('an aborted signal', () => {
    beforeEach(async () => {
      await start();
      server.place('bucket', 'backups/old', BYTES);
    });

    test.each(OPERATIONS)('ends the connection of %s that is not answered', async (_, kind, operate) => {
      server.fail(kind, { fault: 'stall' });
      const controller = new AbortController();
      const ending = codeOf(operate(bucket, controller.signal));
      await vi.waitFor(() => expect(server.count(kind)).toBe(1));
      controller.abort();
      expect(await ending).toBe('interrupted');
      await vi.waitFor(async () => expect(await server.connections()).toBe(0));
      expect(server.abandoned).toBe(1);
    });

    test('ends the connection of a download that stalls half way', async () => {
      server.fail('download', { fault: 'stall-body', afterBytes: 100_000 });
      const controller = new AbortController();
      const ending = codeOf(get(bucket, controller.signal));
      await vi.waitFor(() => expect(server.count('download')).toBe(1));
      controller.abort();
      expect(await ending).toBe('interrupted');
      await vi.waitFor(() => expect(server.abandoned).toBe(1));
    });
  });

  describe('names', () => {
    beforeEach(async () => {
      await start();
    });

    test.each(['a b/ü€😀/%2F%25/?#&=+;:@', '!\'()*[]{}|\\^~`"<>$,', '..', '.', 'a//b', 'x'.repeat(768)])(
      'objects lie in the folder %j under exactly that name',
      async (folder) => {
        const here = await open(server, 'bucket', folder);
        await here.put('chunks/a+b', BYTES);
        expect([...server.objects('bucket').keys()]).toEqual([`${folder}/chunks/a+b`]);
        expect(Buffer.compare(await here.get('chunks/a+b'), BYTES)).toBe(0);
        await here.put('chunks/c', BYTES);
        expect(await listAll(here, 'chunks/', { after: 'chunks/a+b' })).toEqual([
          { name: 'chunks/c', size: BYTES.length },
        ]);
        await here.remove('chunks/c');
        await here.remove('chunks/a+b');
        expect(server.objects('bucket').size).toBe(0);
        await here.close();
      },
    );

    test.each(['', 'a', 'a/b'])('the folder %j is before every name', async (folder) => {
      const here = await open(server, 'bucket', folder);
      await here.put('name', BYTES);
      expect([...server.objects('bucket').keys()]).toEqual([folder === '' ? 'name' : `${folder}/name`]);
      await here.close();
    });

    test('what is not in the folder is not seen', async () => {
      await bucket.put('mine', BYTES);
      for (const name of ['backups', 'backups.json', 'backups0/x', 'back/x', 'other/mine']) {
        server.place('bucket', name, BYTES);
      }
      expect(await listAll(bucket, '')).toEqual([{ name: 'mine', size: BYTES.length }]);
    });

    test('what cannot be an object’s name here is not listed', async () => {
      for (const name of ['backups/', 'backups/chunks/', 'backups/ä', 'backups/a b']) {
        server.place('bucket', name, BYTES);
      }
      await bucket.put('chunks/mine', BYTES);
      expect(await listAll(bucket, '')).toEqual([{ name: 'chunks/mine', size: BYTES.length }]);
    });

    test('an object that is marked as compressed comes as it is stored', async () => {
      const stored = gzipSync(BYTES);
      server.place('bucket', 'backups/old', stored, { contentEncoding: 'gzip' });
      expect(Buffer.compare(await bucket.get('old'), stored)).toBe(0);
    });
  });

  describe('options', () => {
    beforeEach(async () => {
      await start();
    });

    test.each([
      '',
      'ab',
      'Upper',
      'a b',
      '-a-',
      'abc.',
      '_abc',
      'a..b',
      '192.168.5.4',
      'googly',
      'a/b',
      'ü-bucket',
      'a'.repeat(64),
      `${'a'.repeat(64)}.com`,
      `${'a'.repeat(60)}.`.repeat(4),
    ])('%j cannot be a bucket', async (name) => {
      expect((await errorOf(Promise.resolve(`gs://${name}`).then(parseGcsUrl))).code).toBe('invalid-input');
    });

    test.each(['abc', '1-2_3.a', 'a'.repeat(63), 'www.example.com', `${'a'.repeat(63)}.com`])(
      '%j can be a bucket',
      async (name) => {
        const here = await opening({ bucket: name });
        expect(here.label).toBe('gs://it');
        await here.close();
      },
    );

    test.each([
      'localhost:4443',
      'storage.example.com',
      '/path',
      'ftp://storage.example.com',
      'https://user:secret@storage.example.com',
      'https://storage.example.com/?key=secret',
    ])('%j cannot be an endpoint, and is not repeated in the message', async (endpoint) => {
      const url = `gs://bucket?endpoint=${encodeURIComponent(endpoint)}`;
      const error = await errorOf(Promise.resolve(url).then(parseGcsUrl));
      expect(error.code).toBe('invalid-input');
      expect(error.message).not.toContain('secret');
    });

    test.each(['a\nb', 'a\0b', 'x'.repeat(769)])('%j cannot be a folder', async (prefix) => {
      expect((await errorOf(Promise.resolve(`gs://bucket/${prefix}`).then(parseGcsUrl))).code).toBe(
        'invalid-input',
      );
    });
  });

  describe('credentials', () => {
    let folder: TemporaryFolder;

    beforeEach(async () => {
      folder = await temporaryFolder();
      vi.stubEnv('GOOGLE_APPLICATION_CREDENTIALS', folder.at('credentials.json'));
    });
    afterEach(async () => {
      await folder[Symbol.asyncDispose]();
    });

    /** Lets workload identity get its tokens from the server. */
    const logIn = async (): Promise<void> => {
      await writeFile(folder.at('subject'), 'subject token');
      await writeFile(
        folder.at('credentials.json'),
        JSON.stringify({
          type: 'external_account',
          audience: '//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q',
          subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
          token_url: `${server.url}/token`,
          credential_source: { file: folder.at('subject') },
        }),
      );
    };

    test('are not looked for where the server is not Google’s', async () => {
      await start();
      await put(bucket);
      expect(server.requests.some(({ headers }) => 'authorization' in headers)).toBe(false);
    });

    test('are not sent to a server that is not Google’s, although it asks for them', async () => {
      await start({ token: 'access token' });
      await logIn();
      for (const [, kind, operate] of OPERATIONS) {
        const error = await errorOf(operate(bucket));
        expect(error.code).toBe('denied');
        expect(error.message).toContain('credentials=send');
        expect(server.requests.at(-1)?.kind).toBe(kind);
      }
      expect(server.count('token')).toBe(0);
      expect(server.requests.some(({ headers }) => 'authorization' in headers)).toBe(false);
    });

    test.each([
      ['https://storage.googleapis.com', true],
      ['https://googleapis.com', true],
      ['https://storage.europe-west3.rep.googleapis.com:443', true],
      ['http://storage.googleapis.com', false],
      ['https://storage.googleapis.com.example.com', false],
      ['https://googleapis.com.', false],
      ['https://evilgoogleapis.com', false],
      ['https://example.com/storage.googleapis.com', false],
      ['http://localhost:4443', false],
    ])('are for %s: %s', async (url, isOne) => {
      await start();
      expect(isGoogles(new URL(url))).toBe(isOne);
    });

    test('are not sent to the emulator that the environment names', async () => {
      await start({ token: 'access token' });
      await logIn();
      const other = await opening({ environment: { STORAGE_EMULATOR_HOST: server.url } });
      expect(await codeOf(put(other))).toBe('denied');
      expect(server.requests.map(({ kind }) => kind)).toEqual(['upload']);
      await other.close();
    });

    test('are got for Google’s own endpoint, which is the default', async () => {
      await start();
      await logIn();
      server.fail('token', status(400), { times: Infinity });
      const google = await opening({});
      expect(await codeOf(put(google))).toBe('denied');
      expect(server.requests.map(({ kind }) => kind)).toEqual(['token']);
      await google.close();
    });

    test('may do more where something is to be locked, and only then', async () => {
      await startWithToken({ settings: { objectRetention: true } });
      await logIn();
      await put(bucket);
      await bucket.put('locked', FEW_BYTES, { retainUntilMs: Math.ceil(Date.now() / 1000) * 1000 + 60_000 });
      const scope = 'https://www.googleapis.com/auth/devstorage';
      expect(server.scopes).toEqual([`${scope}.read_write`, `${scope}.full_control`]);
    });

    test('are sent if the URL says so, with no more power than is needed', async () => {
      await startWithToken();
      await logIn();
      await put(bucket);
      expect(Buffer.compare(await bucket.get('new'), BYTES)).toBe(0);
      expect(server.requests.map(({ kind }) => kind)).toEqual(['token', 'upload', 'download']);
      expect(server.requests.at(-1)?.headers['authorization']).toBe('Bearer access token');
      expect(server.scopes).toEqual(['https://www.googleapis.com/auth/devstorage.read_write']);
    });

    test('are fetched once for all operations that need them at the same time', async () => {
      await startWithToken();
      await logIn();
      await Promise.all(Array.from({ length: 8 }, async (_, index) => await bucket.put(`n${index}`, BYTES)));
      expect(server.count('token')).toBe(1);
      expect(server.count('upload')).toBe(8);
    });

    test('that are not there are denied, with what to do about it', async () => {
      await startWithToken();
      const error = await errorOf(put(bucket));
      expect(error.code).toBe('denied');
      expect(error.message).toContain('gcloud auth application-default login');
    });

    test('that the server does not take are denied', async () => {
      await startWithToken();
      await logIn();
      await put(bucket);
      server.fail('download', { fault: 'status', status: 401, reason: 'authError' });
      const error = await errorOf(bucket.get('new'));
      expect(error.code).toBe('denied');
      expect(error.message).toContain('gcloud auth application-default login');
      expect(error.message).not.toContain('access token');
    });

    test.each([
      [400, 'denied'],
      [503, 'unavailable'],
    ] as const)('that the token server answers with %i are %s', async (answered, code) => {
      await startWithToken();
      await logIn();
      server.fail('token', status(answered), { times: Infinity });
      expect(await codeOf(put(bucket))).toBe(code);
    });

    test('that take too long to come can be aborted', async () => {
      await startWithToken();
      await logIn();
      server.fail('token', { fault: 'stall' });
      const controller = new AbortController();
      const ending = codeOf(put(bucket, controller.signal));
      await vi.waitFor(() => expect(server.count('token')).toBe(1));
      controller.abort();
      expect(await ending).toBe('interrupted');
    });

    test('are not waited for by an operation that is aborted already', async () => {
      await startWithToken();
      await logIn();
      await put(bucket);
      const before = server.count();
      expect(await codeOf(put(bucket, AbortSignal.abort()))).toBe('interrupted');
      expect(server.count()).toBe(before);
    });

    test('are not sent unencrypted to another machine, whatever the URL says', async () => {
      await start();
      // As good as any address of this machine that does not look like it.
      const url = server.url.replace('127.0.0.1', '0.0.0.0');
      expect(await codeOf(open({ url }, 'bucket', '', { sendCredentials: true }))).toBe('invalid-input');
    });

    test.each([
      ['put', put, 'create', 'objectUser'],
      ['put with replace', replace, 'delete', 'objectUser'],
      ['get', get, 'get', 'objectViewer'],
      ['list', list, 'list', 'objectViewer'],
      ['remove', remove, 'delete', 'objectUser'],
    ] as const)(
      'that lack the permission for %s are denied, and it is named',
      async (_, operate, verb, role) => {
        const others = ['create', 'delete', 'get', 'list'].filter((other) => other !== verb);
        const permissions = others.map((other) => `storage.objects.${other}`);
        await start({ token: 'access token', permissions });
        await logIn();
        await bucket.close();
        bucket = await open(server, 'bucket', 'backups', { sendCredentials: true });
        server.place('bucket', 'backups/old', BYTES);
        const error = await errorOf(operate(bucket));
        expect(error.code).toBe('denied');
        expect(error.message).toContain(`probably lacks storage.objects.${verb}`);
        expect(error.message).toContain(`roles/storage.${role}`);
      },
    );

    test('are nothing that Google’s tools could help with where the server is another’s', async () => {
      await start({ permissions: [] });
      server.place('bucket', 'backups/old', BYTES);
      const absent = await open(server, 'absent');
      const errors = [...OPERATIONS.map(([, , operate]) => errorOf(operate(bucket))), errorOf(list(absent))];
      for (const { message } of await Promise.all(errors)) expect(message).not.toMatch(/gcloud|roles\//);
      await absent.close();
    });

    test('of the file that the URL names are used, and no others', async () => {
      await startWithToken();
      await logIn();
      vi.stubEnv('GOOGLE_APPLICATION_CREDENTIALS', folder.at('none.json'));
      const place = {
        bucket: 'bucket',
        prefix: '',
        endpoint: server.url,
        sendCredentials: true,
        label: 'gs://it',
      };
      const named = await openGcsBucket({ ...place, credentialsFile: folder.at('credentials.json') });
      await put(named);
      await named.close();
      const absent = await openGcsBucket({ ...place, credentialsFile: folder.at('none.json') });
      expect((await errorOf(put(absent))).message).toContain('Check the credentialsFile');
      await absent.close();
    });

    test.each([
      ['', 'is not JSON'],
      ['{"type":"service_account","private_key":"SECRET', 'is not JSON'],
      ['SECRET', 'is not JSON'],
      ['null', 'is no file of Google credentials'],
      ['{"type":"bogus"}', 'is no file of Google credentials'],
      ['{"type":"service_account","client_email":"a@b"}', 'private_key'],
      ['{"type":"service_account","client_email":"a@b","private_key":"SECRET"}', 'its private_key is no key'],
      ['{"client_email":"a@b","private_key":"SECRET"}', 'its private_key is no key'],
    ])('of a file that has none are told by what is wrong with it: %s', async (content, words) => {
      await start();
      await writeFile(folder.at('wrong.json'), content);
      const wrong = await open(server, 'bucket', '', {
        sendCredentials: true,
        credentialsFile: folder.at('wrong.json'),
      });
      const { code, message } = await errorOf(put(wrong));
      await wrong.close();
      expect(code).toBe('denied');
      expect(message).toContain(words);
      expect(message).toContain('Check the credentialsFile');
      expect(message).not.toMatch(/SECRET|DECODER|Unexpected/);
      // Nor if the environment names it.
      const environment = { GOOGLE_APPLICATION_CREDENTIALS: folder.at('wrong.json') };
      const fromEnvironment = await open(server, 'bucket', '', { sendCredentials: true, environment });
      const error = await errorOf(put(fromEnvironment));
      await fromEnvironment.close();
      expect(error.code).toBe('denied');
      expect(error.message).toContain(words);
      expect(error.message).toContain('GOOGLE_APPLICATION_CREDENTIALS');
      expect(error.message).not.toMatch(/SECRET|DECODER|Unexpected/);
    });

    test('of a file that begins with a byte order mark are read', async () => {
      await startWithToken();
      await logIn();
      const content = await readFile(folder.at('credentials.json'), 'utf8');
      await writeFile(folder.at('marked.json'), `\uFEFF${content}`);
      const credentialsFile = folder.at('marked.json');
      const marked = await open(server, 'bucket', '', { sendCredentials: true, credentialsFile });
      await put(marked);
      expect(server.objects('bucket').size).toBe(1);
      await marked.close();
    });

    test('that cannot sign make no links', async () => {
      await start();
      const link = { nowMs: Date.now(), seconds: 60, contentType: 'a/b', fileName: null };
      const linking = async (credentialsFile: string | null): Promise<unknown> => {
        const other = await open(server, 'bucket', '', { credentialsFile });
        try {
          return await other.presign?.('a', link);
        } finally {
          await other.close();
        }
      };
      const user = await errorOf(linking(await writeUserAccount(folder.at('user.json'))));
      expect(user.code).toBe('denied');
      expect(user.message).toContain('cannot sign');
      await logIn();
      expect((await errorOf(linking(folder.at('credentials.json')))).message).toContain('cannot sign');
      const none = await errorOf(linking(folder.at('none.json')));
      expect(none.code).toBe('denied');
      expect(none.message).toContain('Check the credentialsFile');
      const by = await open(server, 'bucket', '', {
        credentialsFile: await writeServiceAccount(folder.at('k')),
      });
      const url = await by.presign?.('a', link);
      expect(url).not.toContain('PRIVATE');
      expect(server.count()).toBe(0);
      await by.close();
    });

    test('that may only read are enough to get and to list', async () => {
      await start({ permissions: ['storage.objects.get', 'storage.objects.list'] });
      server.place('bucket', 'backups/old', BYTES);
      expect(await codeOf(get(bucket))).toBe('success');
      expect(await codeOf(bucket.get('absent'))).toBe('object-missing');
      expect(await codeOf(list(bucket))).toBe('success');
      expect(await codeOf(put(bucket))).toBe('denied');
    });
  });

  describe('with retries', () => {
    let patient: Bucket;

    beforeEach(async () => {
      await start();
      server.place('bucket', 'backups/old', BYTES);
      patient = retrying(bucket, { firstDelayMs: 1 });
    });

    test.each(OPERATIONS)('%s gets through once the service is back', async (_, kind, operate) => {
      server.fail(kind, { fault: 'status', status: 503 });
      server.fail(kind, { fault: 'reset-before' });
      server.fail(kind, { fault: 'reset-after' });
      await operate(patient);
      expect(server.count(kind)).toBe(4);
    });

    test('a long listing goes on where it broke off', async () => {
      for (let index = 0; index < 2_500; index += 1) server.place('bucket', `backups/${index}`, FEW_BYTES);
      server.fail(({ url }) => url.searchParams.has('pageToken'), { fault: 'reset-before' }, { times: 2 });
      const names = (await listAll(patient, '')).map(({ name }) => name);
      expect(new Set(names).size).toBe(2_501);
      expect(names).toEqual(names.toSorted());
    });

    test('what is denied is not tried again', async () => {
      server.fail('download', { fault: 'status', status: 403, reason: 'forbidden' });
      expect(await codeOf(get(patient))).toBe('denied');
      expect(server.count()).toBe(1);
    });
  });
});

describe('what Google keeps', () => {
  const WORDS =
    "Object 'bucket/old' is subject to bucket's retention policy and cannot be deleted, overwritten or archived until 2031-09-20T12:18:15.93713-07:00";

  test.each([
    ['forbidden', WORDS, Date.parse('2031-09-20T19:18:15.937Z')],
    ['retentionPolicyNotMet', 'It is retained.', null],
    ['objectUnderActiveHold', 'It is on hold.', null],
  ])('is locked, and not denied: %s', async (reason, message, retainedUntilMs) => {
    await using server = await startGcsServer();
    const bucket = await open(server);
    server.fail('delete', { fault: 'status', status: 403, reason, message });
    server.fail('upload', { fault: 'status', status: 403, reason, message });
    for (const operation of [remove, replace])
      await expect(operation(bucket)).rejects.toMatchObject({ code: 'retained', retainedUntilMs });
    await bucket.close();
  });

  const NAMES = Array.from({ length: 20 }, (_, i) => `chunks/${i}`);
  const openFilled = async (server: GcsServer): Promise<Bucket> => {
    const bucket = await open(server);
    for (const name of NAMES) await bucket.put(name, BYTES);
    return bucket;
  };

  test('is not among those that are said to be gone of many removed with one request', async () => {
    await using server = await startGcsServer();
    const bucket = await openFilled(server);
    const before = server.requests.length;
    server.fail(
      ({ kind, object }) => kind === 'delete' && object.endsWith('7'),
      status(403, 'forbidden', WORDS),
      { times: 2 },
    );
    const gone = await bucket.removeAll?.(NAMES);
    expect(NAMES.filter((name) => gone?.has(name) !== true)).toEqual(['chunks/7', 'chunks/17']);
    expect(server.requests.slice(before).map(({ kind }) => kind)).toEqual(['batch']);
    expect((await listAll(bucket, '')).map(({ name }) => name)).toEqual(['chunks/17', 'chunks/7']);
    await bucket.close();
  });

  test.each([400, 404, 405, 501])(
    'a server that takes one removal a request (%d) is not asked again',
    async (code) => {
      await using server = await startGcsServer();
      const bucket = await openFilled(server);
      server.fail('batch', status(code), { times: 9 });
      for (let i = 0; i < 3; i += 1) expect(await bucket.removeAll?.(NAMES)).toEqual(new Set());
      expect(server.count('batch')).toBe(1);
      await bucket.close();
    },
  );

  test.each([
    [{ fault: 'status', status: 503 }, 'unavailable'],
    [{ fault: 'status', status: 401 }, 'denied'],
    [{ fault: 'reset-after' }, 'unavailable'],
  ] as const)('what fails many removals is told: %o', async (fault, code) => {
    await using server = await startGcsServer();
    const bucket = await openFilled(server);
    server.fail('batch', fault);
    expect((await errorOf(bucket.removeAll?.(NAMES) ?? Promise.resolve())).code).toBe(code);
    await bucket.close();
  });

  test('by a policy of the bucket, listings tell', async () => {
    await using server = await startGcsServer({ settings: { retentionPeriod: 3_600 } });
    const bucket = await open(server);
    await put(bucket);
    const [listed] = await listAll(bucket, '');
    expect(Math.abs((listed?.retainedUntilMs ?? 0) - Date.now() - 3_600_000)).toBeLessThan(60_000);
    await expect(bucket.retention?.policy()).resolves.toEqual({
      lock: null,
      everyMs: 3_600_000,
      versioning: false,
      softDeleteMs: null,
    });
    await expect(bucket.remove('new')).rejects.toMatchObject({ code: 'retained' });
    await bucket.close();
  });
});
