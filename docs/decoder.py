#!/usr/bin/env python3
"""Reads a vault from folders, by FORMAT.md alone; it shares no code with the program that wrote the vault.

    decoder.py --password-file FILE ls BUCKET...
    decoder.py --password-file FILE get HASH|NAME BUCKET... > file              (of a folder: a tar archive of it)
    decoder.py --password-file FILE entries HASH|NAME BUCKET...

Its two other files lie beside it. A bucket is a folder; a cloud bucket is copied into one first. Any m buckets may be missing, shards may be damaged or wrong.
Needs Python 3.9, cryptography and argon2-cffi; for compressed chunks the zstd library (libzstd) that systems have.
"""
import argparse, contextlib, functools, hashlib, hmac, importlib, itertools, json, os, re, sys, unicodedata
from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
folder = importlib.import_module('decoder_folder')
from decoder_chunk import *

# --- JSON (3) ---------------------------------------------------------------------------------------
def parse(data, most, check, what, known=lambda value: True):
    """Strict JSON whose fields pass a check; before that, `known` tells whether it is of a kind to be known here."""
    need(len(data) <= most, f'{what} is too large')
    value = json.loads(text := data.decode())
    version = value.get('format') if type(value) is dict else None
    need(type(version) is not str or version[:6] != 'vault/' or version == 'vault/2', f'{what} is of {version}', Unsupported)
    need(json.dumps(value, separators=(',', ':'), ensure_ascii=False) == text, f'{what} is not strict JSON')
    need(version != 'vault/2' or known(value), f'{what} needs something newer', Unsupported)
    need(check(value), f'{what} has impossible fields')
    return value
# What a field must be: functions that tell whether a value is.
integer = lambda least, most: lambda v: type(v) is int and least <= v <= most
is_hex = lambda least, most=0: lambda v: (type(v) is str and least <= len(v) / 2 <= (most or least)
                                          and re.fullmatch('(?:[0-9a-f]{2})*', v) is not None)
among = lambda *choices: lambda v: any(type(v) is type(c) and v == c for c in choices)
or_null = lambda check: lambda v: v is None or check(v)
many = lambda least, most, check: lambda v: type(v) is list and least <= len(v) <= most and all(map(check, v))
fields = lambda **checks: lambda v: (type(v) is dict and v.keys() == checks.keys()
                                     and all(check(v[k]) for k, check in checks.items()))
is_text = lambda least, most: lambda v: type(v) is str and least <= len(v.encode('utf-8', 'replace')) <= most
is_name = lambda v: is_text(1, 16 * KIB)(v) and '\0' not in v
is_redundancy = among(*(f'{k}+{m}' for k in range(1, 17) for m in range(17 - k)))
is_file_time = lambda v: many(2, 2, SECONDS)(v) and 0 <= v[1] <= 999999999
COSTS = fields(memory=integer(8 * KIB, MIB), passes=integer(1, 16), lanes=integer(1, 16), salt=is_hex(32))
is_kdf = lambda v: COSTS(v) and v['memory'] * v['passes'] <= 4 * MIB
SECONDS, TIME = integer(-864 * 10**10, 864 * 10**10), integer(-864 * 10**13, 864 * 10**13)
CHUNK_SIZE, REQUIRES = integer(64 * KIB, MAX_CHUNK), many(1, 64, is_text(0, 64 * KIB))
FORMAT, FLAG, EPOCH, COUNT = among('vault/2'), among(True, False), integer(1, 9999999999), integer(0, MOST)
SLOT = fields(writer=is_hex(16), role=among('full', 'put'), created=TIME, kdf=is_kdf, commitment=is_hex(32),
              wrapped=is_hex(17, 4096), label=is_hex(284, 2048))
KEYRING = fields(
    format=FORMAT, vault=is_hex(16), epoch=EPOCH, previous=or_null(is_hex(32)), root=integer(1, 2**32 - 1),
    requires=among([]), redundancy=is_redundancy, chunkSize=CHUNK_SIZE,
    compression=among('auto', 'off', *map(str, range(1, 20))), slots=many(1, 64, SLOT),
    buckets=many(1, 1024, fields(id=is_hex(16), state=among('active', 'draining'), url=is_hex(284, 5120))))
