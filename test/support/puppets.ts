import { AsyncLocalStorage } from 'node:async_hooks';
import { createHash, KeyObject } from 'node:crypto';
import { createRequire, syncBuiltinESMExports } from 'node:module';
import { publicBytes } from '../../src/crypto/keys.ts';

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

/**
 * Lets `node:crypto` and `node:timers/promises` serve puppets so, until disposed. Others are served as ever. Signatures that a puppet has
 * had checked are remembered: the same few come again in every run.
 */
export function puppetTheatre(): Disposable {
  const requireHere = createRequire(import.meta.url);
  const crypto: object = requireHere('node:crypto');
  const timers: object = requireHere('node:timers/promises');
  const randomBytes = methodOf(crypto, 'randomBytes');
  const randomInt = methodOf(crypto, 'randomInt');
  const setTimeout = methodOf(timers, 'setTimeout');
  const verify = methodOf(crypto, 'verify');
  const verdicts = new Map<string, unknown>();
  const install = (bytes: Method, int: Method, sleep: Method, check: Method): void => {
    Object.assign(crypto, { randomBytes: bytes, randomInt: int, verify: check });
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
    (...args) => {
      if (strings.getStore() === undefined) return Reflect.apply(verify, crypto, args);
      const [, message, key, signature] = args;
      const what = createHash('sha256');
      for (const part of [message, key instanceof KeyObject ? publicBytes(key) : null, signature]) {
        if (!(part instanceof Uint8Array)) return Reflect.apply(verify, crypto, args);
        what.update(`${part.length} `).update(part);
      }
      const known = what.digest('base64');
      if (!verdicts.has(known)) verdicts.set(known, Reflect.apply(verify, crypto, args));
      return verdicts.get(known);
    },
  );
  return { [Symbol.dispose]: () => install(randomBytes, randomInt, setTimeout, verify) };
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
