// Writes the worked example at the end of FORMAT.md, out of format-example.json. Run
//     node test/vectors/format-document.ts
import { readFileSync, writeFileSync } from 'node:fs';
import { bodyHash, chunkNonce, chunkSecrets } from '../../src/crypto/chunk.ts';
import { setupReceiver } from '../../src/crypto/hpke.ts';
import { deriveKey, passwordKeys } from '../../src/crypto/keys.ts';
import { committedKey, openOnce } from '../../src/crypto/sealing.ts';
import { objectDigest } from '../../src/crypto/signing.ts';
import { CODEC_STORED, framePayload, payloadSize, unpadBody } from '../../src/format/chunk.ts';
import { EntryEncoder } from '../../src/format/folder-index.ts';
import { decodeKeyring } from '../../src/format/keyring.ts';
import { decodeManifestObject } from '../../src/format/manifest-object.ts';
import { decodeVaultPart, manifestObjectName } from '../../src/format/manifest.ts';
import { parseShardHeader } from '../../src/format/shard.ts';
import {
  CONTENT_KEY,
  exampleChunk,
  FULL,
  INLINE_BODY,
  INPUTS,
  PACKED_BODY,
  STORED_BODY,
} from './format-example.ts';
import type { ExampleChunk } from './format-example.ts';
import { ENTRIES, FOLDER_BODY } from './example-folders.ts';
import example from './format-example.json' with { type: 'json' };

/** Where the example begins, and with it what is written here. */
const HEADING = '## 19. Worked example\n';
const WIDTH = 96;

/** FORMAT.md with the example that the vectors give. @param text FORMAT.md as it is */
export async function withExample(text: string): Promise<string> {
  const at = text.indexOf(HEADING);
  if (at === -1) throw new Error(`FORMAT.md has no heading "${HEADING.trim()}".`);
  return `${text.slice(0, at)}${HEADING}\n${await workedExample()}`;
}

async function workedExample(): Promise<string> {
  const parts = [
    `All objects below are in \`test/vectors/format-example.json\`, byte for byte; here long ones are shortened to their beginning and
end. What is random elsewhere counts up here. Hex is broken into lines.`,
    keys(),
    await keyring(),
    rotation(),
    storedChunk(),
    packedChunk(),
    `### A full chunk\n\n65,536 bytes, byte i being i mod 256, of the same writer's content, where the chunk size is 65,536:\n\n${block(
      Object.entries(example.derived).filter(([name]) => name.startsWith('full chunk')),
    )}`,
    manifest(
      'inline',
      'The content lies in the manifest. The ephemeral private key is 32 bytes that count up from c0.',
      true,
    ),
    manifest('stored', 'Its table and its table of ids have one entry each, of the stored chunk above.'),
    manifest(
      'tables in chunks',
      'The same content, with both tables of depth 1; the chunks have the table key.',
    ),
    await locked(),
    manifest('cut by content', 'The stored chunk, then the compressed one, both of 1 to 4,194,304 bytes.'),
    manifest(
      'folder',
      'All of it lies in the manifest: what the files hold is in the content, all else in the index.',
    ),
    manifest(
      'folder in chunks',
      'Two files, `first` and `second`, of the stored and of the compressed chunk. The chunk of the index has the index key.',
    ),
    removal(),
  ];
  return `${parts.join('\n\n')}\n`;
}

// --- its parts ----------------------------------------------------------------------------------------

function keys(): string {
  const { root, vaultId, bucketId, writer, putWriter, password, putPassword, lockPassword } = example.inputs;
  const read = deriveKey(INPUTS.root, Buffer.from(vaultId, 'hex'), 'vault/2 read');
  const sign = deriveKey(INPUTS.root, Buffer.from(vaultId, 'hex'), 'vault/2 sign');
  const own = Object.entries(example.derived).filter(([name]) => name.startsWith('writer '));
  return `### Keys and marker

The password is \`${password}\`, that of the \`put\` slot \`${putPassword}\`, and the lock's \`${lockPassword}\`.

${block([
  ['root, of number 1', root],
  ['vault', vaultId],
  ['bucket', bucketId],
  ['writer', writer],
  ['writer of the put slot', putWriter],
  ['derive("read")', read.toString('hex')],
  ['its public key', example.derived['read public']],
  ['derive("sign")', sign.toString('hex')],
  ['its public key', example.derived.verification],
  ['derive("urls")', example.derived.urls],
  ...own.map(([name, hex]) => [`derive("${name.replace('writer', `writer ${writer}`)}")`, hex] as const),
])}

${shown('vault.json')}`;
}