DELETION = fields(format=FORMAT, vault=is_hex(16), deleted=is_hex(32), serial=integer(1, MOST), live=FLAG, at=TIME,
                  graceMs=integer(0, 36600 * 86400000))
HEAD = dict(
    format=FORMAT, kind=among('file', 'folder'), name=is_name, size=or_null(COUNT), created=TIME, modified=or_null(is_file_time),
    mode=or_null(integer(0, 0o7777)), expires=or_null(TIME), version=integer(1, MOST), epoch=EPOCH,
    redundancy=is_redundancy, chunkSize=or_null(CHUNK_SIZE), chunks=COUNT, idsDepth=integer(0, 3),
    key=lambda v: fields(content=is_hex(32))(v) or fields(lock=fields(kdf=is_kdf, commitment=is_hex(32), wrapped=is_hex(48)))(v))
STREAM = dict(size=COUNT, depth=integer(0, 3), entries=integer(0, TOP_ENTRIES), inline=FLAG, digest=or_null(is_hex(32)))
by_kind = lambda file, folder: lambda v: (folder if type(v) is dict and v.get('kind') == 'folder' else file)(v)
VAULT_HEAD = by_kind(fields(**HEAD), fields(
    **{**HEAD, 'chunkSize': among(None)}, indexChunks=COUNT, entries=or_null(integer(1, MOST)), incomplete=FLAG))
CONTENT_HEAD = by_kind(fields(format=FORMAT, kind=among('file'), chunkSize=or_null(CHUNK_SIZE), **STREAM), fields(
    format=FORMAT, kind=among('folder'), size=COUNT, entries=integer(1, MOST), incomplete=FLAG,
    content=fields(**STREAM), index=fields(**STREAM)))

# --- keys (5), signed objects (6), keyring (7) and marker (8) ---------------------------------------
class Keys:
    def __init__(self, root, vault, number):
        self.root, self.vault, self.number = root, vault, number
        self.read = X25519PrivateKey.from_private_bytes(self.derive('read'))
        self.read_public = self.read.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.verification = Ed25519PrivateKey.from_private_bytes(self.derive('sign')).public_key()
    def derive(self, purpose):
        return hkdf(self.root, bytes.fromhex(self.vault), b'vault/2 ' + purpose.encode(), 32)
    def signed(self, kind, proof):
        with contextlib.suppress(InvalidSignature):
            return self.verification.verify(proof[1], b'vault/2 ' + kind + b'\n' + proof[0]) is None
def unwrap(stanza, password, aad):
    """What a keyslot or a lock wraps; None if the password is another."""
    kdf, text = stanza['kdf'], unicodedata.normalize('NFC', password).encode()
    both = hash_secret_raw(text, bytes.fromhex(kdf['salt']), kdf['passes'], kdf['memory'], kdf['lanes'], 64, Type.ID, 19)
    if not hmac.compare_digest(both[32:], bytes.fromhex(stanza['commitment'])):
        return None
    return gcm_open(both[:32], bytes(12), aad, bytes.fromhex(stanza['wrapped']))
def parse_signed(data, most, check, what, known=lambda value: True):
    """What a signed object says, not verified, and the proof that `Keys.signed` takes."""
    match = re.fullmatch(rb'\n([0-9a-f]{128})\n', data[-130:])
    need(len(data) <= most and match, f'{what} is too large or does not end with a signature')
    return parse(data[:-130], most, check, what, known), (data[:-130], bytes.fromhex(match[1].decode()))
def parse_keyring(data, epoch):
    value, proof = parse_signed(data, MIB, KEYRING, 'a keyring', lambda value: not REQUIRES(value.get('requires')))
    roles, buckets = {slot['writer']: slot['role'] for slot in value['slots']}, {one['id'] for one in value['buckets']}
    need(value['epoch'] == epoch and (value['previous'] is None) == (epoch == 1), 'a keyring is not what its name says')
    need((len(roles), len(buckets)) == (len(value['slots']), len(value['buckets'])), 'a keyring names something twice')
    need('full' in roles.values(), 'a keyring has no full slot')
    return value, proof
