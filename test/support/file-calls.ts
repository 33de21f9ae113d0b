import type * as fs from 'node:fs';
import { readlinkSync } from 'node:fs';

/** A call that changes a disk, or makes a change durable, as it was when it came back. */
export interface FileCall {
  readonly call: 'open' | 'write' | 'fsync' | 'link' | 'rename' | 'unlink' | 'mkdir';
  /** The real path: of the file, of what is linked or renamed, or of the new folder. */
  readonly path: string;
  /** For `link` and `rename`, the new path. */
  readonly to: string;
}

const NAMES = ['open', 'write', 'fsync', 'link', 'rename', 'unlink', 'mkdir'] as const;

type Callback = (error: Error | null, ...results: unknown[]) => void;
type Call = (...args: unknown[]) => unknown;

/** The path that was meant by one through the descriptor of an open folder. */
export function plain(path: unknown): string {
  const [, fd, rest = ''] = /^\/proc\/self\/fd\/(\d+)(.*)$/s.exec(String(path)) ?? [];
  return fd === undefined ? String(path) : readlinkSync(`/proc/self/fd/${fd}`) + rest;
}

/**
 * `node:fs` with its calls written down, for `vi.mock`: those with a callback, and those that are made at once.
 *
 * @param real the module itself
 * @param done where to write the calls that succeeded, in the order in which they came back
 */
export function recordingFs(real: typeof fs, done: FileCall[]): typeof fs {
  const paths = new Map<number, string>();
  /** @returns what writes it down, once it is known what it gave */
  const recorder = (call: FileCall['call'], args: readonly unknown[]): ((result: unknown) => void) => {
    const [first] = args;
    const path = typeof first === 'number' ? (paths.get(first) ?? '') : plain(first);
    const to = call === 'link' || call === 'rename' ? plain(args[1]) : '';
    return (fd) => {
      if (call === 'open' && typeof fd === 'number') paths.set(fd, path);
      done.push({ call, path, to });
    };
  };
  const recorded = NAMES.map((name) => {
    const original = real[name];
    const wrapped: Call = (...args) => {
      const callback = args.at(-1);
      if (typeof callback !== 'function') return Reflect.apply(original, real, args);
      const record = recorder(name, args);
      const answer: Callback = (error, ...results) => {
        if (error === null) record(results[0]);
        callback(error, ...results);
      };
      return Reflect.apply(original, real, [...args.slice(0, -1), answer]);
    };
    // With what tells `promisify` the names of several results.
    return [name, Object.defineProperties(wrapped, Object.getOwnPropertyDescriptors(original))] as const;
  });
  const atOnce = NAMES.map((name) => {
    const wrapped: Call = (...args) => {
      const record = recorder(name, args);
      const result: unknown = Reflect.apply(real[`${name}Sync`], real, args);
      record(result);
      return result;
    };
    return [`${name}Sync`, wrapped] as const;
  });
  return { ...real, ...Object.fromEntries([...recorded, ...atOnce]) };
}

/**
 * What a power cut right after these calls could undo: bytes, and entries of folders.
 *
 * Bytes are durable when their file was synced after the last of them was written, and an entry when its folder was synced after
 * it was made or taken away. A file must be durable before it gets another name: else the name could outlive the bytes.
 *
 * @param calls all calls since the folder was durable as a whole
 * @param isOurs whether an entry counts; others may be lost
 */
export function undoneByPowerCut(calls: readonly FileCall[], isOurs: (path: string) => boolean): string[] {
  const faults: string[] = [];
  const dirty = new Set<string>();
  const entries = new Set<string>();
  for (const { call, path, to } of calls) {
    if (call === 'write') dirty.add(path);
    if (call === 'fsync') {
      dirty.delete(path);
      for (const entry of entries) if (entry.slice(0, entry.lastIndexOf('/')) === path) entries.delete(entry);
    }
    if ((call === 'link' || call === 'rename') && dirty.has(path))
      faults.push(`${to} has a name before its bytes`);
    if (call === 'link' || call === 'rename') entries.add(to);
    if (call === 'unlink' || call === 'mkdir') entries.add(path);
  }
  return [...faults, ...[...entries].filter(isOurs).map((entry) => `the entry ${entry}`)];
}
