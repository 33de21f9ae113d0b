/** The parent's side of a client process. */
import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { answers } from './operations.ts';
import type { AnswerOf, ClientSettings, Failed, Operation, Reply, Request } from './operations.ts';

const PROGRAM = fileURLToPath(new URL('client.ts', import.meta.url));
/** An operation that takes longer hangs, in milliseconds. */
const PATIENCE_MS = 180_000;

/** The operation's process was killed: whether it was done is not known. */
export class Killed extends Error {}

/** The operation failed in its process. */
export class OperationError extends Error {
  readonly failed: Failed;

  constructor(failed: Failed) {
    super(`${failed.code ?? 'bug'}: ${failed.message}`);
    this.failed = failed;
  }
}

interface Waiting {
  readonly child: ChildProcess;
  resolve(reply: Reply): void;
  reject(error: Error): void;
}

/** A process that is started when it is needed, also again after it was killed. */
export class ClientProcess implements AsyncDisposable {
  readonly #settings: ClientSettings;
  readonly #environment: NodeJS.ProcessEnv;
  readonly #waiting = new Map<number, Waiting>();
  #child: ChildProcess | null = null;
  #lastId = 0;

  constructor(settings: ClientSettings, environment: NodeJS.ProcessEnv) {
    this.#settings = settings;
    this.#environment = environment;
  }

  /**
   * Has an operation done.
   *
   * @throws `OperationError`; `Killed`; an Error if there is no answer in a long time, or the process ended by itself
   */
  async perform<O extends Operation>(operation: O): Promise<AnswerOf<O>> {
    const child = this.#running();
    this.#lastId += 1;
    const request: Request = { id: this.#lastId, operation };
    const { promise, resolve, reject } = Promise.withResolvers<Reply>();
    this.#waiting.set(request.id, { child, resolve, reject });
    const patience = setTimeout(
      () => reject(new Error(`No answer in ${PATIENCE_MS} ms to ${operation.verb}`)),
      PATIENCE_MS,
    );
    try {
      child.send(request, () => undefined);
      const reply = await promise;
      if ('failed' in reply) throw new OperationError(reply.failed);
      if (!answers(operation, reply.answer)) throw new Error(`A wrong answer to ${operation.verb}`);
      return reply.answer.facts;
    } finally {
      clearTimeout(patience);
      this.#waiting.delete(request.id);
    }
  }

  /** Kills the process at once, if it runs, and waits until it has gone. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (child === null) return;
    this.#child = null;
    child.kill('SIGCONT');
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  }

  /** Stops the process as a machine that falls asleep does, or lets it go on. */
  signal(name: 'SIGSTOP' | 'SIGCONT'): void {
    this.#child?.kill(name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  #running(): ChildProcess {
    if (this.#child !== null) return this.#child;
    const child = fork(PROGRAM, [JSON.stringify(this.#settings)], {
      env: { ...process.env, ...this.#environment },
      execArgv: [],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    let stderr = '';
    child.stderr?.on('data', (data: Buffer) => {
      stderr = (stderr + data.toString()).slice(-4000);
    });
    child.on('message', (reply: Reply) => this.#waiting.get(reply.id)?.resolve(reply));
    child.on('exit', (_, signal) => {
      if (this.#child === child) this.#child = null;
      const error =
        signal === 'SIGKILL'
          ? new Killed('The process was killed.')
          : new Error(`A client process ended by itself: ${stderr}`);
      for (const waiting of this.#waiting.values()) if (waiting.child === child) waiting.reject(error);
    });
    this.#child = child;
    return child;
  }
}
