// Seals with the example's keys what no writer would: whatever stands in a part, whatever its padding.
import { setupSender } from '../../src/crypto/hpke.ts';
import { committedKey, sealOnce } from '../../src/crypto/sealing.ts';
import { padBody } from '../../src/format/chunk.ts';
import { encodeManifestHeader, encodePart } from '../../src/format/manifest-object.ts';
import { encodeContentPart, encodeVaultPart } from '../../src/format/manifest.ts';
import { encodePutMarkerHeader } from '../../src/format/removal.ts';
import { createHash } from 'node:crypto';
import {
  chunkFile,
  CONTENT_KEY,
  count,
  EPHEMERAL,
  exampleChunk,
  FULL,
  INPUTS,
  STORED_BODY,
} from './format-example.ts';
import type { Change } from './broken-json.ts';
import type { ExampleFile } from './format-example.ts';

/** A head and what follows it; `bytes` instead of the head's own, `length` instead of its length. */
export interface Body {
  readonly head: string;
  readonly binary: Buffer;
  readonly bytes?: Buffer;
  readonly length?: number;
}

export interface Parts {
  readonly file: ExampleFile;
  readonly vault: Body;
  readonly content: Body;
  readonly vaultPayload: Buffer;
  readonly contentPayload: Buffer;
}

/** The file of one chunk that the cases change. */
const FILE = chunkFile('stored', exampleChunk(FULL.writer.content, STORED_BODY));

/** A part of a file as its writer makes it, with a text in its head replaced. */
export function headOf(
  part: 'vault' | 'content',
  from: string | RegExp = '',
  to = '',
  file: ExampleFile = FILE,
): Body {
  const access = { content: CONTENT_KEY };
  const whole =
    part === 'vault'
      ? encodeVaultPart({ ...file, access })
      : encodeContentPart({ table: file.content, folder: file.folder ?? null });
  const end = 4 + whole.readUInt32BE(0);
  return { head: whole.toString('utf8', 4, end).replace(from, to), binary: whole.subarray(end) };
}

/** The bytes of a part before padding. */
export function body({ head, binary, bytes = Buffer.from(head), length = bytes.length }: Body): Buffer {
  const prefix = Buffer.alloc(4);
  prefix.writeUInt32BE(length);
  return Buffer.concat([prefix, bytes, binary]);
}

/** A payload of codec 0; of a certain size, if it is given. */
export function padded(plain: Buffer, size?: number): Buffer {
  if (size === undefined) return padBody(plain);
  const payload = Buffer.alloc(Math.max(size, 2 * plain.length));
  payload.set(plain);
  payload.writeUInt32BE(plain.length, payload.length - 4);
  return payload;
}

/** A manifest of these parts, as its writer would make what is not given. */
export function manifestByHand(parts: Partial<Parts>): Buffer {
  const { writer, vaultId } = { writer: FULL.writer, vaultId: INPUTS.vaultId };
  const { enc, exportSecret } = setupSender({
    publicKey: FULL.readPublic,
    ephemeral: EPHEMERAL,
    info: Buffer.from(`vault/2 manifest\n${vaultId}`),
    preShared: { psk: writer.psk, pskId: Buffer.from(writer.id, 'hex') },
  });
  const salt = count(0, 32);
  const header = encodeManifestHeader({ rootNumber: 1, writer: writer.id, enc, salt });
  const own = (part: 'vault' | 'content'): Body => parts[part] ?? headOf(part, '', '', parts.file);
  const seal = (ikm: Buffer, info: string, aad: Buffer, payload: Buffer): Buffer => {
    const { key, commitment } = committedKey(ikm, salt, info);
    return encodePart(commitment, sealOnce(key, aad, payload));
  };
  const info = 'vault/2 content part';
  const contentPayload = parts.contentPayload ?? padBody(body(own('content')));
  const content = seal(CONTENT_KEY, info, Buffer.from(info), contentPayload);
  const aad = Buffer.concat([header, createHash('sha256').update(content).digest()]);
  const secret = exportSecret(Buffer.from('vault/2 manifest'), 32);
  const vaultPayload = parts.vaultPayload ?? padBody(body(own('vault')));
  return Buffer.concat([header, seal(secret, 'vault/2 vault part', aad, vaultPayload), content]);
}

/** A put's marker with this payload. */
export function putMarkerByHand(payload: Buffer): Buffer {
  const salt = count(0, 32);
  const { key, commitment } = committedKey(FULL.writer.markers, salt, 'vault/2 put marker');
  const header = encodePutMarkerHeader({ rootNumber: 1, writer: FULL.writer.id, salt, commitment });
  return Buffer.concat([header, sealOnce(key, header, payload)]);
}

/** Payloads that no small thing may have. */
export function paddingCases(seal: (payload: Buffer) => Buffer, plain: Buffer): Change[] {
  const changed = (from: number, value: number): Buffer => {
    const payload = padded(plain);
    payload.writeUInt8(value, payload.length - from);
    return seal(payload);
  };
  return [
    ['with padding that is not zero', 'damaged', changed(6, 1)],
    ['that says to be compressed', 'damaged', changed(5, 1)],
    ['of an unknown codec', 'unsupported', changed(5, 2)],
    ['longer than its payload', 'damaged', changed(3, 0xff)],
    ['with more padding than there must be', 'damaged', seal(padded(plain, 512))],
  ];
}
