#!/usr/bin/env python3
"""Reads folders and files of a vault: what decoder.py reads, and the index of a folder (FORMAT.md, 13).

    decoder_folder.py --password-file FILE ls BUCKET...
    decoder_folder.py --password-file FILE get HASH|NAME BUCKET... > file       (of a folder: a tar archive of it)
    decoder_folder.py --password-file FILE entries HASH|NAME BUCKET...
"""
import io, json, os, sys, tarfile
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import decoder
from decoder import COUNT, FLAG, FORMAT, HEAD, KIB, MOST, REF, STREAM, Stream, among, fields, integer, or_null

KINDS = [None, 'file', 'folder', 'symlink', 'fifo', 'block-device', 'char-device']
MODE, OWNER, MODIFIED, ATTRIBUTES, EXTENTS, GAP, SECONDS = 1, 2, 4, 8, 16, 32, 864 * 10**10
def need(condition, what): decoder.need(condition, f'an entry of an index {what}')

# --- manifests of folders (11) ----------------------------------------------------------------------
decoder.VAULT_HEADS['folder'] = fields(
    **{**HEAD, 'chunkSize': among(None)}, indexChunks=COUNT, entries=or_null(integer(1, MOST)), incomplete=FLAG)
decoder.CONTENT_HEADS['folder'] = fields(
    format=FORMAT, kind=among('folder'), size=COUNT, entries=integer(1, MOST), incomplete=FLAG,
    content=fields(**STREAM), index=fields(**STREAM))
def streams(said, head, binary):
    """Of the content and of the index, with how many chunks each has."""
    end = head['content']['size'] if head['content']['inline'] else REF * head['content']['entries']
    content, index = Stream(head['content'], None, binary[:end]), Stream(head['index'], None, binary[end:])
    decoder.need(8 <= index.size / head['entries'] <= 192 * KIB, 'its sizes cannot be')
    decoder.need(said['entries'] in (None, head['entries']) and said['incomplete'] is head['incomplete'], 'its parts differ')
    return [(said['chunks'], content), (said['indexChunks'], index)]
decoder.STREAMS['folder'] = streams

# --- the index (13) ---------------------------------------------------------------------------------
class Cursor:
    def __init__(self, data):
        self.data, self.at = data, 4
    def take(self, size):
        self.at += size
        need(self.at <= len(self.data), 'is shorter than what it says')
        return self.data[self.at - size:self.at]
    def number(self, size, most=MOST):
        value = int.from_bytes(self.take(size), 'big')
        need(value <= most, 'has a number out of bounds')
        return value
    def counted(self, size, most=MOST):
        return self.take(self.number(size, most))
    def name(self):
        name = self.counted(1).decode()
        need('\0' not in name, 'has 00 in a name')
        return name or None

def parse_entry(data, groups):
    """An entry by itself; `groups` are the link groups so far."""
    cursor = Cursor(data)
    kind, has = cursor.number(1, 6), cursor.number(1, 63)
    need(kind and (kind == 1 or not has & (EXTENTS | GAP)), 'is of no kind, or has data and is no file')
    entry = {'path': cursor.counted(2), 'kind': KINDS[kind]}
    entry['mode'] = cursor.number(2, 0o7777) if has & MODE else None
    entry['owner'] = [cursor.number(4), cursor.number(4), cursor.name(), cursor.name()] if has & OWNER else None
    entry['modified'] = None
    if has & MODIFIED:
        seconds = int.from_bytes(cursor.take(8), 'big', signed=True)
        need(abs(seconds) <= SECONDS, 'has an impossible time')
        entry['modified'] = [seconds, cursor.number(4, 999999999)]
    if kind == 1:
        link = cursor.number(4)
        need(link <= groups + 1 and (link < 2 or not has & (EXTENTS | GAP)), 'is another path of no file')
        entry['group'] = None if link == 0 else groups + 1 if link == 1 else groups - link + 2
        if link < 2:
            entry['size'] = size = cursor.number(8)
            entry['gap'] = cursor.number(4) if has & GAP else 0
            entry['extents'] = parse_extents(cursor, size) if has & EXTENTS else [(0, size)]
            length = sum(length for _, length in entry['extents'])
            need(length and entry['gap'] or not has & GAP, 'has a gap before nothing')
    elif kind == 3:
        entry['target'] = cursor.counted(2)
        need(entry['target'] and 0 not in entry['target'], 'has an impossible target')
    elif kind > 4:
        entry['device'] = [cursor.number(4), cursor.number(4)]
    entry['attributes'] = parse_attributes(cursor) if has & ATTRIBUTES else {}
    need(cursor.at == len(data), 'is longer than what it says')
    return entry
def parse_extents(cursor, size):
    extents, end = [], -1
    for _ in range(cursor.number(2)):
        start, length = cursor.number(8), cursor.number(8)
        need(end < start and 0 < length <= size - start, 'has impossible extents')
        extents.append((start, length))
        end = start + length
    need(sum(length for _, length in extents) < size, 'has extents without a hole')
    return extents
