/** Whether the server is well, for whoever runs it. */
import { failure } from './answers.ts';
import type { Route } from './serving.ts';

export const HEALTH: readonly Route[] = [
  {
    method: 'GET',
    path: '/healthz',
    summary: 'Whether the process lives.',
    scope: null,
    handle: () => Promise.resolve({ status: 200, json: { status: 'ok' } }),
  },
  {
    method: 'GET',
    path: '/readyz',
    summary:
      'Whether requests should be sent here: the database answers, and the server is not about to end.',
    scope: null,
    async handle(_, { vault, isStopping }) {
      if (isStopping()) return failure(503, 'interrupted', 'The server is being stopped.');
      await vault.ready();
      return { status: 200, json: { status: 'ready' } };
    },
  },
  {
    method: 'GET',
    path: '/metrics',
    summary: 'What this process has served, for Prometheus.',
    scope: 'list',
    handle: async (_, { metrics }) => ({
      status: 200,
      headers: { 'Content-Type': 'text/plain; version=0.0.4; charset=utf-8' },
      text: await metrics.text(),
    }),
  },
];
