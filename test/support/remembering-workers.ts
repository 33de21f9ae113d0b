import { createHash } from 'node:crypto';
import { shardSize } from '../../src/format/shard.ts';
import { bodyOf, objectsOf, payloadOf } from '../../src/vault/chunks/chunk-memory.ts';
import type { ChunkMemory } from '../../src/vault/chunks/chunk-memory.ts';
import { ChunkWorkers } from '../../src/vault/chunks/chunk-workers.ts';
import type { Identity, SealedChunk } from '../../src/vault/chunks/chunk-jobs.ts';

/** Threads whose answers for the few bodies of a test are known after the first time, so that no thread is waited for. */
export class RememberingWorkers extends ChunkWorkers {
  readonly #workers: ChunkWorkers;
  readonly #identities = new Map<string, Identity>();
  readonly #opened = new Map<string, Buffer>();
  readonly #recoded = new Map<string, readonly Buffer[]>();
  readonly #checked = new Map<string, readonly boolean[]>();
  readonly #sealed = new Map<string, { readonly answer: SealedChunk; readonly objects: readonly Buffer[] }>();

  constructor(workers: ChunkWorkers) {
    super({ most: 1 });
    this.#workers = workers;
  }

  override async identify(memory: ChunkMemory, length: number, dedupKey: Uint8Array): Promise<Identity> {
    const key = hashOf(Buffer.from(bodyOf(memory).subarray(0, length)));
    const known = this.#identities.get(key) ?? (await this.#workers.identify(memory, length, dedupKey));
    this.#identities.set(key, known);
    return known;
  }

  override async seal(memory: ChunkMemory, chunk: Parameters<ChunkWorkers['seal']>[1]): Promise<SealedChunk> {
    const { k, m } = chunk.redundancy;
    const key = `${Buffer.from(chunk.tag).toString('hex')} ${k}+${m}`;
    const known = this.#sealed.get(key);
    if (known !== undefined) {
      const targets = objectsOf(memory, k + m, shardSize(known.answer.sealedSize, k));
      for (const [i, target] of targets.entries()) target.set(known.objects[i] ?? []);
      return known.answer;
    }
    const answer = await this.#workers.seal(memory, chunk);
    const objects = objectsOf(memory, k + m, shardSize(answer.sealedSize, k)).map((object) =>
      Buffer.from(object),
    );
    this.#sealed.set(key, { answer, objects });
    return answer;
  }

  override async open(...args: Parameters<ChunkWorkers['open']>): ReturnType<ChunkWorkers['open']> {
    const [memory, proof, { objects }] = args;
    const key = `${hashOf(proof.hash)} ${objects.map((object) => (object === null ? '' : hashOf(object))).join()}`;
    const known = this.#opened.get(key);
    if (known !== undefined) {
      payloadOf(memory, known.length).set(known);
      return { opened: true, tooNew: false, objects };
    }
    const answer = await this.#workers.open(...args);
    if (answer.opened) this.#opened.set(key, Buffer.from(payloadOf(memory, proof.length)));
    return answer;
  }

  override async recode(...args: Parameters<ChunkWorkers['recode']>): ReturnType<ChunkWorkers['recode']> {
    const [memory, { redundancy }, { objects, sealedSize }] = args;
    const { k, m } = redundancy;
    const key = `${k}+${m} ${objects.map((object) => (object === null ? '' : hashOf(object))).join()}`;
    const targets = objectsOf(memory, k + m, shardSize(sealedSize, k));
    const known = this.#recoded.get(key);
    if (known !== undefined) {
      for (const [i, target] of targets.entries()) target.set(known[i] ?? []);
      return { opened: true, tooNew: false, objects };
    }
    const answer = await this.#workers.recode(...args);
    if (answer.opened)
      this.#recoded.set(
        key,
        targets.map((object) => Buffer.from(object)),
      );
    return answer;
  }

  override async check(...args: Parameters<ChunkWorkers['check']>): ReturnType<ChunkWorkers['check']> {
    const [objects, ids] = args;
    const key = `${objects.map(hashOf).join()} ${ids.join()}`;
    const known = this.#checked.get(key);
    if (known !== undefined) return { intact: known, objects };
    const answer = await this.#workers.check(...args);
    this.#checked.set(key, answer.intact);
    return answer;
  }
}

function hashOf(bytes: Uint8Array): string {
  return createHash('sha1').update(bytes).digest('base64');
}
