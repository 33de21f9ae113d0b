import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { MAX_EXPLANATION_SIZE, MAX_HEADER_SIZE } from '../../src/buckets/bounds.ts';
import { exchangerFor, openHttpClient } from '../../src/buckets/http.ts';
import type { HttpClient, HttpRequest } from '../../src/buckets/http.ts';
import { Connections } from '../../src/buckets/http/connections.ts';
import type { Exchanger } from '../../src/buckets/http/exchanger.ts';
import { NodeAgent } from '../../src/buckets/http/node-agent.ts';
import { isVaultError } from '../../src/errors.ts';
import { selfSigned } from '../support/self-signed.ts';

const endings: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of endings.splice(0).toReversed()) await end();
});

interface Peer {
  readonly url: URL;
  /** All that came in, by connection. */
  readonly received: readonly string[];
  readonly sockets: readonly Socket[];
}

/** What a server does with a connection's request, by its number from 0 over all of them. */
type Answer = (socket: Socket, request: number) => void;

/** A server that answers with bytes as they are, over TLS if it has a certificate. */
async function serve(
  answer: Answer,
  certificate?: { readonly key: string; readonly cert: string },
): Promise<Peer> {
  const received: string[] = [];
  const sockets: Socket[] = [];
  let requests = 0;
  const take = (socket: Socket): void => {
    const at = sockets.push(socket) - 1;
    received.push('');
    let begun = 0;
    socket
      .on('error', () => undefined)
      .on('data', (bytes: Buffer) => {
        received[at] += bytes.toString('latin1');
        // Of a long body nothing is looked for: to search all that came before, with every piece, takes longer than the test waits.
        if ((received[at]?.length ?? 0) > 1024 * 1024) return;
        const heads = received[at]?.split(/(?:GET|POST) /).length ?? 1;
        for (; begun < heads - 1; begun += 1) answer(socket, requests++);
      });
  };
  const server = certificate === undefined ? createServer(take) : createTlsServer(certificate, take);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The server has no port.');
  endings.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const scheme = certificate === undefined ? 'http' : 'https';
  return { url: new URL(`${scheme}://127.0.0.1:${address.port}/a?b=c`), received, sockets };
}

const request = (url: URL, more: Partial<HttpRequest> = {}): HttpRequest => ({
  method: 'GET',
  url,
  maxBodySize: 1000,
  task: 'read it',
  ...more,
});

