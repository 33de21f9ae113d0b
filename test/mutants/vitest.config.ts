import { defineConfig } from 'vitest/config';
import { ROOMS, roomNamed } from './rooms.ts';

/** Stryker runs vitest in processes of its own, which know the room by the environment. */
const { tests } = ROOMS[roomNamed(process.env['MUTANTS_ROOM'])];

export default defineConfig({
  // Well above what any of these tests takes on a busy machine: a mutant that hangs is caught by the end of this time.
  test: { include: [...tests], testTimeout: 60_000, hookTimeout: 60_000 },
});