parse_marker = lambda data: parse(data, 64 * KIB, fields(format=FORMAT, vault=is_hex(16), bucket=is_hex(16)), 'vault.json')
def parse_deletion(data, keys, digest):
    value, proof = parse_signed(data, 64 * KIB, DELETION, 'a deletion record')
    need((value['vault'], value['deleted']) == (keys.vault, digest), 'a deletion record is of another file')
    return value if keys.signed(b'deleted', proof) else need(False, 'a deletion record is not signed by this vault')
def unlock(objects, password, vault):
    """The keys, by the keyring that counts. `objects`: bytes and epoch of each keyring in each bucket."""
    ranked, work = [], 0
    for data, epoch in set(objects):
        with warning('a keyring'):
            ranked.append((objects.count((data, epoch)), epoch, sha256(data), *parse_keyring(data, epoch)))
    ranked = [one[3:] for one in sorted(ranked, key=lambda one: one[:3], reverse=True) if one[3]['vault'] == vault]
    for keyring, proof in ranked:
        for slot in keyring['slots']:
            work += slot['kdf']['memory'] * slot['kdf']['passes']
            need(work <= 64 * MIB, 'the keyslots ask for too much work: a bucket shows false ones')
            aad = '\n'.join(('vault/2 keyslot', vault, slot['writer'], slot['role'], str(keyring['root']))).encode()
            with warning('a keyslot'):
                if (wrapped := unwrap(slot, password, aad)) is None:
                    continue
                need(slot['role'] == 'full', 'the password can only store files')
                secrets = parse(wrapped, 64 * KIB, fields(root=is_hex(32)), 'what it wraps')
                keys = Keys(bytes.fromhex(secrets['root']), vault, keyring['root'])
                need(keys.signed(b'keyring', proof), 'its keyring is not signed by the vault')
                newest = max(other['epoch'] for other, its_proof in ranked if keys.signed(b'keyring', its_proof))
                need(keyring['epoch'] == newest, 'its keyring has been replaced')
                return keys
    raise Rejected('the password opens no keyslot of the newest keyring')

# --- manifests (11) and tables (12) -----------------------------------------------------------------
def session_secret(keys, writer, enc):
    extract = lambda suite, salt, label, ikm: mac(salt, b'HPKE-v1' + suite + label + ikm)
    expand32 = lambda suite, prk, label, info: expand(prk, b'\x00\x20HPKE-v1' + suite + label + info, 32)
    kem, hpke = b'KEM\x00\x20', b'HPKE\x00\x20\x00\x01\xff\xff'
    dh = keys.read.exchange(X25519PublicKey.from_public_bytes(enc))  # refuses a secret of zeros
    shared = expand32(kem, extract(kem, b'', b'eae_prk', dh), b'shared_secret', enc + keys.read_public)
    info = extract(hpke, b'', b'info_hash', f'vault/2 manifest\n{keys.vault}'.encode())
    context = b'\x01' + extract(hpke, b'', b'psk_id_hash', writer) + info
    secret = extract(hpke, shared, b'secret', keys.derive(f'writer {writer.hex()} psk'))
    return expand32(hpke, expand32(hpke, secret, b'exp', context), b'sec', b'vault/2 manifest')
def open_part(part, ikm, salt, info, aad, check):
    both = hkdf(ikm, salt, info, 64)
    need(hmac.compare_digest(both[32:], part[4:36]), 'a manifest has another commitment')
    _, plain = parse_payload(gcm_open(both[:32], bytes(12), aad, part[36:]), small=True)
    end = 4 + u32(plain)
    need(4 <= len(plain) and end <= min(len(plain), 4 + 128 * KIB), 'a manifest has a head that does not fit')
    known = lambda head: head.get('kind') in ('file', 'folder') or not is_text(0, 64 * KIB)(head.get('kind'))
    return parse(plain[4:end], 128 * KIB, check, 'a manifest', known), plain[end:]
def entries(data, size):
    need(len(data) % size == 0 and len(data) <= TABLE_ENTRIES * size, 'a table has a wrong size')
    return [data[at:at + size] for at in range(0, len(data), size)]
def parse_refs(data):
    """Entries t, h, length."""
    refs = [(entry[:32], entry[32:64], u32(entry, 64)) for entry in entries(data, REF)]
    need(all(1 <= length <= MAX_CHUNK for *_, length in refs), 'a table lists an impossible length')
    return refs
