import { AsyncLocalStorage } from 'node:async_hooks';
import { createHash } from 'node:crypto';
import { createRequire, syncBuiltinESMExports } from 'node:module';

/** A program whose random choices and waits are the test's. */
export interface Puppet {
  /** Its random numbers depend on the name alone. */
  readonly name: string;
  /** Waits instead of a timer. */
  sleep(): Promise<void>;
}

interface Strings {
  readonly puppet: Puppet;
  drawn: number;
}

const strings = new AsyncLocalStorage<Strings>();

/** Runs a program as a puppet: another run of it makes the same random choices. */
export function asPuppet<T>(puppet: Puppet, program: () => Promise<T>): Promise<T> {
  return strings.run({ puppet, drawn: 0 }, program);
}

/** Lets `node:crypto` and `node:timers/promises` serve puppets so, until disposed. Others are served as ever. */
export function puppetTheatre(): Disposable {
  const requireHere = createRequire(import.meta.url);
  const crypto: object = requireHere('node:crypto');
  const timers: object = requireHere('node:timers/promises');
  const randomBytes = methodOf(crypto, 'randomBytes');
  const randomInt = methodOf(crypto, 'randomInt');
  const setTimeout = methodOf(timers, 'setTimeout');
  const install = (bytes: Method, int: Method, sleep: Method): void => {
    Object.assign(crypto, { randomBytes: bytes, randomInt: int });
    Object.assign(timers, { setTimeout: sleep });
    syncBuiltinESMExports();
  };
  install(
    (...args) => {
      const pulled = strings.getStore();
      const [size] = args;
      if (pulled === undefined || typeof size !== 'number') return Reflect.apply(randomBytes, crypto, args);
      return draw(pulled, size);
    },
    (...args) => {
      const pulled = strings.getStore();
      const [limit] = args;
      if (pulled === undefined || typeof limit !== 'number' || args.length > 1)
        return Reflect.apply(randomInt, crypto, args);
      return draw(pulled, 4).readUInt32BE() % limit;
    },
    (...args) => strings.getStore()?.puppet.sleep() ?? Reflect.apply(setTimeout, timers, args),
  );
  return { [Symbol.dispose]: () => install(randomBytes, randomInt, setTimeout) };
}

type Method = (...args: unknown[]) => unknown;

function methodOf(of: object, name: string): Method {
  const method: unknown = Reflect.get(of, name);
  if (typeof method !== 'function') throw new Error(`No ${name}`);
  return (...args) => Reflect.apply(method, of, args);
}

function draw(pulled: Strings, size: number): Buffer {
  pulled.drawn += 1;
  const blocks = Array.from({ length: Math.ceil(size / 32) }, (_, i) =>
    createHash('sha256').update(`${pulled.puppet.name} ${pulled.drawn} ${i}`).digest(),
  );
  return Buffer.concat(blocks).subarray(0, size);
}
