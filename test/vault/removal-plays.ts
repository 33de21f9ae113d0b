/** The worlds of removal-model.test.ts: who acts in them, and protocols broken on purpose. */
import type { Bucket, ListedObject } from '../../src/buckets/bucket.ts';
import type { Cue } from '../support/interleavings.ts';
import { always, faulty } from '../support/faulty-bucket.ts';
import { putBytes } from './harness.ts';
import { beginning, BODY, HOUR_MS } from './removal-world.ts';
import type { Actor, Beginning } from './removal-world.ts';

// --- actors -------------------------------------------------------------------------------------------

const put = (name: string, broken: Partial<Actor> = {}): Actor => ({
  name,
  async play({ vault, session, acknowledge }) {
    const { hash } = await putBytes(vault, BODY, { name });
    acknowledge(hash);
    await session.guard.end();
  },
  ...broken,
});

/** The file that is there is put again, while a bucket is away: it is the version that it was. */
const putAgain = (broken: (bucket: Bucket) => Bucket = (bucket) => bucket): Actor => ({
  ...put('F0', { rig: (bucket) => withoutBucket('memory:2')(broken(bucket)) }),
  name: 'P1',
});

/** Two files of one process, the second under the marker of the first: what it knows of what is there is as old. */
const putTwice = (name: string, broken: Partial<Actor> = {}): Actor => ({
  name,
  async play({ vault, session, acknowledge, pause }) {
    for (const file of ['first', 'second']) {
      const { hash } = await putBytes(vault, BODY, { name: `${name} ${file}` });
      acknowledge(hash);
      await pause(`stored ${file}`);
    }
    await session.guard.end();
  },
  ...broken,
});

const rm: Actor = {
  name: 'rm',
  async play({ vault, first, release, pause }) {
    await pause('begin');
    release(first);
    await vault.remove([first], { graceMs: 0 });
  },
};

/** Acknowledged, though the one bucket alone has taken the record that the put cannot ask. */
const rmInOne: Actor = { ...rm, rig: withoutBucket('memory:1') };

const rmAndUndelete = (broken: Partial<Actor> = {}): Actor => ({
  name: 'undelete',
  async play({ vault, session, first, release, acknowledge, pause }) {
    await pause('begin');
    release(first);
    await vault.remove([first], { graceMs: 0 });
    await vault.undelete([first]);
    acknowledge(first);
    await session.guard.end();
  },
  ...broken,
});

/** It waits for markers for as long as it takes. */
const sweep = (name: string, broken: Partial<Actor> = {}): Actor => ({
  name,
  async play({ vault }) {
    await vault.sweep({ waitMs: HOUR_MS });
  },
  ...broken,
});

/** Codes everything anew, as the keyring says already. */
const recode = (broken: Partial<Actor> = {}): Actor => ({
  name: 'R',
  async play({ vault, session }) {
    await vault.repair({ redundancy: NEXT });
    await session.guard.end();
  },
  ...broken,
});

const clock = (hours: number): Actor => ({
  name: 'clock',
  async play({ pause, pass }) {
    await pause(`+${hours} h`);
    pass(hours * HOUR_MS);
  },
});

/** One bucket is out of reach. */
function withoutBucket(url: string) {
  return (bucket: Bucket): Bucket => (bucket.label === url ? faulty(bucket, always('unavailable')) : bucket);
}

// --- broken protocols ---------------------------------------------------------------------------------

type Listing = ReturnType<Bucket['list']>;

async function* none(): AsyncGenerator<ListedObject, void, undefined> {
  // Nothing is listed.
}

/** Writes its marker only after it has read the lists of removal. */
function markerAfterLists(bucket: Bucket): Bucket {
  let later: (() => Promise<void>) | null = null;
  return {
    ...bucket,
    async put(name, bytes, call) {
      if (name.startsWith('puts/')) later = () => bucket.put(name, Uint8Array.from(bytes), call);
      else await bucket.put(name, bytes, call);
    },
    async *list(prefix, call): Listing {
      yield* bucket.list(prefix, call);
      if (prefix === 'sweep/') await later?.();
    },
  };
}