const whole = (body: string, headers = ''): string =>
  `HTTP/1.1 200 OK\r\nx-one: 1\r\nX-One: 2\r\n${headers}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;

const WAYS: readonly (readonly [string, (ca: string | null) => Exchanger])[] = [
  ['its own connections', (ca) => new Connections(ca)],
  ['an agent of Node', (ca) => new NodeAgent(ca)],
];

describe.each(WAYS)('a client with %s', (_, make) => {
  function open(ca: string | null = null): HttpClient {
    const client = openHttpClient(make(ca));
    endings.push(() => client.close());
    return client;
  }

  /** The body that an answer gives. */
  async function bodyOf(
    answer: string | readonly string[],
    more: Partial<HttpRequest> = {},
  ): Promise<string> {
    const parts = typeof answer === 'string' ? [answer] : answer;
    const peer = await serve((socket) => {
      void (async () => {
        for (const part of parts) {
          socket.write(part, 'latin1');
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
        if (!/content-length|chunked/i.test(parts.join(''))) socket.end();
      })();
    });
    return (await open().send(request(peer.url, more))).body.toString('latin1');
  }

  test('sends what it is given, and reads status, headers and body', async () => {
    const peer = await serve((socket) => socket.write(whole('hello')));
    const parts = [Buffer.from('one '), new Uint8Array(Buffer.from('two'))];
    const { status, headers, body } = await open().send(
      request(peer.url, { method: 'POST', headers: { 'x-mine': 'yes' }, body: parts }),
    );
    expect({ status, one: headers['x-one'], body: body.toString() }).toEqual({
      status: 200,
      one: '1, 2',
      body: 'hello',
    });
    const [sent = ''] = peer.received;
    expect(sent).toMatch(/^POST \/a\?b=c HTTP\/1\.1\r\n/);
    for (const line of [`host: ${peer.url.host}`, 'x-mine: yes', 'content-length: 7'])
      expect(sent.toLowerCase()).toContain(`\r\n${line}\r\n`);
    expect(sent).toMatch(/\r\n\r\none two$/);
  });

  test('a body in the memory that it is given', async () => {
    const spare = new ArrayBuffer(10);
    const peer = await serve((socket) => socket.write(whole('hello')));
    const { body } = await open().send(request(peer.url, { spare }));
    expect(body.toString()).toBe('hello');
  });

  test.each([
    ['in one piece', whole('0123456789')],
    ['byte by byte', whole('0123456789').split('')],
    ['behind a 100', `HTTP/1.1 100 Continue\r\n\r\n${whole('0123456789')}`],
    [
      'in chunks',
      'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\n012\r\n7\r\n3456789\r\n0\r\nx: y\r\n\r\n',
    ],
    [
      'in chunks, byte by byte',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n'.split(''),
    ],
    ['until the end of the connection', 'HTTP/1.1 200 OK\r\n\r\n0123456789'],
    ['of an old server', 'HTTP/1.0 200 OK\r\n\r\n0123456789'],
  ])('a body %s', async (__, answer) => {
    expect(await bodyOf(answer)).toBe('0123456789');
  });

  test.each([
    ['with a length', whole('x'.repeat(1000))],
    [
      'in chunks',
      `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3e8\r\n${'x'.repeat(1000)}\r\n0\r\n\r\n`,
    ],
    ['until the end', `HTTP/1.1 200 OK\r\n\r\n${'x'.repeat(1000)}`],
  ])('a body %s may be as large as is allowed, and no larger', async (__, answer) => {
    expect(await bodyOf(answer)).toHaveLength(1000);
    const error: unknown = await bodyOf(answer, { maxBodySize: 999 }).catch((thrown: unknown) => thrown);
    expect(isVaultError(error, 'damaged')).toBe(true);
  });

  test.each([
    ['with a length', `content-length: ${MAX_EXPLANATION_SIZE * 2}`],
    ['without one', 'x: y'],
  ])('of a refusal %s, no more than its beginning', async (__, header) => {
    const text = 'x'.repeat(MAX_EXPLANATION_SIZE * 2);
    expect(await bodyOf(`HTTP/1.1 403 No\r\n${header}\r\n\r\n${text}`)).toHaveLength(MAX_EXPLANATION_SIZE);
  });

  test('tells of every byte that comes', async () => {
    let told = 0;
    await bodyOf(whole('0123456789').split(''), { onBytes: (count) => (told += count) });
    expect(told).toBe(10);
  });

  test.each([
    ['nothing', '', true],
    ['half a head', 'HTTP/1.1 200 OK\r\ncontent-', true],
    ['half a body', 'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc', false],
    ['half a chunk', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc', false],
    ['no last chunk', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n', false],
    ['what is not HTTP', 'SSH-2.0-OpenSSH_9.2\r\n\r\n', true],
    ['a line that is no header', 'HTTP/1.1 200 OK\r\nno header\r\n\r\n', true],
    ['two lengths', 'HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab', true],
    ['a length that is none', 'HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nab', true],
    [
      'a length and chunks',
      'HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
      true,
    ],
    ['a chunk without a size', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n', false],
    ['a chunk that is longer', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc\r\n', false],
    ['headers without an end', `HTTP/1.1 200 OK\r\n${'x: y\r\n'.repeat(MAX_HEADER_SIZE / 6 + 1)}`, true],
  ])('%s is no answer', async (__, answer, unreachable) => {
    const peer = await serve((socket) => socket.end(answer, 'latin1'));
    const error: unknown = await open()
      .send(request(peer.url))
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'unavailable', unreachable });
    await vi.waitUntil(() => peer.sockets.every((socket) => socket.destroyed));
  });

  test('requests one after the other share a connection', async () => {
    const peer = await serve((socket, i) => socket.write(whole(`answer ${i}`)));
    const client = open();
    for (const i of [0, 1, 2])
      expect((await client.send(request(peer.url))).body.toString()).toBe(`answer ${i}`);
    expect(peer.sockets).toHaveLength(1);
  });

  test.each([
    ['whose server says so', (i: number) => whole(`answer ${i}`, 'connection: close\r\n')],
    [
      'of a refusal that was not read whole',
      (i: number) => `HTTP/1.1 403 No\r\ncontent-length: 9999999\r\n\r\n${i}${'x'.repeat(9_999_998)}`,
    ],
  ])('a connection %s is not used again', async (__, answer) => {
    const peer = await serve((socket, i) => socket.write(answer(i)));
    const client = open();
    await client.send(request(peer.url));
    await client.send(request(peer.url));
    expect(peer.sockets).toHaveLength(2);
  });

  test('bytes behind an answer are not taken for the next one', async () => {
    const peer = await serve((socket, i) =>
      socket.write(whole(`answer ${i}`) + (i === 0 ? whole('forged') : '')),
    );
    const client = open();
    await client.send(request(peer.url));
    const second = await client.send(request(peer.url)).catch(() => null);
    expect(second?.body.toString() ?? 'answer 1').toBe('answer 1');
  });

  test('a refusal before the end of an upload ends it', async () => {
    const peer = await serve((socket) => {
      socket.pause();
      socket.write('HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno');
    });
    const { status } = await open().send(
      request(peer.url, { method: 'POST', body: [Buffer.alloc(16 * 1024 * 1024)] }),
    );
    expect(status).toBe(403);
    peer.sockets[0]?.resume();
    await vi.waitUntil(() => peer.sockets[0]?.destroyed);
    expect(peer.received[0]?.length).toBeLessThan(16 * 1024 * 1024);
  });

  test.each([
    ['before the answer', ''],
    ['within its body', 'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc'],
  ])('an abort %s closes the connection', async (__, answer) => {
    const controller = new AbortController();
    const peer = await serve((socket) => {
      socket.write(answer);
      setTimeout(() => controller.abort(), 20);
    });
    const error: unknown = await open()
      .send(request(peer.url, { signal: controller.signal }))
      .catch((thrown: unknown) => thrown);
    expect(isVaultError(error, 'interrupted')).toBe(true);
    await vi.waitUntil(() => peer.sockets[0]?.destroyed);
  });

  test('close ends the connections', async () => {
    const peer = await serve((socket) => socket.write(whole('hello')));
    const client = open();
    await client.send(request(peer.url));
    client.close();
    await vi.waitFor(() => expect(peer.sockets[0]?.destroyed).toBe(true));
  });

  test('over TLS it is the same, with a certificate that is trusted', async () => {
    const certificate = selfSigned();
    const body = 'y'.repeat(100_000);
    const peer = await serve((socket) => socket.write(whole(body)), certificate);
    const client = open(certificate.cert);
    for (let i = 0; i < 3; i += 1) {
      const answer = await client.send(
        request(peer.url, { maxBodySize: 100_000, spare: new ArrayBuffer(200_000) }),
      );
      expect(answer.body.toString()).toBe(body);
    }
    expect(peer.sockets).toHaveLength(1);
    await expect(open().send(request(peer.url))).rejects.toMatchObject({
      code: 'unavailable',
      unreachable: true,
    });
  });

  test('a header that would be two is not sent', async () => {
    const peer = await serve((socket) => socket.write(whole('hello')));
    await expect(
      open().send(request(peer.url, { headers: { 'x-mine': 'a\r\nx-other: b' } })),
    ).rejects.toMatchObject({ code: 'unavailable' });
    expect(peer.received.join('')).toBe('');
  });
});

test('a body comes straight into the memory that it is given', async () => {
  const spare = new ArrayBuffer(10);
  const peer = await serve((socket) => socket.write(whole('hello')));
  const client = openHttpClient(new Connections(null));
  endings.push(() => client.close());
  const { body } = await client.send({
    method: 'GET',
    url: peer.url,
    maxBodySize: 10,
    task: 'read it',
    spare,
  });
  expect(body.buffer).toBe(spare);
});

test('where the environment has proxies, Node’s own client is asked', () => {
  expect(exchangerFor(null, { proxyEnv: {} })).toBeInstanceOf(NodeAgent);
  expect(exchangerFor(null, {})).toBeInstanceOf(Connections);
});
