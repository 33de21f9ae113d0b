import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeStrictJson, parseStrictJson } from '../../src/format/json.ts';
import type { JsonValue } from '../../src/format/json.ts';
import { outcome } from '../crypto/samples.ts';

function parse(text: string | Uint8Array): ReturnType<typeof parseStrictJson> {
  return parseStrictJson(typeof text === 'string' ? Buffer.from(text) : text, 'A thing');
}

const strictValue = fc.letrec<{ value: JsonValue }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', maxDepth: 5 },
    fc.string({ unit: 'binary' }),
    fc.maxSafeInteger(),
    fc.boolean(),
    fc.constant(null),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(fc.string({ unit: 'binary' }), tie('value'), { maxKeys: 4 }),
  ),
})).value;

test('whatever is written is read', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string({ unit: 'binary' }), strictValue), (value) => {
      if (typeof value['format'] === 'string') return;
      const bytes = encodeStrictJson(value);
      const fields = parse(bytes);
      for (const key of Object.keys(value)) expect(fields.has(key)).toBe(true);
    }),
  );
});

test('any bytes give a value or are damaged or unsupported', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      expect(['success', 'damaged', 'unsupported']).toContain(outcome(() => parse(bytes)));
    }),
  );
});

test.each([
  ['nothing', ''],
  ['white space', '{"a": 1}'],
  ['white space around it', '{"a":1}\n'],
  ['a byte order mark', '\ufeff{"a":1}'],
  ['a repeated field', '{"a":1,"a":1}'],
  ['a repeated field with another value', '{"a":1,"a":2}'],
  ['a needless escape', String.raw`{"a":"\u0041"}`],
  ['an escaped slash', String.raw`{"a":"\/"}`],
  ['an upper-case escape', String.raw`{"a":"\u001F"}`],
  ['a fraction', '{"a":1.5}'],
  ['a fraction of zero', '{"a":1.0}'],
  ['an exponent', '{"a":1e3}'],
  ['a large exponent', '{"a":1e+21}'],
  ['minus zero', '{"a":-0}'],
  ['an integer beyond 2^53 - 1', '{"a":9007199254740992}'],
  ['one half of a surrogate pair', String.raw`{"a":"\ud800"}`],
  ['one half of a surrogate pair in a field name', String.raw`{"\ud800":1}`],
  ['a comment', '{"a":1/**/}'],
  ['a comma too many', '{"a":1,}'],
  ['NaN', '{"a":NaN}'],
  ['an array', '[1]'],
  ['a text', '"a"'],
  ['null', 'null'],
  ['nothing but depth', `{"a":${'['.repeat(9)}${']'.repeat(9)}}`],
  ['ten thousand levels', `{"a":${'['.repeat(10_000)}${']'.repeat(10_000)}}`],
])('%s is damaged', (_, text) => {
  expect(outcome(() => parse(text))).toBe('damaged');
});

test('bytes that are no UTF-8 are damaged', () => {
  expect(outcome(() => parse(Buffer.from('{"a":"\u00ff"}', 'latin1')))).toBe('damaged');
});

test('what is larger than allowed is not parsed', () => {
  const bytes = Buffer.from(`{"format":"vault/3","a":"${'a'.repeat(100)}"}`);
  expect(outcome(() => parseStrictJson(bytes, 'A thing', 100))).toBe('damaged');
  expect(outcome(() => parseStrictJson(bytes, 'A thing', bytes.length))).toBe('unsupported');
});

test.each([
  ['of a newer version', '{"format":"vault/3"}', 'newer'],
  ['of a much newer version', '{"format":"vault/10"}', 'newer'],
  ['of another version, whatever else is wrong with it', '{ "format": "vault/3", "a": 1.5 }\n', 'newer'],
  ['of the version that was not released', '{"format":"vault/1"}', 'unreleased'],
  ['of that version, with what it is', '{"format":"vault/1 keyslot"}', 'unreleased'],
])('an object %s is unsupported', (_, text, message) => {
  expect(() => parse(text)).toThrow(
    expect.objectContaining({ code: 'unsupported', message: expect.stringContaining(message) }),
  );
});