async function keyring(): Promise<string> {
  const first = object('keyring/0000000001');
  const { keyring: last } = decodeKeyring(object('keyring/0000000002'));
  const [slot] = last.slots;
  if (slot === undefined) throw new Error('The example has a keyslot.');
  const { kek, commitment } = await passwordKeys(INPUTS.password, slot);
  const aad = Buffer.from(`vault/2 keyslot\n${last.vaultId}\n${slot.writer}\n${slot.role}\n${last.root}`);
  const secrets = openOnce(kek, aad, slot.wrapped);
  return `### Keyring

The second one. Its labels are \`office\` and \`nightly\`, that of the former writer \`laptop\`, its bucket's URL is \`${example.inputs.bucketUrl}\`.

${shown('keyring/0000000002')}

${block([
  ['SHA-256 of keyring/0000000001', objectDigest(first)],
  ['KEK of the first slot', kek.toString('hex')],
  ['its commitment', commitment.toString('hex')],
])}

What the first slot wraps: \`${secrets?.toString() ?? ''}\``;
}

function rotation(): string {
  const { keyring: last } = decodeKeyring(object('keyring/0000000003'));
  const { nextRoot, nextPassword, nextWriter, vaultId } = example.inputs;
  const key = deriveKey(INPUTS.nextRoot, Buffer.from(vaultId, 'hex'), 'vault/2 former root');
  const step = last.roots[0]?.key.toString('hex') ?? '';
  return `### A new root

The third keyring. Its only slot has the password \`${nextPassword}\`, and its URL and labels are those of the second.

${block([
  ['root, of number 2', nextRoot],
  ['writer', nextWriter],
  ['derive("former root")', key.toString('hex')],
])}

${shown('keyring/0000000003')}

The first root has signed:

${fence(`vault/2 root\n${vaultId}\n${last.root}\n${step}`)}`;
}

function storedChunk(): string {
  const chunk = exampleChunk(FULL.writer.content, STORED_BODY);
  const payload = Buffer.alloc(payloadSize(STORED_BODY.length, false));
  payload.set(STORED_BODY);
  framePayload(payload, CODEC_STORED, STORED_BODY.length);
  return `### A stored chunk

300 bytes, byte i being i mod 256. They are the last of their content, so \`padded(305)\` = ${payload.length} bytes of payload.

${block([...secretsOf(chunk), ['payload', payload.toString('hex')], ['nonce', chunkNonce(chunkSecrets(chunk.ref.tag), payload).toString('hex')]])}

${shardsOf(chunk)}`;
}

function packedChunk(): string {
  const name = Object.keys(example.objects).find((one) => one.startsWith(`chunks/${packedId()}`)) ?? '';
  const header = parseShardHeader(object(name));
  return `### A compressed chunk

1,000 times the letter a, as a zstd frame of 11 bytes made by hand: a single segment, one run-length block.

${block([
  ['h', bodyHash(PACKED_BODY).toString('hex')],
  ['frame', '28b52ffd60e802431f0061'],
  ['nonce', header.nonce.toString('hex')],
])}

The payload has 256 bytes, the sealed chunk ${header.sealedSize}. Shard 0, as \`${name}\`:

${block([['object', object(name).toString('hex')]])}`;
}

function packedId(): string {
  return exampleChunk(FULL.writer.content, PACKED_BODY).id.id;
}

function secretsOf({ ref }: ExampleChunk): (readonly [string, string])[] {
  const { t, id, key, nonceKey } = chunkSecrets(ref.tag);
  const named = { h: ref.hash, t, id, 'chunk key': key, 'nonce key': nonceKey };
  return Object.entries(named).map(([name, bytes]) => [name, bytes.toString('hex')]);
}

function shardsOf({ objects }: ExampleChunk): string {
  return [...objects]
    .map(([name, bytes]) => `\`${name}\`:\n\n${block([['object', bytes.toString('hex')]])}`)
    .join('\n\n');
}

function manifest(what: keyof typeof example.files, about: string, verbose = false): string {
  const { hash } = example.files[what];
  const bytes = object(manifestObjectName(hash));
  const parts = decodeManifestObject(bytes);
  const secret = sessionSecret(parts.enc);
  const vaultKey = committedKey(secret, parts.salt, 'vault/2 vault part');
  const contentKey = committedKey(CONTENT_KEY, parts.salt, 'vault/2 content part');
  const vault = opened(
    vaultKey.key,
    Buffer.concat([parts.header, bodyHash(parts.content.bytes)]),
    parts.vault.sealed,
  );
  const content = opened(contentKey.key, Buffer.from('vault/2 content part'), parts.content.sealed);
  const inside = [
    ['session secret', secret],
    ['key of the vault part', vaultKey.key],
    ['its commitment', vaultKey.commitment],
    ['key of the content part', contentKey.key],
    ['its commitment', contentKey.commitment],
  ] as const;
  return `### A manifest: ${what}

${about} \`manifests/${hash}\`:

${block([
  ['object', bytes.toString('hex')],
  ...(verbose ? inside.map(([name, one]) => [name, one.toString('hex')] as const) : []),
])}

The vault part's head, and the content part's:

${fence(`${vault.head}\n${content.head}`)}${binaries(vault.binary, content.binary, what)}`;
}

function binaries(ids: Buffer, content: Buffer, what: keyof typeof example.files): string {
  if (what === 'folder') return `\n\n${entriesShown()}`;
  if (what === 'inline')
    return `\n\nThe content is \`${JSON.stringify(INLINE_BODY.toString())}\`, as JSON writes it.`;
  const named = [
    ['table of ids', ids.toString('hex')],
    [
      what === 'folder in chunks' ? "content's table, then the index's" : "content's table",
      content.toString('hex'),
    ],
  ] as const;
  return `\n\n${block(named)}`;
}