/** Sees of some things always what it saw at first. */
function looksOnce(prefixes: RegExp) {
  return (bucket: Bucket): Bucket => {
    const seen = new Map<string, readonly ListedObject[]>();
    const read = new Map<string, Uint8Array>();
    return {
      ...bucket,
      async get(name, call) {
        const known = read.get(name) ?? (await bucket.get(name, call));
        if (prefixes.test(name)) read.set(name, known);
        return Uint8Array.from(known);
      },
      async *list(prefix, call): Listing {
        const known = seen.get(prefix) ?? (await Array.fromAsync(bucket.list(prefix, call)));
        if (prefixes.test(prefix)) seen.set(prefix, known);
        yield* known;
      },
    };
  };
}

/** Believes, as a row of the catalog would say, that the chunks are there that were there once. */
function believesRows(bucket: Bucket, once: ReadonlyMap<string, Uint8Array>): Bucket {
  return {
    ...bucket,
    async *list(prefix, call): Listing {
      // A row is believed as it is, whatever a list says of the objects.
      if (prefix === 'sweep/') return;
      if (prefix !== 'chunks/') return yield* bucket.list(prefix, call);
      for (const [name, { length: size }] of once) if (name.startsWith(prefix)) yield { name, size };
    },
  };
}

/** Never sees what a prefix has. */
function blindTo(hidden: string) {
  return (bucket: Bucket): Bucket => ({
    ...bucket,
    list: (prefix, call) => (prefix === hidden ? none() : bucket.list(prefix, call)),
  });
}

/** Never takes any record of removal, nor one that a file is back. */
function takesNoRecord(bucket: Bucket): Bucket {
  return {
    ...bucket,
    put: async (name, ...rest) => (name.startsWith('deleted/') ? undefined : bucket.put(name, ...rest)),
  };
}

/** Takes its old marker away without a new one. */
function renewsNothing(bucket: Bucket): Bucket {
  let markers = 0;
  return {
    ...bucket,
    async put(name, bytes, call) {
      if (name.startsWith('puts/')) markers += 1;
      if (!name.startsWith('puts/') || markers === 1) await bucket.put(name, bytes, call);
    },
  };
}

/** Takes away, before it stores a new shard in a bucket, what the bucket has of other codings. */
function replacesShards(bucket: Bucket): Bucket {
  return {
    ...bucket,
    async put(name, bytes, call) {
      const copy = Uint8Array.from(bytes);
      if (name.startsWith('chunks/')) {
        for await (const { name: old } of bucket.list('chunks/')) {
          if (!old.includes(`of${NEXT.k}+${NEXT.m}.`)) await bucket.remove(old);
        }
      }
      await bucket.put(name, copy, call);
    },
  };
}

// --- worlds -------------------------------------------------------------------------------------------

const NEXT = { k: 1, m: 1 };

/** How worlds begin. */
export const STARTS = {
  one: () => beginning({ buckets: 1, redundancy: { k: 1, m: 0 } }),
  twice: () => beginning({ buckets: 1, redundancy: { k: 1, m: 0 }, twice: true }),
  two: () => beginning({ buckets: 2, redundancy: { k: 1, m: 1 } }),
  /** Two buckets, and a chunk that is to be coded anew. */
  coded: () => beginning({ buckets: 2, redundancy: { k: 1, m: 0 }, next: NEXT }),
} satisfies Record<string, () => Promise<Beginning>>;
type Start = keyof typeof STARTS;

export interface Play {
  readonly title: string;
  readonly start: Start;
  readonly actors: readonly Actor[];
  readonly prelude?: readonly Cue[];
  /**
   * `medium` and `large`: explored within a bound on switches, but for `npm run test:every` and `npm run model`, or for that alone.
   * `endless`: within one switch, also there.
   */
  readonly size?: 'medium' | 'large' | 'endless';
}

const looked: Cue = { actor: 'P1', until: 'list chunks/' };
const removed: Cue = { actor: 'rm', until: null };
const later: Cue = { actor: 'clock', until: null };

