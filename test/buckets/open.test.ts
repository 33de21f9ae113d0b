import { Buffer } from 'node:buffer';
import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { isDeepStrictEqual, promisify } from 'node:util';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createLimits } from '../../src/buckets/layers/limits.ts';
import type { Waiting } from '../../src/buckets/layers/retry.ts';
import { openBucket, parseBucketUrl } from '../../src/buckets/open.ts';
import { isVaultError } from '../../src/errors.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { codeOf, listAll } from './conformance.ts';

/** The message of the refusal, which is `invalid-input`; anything else is thrown on. */
function refusalOf(text: string, base?: string): string {
  try {
    parseBucketUrl(text, base === undefined ? {} : { base });
  } catch (error) {
    if (isVaultError(error, 'invalid-input')) return error.message;
    throw error;
  }
  throw new Error(`${text} was not refused`);
}

function isStableOrRefused(text: string): boolean {
  try {
    const location = parseBucketUrl(text, { base: '/base' });
    return isDeepStrictEqual(parseBucketUrl(location.url), location);
  } catch (error) {
    return isVaultError(error, 'invalid-input');
  }
}

describe('a folder', () => {
  test.each([
    ['/data/one', '/data/one'],
    ['/data/one/', '/data/one'],
    ['/data//x/../one/.', '/data/one'],
    ['one', '/base/one'],
    ['./one', '/base/one'],
    ['../one', '/one'],
    ['.', '/base'],
    ['one two#?%', '/base/one two#?%'],
    ['ünï', '/base/ünï'],
    ['a:b', '/base/a:b'],
    ['./c:\\x', '/base/c:\\x'],
    ['s3', '/base/s3'],
    ['s3/a', '/base/s3/a'],
    ['photos//a', '/base/photos/a'],
    ['./s3:x', '/base/s3:x'],
    ['./~', '/base/~'],
    ['file:///data/one', '/data/one'],
    ['file:///data/one/', '/data/one'],
    ['FILE:///data/one', '/data/one'],
    ['file://localhost/data/one', '/data/one'],
    ['file:///data/one%20two%23%3F', '/data/one two#?'],
  ])('%s is %s', (text, path) => {
    const location = parseBucketUrl(text, { base: '/base' });
    expect(location).toMatchObject({ kind: 'folder', path });
    expect(location.url).toMatch(/^file:\/\/\//);
    expect(parseBucketUrl(location.url)).toEqual(location);
  });

  test.each([
    ['', /empty/],
    ['a\0b', /zero byte/],
    ['~/one', /\$HOME/],
    ['~', /\$HOME/],
    ['c:\\x', /\/mnt\/c, or \.\/c:\\x for/],
    ['C:/x', /\/mnt\/c,/],
    ['D:', /\/mnt\/d,/],
    ['\\\\nas\\share', /\/mnt\/share, or \.\/\\\\nas/],
    ['file:one', /file:\/\/\/path/],
    ['file://host/one', /three slashes/],
    ['file:///one?x=1', /%3F/],
    ['file:///one#x', /%23/],
    ['file:///one%2Ftwo', /file:\/\/\/path/],
    ['file:///one%00', /file:\/\/\/path|zero/],
  ])('%j is refused with what to do', (text, message) => {
    expect(refusalOf(text, '/base')).toMatch(message);
  });

  test('a relative path is refused where it is relative to nothing', () => {
    expect(refusalOf('one')).toMatch(/Write the whole path/);
  });

  test('every path is found again in its URL', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 }), (name) => {
        fc.pre(!name.includes('\0') && !name.includes('\uFFFD') && name.isWellFormed());
        const location = parseBucketUrl(`/base/${name}`);
        expect(parseBucketUrl(location.url)).toEqual(location);
      }),
    );
  });
});

