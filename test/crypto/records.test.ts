import fc from 'fast-check';
import { expect, test } from 'vitest';
import { nameTag, openRecord, sealRecord } from '../../src/crypto/records.ts';
import { openLabel, sealLabel } from '../../src/crypto/texts.ts';
import { acceptedChanges, outcome, sampleKeys, WRITER } from './samples.ts';

const keys = sampleKeys();
const key = keys.writer.catalog;

test('a record is opened as it was sealed, for its purpose and key only', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const expected: unknown = JSON.parse(JSON.stringify(value));
      const sealed = sealRecord(key, 'file 1', value);
      expect(openRecord(key, 'file 1', sealed)).toEqual(expected);
      expect(outcome(() => openRecord(key, 'file 2', sealed))).toBe('damaged');
      expect(outcome(() => openRecord(keys.urls, 'file 1', sealed))).toBe('damaged');
    }),
  );
});

test('a record is refused with any byte of it changed or missing', () => {
  expect(
    acceptedChanges(sealRecord(key, 'file', { name: 'a' }), (changed) => openRecord(key, 'file', changed)),
  ).toEqual([]);
});

test('a record of any length is opened', () => {
  for (let length = 0; length < 300; length += 1) {
    const text = 'a'.repeat(length);
    expect(openRecord(key, 'file', sealRecord(key, 'file', text))).toBe(text);
  }
});

test('a record tells little of its length, and nothing of its being the same', () => {
  const [one, other] = [sealRecord(key, 'file', { name: 'a' }), sealRecord(key, 'file', { name: 'a' })];
  expect(one).not.toEqual(other);
  expect(sealRecord(key, 'file', { name: 'a'.repeat(100) })).toHaveLength(one.length);
});

test('a name has one tag a writer, which is that of no other name', () => {
  const tag = nameTag(keys.writer, 'a name');
  expect(tag).toHaveLength(32);
  expect(nameTag(keys.writer, 'a name')).toEqual(tag);
  expect(nameTag(keys.writer, 'a nam\u00e9')).not.toEqual(tag);
  // Each half of a character would be the same as any other.
  expect(outcome(() => nameTag(keys.writer, 'a nam\uD800'))).toBe('invalid-input');
  expect(nameTag(sampleKeys({ writer: 'f1'.repeat(16) }).writer, 'a name')).not.toEqual(tag);
});

test('a label is opened as it was sealed, in its own keyslot only', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 60 }), (text) => {
      const label = sealLabel(keys, WRITER, text);
      expect(openLabel(keys, { writer: WRITER, label })).toBe(text);
      expect(outcome(() => openLabel(keys, { writer: 'f1'.repeat(16), label }))).toBe('damaged');
      expect(outcome(() => openLabel(sampleKeys({ root: 2 }), { writer: WRITER, label }))).toBe('damaged');
    }),
    { numRuns: 30 },
  );
});

test('a label is refused with any byte of it changed or missing', () => {
  expect(
    acceptedChanges(sealLabel(keys, WRITER, 'office'), (label) => openLabel(keys, { writer: WRITER, label })),
  ).toEqual([]);
});
