import { DeleteObjectsCommand } from '@aws-sdk/client-s3';
import type { RemoveCall } from '../bucket.ts';
import { sendOptions, type S3Place } from './client.ts';
import { isUnknownThere, translateS3Error } from './errors.ts';
import { withMd5, type S3Retention } from './retention.ts';

const NONE: ReadonlySet<string> = new Set();

/** Removal of many objects in one request ("DeleteObjects" in the API reference), which not every service knows. */
export class S3Removals {
  readonly #place: S3Place;
  readonly #retention: S3Retention;
  #isUnknown = false;

  constructor(place: S3Place, retention: S3Retention) {
    this.#place = place;
    this.#retention = retention;
  }

  /** As `Bucket.removeAll`, of right names. */
  async remove(names: readonly string[], call: RemoveCall): Promise<ReadonlySet<string>> {
    const { client, bucket, root, label, isForeign, payer } = this.#place;
    if (this.#isUnknown || names.length === 0) return NONE;
    // Of what may be locked each must be asked for.
    if (call.unlessRetained === true && (await this.#retention.hides(call))) return NONE;
    const Objects = names.map((name) => ({ Key: root + name }));
    const command = new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects }, ...payer });
    command.middlewareStack.add(withMd5, { step: 'build', priority: 'low' });
    try {
      const { Deleted = [] } = await client.send(command, sendOptions(call.signal));
      const gone = new Set(Deleted.map(({ Key }) => Key));
      return new Set(names.filter((name) => gone.has(root + name)));
    } catch (error) {
      if (!isUnknownThere(error)) {
        const { signal } = call;
        throw translateS3Error(error, { action: 'remove', name: '', label, isForeign, signal });
      }
      this.#isUnknown = true;
      return NONE;
    }
  }
}