export const PLAYS: readonly Play[] = [
  { title: 'a put, rm, a sweep', start: 'one', actors: [put('P1'), rm, sweep('S1')] },
  { title: 'rm and undelete, a sweep', start: 'one', actors: [rmAndUndelete(), sweep('S1')] },
  {
    title: 'a put that renews its marker after it has looked, a sweep',
    start: 'one',
    actors: [put('P1'), rm, clock(5), sweep('S1')],
    prelude: [looked, removed, later],
  },
  {
    title: 'a put that sleeps beyond its marker, a sweep',
    start: 'one',
    actors: [put('P1'), rm, clock(25), sweep('S1')],
    prelude: [looked, removed],
    size: 'medium',
  },
  {
    title: 'a put, two sweeps that have chosen one of two sets',
    start: 'twice',
    actors: [put('P1'), sweep('S1'), sweep('S2')],
    prelude: [
      { actor: 'S1', until: 'put sweep/' },
      { actor: 'S2', until: 'put sweep/' },
    ],
    size: 'medium',
  },
  {
    title: 'two puts, rm, a sweep',
    start: 'one',
    actors: [put('P1'), put('P2'), rm, sweep('S1')],
    size: 'large',
  },
  {
    title: 'a put with an old look at what is there, rm, a sweep',
    start: 'one',
    actors: [putTwice('P1'), rm, sweep('S1')],
  },
  {
    title: 'rm and undelete, a put, a sweep',
    start: 'one',
    actors: [rmAndUndelete(), put('P1'), sweep('S1')],
    size: 'medium',
  },
  {
    title: 'a put, rm, two sweeps',
    start: 'one',
    actors: [put('P1'), rm, sweep('S1'), sweep('S2')],
    size: 'large',
  },
  {
    title: 'rm and undelete, two sweeps',
    start: 'one',
    actors: [rmAndUndelete(), sweep('S1'), sweep('S2')],
    size: 'large',
  },
  {
    title: 'two buckets: a put, rm, a sweep',
    start: 'two',
    actors: [put('P1'), rm, sweep('S1')],
    size: 'large',
  },
  {
    title: 'a put of what is there while a bucket is away, rm that this one alone knows of, a sweep',
    start: 'two',
    actors: [putAgain(), rmInOne, sweep('S1')],
  },
  {
    title: 'a re-coding, rm, a sweep',
    start: 'coded',
    actors: [recode(), rm, sweep('S1')],
    size: 'large',
  },
  {
    title: 'a re-coding that sleeps beyond its marker, rm, a sweep',
    start: 'coded',
    actors: [recode(), rm, clock(25), sweep('S1')],
    prelude: [{ actor: 'R', until: 'put chunks/' }, removed],
    size: 'endless',
  },
];

export const BROKEN: readonly Play[] = [
  {
    title: 'a marker that is written after the lists were read',
    start: 'one',
    actors: [put('P1', { rig: markerAfterLists }), rm, sweep('S1')],
  },
  {
    title: 'a sweep that does not look again',
    start: 'one',
    actors: [put('P1'), rm, sweep('S1', { rig: looksOnce(/^(deleted|manifests)/) })],
  },
  {
    title: 'rows that are believed instead of listings',
    start: 'one',
    actors: [put('P1', { rig: believesRows }), rm, sweep('S1')],
    prelude: [removed],
  },
  {
    title: 'a put that reads no lists',
    start: 'one',
    actors: [put('P1', { rig: blindTo('sweep/') }), rm, sweep('S1')],
  },
  {
    title: 'a sweep that waits for nobody',
    start: 'one',
    actors: [put('P1'), rm, sweep('S1', { rig: blindTo('puts/') })],
  },
  {
    title: 'a put that calls unchanged what a bucket that is away may know to be removed',
    start: 'two',
    actors: [putAgain(takesNoRecord), rmInOne, sweep('S1')],
    prelude: [removed],
  },
  {
    title: 'an undelete that reads no lists',
    start: 'one',
    actors: [rmAndUndelete({ rig: blindTo('sweep/') }), sweep('S1')],
  },
  {
    title: 'an old marker that is trusted',
    start: 'one',
    actors: [put('P1', { clockStands: true }), rm, clock(25), sweep('S1')],
    prelude: [looked, removed],
  },
  {
    title: 'a marker that is renewed in name only',
    start: 'one',
    actors: [put('P1', { rig: renewsNothing }), rm, clock(5), sweep('S1')],
    prelude: [looked, removed, later],
  },
  {
    title: 'a re-coding that removes the old shards before the new ones stand',
    start: 'coded',
    actors: [recode({ rig: replacesShards })],
  },
];
