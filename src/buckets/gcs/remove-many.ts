import { randomUUID } from 'node:crypto';
import type { HttpAnswer } from '../http.ts';
import type { ApiRequest } from './api.ts';

// Many requests in one: https://cloud.google.com/storage/docs/batch

/** Removes objects in one request. @param paths of the objects, with their queries */
export function removalOf(paths: readonly string[]): ApiRequest {
  const boundary = `vault-${randomUUID()}`;
  const parts = paths.map(
    (path, at) =>
      `--${boundary}\r\nContent-Type: application/http\r\nContent-ID: <${at}>\r\n\r\n` +
      `DELETE ${path} HTTP/1.1\r\n\r\n`,
  );
  return {
    method: 'POST',
    path: '/batch/storage/v1',
    headers: { 'content-type': `multipart/mixed; boundary=${boundary}` },
    body: [Buffer.from(`${parts.join('\r\n')}\r\n--${boundary}--\r\n`)],
  };
}

/** Which of the objects are gone: those whose answers say so. The others may be, too. */
export function goneBy({ headers, body }: HttpAnswer): ReadonlySet<number> {
  const gone = new Set<number>();
  const [, quoted, plain] = /boundary=(?:"([^"]+)"|([^\s;]+))/i.exec(headers['content-type'] ?? '') ?? [];
  const boundary = quoted ?? plain;
  if (boundary === undefined) return gone;
  for (const part of body.toString('latin1').split(`--${boundary}`)) {
    const [head = '', answer = ''] = part.split(/\r?\n\r?\n/, 2);
    const at = /^content-id: *<response-(\d+)>/im.exec(head)?.[1];
    if (at !== undefined && /^HTTP\/1\.\d 20[04]\b/.test(answer)) gone.add(Number(at));
  }
  return gone;
}
