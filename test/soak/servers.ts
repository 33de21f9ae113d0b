/** A process with servers of GCS and S3 that fail as the parent says; its arguments name the buckets. */
import { once } from 'node:events';
import { startGcsServer } from '../support/gcs-server.ts';
import type { Fault, GcsServer } from '../support/gcs-server.ts';
import { startS3Server } from '../support/s3-server.ts';
import type { S3Fault, S3Server } from '../support/s3-server.ts';

export type ServerKind = 'gcs' | 's3';

/** What a network or a service does to some requests. */
export type Trouble = 'reset before' | 'reset after' | 'stall' | 'busy' | 'cut' | 'wrong bytes';

export type ServerCommand =
  | { readonly do: 'start' }
  | { readonly do: 'list'; readonly kind: ServerKind; readonly bucket: string }
  | {
      readonly do: 'write';
      readonly kind: ServerKind;
      readonly bucket: string;
      readonly name: string;
      readonly base64: string | null;
    }
  | { readonly do: 'outage'; readonly kind: ServerKind; readonly bucket: string; readonly lasts: boolean }
  | {
      readonly do: 'trouble';
      readonly kind: ServerKind;
      readonly bucket: string;
      readonly trouble: Trouble;
      readonly times: number;
    }
  | { readonly do: 'calm' };

export interface ServerAnswer {
  readonly id: number;
  /** For `start`: the endpoints. */
  readonly urls?: Readonly<Record<ServerKind, string>>;
  /** For `list`: names and contents. */
  readonly objects?: readonly (readonly [name: string, base64: string])[];
}

const GCS_FAULTS: Readonly<Record<Trouble, Fault>> = {
  'reset before': { fault: 'reset-before' },
  'reset after': { fault: 'reset-after' },
  stall: { fault: 'stall' },
  busy: { fault: 'status', status: 503 },
  cut: { fault: 'cut-body', afterBytes: 100 },
  'wrong bytes': { fault: 'wrong-bytes' },
};

const S3_FAULTS: Readonly<Record<Trouble, S3Fault>> = {
  'reset before': { reset: 'before' },
  'reset after': { reset: 'after' },
  stall: { stall: 'answer' },
  busy: { status: 503, code: 'SlowDown' },
  cut: { cutAfter: 100 },
  'wrong bytes': { corrupt: true },
};

class Servers {
  readonly #gcs: GcsServer;
  readonly #s3: S3Server;
  /** Buckets whose every connection is reset, as `kind bucket`. */
  readonly #down = new Set<string>();
  /** Troubles of before are over. */
  #calmed = 0;

  private constructor(gcs: GcsServer, s3: S3Server) {
    this.#gcs = gcs;
    this.#s3 = s3;
  }

  static async start(buckets: readonly string[]): Promise<Servers> {
    const servers = new Servers(await startGcsServer({ buckets }), await startS3Server({ buckets }));
    servers.#gcs.fail(({ bucket }) => servers.#down.has(`gcs ${bucket}`), GCS_FAULTS['reset before'], {
      times: Infinity,
    });
    servers.#s3.fail(({ bucket }) => servers.#down.has(`s3 ${bucket}`), S3_FAULTS['reset before'], {
      times: Infinity,
    });
    return servers;
  }

  perform(command: ServerCommand): Omit<ServerAnswer, 'id'> {
    switch (command.do) {
      case 'start':
        return { urls: { gcs: this.#gcs.url, s3: this.#s3.url } };
      case 'list':
        return {
          objects: [...this.#objects(command.kind, command.bucket)].map(
            ([name, { bytes }]) => [name, bytes.toString('base64')] as const,
          ),
        };
      case 'write':
        this.#write(command);
        return {};
      case 'outage': {
        const { kind, bucket, lasts } = command;
        if (lasts) this.#down.add(`${kind} ${bucket}`);
        else this.#down.delete(`${kind} ${bucket}`);
        return {};
      }
      case 'trouble': {
        const { kind, bucket, trouble, times } = command;
        const since = this.#calmed;
        const matches = (request: { readonly bucket: string }): boolean =>
          request.bucket === bucket && since === this.#calmed;
        if (kind === 'gcs') this.#gcs.fail(matches, GCS_FAULTS[trouble], { times });
        else this.#s3.fail(matches, S3_FAULTS[trouble], { times });
        return {};
      }
      case 'calm':
        this.#calmed += 1;
        return {};
    }
  }

  #objects(kind: ServerKind, bucket: string): ReadonlyMap<string, { readonly bytes: Buffer }> {
    return kind === 'gcs' ? this.#gcs.objects(bucket) : this.#s3.objects(bucket);
  }

  #write({ kind, bucket, name, base64 }: Extract<ServerCommand, { do: 'write' }>): void {
    if (base64 === null) {
      const objects = kind === 'gcs' ? this.#gcs.objects(bucket) : this.#s3.objects(bucket);
      if (objects instanceof Map) objects.delete(name);
      return;
    }
    const bytes = Buffer.from(base64, 'base64');
    if (kind === 'gcs') this.#gcs.place(bucket, name, bytes);
    else this.#s3.store(bucket, name, bytes);
  }
}

const servers = await Servers.start(process.argv.slice(2));
process.on('message', ({ id, command }: { readonly id: number; readonly command: ServerCommand }) => {
  const answer: ServerAnswer = { id, ...servers.perform(command) };
  process.send?.(answer);
});
process.on('disconnect', () => process.exit());
await once(process, 'disconnect');
