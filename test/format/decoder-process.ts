// Runs docs/decoder.py.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect } from 'vitest';

export const DECODER: string = join(import.meta.dirname, '../../docs/decoder.py');
/** The same for vaults that hold folders. */
export const FOLDER_DECODER: string = join(import.meta.dirname, '../../docs/decoder_folder.py');

/** A Python that has what the decoder needs, zstd included; null where there is none. */
function findPython(): string | null {
  const probe = `
import argon2, cryptography, ctypes.util
ctypes.CDLL(ctypes.util.find_library('zstd') or 'libzstd.so.1')`;
  for (const python of [process.env['PYTHON'], 'python3', 'python', '/usr/bin/python3']) {
    if (python === undefined) continue;
    try {
      execFileSync(python, ['-c', probe], { stdio: 'ignore' });
      return python;
    } catch {
      // Another may have it.
    }
  }
  return null;
}

/** The Python that the decoder is run with. */
export const python: string | null = findPython();
/** To be said of tests that cannot run without it. */
export const needs: string =
  python === null ? ' (no Python here has cryptography, argon2-cffi and libzstd)' : '';

export interface Decoded {
  readonly code: unknown;
  /** SHA-256 of what it wrote, and how it begins. */
  readonly digest: string;
  readonly start: string;
  readonly errors: string;
}

/** Runs the decoder. */
export async function decode(...args: readonly string[]): Promise<Decoded> {
  const child = spawn(python ?? '', [DECODER, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const hash = createHash('sha256');
  let start = '';
  child.stdout.on('data', (run: Buffer) => {
    hash.update(run);
    if (start.length < 100_000) start += run.toString();
  });
  const [errors, [code]] = await Promise.all([text(child.stderr), once(child, 'close')]);
  return { code, digest: hash.digest('hex'), start, errors };
}

/** Runs decoder-run.py, which see. */
export function runScript(...args: readonly string[]): { readonly output: string; readonly errors: string } {
  const script = join(import.meta.dirname, 'decoder-run.py');
  const { status, stdout, stderr } = spawnSync(python ?? '', [script, DECODER, ...args], {
    encoding: 'utf8',
  });
  expect({ status, stderr: status === 0 ? '' : stderr }).toEqual({ status: 0, stderr: '' });
  return { output: stdout, errors: stderr };
}
