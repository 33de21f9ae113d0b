#!/usr/bin/env python3
"""Reads a vault from folders, by FORMAT.md alone; it shares no code with the program that wrote the vault.

    decoder.py --password-file FILE ls BUCKET...
    decoder.py --password-file FILE get HASH|NAME BUCKET... > file

A bucket is a folder; a cloud bucket is copied into one first. Any m buckets may be missing, shards may be damaged or wrong.
Needs Python 3.9, cryptography and argon2-cffi; for compressed chunks the zstd library (libzstd) that systems have.
What a stored folder holds is read with decoder_folder.py, which goes on from here and is called the same way.
"""
import argparse, contextlib, ctypes.util, functools, hashlib, hmac, itertools, json, os, re, sys, unicodedata
from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

KIB, MIB, MOST, RAW = 2**10, 2**20, 2**53 - 1, serialization.Encoding.Raw
MAX_CHUNK, MAX_CUT, MAX_PAYLOAD, TOP_ENTRIES, TABLE_ENTRIES, REF, ID = 64 * MIB, 4 * MIB, 66 * MIB, 2048, 4096, 68, 36
class Rejected(Exception): """Damaged: the bytes are not what a writer of this vault made."""
class Unsupported(Rejected): """They are of another version."""
def need(condition, what, kind=Rejected):
    if not condition: raise kind(what)
ERRORS = (Rejected, InvalidTag, ValueError, RecursionError)
@contextlib.contextmanager
def warning(what, passing=()):  # goes on without what is rejected
    try: yield
    except passing: raise
    except ERRORS as error: print(f'decoder: {what}: {str(error) or "it does not open"}', file=sys.stderr)
