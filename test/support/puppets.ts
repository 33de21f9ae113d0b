import { AsyncLocalStorage } from 'node:async_hooks';
import { createHash, KeyObject } from 'node:crypto';
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

/**
 * Lets `node:crypto` and `node:timers/promises` serve puppets so, until disposed. Others are served as ever. A timer that a puppet sets never
 * goes off: how long its calls take is nobody's business. Signatures that a puppet has made or checked are remembered, and keys: the
 * same few come again in every run.
 */
export function puppetTheatre(): Disposable {
  const requireHere = createRequire(import.meta.url);
  const crypto: object = requireHere('node:crypto');
  const timers: object = requireHere('node:timers/promises');
  const originals = [
    ...methodsOf(crypto, 'randomBytes', 'randomInt', 'sign', 'verify', 'createPublicKey'),
    ...methodsOf(timers, 'setTimeout'),
    ...methodsOf(globalThis, 'setTimeout'),
  ];
  const serve = (
    at: number,
    forPuppets: (strings: Strings, original: Method, ...args: unknown[]) => unknown,
  ): void => {
    const [of, name, original] = originals[at] ?? [];
    if (of === undefined || name === undefined || original === undefined) throw new Error(`No method ${at}`);
    Reflect.set(of, name, (...args: unknown[]) => {
      const pulled = strings.getStore();
      return pulled === undefined ? original(...args) : forPuppets(pulled, original, ...args);
    });
  };
  serve(0, (pulled, original, ...args) =>
    typeof args[0] === 'number' ? draw(pulled, args[0]) : original(...args),
  );
  serve(1, (pulled, original, ...args) =>
    typeof args[0] === 'number' && args.length === 1
      ? draw(pulled, 4).readUInt32BE() % args[0]
      : original(...args),
  );
  for (const at of [2, 3, 4]) serve(at, remembering());
  serve(5, ({ puppet }) => puppet.sleep());
  serve(6, (_, original, ...args) => {
    const timer = original(...args);
    globalThis.clearTimeout(Number(timer));
    return timer;
  });
  syncBuiltinESMExports();
  return {
    [Symbol.dispose]: () => {
      for (const [of, name, original] of originals) Reflect.set(of, name, original);
      syncBuiltinESMExports();
    },
  };
}

/** Answers by what bytes, keys and words a function is given. */
function remembering(): (pulled: Strings, original: Method, ...args: unknown[]) => unknown {
  const known = new Map<string, unknown>();
  return (_, original, ...args) => {
    const what = createHash('sha1');
    for (const part of args) what.update(wordsOf(part)).update('\n');
    const key = what.digest('base64');
    if (!known.has(key)) known.set(key, original(...args));
    return known.get(key);
  };
}

const numbers = new WeakMap<object, number>();
let lastNumber = 0;

/** All that an argument says: of a key, which one it is. */
function wordsOf(part: unknown): string {
  if (part instanceof Uint8Array) return Buffer.from(part).toString('hex');
  if (part instanceof KeyObject) {
    const number = numbers.get(part) ?? (lastNumber += 1);
    numbers.set(part, number);
    return `key ${number}`;
  }
  if (typeof part !== 'object' || part === null) return String(part);
  return Object.entries(part)
    .map(([name, value]) => `${name} ${wordsOf(value)}`)
    .join();
}

function methodsOf(of: object, ...names: string[]): [object, string, Method][] {
  return names.map((name) => [of, name, methodOf(of, name)]);
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
