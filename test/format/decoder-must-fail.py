"""Gives the cases of must-fail.json to docs/decoder.py, and prints what it makes of each as a line of JSON.

    python3 decoder-must-fail.py DECODER EXAMPLE CASES
"""
import importlib.util, json, sys

sys.dont_write_bytecode = True
spec = importlib.util.spec_from_file_location('decoder', sys.argv[1])
decoder = importlib.util.module_from_spec(spec)
spec.loader.exec_module(decoder)
example, cases = (json.load(open(path, encoding='utf-8')) for path in sys.argv[2:4])
inputs = example['inputs']
keys = decoder.Keys(bytes.fromhex(inputs['root']), inputs['vaultId'], inputs['rootNumber'])


def read_keyring(data, name):
    keyring, proof = decoder.parse_keyring(data, int(name))
    decoder.need(keyring['vault'] == keys.vault and keys.signed(b'keyring', proof), 'not of this vault')


def read_shard(data, name):
    named = decoder.parse_shard_name(name)
    decoder.parse_shard(data, named)
    decoder.need(decoder.is_intact(data, named[0]), 'another checksum')


readers = {
    'marker': lambda data, name: decoder.parse_marker(data),
    'keyring': read_keyring,
    'deletion': lambda data, name: decoder.parse_deletion(data, keys, name),
    'manifest': lambda data, name: decoder.Manifest(data, name, keys, {}),
    'shard': read_shard,
}
for case in cases:
    if case['kind'] not in readers:  # it reads no sweep lists and no put markers
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