# --- notation (2) -----------------------------------------------------------------------------------
u32 = lambda data, at=0: int.from_bytes(data[at:at + 4], 'big')
sha256 = lambda data: hashlib.sha256(data).digest()
mac = lambda key, data: hmac.new(key, data, hashlib.sha256).digest()
hkdf = lambda ikm, salt, info, size: expand(mac(salt, ikm), info, size)
expand = lambda prk, info, size: HKDFExpand(hashes.SHA256(), size, info).derive(prk)
lines = lambda *texts: '\n'.join(map(str, texts)).encode()
gcm_open = lambda key, nonce, aad, sealed: AESGCM(key).decrypt(nonce, sealed, aad)
# --- chunks (9) -------------------------------------------------------------------------------------
def padded(stored):
    step = 2 ** max(0, (log := (stored + 5).bit_length() - 1) - log.bit_length())
    return max(256, -(-(stored + 5) // step) * step)
def parse_payload(payload, small=False):
    need(5 <= len(payload) <= MAX_PAYLOAD, 'a payload has an impossible size')
    codec, stored = payload[-5], u32(payload[-4:])
    need(codec <= 1, f'a payload has codec {codec}', Unsupported)
    exact = codec == 0 and stored + 5 == len(payload) and not small
    need(stored + 5 <= len(payload) and (exact or len(payload) == padded(stored)), 'a payload has a wrong size')
    need(not any(payload[stored:-5]) and not (codec and small), 'a payload has wrong padding, or may not be compressed')
    return codec, payload[:stored]
def unpack(payload, length):
    codec, stored = parse_payload(payload)
    if codec == 0: return stored
    need(len(payload) <= padded(length), 'a frame is larger than its body')
    zstd, body = ctypes.CDLL(ctypes.util.find_library('zstd') or 'libzstd.so.1'), ctypes.create_string_buffer(length + 1)
    zstd.ZSTD_findFrameCompressedSize.restype = zstd.ZSTD_decompress.restype = ctypes.c_size_t
    zstd.ZSTD_getFrameContentSize.restype = ctypes.c_ulonglong
    frame = stored, ctypes.c_size_t(len(stored))
    # One zstd frame and nothing else (RFC 8878, 3.1.1), that asks for no dictionary, and no more memory than its body does.
    need(len(stored) >= 6 and stored[:4] == bytes.fromhex('28b52ffd') and not stored[4] & 0x0b, 'no zstd frame')
    window = 0 if stored[4] & 0x20 else (8 + (stored[5] & 7)) << (7 + (stored[5] >> 3))
    need(window <= max(8 * MIB, length), 'a frame has too large a window')
    need(zstd.ZSTD_getFrameContentSize(*frame) in (length, 2**64 - 1), 'a frame has another content size')
    need(zstd.ZSTD_findFrameCompressedSize(*frame) == len(stored), 'a frame is cut short, or not alone')
    size = zstd.ZSTD_decompress(body, ctypes.c_size_t(length + 1), *frame)
    need(size <= length, 'a frame is damaged, or larger than its body')  # errors are numbers above all sizes
    return body.raw[:size]
# --- shards and erasure coding (10) -----------------------------------------------------------------
SHARD_NAME = re.compile(r'([0-9a-f]{64})\.([0-9a-f]{8})\.(0|[1-9][0-9]?)of([1-9][0-9]?)\+(0|[1-9][0-9]?)\.[0-9a-f]{16}', re.A)
def parse_shard_name(name):
    match = SHARD_NAME.fullmatch(name)
    index, k, m = map(int, match.group(3, 4, 5)) if match else (0, 0, 0)
    return (match[1], match[2], index, k, m) if index < k + m <= 16 else None
def parse_shard(data, named):  # the set that a shard belongs to; its checksum is for later
    need(not re.fullmatch(rb'vlt[013-9]shrd', data[:8]), 'a shard of another version', Unsupported)
    (_, sealing, index, k, m), size, nonce = named, u32(data, 12), data[16:28]
    need(data[:12] == b'vlt2shrd' + bytes([k, m, index, 0]), 'a shard is not what its name says')
    need(21 <= size <= MAX_PAYLOAD + 16 and len(data) == 32 + -(-size // k), 'a shard has a wrong size')
    need(sha256(nonce + data[12:16]).hex()[:8] == sealing, 'a shard is not of the sealing in its name')
    return k, m, size, nonce
CRC = [functools.reduce(lambda crc, _: crc >> 1 ^ (0x82F63B78 if crc & 1 else 0), range(8), byte) for byte in range(256)]
def is_intact(data, chunk_id):
    covered = bytes.fromhex(chunk_id) + data[:28] + data[32:]
    return functools.reduce(lambda crc, byte: crc >> 8 ^ CRC[(crc ^ byte) & 0xFF], covered, 2**32 - 1) ^ 2**32 - 1 == u32(data, 28)
EXP = list(itertools.accumulate(range(254), lambda power, _: power << 1 ^ (0x11D if power & 0x80 else 0), initial=1))
LOG = {power: log for log, power in enumerate(EXP)}
times = lambda a, b: EXP[(LOG[a] + LOG[b]) % 255] if a and b else 0
def join_data(shards, k):  # the data shards, joined, from k shards by index
    def one(wanted):
        total = 0
        for index, shard in shards.items() if wanted not in shards else ():
            steps = (times(wanted ^ other, EXP[-LOG[index ^ other] % 255]) for other in shards.keys() - {index})
            factor = functools.reduce(times, steps, 1)
            total ^= int.from_bytes(shard.translate(bytes(times(factor, value) for value in range(256))), 'big')
        return shards.get(wanted) or total.to_bytes(len(shard), 'big')
    return b''.join(map(one, range(k)))
# --- JSON (3) ---------------------------------------------------------------------------------------
def parse(data, most, check, what, known=lambda value: True):  # strict JSON; `known`: whether it is of a kind to be checked here
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
is_hex = lambda least, most=0: lambda v: is_text(2 * least, 2 * (most or least))(v) and bool(re.fullmatch('(?:[0-9a-f]{2})*', v))
among = lambda *choices: lambda v: any(type(v) is type(c) and v == c for c in choices)
or_null = lambda check: lambda v: v is None or check(v)
many = lambda least, most, check: lambda v: type(v) is list and least <= len(v) <= most and all(map(check, v))
fields = lambda **all_of: lambda v: type(v) is dict and v.keys() == all_of.keys() and all(all_of[k](v[k]) for k in v)
is_text = lambda least, most: lambda v: type(v) is str and least <= len(v.encode('utf-8', 'replace')) <= most
is_name = lambda v: is_text(1, 16 * KIB)(v) and '\0' not in v
is_redundancy = among(*(f'{k}+{m}' for k in range(1, 17) for m in range(17 - k)))
is_file_time = lambda v: many(2, 2, SECONDS)(v) and 0 <= v[1] <= 999999999
COSTS = fields(memory=integer(8 * KIB, MIB), passes=integer(1, 16), lanes=integer(1, 16), salt=is_hex(32))
is_kdf = lambda v: COSTS(v) and v['memory'] * v['passes'] <= 4 * MIB
SECONDS, TIME = integer(-864 * 10**10, 864 * 10**10), integer(-864 * 10**13, 864 * 10**13)
CHUNK_SIZE, REQUIRES = integer(64 * KIB, MAX_CHUNK), many(1, 64, is_text(0, 64 * KIB))
FORMAT, FLAG, EPOCH, COUNT, ROOT = among('vault/2'), among(True, False), integer(1, 10**10 - 1), integer(0, MOST), integer(1, 64)
WRITER = dict(writer=is_hex(16), role=among('full', 'put'), label=is_hex(284, 2048))
STEP, FORMER = fields(key=is_hex(32), signature=is_hex(64), before=is_hex(48)), fields(**WRITER, root=ROOT, next=or_null(is_hex(16)))
SLOT = fields(**WRITER, created=TIME, by=is_hex(16), kdf=is_kdf, commitment=is_hex(32), wrapped=is_hex(17, 4096))
KEYRING = fields(
    format=FORMAT, vault=is_hex(16), epoch=EPOCH, previous=or_null(is_hex(32)), root=ROOT, roots=many(0, 63, STEP),
    requires=among([]), redundancy=is_redundancy, chunkSize=CHUNK_SIZE,
    compression=among('auto', 'off', *map(str, range(1, 20))), slots=many(1, 64, SLOT), former=many(0, 1024, FORMER),
    buckets=many(1, 1024, fields(id=is_hex(16), state=among('active', 'draining'), url=is_hex(284, 5120))))
DELETION = fields(format=FORMAT, vault=is_hex(16), deleted=is_hex(32), serial=integer(1, MOST), live=FLAG, at=TIME,
                  graceMs=integer(0, 36600 * 86400000))
HEAD = dict(
    format=FORMAT, kind=among('file', 'folder'), name=is_name, size=or_null(COUNT), created=TIME, modified=or_null(is_file_time),
    mode=or_null(integer(0, 0o7777)), expires=or_null(TIME), version=integer(1, MOST), epoch=EPOCH,
    redundancy=is_redundancy, chunkSize=or_null(CHUNK_SIZE), chunks=COUNT, idsDepth=integer(0, 3),
    key=lambda v: fields(content=is_hex(32))(v) or fields(lock=fields(kdf=is_kdf, commitment=is_hex(32), wrapped=is_hex(48)))(v))
STREAM = dict(size=COUNT, depth=integer(0, 3), entries=integer(0, TOP_ENTRIES), inline=FLAG, digest=or_null(is_hex(32)))
by_kind = lambda checks: lambda v: checks[v['kind']](v) if type(v) is dict and v.get('kind') in [*checks] else False
VAULT_HEADS = {'file': fields(**HEAD)}  # decoder_folder.py adds the other kind
CONTENT_HEADS = {'file': fields(format=FORMAT, kind=among('file'), chunkSize=or_null(CHUNK_SIZE), **STREAM)}
# --- keys (5), signed objects (6), keyring (7) and marker (8) ---------------------------------------
class Keys:
    def __init__(self, root, vault, number):
        self.root, self.vault, self.number, self.all, self.root_of = root, vault, number, {number: self}, {}
        self.read = x25519.X25519PrivateKey.from_private_bytes(self.derive('read'))
        self.read_public = self.read.public_key().public_bytes(RAW, serialization.PublicFormat.Raw)
        self.verification = ed25519.Ed25519PrivateKey.from_private_bytes(self.derive('sign')).public_key()
    derive = lambda self, purpose: hkdf(self.root, bytes.fromhex(self.vault), b'vault/2 ' + purpose.encode(), 32)
    def signed(self, kind, proof, steps=()):  # with the key of this root, or of the one that further steps lead to
        key = self.verification
        with contextlib.suppress(InvalidSignature):
            for number, step in enumerate(steps, self.number + 1):
                key.verify(bytes.fromhex(step['signature']), lines('vault/2 root', self.vault, number, step['key']))
                key = ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(step['key']))
            return key.verify(proof[1], b'vault/2 ' + kind + b'\n' + proof[0]) is None
    follows = lambda self, value, proof: value['root'] >= self.number and self.signed(b'keyring', proof, value['roots'][self.number - 1:])
    def counts(self, data, epoch, newest):  # whether an unsupported keyring is this vault's, and not earlier than that one
        with contextlib.suppress(*ERRORS):
            value = json.loads((proof := split_signed(data, MIB, 'a keyring'))[0])
            if not (ROOT(value.get('root')) and EPOCH(value.get('epoch')) and many(value['root'] - 1, value['root'] - 1, STEP)(value.get('roots'))):
                return self.signed(b'keyring', proof)
            later = (value['root'], value['epoch']) >= (newest['root'], newest['epoch'])
            return later and value['epoch'] == epoch and self.follows(value, proof)
    def with_earlier(self, keyring):  # by number, the keys of the roots before, and whose keys follow from those
        self.root_of = {one['writer']: one['root'] for one in keyring['former']}
        for number in range(self.number, 1, -1):
            key, sealed = self.all[number].derive('former root'), bytes.fromhex(keyring['roots'][number - 2]['before'])
            self.all[number - 1] = Keys(gcm_open(key, bytes(12), lines('vault/2 root', self.vault, number), sealed), self.vault, number - 1)
        return self
def unwrap(stanza, password, aad):  # None if the password is another
    kdf, text = stanza['kdf'], unicodedata.normalize('NFC', password).encode()
    both = hash_secret_raw(text, bytes.fromhex(kdf['salt']), kdf['passes'], kdf['memory'], kdf['lanes'], 64, Type.ID, 19)
    if hmac.compare_digest(both[32:], bytes.fromhex(stanza['commitment'])):
        return gcm_open(both[:32], bytes(12), aad, bytes.fromhex(stanza['wrapped']))
def split_signed(data, most, what):  # the proof that `Keys.signed` takes: the JSON of a signed object, and its signature
    match = re.fullmatch(rb'\n([0-9a-f]{128})\n', data[-130:])
    need(len(data) <= most and match, f'{what} is too large or does not end with a signature')
    return data[:-130], bytes.fromhex(match[1].decode())
def parse_keyring(data, epoch):
    proof = split_signed(data, MIB, 'a keyring')
    value = parse(proof[0], MIB, KEYRING, 'a keyring', lambda value: not REQUIRES(value.get('requires')))
    buckets, writers = [one['id'] for one in value['buckets']], [one['writer'] for one in value['slots'] + value['former']]
    need(value['epoch'] == epoch and (value['previous'] is None) == (epoch == 1), 'a keyring is not what its name says')
    need(all(len({*ids}) == len(ids) for ids in (writers, buckets)), 'a keyring names something twice')
    fits = len(value['roots']) == value['root'] - 1 and 'full' in [slot['role'] for slot in value['slots']]
    return (value, proof) if fits else need(False, 'a keyring lacks a step to its root or a full slot')
parse_marker = lambda data: parse(data, 64 * KIB, fields(format=FORMAT, vault=is_hex(16), bucket=is_hex(16)), 'vault.json')
def parse_deletion(data, keys, digest):  # and the number of the root that has signed it
    proof = split_signed(data, 64 * KIB, 'a deletion record')
    roots = [number for number, its_keys in keys.all.items() if its_keys.signed(b'deleted', proof)]
    need(roots, 'a deletion record is not signed by this vault')  # before anything that it says
    value = parse(proof[0], 64 * KIB, DELETION, 'a deletion record')
    return (value, roots[0]) if (value['vault'], value['deleted']) == (keys.vault, digest) else need(False, 'it is of another file')
def unlock(objects, password, vault):  # the keys, by the keyring that counts, of the bytes and epoch of all in all buckets
    keyrings, newer, work = [], [], 0
    for one in set(objects):
        with warning('a keyring'):
            try: keyrings.append((objects.count(one), *parse_keyring(*one)))
            except Unsupported: newer.append(one); raise
    slots = {f'{ring["root"]} {slot}': (-votes, slot['kdf']['memory'] * slot['kdf']['passes'], ring, slot)
             for votes, ring, _ in sorted(keyrings, key=lambda one: one[0]) if ring['vault'] == vault for slot in ring['slots']}
    for _, cost, keyring, slot in sorted(slots.values(), key=lambda one: one[:2]):
        need((work := work + cost) <= 64 * MIB, 'the keyslots ask for too much work: a bucket shows false ones')
        aad = lines('vault/2 keyslot', vault, slot['writer'], slot['role'], keyring['root'])
        with warning('a keyslot', passing=Unsupported):
            if (wrapped := unwrap(slot, password, aad)) is None: continue
            need(slot['role'] == 'full', 'the password can only store files')
            secret = parse(wrapped, 64 * KIB, fields(root=is_hex(32)), 'what it wraps')['root']
            keys = Keys(bytes.fromhex(secret), vault, keyring['root'])
            signed = [ring for _, ring, proof in keyrings if keys.follows(ring, proof)]
            newest = max(signed, key=lambda ring: (ring['root'], ring['epoch']), default={'slots': []})
            need(slot in newest['slots'], 'its keyring has been replaced, or is unsigned')
            need(not any(keys.counts(*one, newest) for one in newer), 'a newer version has changed the keyring', Unsupported)
            return keys.with_earlier(newest)
    raise Rejected('the password opens no keyslot of the newest keyring')
# --- manifests (11) and tables (12) -----------------------------------------------------------------
def session_secret(keys, writer, enc):
    extract = lambda suite, salt, label, ikm: mac(salt, b'HPKE-v1' + suite + label + ikm)
    expand32 = lambda suite, prk, label, info: expand(prk, b'\x00\x20HPKE-v1' + suite + label + info, 32)
    kem, hpke = b'KEM\x00\x20', b'HPKE\x00\x20\x00\x01\xff\xff'
    dh = keys.read.exchange(x25519.X25519PublicKey.from_public_bytes(enc))  # refuses a secret of zeros
    shared = expand32(kem, extract(kem, b'', b'eae_prk', dh), b'shared_secret', enc + keys.read_public)
    info = extract(hpke, b'', b'info_hash', lines('vault/2 manifest', keys.vault))
    context = b'\x01' + extract(hpke, b'', b'psk_id_hash', writer) + info
    secret = extract(hpke, shared, b'secret', keys.derive(f'writer {writer.hex()} psk'))
    return expand32(hpke, expand32(hpke, secret, b'exp', context), b'sec', b'vault/2 manifest')
def open_part(part, ikm, salt, info, aad, check):
    both = hkdf(ikm, salt, info, 64)
    need(hmac.compare_digest(both[32:], part[4:36]), 'a manifest has another commitment')
    _, plain = parse_payload(gcm_open(both[:32], bytes(12), aad, part[36:]), small=True)
    end = 4 + u32(plain)
    need(4 <= len(plain) and end <= min(len(plain), 4 + 128 * KIB), 'a manifest has a head that does not fit')
    elsewhere = lambda kind: need(kind != 'folder', 'it is of a folder: use decoder_folder.py', Unsupported)
    known = lambda head: (kind := head.get('kind')) in [*VAULT_HEADS] or elsewhere(kind) or not is_text(0, 64 * KIB)(kind)
    return parse(plain[4:end], 128 * KIB, check, 'a manifest', known), plain[end:]
def entries(data, size):
    need(len(data) % size == 0 and len(data) <= TABLE_ENTRIES * size, 'a table has a wrong size')
    return [data[at:at + size] for at in range(0, len(data), size)]
def parse_refs(data):  # entries t, h, length
    refs = [(entry[:32], entry[32:64], u32(entry, 64)) for entry in entries(data, REF)]
    need(all(1 <= length <= MAX_CHUNK for *_, length in refs), 'a table lists an impossible length')
    return refs
def count_below(refs, entry):  # entries in table chunks, by their lengths alone
    need(all(length % entry == 0 and length <= TABLE_ENTRIES * entry for *_, length in refs), 'a table chunk has a wrong length')
    return sum(length // entry for *_, length in refs)
class Stream:  # a content or an index: bytes in chunks, or inline
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
    can_be = lambda self, count: 0 < -(-self.size // (self.step or MAX_CUT)) <= count <= (-(-self.size // self.step) if self.step else self.size)
    def checked(self, refs, count=None):  # entries of depth 0, as long as they make up the content
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
STREAMS = {'file': lambda said, head, binary: [(said['chunks'], Stream(head, head['chunkSize'], binary))]}
class Manifest:
    def __init__(self, data, digest, keys, sessions):
        need(sha256(data).hex() == digest, 'a manifest does not have its hash')
        need(not re.fullmatch(rb'vlt[013-9]mnfs', data[:8]), 'it is of another version', Unsupported)
        need(data[:8] == b'vlt2mnfs' and 708 <= len(data) <= 64 * MIB and u32(data, 8) > 0, 'no manifest')
        need((number := u32(data, 8)) in keys.all, 'it is sealed under a root that is not known', Unsupported)
        middle = 128 + u32(data, 92)
        part, self.content_part, writer, enc, self.salt = data[92:middle], data[middle:], data[12:28], data[28:60], data[60:92]
        need(min(len(part), len(self.content_part)) >= 308, 'it has a part that is too short')
        need(len(self.content_part) == 36 + u32(self.content_part), 'it has parts that do not fit')
        need(keys.root_of.get(writer.hex(), keys.number) == number, "it is sealed under another root than its writer's")
        if (writer, enc) not in sessions: sessions[writer, enc] = session_secret(keys.all[number], writer, enc)
        aad = data[:92] + sha256(self.content_part)
        head, ids = open_part(part, sessions[writer, enc], self.salt, b'vault/2 vault part', aad, by_kind(VAULT_HEADS))
        self.hash, self.vault, self.root, self.head, depth = digest, keys.vault, number, head, head['idsDepth']
        chunks = head['chunks'] + head.get('indexChunks', 0)
        self.ids = entries(ids, REF if depth else ID)
        below = count_below(parse_refs(ids), REF if depth > 1 else ID) if depth else len(self.ids)
        fits = len(self.ids) <= TOP_ENTRIES and (depth > 1 or below >= chunks) and bool(self.ids) == bool(chunks)
        need(fits and (chunks or not depth), 'its table of ids has another number of entries')
        need(depth or all(256 <= u32(one, 32) <= MAX_PAYLOAD for one in self.ids), 'its table of ids has an impossible length')
        unknown = {head['size'] is None, head.get('entries', head['size']) is None}
        need(unknown == {'lock' in head['key']}, 'it has a lock or a size too many')
        if 'content' in head['key']: self.open_content(bytes.fromhex(head['key']['content']))
    def unlock(self, password):
        key = unwrap(self.head['key']['lock'], password, lines('vault/2 lock', self.vault))
        self.open_content(key or need(False, "this is not the password of the file's lock"))
    def open_content(self, key):
        info, said = b'vault/2 content part', self.head
        head, binary = open_part(self.content_part, key, self.salt, info, info, by_kind(CONTENT_HEADS))
        need(said['kind'] == head['kind'] and said['size'] in (None, head['size']), 'its parts differ')
        self.size, self.entries, self.streams = head['size'], head.get('entries'), STREAMS[head['kind']](said, head, binary)
        need(said['chunkSize'] == self.streams[0][1].step, 'its parts differ')
        for count, stream in self.streams:
            need(stream.can_be(count) if stream.depth > 1 else count == stream.count, 'its parts differ')
        if said['idsDepth'] == 0: self.compare(sum(count for count, _ in self.streams))
    def compare(self, chunks):  # the ids of contents come first, those of the table chunks that are listed here last
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
            keyrings += [(self.read(folder, f'keyring/{name}', MIB), int(name)) for name in epochs[-48:] + epochs[:-48][:16]]
            for name in self.names(folder, 'chunks'):
                if named := parse_shard_name(name): self.shards.setdefault(named[0], []).append((folder, f'chunks/{name}', named))
        vaults = vaults or {parse_keyring(*one)[0]['vault'] for one in keyrings}
        need(len(vaults) == 1, 'these are no buckets, or buckets of different vaults')
        self.keys = unlock(keyrings, password, vaults.pop())
    names = lambda self, folder, below: os.listdir(f'{folder}/{below}') if os.path.isdir(f'{folder}/{below}') else []
    def read(self, folder, name, most):
        with contextlib.suppress(OSError), open(f'{folder}/{name}', 'rb') as file:
            return file.read(most + 1)  # of what is too large, enough to see that
        return b''  # it cannot be had
    def files(self, deleted):  # the manifests of all files, the newest version of a name before its others
        found, sessions = [], {}
        for digest in {name for folder in self.folders for name in self.names(folder, 'manifests') if is_hex(32)(name)}:
            with warning(f'manifest {digest}'):
                copies = (self.read(folder, f'manifests/{digest}', MIB) for folder in self.folders)
                intact = next((data for data in copies if sha256(data).hex() == digest), b'')
                if deleted or not self.is_deleted(digest, u32(intact, 8)): found.append(Manifest(intact, digest, self.keys, sessions))
        return sorted(found, key=lambda one: (one.root, one.head['version'], one.head['created'], one.hash), reverse=True)
    def is_deleted(self, digest, root):  # by records that this root has signed, or a later one
        last = (0, False)
        for data in filter(None, [self.read(folder, f'deleted/{digest}', 64 * KIB) for folder in self.folders]):
            with warning(f'deleted/{digest}', passing=Unsupported):
                record, by = parse_deletion(data, self.keys, digest)
                last = max(last, (record['serial'], not record['live'])) if by >= root else last
        return last[1]
    def content(self, file, which=0):  # its runs of bytes, each of them checked; of a folder's index with 1
        count, stream = file.streams[which]
        if stream.inline is not None: return [stream.inline]
        return map(self.chunk, stream.checked(self.below(stream.refs, stream.depth), count))
    def below(self, refs, depth):
        for ref in refs: yield from self.below(parse_refs(self.chunk(ref)), depth - 1) if depth and count_below([ref], REF) else [ref]
    @functools.lru_cache(maxsize=4)  # runs of equal chunks are common
    def chunk(self, ref):  # its body, from any k shards that give it
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
    def choices(self, shards, k, chunk_id):  # of k different shards: first of all, then of those whose checksum is right
        yield {index: data[32:] for index, data in sorted(dict(shards).items())[:k]}
        for picked in itertools.combinations([one for one in shards if is_intact(one[1], chunk_id)], k):
            yield {index: data[32:] for index, data in picked}
secret = lambda path: re.sub(r'\r?\n\Z', '', open(path, encoding='utf-8', newline='').read())
def opened(doc, verbs):  # the verb, the vault and its files, or the one that is asked for, by what the command line says
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--password-file', required=True)
    parser.add_argument('--lock-password-file', help="of a locked file's own password")
    parser.add_argument('--deleted', action='store_true', help='removed files, too')
    parser.add_argument('verb', choices=verbs)
    parser.add_argument('rest', nargs='+', metavar='[HASH|NAME] BUCKET...')
    args = parser.parse_args()
    wanted = args.rest.pop(0) if args.verb != 'ls' else None
    files = (vault := Vault(args.rest, secret(args.password_file))).files(args.deleted)
    if wanted is None: return args.verb, vault, files
    best = sorted(files, key=lambda file: file.hash != wanted)
    file = next((file for file in best if wanted in (file.hash, file.head['name'])), None) or need(False, 'there is no such file')
    if 'lock' in file.head['key']:
        file.unlock(secret(args.lock_password_file or need(False, 'the file is locked: give --lock-password-file')))
    return args.verb, vault, [file]
def answer(verb, vault, files):
    if verb == 'ls': return [print(json.dumps({'hash': file.hash, **file.head, 'key': [*file.head['key']][0]})) for file in files]
    sys.stdout.buffer.writelines(vault.content(files[0]))
def run(main):
    try: main()
    except ERRORS as error: sys.exit(f'decoder: {error}')

if __name__ == '__main__': run(lambda: answer(*opened(__doc__, ['ls', 'get'])))