describe('a GCS bucket', () => {
  test.each([
    [
      'gs://photos',
      { url: 'gs://photos', bucket: 'photos', prefix: '', endpoint: null, sendCredentials: false },
    ],
    [
      'gs://photos?credentials=send&endpoint=https://gcs.example.com',
      { url: 'gs://photos?endpoint=https://gcs.example.com&credentials=send', sendCredentials: true },
    ],
    [
      'gs://photos?storageClass=NEARLINE&kmsKey=projects/p-1/locations/eu/keyRings/r/cryptoKeys/k&acl=private&caFile=/a%20b.pem&userProject=acme&credentialsFile=/k.json',
      {
        storageClass: 'NEARLINE',
        kmsKey: 'projects/p-1/locations/eu/keyRings/r/cryptoKeys/k',
        acl: 'private',
        caFile: '/a b.pem',
        userProject: 'acme',
        credentialsFile: '/k.json',
      },
    ],
    ['GS://photos/', { url: 'gs://photos', bucket: 'photos', prefix: '' }],
    ['gs://my_photos.example.com/a/b-c/', { url: 'gs://my_photos.example.com/a/b-c', prefix: 'a/b-c' }],
    [
      'gs://photos/x?endpoint=http://localhost:4443/',
      { url: 'gs://photos/x?endpoint=http://localhost:4443', endpoint: 'http://localhost:4443' },
    ],
    [
      'gs://photos?endpoint=https%3A%2F%2Fstorage.example.com%2Fbase',
      { url: 'gs://photos?endpoint=https://storage.example.com/base' },
    ],
  ])('%s', (text, expected) => {
    const location = parseBucketUrl(text);
    expect(location).toMatchObject({ kind: 'gcs', ...expected });
    expect(parseBucketUrl(location.url)).toEqual(location);
  });

  test.each([
    [
      'gs://photos?storageclass=NEARLINE',
      /only userProject, credentialsFile, storageClass, kmsKey, acl, lock, caFile, endpoint, credentials\./,
    ],
    ['gs://photos?storageClass=nearline', /storage class is written/],
    ['gs://photos?kmsKey=alias/x', /kmsKey is written like projects/],
    ['gs://photos?acl=publicRead', /acl is one of private/],
    ['gs://photos?acl=authenticatedRead', /acl is one of private/],
    ['gs://photos?caFile=own.pem', /caFile needs a whole path/],
    ['gs://photos?credentialsFile=~/k.json', /credentialsFile needs a whole path/],
    ['gs://photos?userProject=A', /userProject is the ID/],
    ['gs:photos', /gs:\/\/name/],
    ['gs:/photos', /gs:\/\/name/],
    ['gs://', /needs the name/],
    ['gs:///photos', /needs the name/],
    ['gs://Photos', /cannot be the name/],
    ['gs://ab', /cannot be the name/],
    ['gs://-photos', /cannot be the name/],
    ['gs://photos:80', /cannot be the name/],
    ['gs://192.168.5.4', /cannot be the name/],
    ['gs://goog-photos', /cannot be the name/],
    [`gs://${'a'.repeat(64)}`, /cannot be the name/],
    ['gs://photos/a//b', /single slashes/],
    ['gs://photos//', /single slashes/],
    ['gs://photos/../b', /"\.\."/],
    ['gs://photos/./b', /"\."/],
    ['gs://photos/a b', /cannot be used/],
    ['gs://photos/a%20b', /cannot be used/],
    ['gs://photos/ä', /cannot be used/],
    ['gs://photos/a*', /cannot be used/],
    [`gs://photos/${'a/'.repeat(400)}a`, /768/],
    ['gs://photos#x', /"#"/],
    ['gs://photos?region=eu', /no option "region"/],
    ['gs://photos?endpoint=', /no value/],
    ['gs://photos?endpoint=http://a&endpoint=http://b', /twice/],
    ['gs://photos?credentials=hunter2', /can only be "send"/],
    ['gs://photos?endpoint=localhost:4443', /with its scheme/],
    ['gs://photos?endpoint=//localhost', /with its scheme/],
    ['gs://photos?endpoint=ftp://localhost', /with its scheme/],
    ['gs://photos?endpoint=http://', /with its scheme/],
    ['gs://photos?endpoint=http://host/?x=1', /after "\?"/],
  ])('%s is refused with what to do', (text, message) => {
    expect(refusalOf(text)).toMatch(message);
  });
});