def parse_attributes(cursor):
    attributes, last = {}, b''
    for _ in range(cursor.number(2)):
        name = cursor.counted(1)
        need(name > last and 0 not in name, 'has impossible attributes')
        attributes[name], last = cursor.counted(4, 65536), name
    need(attributes, 'has attributes, and none')
    return attributes

def parse_index(runs, entries, size, content_size):
    """Its entries, each held to those before it, and all to what the manifest says, in the memory of one entry."""
    rest, last, groups, seen = b'', None, 0, [0, 0, 0]
    for run in runs:
        data, at = rest + run, 0
        while len(data) - at >= 4:
            length = int.from_bytes(data[at:at + 4], 'big')
            need(8 <= length <= 192 * 1024, 'has an impossible length')
            if len(data) - at < length:
                break
            entry = parse_entry(data[at:at + length], groups)
            check_order(entry, last)
            last, at = entry, at + length
            if 'size' in entry:
                groups += entry['group'] is not None
                seen[1] += entry['size']
                seen[2] += entry['gap'] + sum(length for _, length in entry['extents'])
            seen[0] += 1
            need(max(seen[1:]) <= MOST, 'makes its folder too large')
            yield entry
        rest = data[at:]
    need(not rest and last and seen[:2] == [entries, size] and seen[2] <= content_size, 'is missing, or one too many')
def check_order(entry, last):
    path, is_folder = entry['path'], entry['kind'] == 'folder'
    if last is None:
        return need(path == b'' and is_folder, 'comes first, and is not the folder itself')
    need(not {b'', b'.', b'..'} & set(path.split(b'/')) and 0 not in path, 'has an impossible path')
    need(path.replace(b'/', b'\0') > last['path'].replace(b'/', b'\0'), 'is out of order')
    parent = path.rpartition(b'/')[0]
    inside = not parent or last['path'].startswith(parent + b'/')
    return need(inside if parent != last['path'] else last['kind'] == 'folder', 'lies in what is no folder')

class Runs(io.RawIOBase):
    """A file to read from, of runs of bytes."""
    def __init__(self, runs):
        self.runs, self.rest = iter(runs), b''
    def read(self, size=-1):
        while len(self.rest) < size and (run := next(self.runs, None)) is not None:
            self.rest += run
        out, self.rest = self.rest[:size], self.rest[size:]
        return out
def bytes_of(entry, content):
    """A file's bytes in runs, out of the content where it has come to what is before it."""
    at = 0
    for done in range(0, entry['gap'], 2**20):
        content.read(min(entry['gap'] - done, 2**20))
    for start, length in [*entry['extents'], (entry['size'], 0)]:
        for count, read in (start - at, bytes), (length, content.read):
            for done in range(0, count, 2**20):
                yield read(min(count - done, 2**20))
        at = start + length
def write_tar(target, entries, content):
    """All entries as a tar archive. Attributes are left out."""
    content, firsts = Runs(content), {}
    types = {'file': tarfile.REGTYPE, 'folder': tarfile.DIRTYPE, 'symlink': tarfile.SYMTYPE, 'fifo': tarfile.FIFOTYPE,
             'block-device': tarfile.BLKTYPE, 'char-device': tarfile.CHRTYPE}
    text = lambda data: data.decode('utf-8', 'surrogateescape')
    with tarfile.open(fileobj=target, mode='w|', format=tarfile.PAX_FORMAT, errors='surrogateescape') as tar:
        for entry in entries:
            info = tarfile.TarInfo(text(entry['path'] or b'.'))
            info.type, info.mode = types[entry['kind']], entry['mode'] or (0o755 if entry['kind'] == 'folder' else 0o644)
            info.uid, info.gid, user, group = entry['owner'] or (0, 0, None, None)
            info.uname, info.gname = user or '', group or ''
            seconds, nanoseconds = entry['modified'] or (0, 0)
            info.mtime = seconds + nanoseconds / 10**9
            info.linkname = text(entry.get('target', b''))
            info.devmajor, info.devminor = entry.get('device', (0, 0))
            info.size, data = entry.get('size', 0), None
            if 'size' in entry:
                firsts[entry['group']], data = entry['path'], Runs(bytes_of(entry, content))
            elif entry['kind'] == 'file':
                info.type, info.linkname = tarfile.LNKTYPE, text(firsts[entry['group']])
            tar.addfile(info, data)

def entries_of(vault, file):
    decoder.need(file.head['kind'] == 'folder', 'it is a file, and has no entries')
    return parse_index(vault.content(file, 1), file.entries, file.size, file.streams[0][1].size)
def main():
    verb, vault, files = decoder.opened(__doc__, ['ls', 'get', 'entries'])
    if verb == 'ls' or verb == 'get' and files[0].head['kind'] == 'file':
        return decoder.answer(verb, vault, files)
    if verb == 'get':
        return write_tar(sys.stdout.buffer, entries_of(vault, files[0]), vault.content(files[0]))
    shown = lambda value: value.decode('utf-8', 'backslashreplace') if type(value) is bytes else value
    for entry in entries_of(vault, files[0]):
        attributes = {shown(name): value.hex() for name, value in entry.pop('attributes').items()}
        print(json.dumps({**{name: shown(value) for name, value in entry.items()}, 'attributes': attributes}))

if __name__ == '__main__':
    decoder.run(main)
