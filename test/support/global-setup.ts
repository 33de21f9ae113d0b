import type { TestProject } from 'vitest/node';
import { startPostgres } from './postgres.ts';

/** Starts the Postgres server that all test files share; vitest calls the returned function at the end. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const server = await startPostgres();
  project.provide('postgresUrl', server.url);
  return () => server.remove();
}