describe('an S3 bucket', () => {
  test.each([
    [
      's3://photos',
      {
        url: 's3://photos',
        region: null,
        endpoint: null,
        forcePathStyle: null,
        checksum: 'auto',
        prefix: '',
      },
    ],
    [
      's3://photos/a?forcePathStyle=true&endpoint=http://localhost:9000&region=eu-central-1',
      {
        url: 's3://photos/a?region=eu-central-1&endpoint=http://localhost:9000&forcePathStyle=true',
        region: 'eu-central-1',
        endpoint: 'http://localhost:9000',
        forcePathStyle: true,
        prefix: 'a',
      },
    ],
    ['s3://photos?profile=backblaze', { url: 's3://photos?profile=backblaze', profile: 'backblaze' }],
    ['s3://photos?forcePathStyle=false', { forcePathStyle: false }],
    ['s3://photos?checksum=md5', { url: 's3://photos?checksum=md5', checksum: 'md5' }],
    ['s3://photos?checksum=auto', { url: 's3://photos', checksum: 'auto' }],
    ['s3://Old_Photos?endpoint=https://s3.example.com', { bucket: 'Old_Photos' }],
    [
      's3://photos?credentials=send&endpoint=https://s3.example.com',
      { url: 's3://photos?endpoint=https://s3.example.com&credentials=send', sendCredentials: true },
    ],
    ['s3://photos?endpoint=http://[::1]:9000', { endpoint: 'http://[::1]:9000' }],
  ])('%s', (text, expected) => {
    const location = parseBucketUrl(text);
    expect(location).toMatchObject({ kind: 's3', ...expected });
    expect(parseBucketUrl(location.url)).toEqual(location);
  });

  test.each([
    ['s3:photos', /s3:\/\/name/],
    ['s3//photos', /A colon comes after s3: s3:\/\/name/],
    ['s3://', /needs the name/],
    ['s3://Photos', /cannot be the name/],
    ['s3://my_photos', /cannot be the name/],
    ['s3://a..b', /cannot be the name/],
    ['s3://192.168.5.4', /cannot be the name/],
    ['s3://photos?region=', /no value/],
    ['s3://photos?region=eu/../x', /cannot be a region/],
    ['s3://photos?profile=%5Bx%5D', /cannot be a profile/],
    ['s3://photos?forcePathStyle=yes', /true or false/],
    ['s3://photos?checksum=crc64', /checksum is one of auto/],
    ['s3://photos?acl=public-read', /acl is one of private/],
    ['s3://photos?acl=authenticated-read', /acl is one of private/],
    ['s3://photos?storageClass=DEEP_ARCHIVE', /cannot be read at once/],
    ['s3://photos?requesterPays=yes', /requesterPays is true/],
    ['s3://photos?userProject=acme', /no option "userProject"/],
    ['s3://photos?force_path_style=true', /no option "force_path_style"/],
    ['s3://photos?endpoint=minio.example.com', /with its scheme/],
  ])('%s is refused with what to do', (text, message) => {
    expect(refusalOf(text)).toMatch(message);
  });
});

