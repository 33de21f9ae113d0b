"""Notation, chunks, shards and erasure coding (FORMAT.md, 2, 9 and 10), for decoder.py."""
import contextlib, ctypes.util, functools, hashlib, hmac, itertools, re, sys
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

KIB, MIB, MOST = 2**10, 2**20, 2**53 - 1
MAX_CHUNK, MAX_CUT, MAX_PAYLOAD, TOP_ENTRIES, TABLE_ENTRIES, REF, ID = 64 * MIB, 4 * MIB, 66 * MIB, 2048, 4096, 68, 36

class Rejected(Exception): """Damaged: the bytes are not what a writer of this vault made."""
class Unsupported(Rejected): """They are of another version."""
def need(condition, what, kind=Rejected):
    if not condition:
        raise kind(what)
ERRORS = (Rejected, InvalidTag, ValueError, RecursionError)
@contextlib.contextmanager
def warning(what, passing=()):  # goes on without what is rejected
    try:
        yield
    except passing:
        raise
    except ERRORS as error:
        print(f'decoder: {what}: {str(error) or "it does not open"}', file=sys.stderr)

# --- notation (2) -----------------------------------------------------------------------------------
u32 = lambda data, at=0: int.from_bytes(data[at:at + 4], 'big')
sha256 = lambda data: hashlib.sha256(data).digest()
mac = lambda key, data: hmac.new(key, data, hashlib.sha256).digest()
hkdf = lambda ikm, salt, info, size: expand(mac(salt, ikm), info, size)
expand = lambda prk, info, size: HKDFExpand(SHA256(), size, info).derive(prk)
gcm_open = lambda key, nonce, aad, sealed: AESGCM(key).decrypt(nonce, sealed, aad)

# --- chunks (9) -------------------------------------------------------------------------------------
def padded(stored):
    log = (stored + 5).bit_length() - 1
    step = 2 ** max(0, log - log.bit_length())
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
    if codec == 0:
        return stored
    need(check_frame(stored, length) and len(payload) <= padded(length), 'a frame is not alone, or larger than its body')
    zstd, body = ctypes.CDLL(ctypes.util.find_library('zstd') or 'libzstd.so.1'), ctypes.create_string_buffer(length + 1)
    zstd.ZSTD_decompress.restype = ctypes.c_size_t
    size = zstd.ZSTD_decompress(body, ctypes.c_size_t(length + 1), stored, ctypes.c_size_t(len(stored)))
    need(size <= length, 'a frame is damaged, or larger than its body')  # errors are numbers above all sizes
    return body.raw[:size]
def check_frame(frame, length):
    """One zstd frame and nothing else (RFC 8878, 3.1.1), that asks for no more than its body does."""
    need(len(frame) >= 6 and frame[:4] == bytes.fromhex('28b52ffd') and not frame[4] & 0x0b, 'no zstd frame, or not alone')
    single, flag = frame[4] >> 5 & 1, frame[4] >> 6
    size, at, window = (2 ** flag if flag else single), 6 - single, (8 + (frame[5] & 7)) << (7 + (frame[5] >> 3))
    stated = int.from_bytes(frame[at:at + size], 'little') + (256 if size == 2 else 0)
    need(size == 0 or stated == length, 'a frame has another content size')
    need(single or window <= max(8 * MIB, length), 'a frame has too large a window')
    at, last = at + size, False
    while not last:
        need(at + 3 <= len(frame), 'a frame is cut short')
        header = int.from_bytes(frame[at:at + 3], 'little')
        last, at = header & 1, at + 3 + (1 if header >> 1 & 3 == 1 else header >> 3)
    return at + (frame[4] & 4) == len(frame)

# --- shards and erasure coding (10) -----------------------------------------------------------------
SHARD_NAME = re.compile(r'([0-9a-f]{64})\.([0-9a-f]{8})\.(0|[1-9][0-9]?)of([1-9][0-9]?)\+(0|[1-9][0-9]?)\.[0-9a-f]{16}', re.A)
def parse_shard_name(name):
    match = SHARD_NAME.fullmatch(name)
    index, k, m = map(int, match.group(3, 4, 5)) if match else (0, 0, 0)
    return (match[1], match[2], index, k, m) if index < k + m <= 16 else None
def parse_shard(data, named):
    """The set that a shard belongs to. Its checksum is for later."""
    need(not re.fullmatch(rb'vlt[013-9]shrd', data[:8]), 'a shard of another version', Unsupported)
    (_, sealing, index, k, m), size, nonce = named, u32(data, 12), data[16:28]
    need(data[:12] == b'vlt2shrd' + bytes([k, m, index, 0]), 'a shard is not what its name says')
    need(21 <= size <= MAX_PAYLOAD + 16 and len(data) == 32 + -(-size // k), 'a shard has a wrong size')
    need(sha256(nonce + data[12:16]).hex()[:8] == sealing, 'a shard is not of the sealing in its name')
    return k, m, size, nonce
CRC = [functools.reduce(lambda crc, _: crc >> 1 ^ (0x82F63B78 if crc & 1 else 0), range(8), byte) for byte in range(256)]
def is_intact(data, chunk_id):
    crc = 0xFFFFFFFF
    for byte in itertools.chain(bytes.fromhex(chunk_id), data[:28], data[32:]):
        crc = crc >> 8 ^ CRC[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF == u32(data, 28)
EXP = list(itertools.accumulate(range(254), lambda power, _: power << 1 ^ (0x11D if power & 0x80 else 0), initial=1))
LOG = {power: log for log, power in enumerate(EXP)}
times = lambda a, b: EXP[(LOG[a] + LOG[b]) % 255] if a and b else 0
def join_data(shards, k):
    """The data shards, joined, from k shards by index."""
    out, size = [], len(next(iter(shards.values())))
    for wanted in range(k):
        total = int.from_bytes(shards.get(wanted, b''), 'big')
        for index, shard in shards.items() if wanted not in shards else ():
            factor = 1
            for other in shards.keys() - {index}:
                factor = times(factor, times(wanted ^ other, EXP[-LOG[index ^ other] % 255]))
            total ^= int.from_bytes(shard.translate(bytes(times(factor, value) for value in range(256))), 'big')
        out.append(total.to_bytes(size, 'big'))
    return b''.join(out)