def count_below(refs, entry):
    """Entries in table chunks, by their lengths alone."""
    need(all(length % entry == 0 and length <= TABLE_ENTRIES * entry for *_, length in refs), 'a table chunk has a wrong length')
    return sum(length // entry for *_, length in refs)
class Stream:
    """A content or an index: bytes in chunks, or inline."""
    def __init__(self, head, step, binary):
        self.size, self.depth, self.step, inline = head['size'], head['depth'], step, head['inline']
        self.inline, self.refs = (binary, []) if inline else (None, parse_refs(binary))
        need(head['digest'] == (sha256(binary).hex() if inline else None), 'it has another digest')
        need(not inline or self.depth == 0 and self.size == len(binary) <= 64 * KIB, 'its inline content has a wrong size')
        need(head['entries'] == len(self.refs) and (inline or self.refs), 'its table has another number of entries')
        self.count = len(self.refs if inline or self.depth else list(self.checked(self.refs)))
        if self.depth:
            self.count = count_below(self.refs, REF)
            need(self.depth > 1 or self.can_be(self.count), 'its table has another number of entries')
    def can_be(self, count):
        return 0 < -(-self.size // (self.step or MAX_CUT)) <= count <= (-(-self.size // self.step) if self.step else self.size)
    def checked(self, refs, count=None):
        """Entries of depth 0, as long as they make up the content."""
        left, number = self.size, 0
        for number, ref in enumerate(refs, 1):
            fits = ref[2] == min(left, self.step) if self.step else ref[2] <= min(left, MAX_CUT)
            need(left > 0 and fits, 'a table does not make up the content')
            left -= ref[2]
            yield ref
        need(left == 0 and count in (None, number), 'a table does not make up the content')
    def listed(self):
        size = lambda length: length + 5 if self.depth == 0 and length == self.step else padded(length)
        return [expand(t, b'vault/2 chunk', 32) + size(length).to_bytes(4, 'big') for t, _, length in self.refs]
class Manifest:
    def __init__(self, data, digest, keys, sessions):
        need(sha256(data).hex() == digest, 'a manifest does not have its hash')
        need(not re.fullmatch(rb'vlt[013-9]mnfs', data[:8]), 'it is of another version', Unsupported)
        need(data[:8] == b'vlt2mnfs' and 708 <= len(data) <= 64 * MIB and u32(data, 8) > 0, 'no manifest')
        need(u32(data, 8) == keys.number, 'it is sealed under another root', Unsupported)
        middle = 128 + u32(data, 92)
        part, self.content_part, writer, enc, self.salt = data[92:middle], data[middle:], data[12:28], data[28:60], data[60:92]
        need(min(len(part), len(self.content_part)) >= 308, 'it has a part that is too short')
        need(len(self.content_part) == 36 + u32(self.content_part), 'it has parts that do not fit')
        if (writer, enc) not in sessions:
            sessions[writer, enc] = session_secret(keys, writer, enc)
        aad = data[:92] + sha256(self.content_part)
        head, ids = open_part(part, sessions[writer, enc], self.salt, b'vault/2 vault part', aad, VAULT_HEAD)
        self.hash, self.vault, self.head, chunks, depth = digest, keys.vault, head, head['chunks'] + head.get('indexChunks', 0), head['idsDepth']
        self.ids = entries(ids, REF if depth else ID)
        below = count_below(parse_refs(ids), REF if depth > 1 else ID) if depth else len(self.ids)
        fits = len(self.ids) <= TOP_ENTRIES and (depth > 1 or below >= chunks) and bool(self.ids) == bool(chunks)
        need(fits and (chunks or not depth), 'its table of ids has another number of entries')
        need(depth or all(256 <= u32(one, 32) <= MAX_PAYLOAD for one in self.ids), 'its table of ids has an impossible length')
        unknown = {head['size'] is None, head.get('entries', head['size']) is None}
        need(unknown == {'lock' in head['key']}, 'it has a lock or a size too many')
        if 'content' in head['key']:
            self.open_content(bytes.fromhex(head['key']['content']))
    def unlock(self, password):
        key = unwrap(self.head['key']['lock'], password, f'vault/2 lock\n{self.vault}'.encode())
        self.open_content(key or need(False, "this is not the password of the file's lock"))
    def open_content(self, key):
        info = b'vault/2 content part'
        head, binary = open_part(self.content_part, key, self.salt, info, info, CONTENT_HEAD)
        said, self.size, self.entries = self.head, head['size'], head['entries']
        if head['kind'] == 'file':
            self.streams = [(said['chunks'], Stream(head, head['chunkSize'], binary))]
        else:
            end = head['content']['size'] if head['content']['inline'] else REF * head['content']['entries']
            both = Stream(head['content'], None, binary[:end]), Stream(head['index'], None, binary[end:])
            self.streams = list(zip((said['chunks'], said.get('indexChunks')), both))
            need(both[0].size <= self.size and 8 <= both[1].size / self.entries <= 192 * KIB, 'its sizes cannot be')
            need(said.get('entries') in (None, self.entries) and said.get('incomplete') is head['incomplete'], 'its parts differ')
        need(said['kind'] == head['kind'] and said['size'] in (None, self.size), 'its parts differ')
        need(said['chunkSize'] == self.streams[0][1].step, 'its parts differ')
        for count, stream in self.streams:
            need(stream.can_be(count) if stream.depth > 1 else count == stream.count, 'its parts differ')
        if said['idsDepth'] == 0:
            self.compare(sum(count for count, _ in self.streams))
    def compare(self, chunks):
        """The ids of contents come first, those of the table chunks that are listed here last."""
        tops = sum(len(stream.refs) for _, stream in self.streams if stream.depth)
        need(len(self.ids) >= chunks + tops if tops else len(self.ids) == chunks, 'its parts differ')
        at, top = 0, len(self.ids) - tops
        for count, stream in self.streams:
            start = top if stream.depth else at
            need(self.ids[start:start + len(stream.refs)] == stream.listed(), 'its parts differ')
            at, top = at + count, top + (len(stream.refs) if stream.depth else 0)

# --- a vault (15) -----------------------------------------------------------------------------------
class Vault:
    def __init__(self, folders, password):
        self.folders, self.shards, vaults, keyrings = folders, {}, set(), []
        for folder in folders:
            with warning(folder):  # what it holds proves itself
                vaults.add(parse_marker(self.read(folder, 'vault.json', 64 * KIB))['vault'])
            epochs = sorted(name for name in self.names(folder, 'keyring') if re.fullmatch('[0-9]{10}', name, re.A))
            keyrings += [(self.read(folder, f'keyring/{name}', MIB), int(name)) for name in epochs[-4:]]
            for name in self.names(folder, 'chunks'):
                if named := parse_shard_name(name):
                    self.shards.setdefault(named[0], []).append((folder, f'chunks/{name}', named))
        vaults = vaults or {parse_keyring(*one)[0]['vault'] for one in keyrings}
        need(len(vaults) == 1, 'these are no buckets, or buckets of different vaults')
        self.keys = unlock(keyrings, password, vaults.pop())
    def names(self, folder, below):
        return os.listdir(f'{folder}/{below}') if os.path.isdir(f'{folder}/{below}') else []
    def read(self, folder, name, most):
        with contextlib.suppress(OSError), open(f'{folder}/{name}', 'rb') as file:
            return file.read(most + 1)  # of what is too large, enough to see that
        return b''  # it cannot be had
    def files(self, deleted):
        """The manifests of all files, the newest version of a name before its others."""
        found, sessions = [], {}
        for digest in {name for folder in self.folders for name in self.names(folder, 'manifests') if is_hex(32)(name)}:
            copies = (self.read(folder, f'manifests/{digest}', 64 * MIB) for folder in self.folders)
            with warning(f'manifest {digest}'):
                if deleted or not self.is_deleted(digest):
                    intact = next((data for data in copies if sha256(data).hex() == digest), b'')
                    found.append(Manifest(intact, digest, self.keys, sessions))
        return sorted(found, key=lambda file: (file.head['version'], file.head['created'], file.hash), reverse=True)
    def is_deleted(self, digest):
        last = (0, False)
        for data in filter(None, [self.read(folder, f'deleted/{digest}', 64 * KIB) for folder in self.folders]):
            with warning(f'deleted/{digest}', passing=Unsupported):
                record = parse_deletion(data, self.keys, digest)
                last = max(last, (record['serial'], not record['live']))
        return last[1]
    def content(self, file, which=0):  # its runs of bytes, each of them checked; of a folder's index with 1
        count, stream = file.streams[which]
        below = self.below(stream.refs, stream.depth)
        return map(self.chunk, stream.checked(below, count)) if stream.inline is None else [stream.inline]
    def entries(self, file):
        need(file.head['kind'] == 'folder', 'it is a file, and has no entries')
        return folder.parse_index(self.content(file, 1), file.entries, file.size, file.streams[0][1].size)
    def below(self, refs, depth):
        for ref in refs:
            yield from self.below(parse_refs(self.chunk(ref)), depth - 1) if depth and count_below([ref], REF) else [ref]
    @functools.lru_cache(maxsize=4)  # runs of equal chunks are common
    def chunk(self, ref):
        """A chunk's body, from any k shards that give it."""
        (t, h, length), sets = ref, {}
        chunk_id = (keys := expand(t, b'vault/2 chunk', 96))[:32].hex()
        for folder, name, named in self.shards.get(chunk_id, []):
            with warning(f'{folder}/{name}'):
                data = self.read(folder, name, padded(length) + 48)
                sets.setdefault(parse_shard(data, named), []).append((named[2], data))
        for (k, _, size, nonce), shards in sorted(sets.items(), key=lambda one: -len(one[1])):
            for picked in itertools.islice(self.choices(shards, k, chunk_id), 2001):
                with warning(f'chunk {chunk_id} from shards {sorted(picked)}'):
                    need(len(picked) == k, 'they are too few')
                    sealed = join_data(picked, k)[:size]
                    body = unpack(gcm_open(keys[32:64], nonce, b'vault/2 chunk', sealed), length)
                    need(len(body) == length and sha256(body) == h, 'it is not the one that was stored')
                    return body
        raise Rejected(f'the chunk {chunk_id} is lost')
    def choices(self, shards, k, chunk_id):
        """Choices of k shards with different indices: first of all, then of those whose checksum is right."""
        yield {index: data[32:] for index, data in sorted(dict(shards).items())[:k]}
        for picked in itertools.combinations([one for one in shards if is_intact(one[1], chunk_id)], k):
            yield {index: data[32:] for index, data in picked}
secret = lambda path: re.sub(r'\r?\n\Z', '', open(path, encoding='utf-8', newline='').read())
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--password-file', required=True)
    parser.add_argument('--lock-password-file', help="of a locked file's own password")
    parser.add_argument('--deleted', action='store_true', help='removed files, too')
    parser.add_argument('--version', type=int, help='of a name; the newest unless given')
    parser.add_argument('verb', choices=['ls', 'get', 'entries'])
    parser.add_argument('rest', nargs='+', metavar='[HASH|NAME] BUCKET...')
    args = parser.parse_args()
    wanted = args.rest.pop(0) if args.verb != 'ls' else None
    vault = Vault(args.rest, secret(args.password_file))
    files = vault.files(args.deleted)
    if args.verb == 'ls':
        return [print(json.dumps({'hash': file.hash, **file.head, 'key': [*file.head['key']][0]})) for file in files]
    named = [file for file in files if file.head['name'] == wanted and args.version in (None, file.head['version'])]
    file = next(iter([file for file in files if file.hash == wanted] + named), None) or need(False, 'there is no such file')
    if 'lock' in file.head['key']:
        file.unlock(secret(args.lock_password_file or need(False, 'the file is locked: give --lock-password-file')))
    if args.verb == 'entries':
        shown = lambda value: value.decode('utf-8', 'backslashreplace') if type(value) is bytes else value
        for entry in vault.entries(file):
            attributes = {shown(name): value.hex() for name, value in entry.pop('attributes').items()}
            print(json.dumps({**{name: shown(value) for name, value in entry.items()}, 'attributes': attributes}))
    elif file.head['kind'] == 'folder':
        folder.write_tar(sys.stdout.buffer, vault.entries(file), vault.content(file))
    else:
        sys.stdout.buffer.writelines(vault.content(file))

if __name__ == '__main__':
    try:
        main()
    except ERRORS as error:
        sys.exit(f'decoder: {error}')