describe('anything else', () => {
  test.each(['ftp://host/x', 'https://storage.googleapis.com/photos', 'b2://photos', 'gcs://photos'])(
    '%s is not a kind of bucket',
    (text) => {
      expect(refusalOf(text, '/base')).toMatch(
        /is not a kind of bucket\. Write file:\/\/\/path, gs:\/\/name\/folder, s3:\/\/name\/folder, or a path\./,
      );
    },
  );

  test.each([
    's3://AKIAKEY:hunter2@photos',
    'gs://hunter2@photos/x',
    's3://photos?endpoint=https://user:hunter2@host',
    's3://photos?secretAccessKey=hunter2',
    's3://photos?endpoint=hunter2',
    's3://photos?credentials=hunter2',
    'https://user:hunter2@host/photos',
    's3://photos?forcePathStyle=hunter2',
    's3://photos#hunter2',
    ' s3://AKIAKEY:hunter2@photos',
    "'gs://hunter2@photos/x'",
    'bucket=s3://photos?secretAccessKey=hunter2',
    'AKIAKEY:hunter2@photos',
  ])('%s is refused without its secret in the message', (text) => {
    expect(refusalOf(text, '/base')).not.toContain('hunter2');
  });

  test('what is parsed once stays the same, and nothing but invalid-input comes out', () => {
    const part = fc.oneof(
      fc.string({ maxLength: 12 }),
      fc.constantFrom(
        'gs://',
        's3://',
        'file:///',
        '/',
        '?',
        '#',
        '@',
        ':',
        '..',
        '%2e',
        'endpoint=',
        'http://',
        'photos',
      ),
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 8 }), (parts) => {
        expect(isStableOrRefused(parts.join(''))).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });
});

describe('opening', () => {
  test('gives a bucket that works, within limits', async () => {
    await using folder = await temporaryFolder();
    const limits = createLimits({ concurrency: 2, uploadBytesPerSecond: null, downloadBytesPerSecond: null });
    const bucket = await openBucket(folder.path, { limits });
    await bucket.put('a', Buffer.from('content'));
    expect(Buffer.from(await bucket.get('a')).toString()).toBe('content');
    expect(await listAll(bucket, '')).toEqual([{ name: 'a', size: 7 }]);
    expect(bucket.label).toBe(parseBucketUrl(folder.path).url);
    await bucket.close();
  });

  test('a folder that is not there is bucket-missing at once', async () => {
    await using folder = await temporaryFolder();
    const bucket = await openBucket(folder.at('absent'));
    expect(await codeOf(bucket.get('a'))).toBe('bucket-missing');
    await bucket.close();
  });

  test('hands the parts of a URL to its driver', async () => {
    const gcs = await openBucket('gs://photos/x?endpoint=http://127.0.0.1:9');
    const s3 = await openBucket('s3://photos/x?region=eu-central-1&endpoint=http://127.0.0.1:9&checksum=md5');
    expect(gcs.label).toBe('gs://photos/x?endpoint=http://127.0.0.1:9');
    expect(s3.label).toBe('s3://photos/x?region=eu-central-1&endpoint=http://127.0.0.1:9&checksum=md5');
    await gcs.close();
    await s3.close();
  });

  test('hands on how long to wait for it', async () => {
    const waits: Waiting[] = [];
    const bucket = await openBucket('gs://photos/x?endpoint=http://127.0.0.1:1', {
      maxWaitMs: 1,
      onWaiting: (waiting) => waits.push(waiting),
    });
    const failures = ['a', 'b'].map(async (name) => await bucket.get(name).catch((error: unknown) => error));
    expect(await Promise.all(failures)).toMatchObject([{ code: 'unavailable' }, { code: 'unavailable' }]);
    expect(await bucket.get('c').catch((error: unknown) => error)).toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(/^Counts as down, and is not asked for 300 s: /),
    });
    expect(waits.length).toBeLessThanOrEqual(2);
    await bucket.close();
  });

  test('a folder loads no cloud SDK', async () => {
    await using folder = await temporaryFolder();
    await mkdir(folder.at('bucket'));
    const source = new URL('../../src/buckets/open.ts', import.meta.url).href;
    await writeFile(
      folder.at('main.ts'),
      `import { registerHooks } from 'node:module';
       const loaded: string[] = [];
       registerHooks({ load(url, context, next) { loaded.push(url); return next(url, context); } });
       const { openBucket } = await import(${JSON.stringify(source)});
       const bucket = await openBucket(${JSON.stringify(folder.at('bucket'))});
       await bucket.put('a', new Uint8Array(3));
       await bucket.close();
       console.log(loaded.filter((url) => url.includes('node_modules')).length, loaded.length > 5);`,
    );
    const { stdout } = await promisify(execFile)(process.execPath, [folder.at('main.ts')]);
    expect(stdout).toBe('0 true\n');
  });
});
