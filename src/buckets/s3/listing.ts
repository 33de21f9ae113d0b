import { ListObjectsV2Command, type ListObjectsV2CommandOutput } from '@aws-sdk/client-s3';
import { invalidInput, throwIfAborted, VaultError } from '../../errors.ts';
import { KEYS_PER_PAGE } from '../bounds.ts';
import { isNamePrefix, isObjectName, type ListCall, type ListedObject } from '../bucket.ts';
import { ListingProgress } from '../listing-progress.ts';
import { decodeKey } from './answers.ts';
import { sendOptions, type S3Place } from './client.ts';
import { translateS3Error, type S3Attempt } from './errors.ts';

export async function* listObjects(
  listed: S3Place,
  prefix: string,
  call: ListCall,
): AsyncGenerator<ListedObject, void, undefined> {
  if (!isNamePrefix(prefix)) {
    throw invalidInput(`${JSON.stringify(prefix)} starts no name that an object can have.`);
  }
  const { root, label, isForeign } = listed;
  const attempt: S3Attempt = { action: 'list', name: prefix, label, isForeign, signal: call.signal };
  const tried = `Could not list the objects ${prefix === '' ? '' : `${prefix} `}in ${label}`;
  const after = call.after ?? '';
  const progress = new ListingProgress(tried);
  let last = after;
  let token: string | null = null;
  do {
    throwIfAborted(call.signal);
    const page = await listPage(listed, prefix, token === null ? { after } : { token }, attempt);
    const entries = entriesOf(page, progress);
    progress.page(
      entries.map(({ key }) => key),
      root + prefix,
    );
    for (const { key, size } of entries) {
      const name = key?.slice(root.length) ?? '';
      // What others keep under the prefix is none of ours; and some services do not know `start-after`.
      if (!isObjectName(name) || name <= after || name === last) continue;
      // Names are ASCII, so that comparing UTF-16 units compares bytes.
      if (name < last) throw progress.broken('the names are in no order');
      last = name;
      yield { name, size };
      throwIfAborted(call.signal);
    }
    // Anything that answers 200 with other XML would look like an empty bucket otherwise; it may be a log-in page.
    if (page.IsTruncated === undefined) {
      throw new VaultError(
        'unavailable',
        `${tried}: the answer does not tell whether it is whole. Check the endpoint.`,
      );
    }
    token = page.IsTruncated ? progress.next(page.NextContinuationToken ?? null) : null;
  } while (token !== null);
}

/** What a page tells of: keys, null for one that is not encoded as it says and so is none of ours, and sizes. */
function entriesOf(
  page: ListObjectsV2CommandOutput,
  progress: ListingProgress,
): { readonly key: string | null; readonly size: number }[] {
  return (page.Contents ?? []).map(({ Key: encoded, Size: size }) => {
    if (encoded === undefined || size === undefined || !Number.isSafeInteger(size) || size < 0) {
      throw progress.broken('a name or a size is left out');
    }
    return { key: page.EncodingType === 'url' ? decodeKey(encoded) : encoded, size };
  });
}

async function listPage(
  { client, bucket, root, payer }: S3Place,
  prefix: string,
  from: { readonly after: string } | { readonly token: string },
  attempt: S3Attempt,
): Promise<ListObjectsV2CommandOutput> {
  const command = new ListObjectsV2Command({
    Bucket: bucket,
    Prefix: root + prefix,
    MaxKeys: KEYS_PER_PAGE,
    // Others may keep names there that XML cannot express.
    EncodingType: 'url',
    ...payer,
    ...('token' in from ? { ContinuationToken: from.token } : {}),
    ...('after' in from && from.after !== '' ? { StartAfter: root + from.after } : {}),
  });
  try {
    return await client.send(command, sendOptions(attempt.signal));
  } catch (error) {
    throw translateS3Error(error, attempt);
  }
}
