"""Has docs/decoder.py do much in one process, for decoder.test.ts; prints a line of JSON for each thing that was done.

    python3 decoder-run.py DECODER must-fail EXAMPLE CASES           kind, name and outcome of each case of must-fail.json
    python3 decoder-run.py DECODER read PASSWORD LOCK BUCKET...      hash of each file, and SHA-256 of its content
"""
import hashlib, json, os, sys, types

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(sys.argv[1]))
import decoder, decoder_folder


def read(password, lock, *folders):
    vault = decoder.Vault(folders, decoder.secret(password))
    for file in vault.files(deleted=False):
        if 'lock' in file.head['key']:
            file.unlock(decoder.secret(lock))
        digest = hashlib.sha256()
        for run in vault.content(file):
            digest.update(run)
        print(json.dumps([file.hash, digest.hexdigest()]))


def must_fail(example, cases):
    example, cases = (json.load(open(path, encoding='utf-8')) for path in (example, cases))
    inputs = example['inputs']
    keys = decoder.Keys(bytes.fromhex(inputs['root']), inputs['vaultId'], inputs['rootNumber'])
    last = lambda: decoder.Keys(bytes.fromhex(inputs['nextRoot']), inputs['vaultId'], inputs['rootNumber'] + 1)
    rotated, _ = decoder.parse_keyring(example['objects']['keyring/0000000003']['text'].encode(), 3)

    def read_keyring(data, name, keys=keys):
        keyring, proof = decoder.parse_keyring(data, int(name))
        decoder.need(keyring['vault'] == keys.vault and keys.follows(keyring, proof), 'not of this vault')
        return keyring

    def read_shard(data, name):
        named = decoder.parse_shard_name(name)
        decoder.parse_shard(data, named)
        decoder.need(decoder.is_intact(data, named[0]), 'another checksum')

    def read_chunk(data, name, entry):
        (t, h, length), = decoder.parse_refs(bytes.fromhex(entry))
        named, keys = decoder.parse_shard_name(name), decoder.expand(t, b'vault/2 chunk', 96)
        k, _, size, nonce = decoder.parse_shard(data, named)
        decoder.need(named[0] == keys[:32].hex() and decoder.is_intact(data, named[0]), 'another chunk')
        sealed = decoder.join_data({0: data[32:]}, k)[:size]
        body = decoder.unpack(decoder.gcm_open(keys[32:64], nonce, b'vault/2 chunk', sealed), length)
        decoder.need(len(body) == length and decoder.sha256(body) == h, 'another body')

    def read_table(data, size, step, count):
        list(decoder.Stream.checked(types.SimpleNamespace(size=size, step=step), decoder.parse_refs(data), count))

    def read_index(data, one):
        list(decoder_folder.parse_index([data], one['entries'], one['size'], one['contentSize']))

    def read_keyslot(data, name):
        decoder.unlock([(data, int(name))], inputs['password'], keys.vault)

    def read_lock(data, name):
        decoder.Manifest(data, name, keys, {}).unlock(inputs['lockPassword'])

    readers = {
        'keyslot': read_keyslot,
        'lock': read_lock,
        'marker': lambda data, name: decoder.parse_marker(data),
        'keyring': read_keyring,
        'rotated keyring': lambda data, name: last().with_earlier(read_keyring(data, name, last())),
        'rotated manifest': lambda data, name: decoder.Manifest(data, name, last().with_earlier(rotated), {}),
        'deletion': lambda data, name: decoder.parse_deletion(data, keys, name),
        'manifest': lambda data, name: decoder.Manifest(data, name, keys, {}),
        'shard': read_shard,
        'chunk': lambda data, name: read_chunk(data, name, case['entry']),
        'table': lambda data, name: read_table(data, case['size'], case['chunkSize'], case.get('chunks')),
        'index': lambda data, name: read_index(data, case),
    }
    for case in cases:
        if case['kind'] not in readers:  # it reads no sweep lists, put markers, labels and URLs
            continue
        data = bytes.fromhex(case['bytes']) if 'bytes' in case else case['text'].encode()
        name = case['object'].split('/')[-1] if 'object' in case else decoder.sha256(data).hex()
        try:
            readers[case['kind']](data, name)
            outcome = 'success'
        except decoder.Unsupported:
            outcome = 'unsupported'
        except decoder.ERRORS:
            outcome = 'damaged'
        print(json.dumps([case['kind'], case['name'], outcome]))


{'read': read, 'must-fail': must_fail}[sys.argv[2]](*sys.argv[3:])