test.each(['{"format":"other/2"}', '{"format":2}', '{"format":"vault"}', '{}'])(
  '%s is no object of the format',
  (text) => {
    expect(outcome(() => parse(text).oneOf('format', ['vault/2']))).toBe('damaged');
  },
);

describe('a field', () => {
  const good =
    '{"text":"a\u00e4","number":5,"hex":"00ff","flag":true,"nothing":null,"list":[1,2],"in":{"a":1}}';

  test('is read as what it is, once, and all must be read', () => {
    const fields = parse(good);
    expect(fields.string('text', { least: 3, most: 3 })).toBe('a\u00e4');
    expect(fields.integer('number', 5, 5)).toBe(5);
    expect(outcome(() => fields.integer('number', 5, 5))).toBe('damaged');
    expect(fields.hex('hex', 2)).toBe('00ff');
    expect(fields.boolean('flag')).toBe(true);
    expect(fields.nullable('nothing', (at, key) => at.string(key))).toBeNull();
    expect(fields.list('list', { least: 2, most: 2 }, (items, i) => items.integer(i, 1, 2))).toEqual([1, 2]);
    expect(outcome(() => fields.end())).toBe('damaged');
    expect(fields.object('in', (inner) => inner.integer('a', 1, 1))).toBe(1);
    fields.end();
  });

  test.each<[string, (fields: ReturnType<typeof parse>) => unknown]>([
    ['missing', (fields) => fields.string('other')],
    ['too short a text', (fields) => fields.string('text', { least: 4, most: 9 })],
    ['too long a text', (fields) => fields.string('text', { least: 0, most: 2 })],
    ['a number for a text', (fields) => fields.string('number')],
    ['a text for a number', (fields) => fields.integer('text', 0, 9)],
    ['too small a number', (fields) => fields.integer('number', 6, 9)],
    ['too large a number', (fields) => fields.integer('number', 0, 4)],
    ['too few hex digits', (fields) => fields.hex('hex', 3)],
    ['no hex digits', (fields) => fields.hex('text', 1)],
    ['too many bytes', (fields) => fields.bytes('hex', 0, 1)],
    ['no bytes', (fields) => fields.bytes('text', 0, 9)],
    ['no flag', (fields) => fields.boolean('number')],
    ['null where it must not be', (fields) => fields.string('nothing')],
    ['too short a list', (fields) => fields.list('list', { least: 3, most: 9 }, () => 0)],
    ['too long a list', (fields) => fields.list('list', { least: 0, most: 1 }, () => 0)],
    ['no list', (fields) => fields.list('in', { least: 0, most: 9 }, () => 0)],
    ['a list for an object', (fields) => fields.object('list', () => 0)],
    ['null for an object', (fields) => fields.object('nothing', () => 0)],
    ['an object with more than is read of it', (fields) => fields.object('in', () => 0)],
    ['none of the choices', (fields) => fields.oneOf('text', ['a', 'b'])],
    ['another form', (fields) => fields.match('text', /^b/)],
  ])('is damaged if it is %s', (_, read) => {
    expect(outcome(() => read(parse(good)))).toBe('damaged');
  });

  test('named as what every object has is no such field', () => {
    expect(outcome(() => parse('{}').string('constructor'))).toBe('damaged');
    expect(outcome(() => parse('{"__proto__":{"a":1}}').integer('a', 1, 1))).toBe('damaged');
    expect(outcome(() => parse('{"__proto__":1}').end())).toBe('damaged');
  });
});

test.each([
  ['half a surrogate pair', '\ud800'],
  ['a fraction', 1.5],
  ['no number', NaN],
  ['an endless number', Infinity],
  ['an integer beyond 2^53 - 1', 2 ** 53],
])('%s is not written', (_, value) => {
  expect(() => encodeStrictJson({ good: 1, bad: [{ deep: value }] })).toThrow(
    expect.objectContaining({ code: 'invalid-input', message: expect.stringContaining('"bad"') }),
  );
});
