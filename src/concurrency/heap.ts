/** How much garbage is let gather before it is collected: settings of V8, for all threads of the process. */
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8';

/**
 * For large folders: new objects in 48 MiB instead of 3 take 30 to 100 MiB more, and are no faster. Nor is it faster there to let old ones
 * grow to three times what is in use before garbage is collected, instead of half as much again: that takes 20 MiB.
 */
export function collectOften(): void {
  setFlagsFromString('--semi-space-growth-factor=1');
  setFlagsFromString('--heap-growing-percent=50');
}

/** Bytes of what V8 has for new objects of a thread: two halves, of which one is in use. */
const NEW_SPACE = 8 * 1024 * 1024;

/**
 * Lets this thread's new objects take 4 MiB at a time instead of 1. Of a large folder that is as it was, a sixth of the time went into
 * collecting them; it takes some 3 MiB.
 */
export function enlargeNewSpace(): void {
  setFlagsFromString('--semi-space-growth-factor=4');
  // V8 makes it larger where much is still in use when it is collected, and has no other way once it runs.
  for (let attempt = 0; attempt < 16 && newSpace() < NEW_SPACE; attempt += 1) makeObjects();
  setFlagsFromString('--semi-space-growth-factor=1');
}

function newSpace(): number {
  return getHeapSpaceStatistics().find(({ space_name: name }) => name === 'new_space')?.space_size ?? 0;
}

/** More than 1 MiB of them, in use until all are made. */
function makeObjects(): number {
  return Array.from({ length: 20_000 }, (_, index) => ({ index })).length;
}

/**
 * Of many files a sixth of the time would go into collecting what is new again and again, which may take more memory until the
 * first is stored (`keepNewSpace`), and a twelfth into collecting what is old at half as much again.
 */
export function collectLessOften(): void {
  setFlagsFromString('--semi-space-growth-factor=2');
  setFlagsFromString('--heap-growing-percent=100');
}

export function keepNewSpace(): void {
  setFlagsFromString('--semi-space-growth-factor=1');
}

/**
 * To read one file of many chunks takes a quarter less processor time where its little garbage is not collected again and again. Not to be
 * called before the memory of the key's derivation has been given back: the two together would be the most that a command takes.
 */
export function collectRarely(): void {
  setFlagsFromString('--heap-growing-percent=300');
  enlargeNewSpace();
}