function entriesShown(): string {
  const encoder = new EntryEncoder();
  const shownAs = ENTRIES.map((entry) => {
    const { path, kind } = entry;
    const name =
      path.length === 0 ? 'the folder itself' : `${kind} ${JSON.stringify(path.toString('latin1'))}`;
    return [name, encoder.encode(entry).toString('hex')] as const;
  });
  return `The content is \`${JSON.stringify(FOLDER_BODY.toString())}\`, as JSON writes it. The entries of the index, their paths as ISO 8859-1:

${block(shownAs)}`;
}

async function locked(): Promise<string> {
  const { hash } = example.files.locked;
  const parts = decodeManifestObject(object(manifestObjectName(hash)));
  const { key } = committedKey(sessionSecret(parts.enc), parts.salt, 'vault/2 vault part');
  const plain = openOnce(
    key,
    Buffer.concat([parts.header, bodyHash(parts.content.bytes)]),
    parts.vault.sealed,
  );
  if (plain === null) throw new Error('The example opens.');
  const { access } = decodeVaultPart(unpadBody(plain));
  if (!('lock' in access)) throw new Error('The file is locked.');
  const { kek } = await passwordKeys(INPUTS.lockPassword, access.lock);
  return `### A manifest: locked

The inline content again. Its vault part's head, of \`manifests/${hash}\`:

${fence(headOf(unpadBody(plain)).head)}

${block([
  ['KEK', kek.toString('hex')],
  ['content key', CONTENT_KEY.toString('hex')],
])}`;
}

function removal(): string {
  const names = Object.keys(example.objects).filter((name) => /^(deleted|sweep|puts)\//.test(name));
  return `### Deletion record, sweep list, put marker\n\n${names.map(shown).join('\n\n')}`;
}

// --- how bytes are shown ------------------------------------------------------------------------------

function object(name: string): Buffer {
  const objects = new Map(Object.entries<{ text?: string; bytes?: string }>(example.objects));
  const { text, bytes } = objects.get(name) ?? {};
  return bytes === undefined ? Buffer.from(text ?? '') : Buffer.from(bytes, 'hex');
}

function shown(name: string): string {
  const bytes = object(name);
  const text = bytes.toString('latin1');
  const body = text.startsWith('{')
    ? fence(text.replaceAll(/(?<=")[0-9a-f]{97,}(?=")/g, shortened).trimEnd())
    : block([['object', bytes.toString('hex')]]);
  return `\`${name}\`:\n\n${body}`;
}

/** Hex that is long, by its beginning and end. */
function shortened(hex: string): string {
  if (hex.length <= 4 * WIDTH) return hex;
  return `${hex.slice(0, 2 * WIDTH)}...${hex.slice(-WIDTH / 2)}`;
}

function block(named: readonly (readonly [string, string])[]): string {
  const entries = named.map(([name, hex]) => {
    const lines =
      hex.length <= 4 * WIDTH
        ? wrapped(hex)
        : [...wrapped(hex.slice(0, 2 * WIDTH)), `... ${hex.slice(-WIDTH / 2)}`];
    const size = hex.length <= 4 * WIDTH ? '' : ` (${hex.length / 2} bytes)`;
    return `${name}${size}\n${lines.map((line) => `  ${line}`).join('\n')}`;
  });
  return fence(entries.join('\n'));
}

function wrapped(hex: string): string[] {
  return hex.match(new RegExp(`.{1,${WIDTH}}`, 'g')) ?? [];
}

function fence(text: string): string {
  return `\`\`\`text\n${text}\n\`\`\``;
}

// --- what is inside -----------------------------------------------------------------------------------

function sessionSecret(enc: Buffer): Buffer {
  if (FULL.full === null) throw new Error('These are full keys.');
  const exportSecret = setupReceiver({
    privateKey: FULL.full.readPrivate,
    enc,
    info: Buffer.from(`vault/2 manifest\n${INPUTS.vaultId}`),
    preShared: { psk: FULL.writer.psk, pskId: Buffer.from(INPUTS.writer, 'hex') },
  });
  return exportSecret(Buffer.from('vault/2 manifest'), 32);
}

function opened(
  key: Buffer,
  aad: Buffer,
  sealed: Buffer,
): { readonly head: string; readonly binary: Buffer } {
  const plain = openOnce(key, aad, sealed);
  if (plain === null) throw new Error('The example opens.');
  return headOf(unpadBody(plain));
}

function headOf(body: Uint8Array): { readonly head: string; readonly binary: Buffer } {
  const bytes = Buffer.from(body);
  const end = 4 + bytes.readUInt32BE(0);
  return { head: bytes.toString('utf8', 4, end), binary: bytes.subarray(end) };
}

if (import.meta.main) {
  const path = new URL('../../FORMAT.md', import.meta.url);
  writeFileSync(path, await withExample(readFileSync(path, 'utf8')));
}
