/** How a vault stands, to be looked at: the same in the page and in the report. */
import { h, type Child, type Tree } from './tree.ts';
import { countText, exactText, nameText, sizeText, timeTree } from './words.ts';

/** As `GET /api/status` says it. */
export interface StatusView {
  readonly at: string;
  readonly redundancy: string;
  readonly files: number;
  readonly versions: number;
  readonly removed: number;
  readonly locked: number;
  /** Records of the catalog that are not what was written there. */
  readonly changed: number;
  /** Versions that are dated in the future. */
  readonly future: number;
  /** Versions less safe than they were stored for. */
  readonly degraded: number;
  /** Versions that cannot be read now. */
  readonly unreadable: number;
  readonly logicalBytes: number;
  readonly uniqueBytes: number;
  readonly storedBytes: number;
  readonly newestAt: string | null;
  readonly buckets: readonly BucketView[];
  /** Versions that could not be read any more without one bucket, or two, by their places in the list above. */
  readonly losses: readonly { readonly buckets: readonly number[]; readonly versions: number }[];
  /** The last run of each verb that looks after a vault, if any is known. */
  readonly runs: readonly {
    readonly verb: string;
    readonly endedAt: string | null;
    readonly exit: number | null;
  }[];
  /** Versions by the day they were stored, the oldest day first. */
  readonly days: readonly { readonly day: string; readonly versions: number }[];
  /** Names that are stored night after night, and whether they were on each of the last nights, the oldest first; null: not yet. */
  readonly nightly: readonly { readonly name: string; readonly nights: readonly (boolean | null)[] }[];
}

export interface BucketView {
  readonly url: string;
  readonly state: string;
  readonly objects: number | null;
  readonly bytes: number | null;
  /** Why it cannot be used; null if it can. */
  readonly error: string | null;
}

/** @param nowMs when it is looked at */
export function statusTree(view: StatusView, nowMs: number): Tree {
  const concerns = concernsOf(view);
  return h(
    'div',
    { class: 'status' },
    h(
      'section',
      { class: `card verdict ${concerns.length === 0 ? 'good' : 'bad'}` },
      h(
        'h2',
        {},
        concerns.length === 0 ? 'All is well' : countText(concerns.length, 'thing') + ' to look after',
      ),
      concerns.length === 0 ? null : h('ul', {}, ...concerns.map(({ message }) => h('li', {}, message))),
      h('p', { class: 'dim' }, `Looked at ${exactText(view.at)}.`),
    ),
    factsOf(view, nowMs),
    lossesOf(view),
    bucketsOf(view),
    daysOf(view),
    nightsOf(view),
    runsOf(view, nowMs),
  );
}

interface Concern {
  readonly kind: string;
  readonly message: string;
}

/** What somebody should look after. */
export function concernsOf({
  buckets,
  unreadable,
  degraded,
  changed,
  future,
}: StatusView): readonly Concern[] {
  const down = buckets.flatMap(({ url, error }): Concern[] => {
    if (error === null) return [];
    const message = nameText(error.includes(url) ? error : `${url} ${error}`);
    return [{ kind: 'bucket-down', message }];
  });
  const counted = [
    {
      kind: 'damaged',
      amount: unreadable,
      one: 'version cannot be read now',
      many: 'versions cannot be read now',
    },
    {
      kind: 'degraded',
      amount: degraded - unreadable,
      one: 'version is less safe than it was stored for',
      many: 'versions are less safe than they were stored for',
    },
    {
      kind: 'catalog',
      amount: changed,
      one: 'record of the catalog is not what was written there',
      many: 'records of the catalog are not what was written there',
    },
    {
      kind: 'clock',
      amount: future,
      one: 'version is dated in the future',
      many: 'versions are dated in the future',
    },
  ];
  const found = counted.filter(({ amount }) => amount > 0);
  return [
    ...down,
    ...found.map(({ kind, amount, one, many }) => ({ kind, message: `${countText(amount, one, many)}.` })),
  ];
}

function fact(label: string, value: Child, more: string): Tree {
  return h(
    'div',
    { class: 'card fact' },
    h('dt', {}, label),
    h('dd', {}, h('b', {}, value), h('span', { class: 'dim' }, more)),
  );
}

function factsOf(view: StatusView, nowMs: number): Tree {
  const removed = view.removed > 0 ? `, ${view.removed.toLocaleString('en-US')} removed` : '';
  const verified = view.runs.find(({ verb }) => verb === 'verify');
  return h(
    'dl',
    { class: 'facts' },
    fact('Files', view.files.toLocaleString('en-US'), countText(view.versions, 'version') + removed),
    fact('Content', sizeText(view.logicalBytes), `${sizeText(view.uniqueBytes)} once deduplicated`),
    fact('In buckets', sizeText(view.storedBytes), `redundancy ${view.redundancy}`),
    fact('Newest', view.newestAt === null ? 'none' : timeTree(view.newestAt, nowMs), 'last version stored'),
    fact(
      'Last verify',
      verified?.endedAt == null ? 'not known' : timeTree(verified.endedAt, nowMs),
      verified === undefined ? 'run “vault verify”' : outcomeOf(verified.exit),
    ),
  );
}

function outcomeOf(exit: number | null): string {
  if (exit === 0) return 'nothing was wrong';
  return exit === null ? 'ended' : `ended with ${exit}`;
}

/** A triangle: alone on the diagonal, pairs below it. */
function lossesOf({ buckets, losses, versions }: StatusView): Tree | null {
  if (buckets.length === 0 || versions === 0) return null;
  const lost = new Map(losses.map((loss) => [loss.buckets.join(' '), loss.versions]));
  const cell = (row: number, column: number): Tree => {
    if (column > row) return h('td', { class: 'none' });
    const pair = column === row ? [row] : [column, row];
    const left = pair.filter((one) => buckets[one]?.error === null);
    const amount = lost.get(left.join(' ')) ?? 0;
    if (left.length === 0) return h('td', { class: 'down' }, h('span', { title: 'does not answer' }, 'down'));
    const title = `Without ${pair.map((one) => `bucket ${one + 1}`).join(' and ')} ${
      amount === 0 ? 'nothing is lost' : `${countText(amount, 'version')} would be lost`
    }`;
    return h(
      'td',
      { class: amount === 0 ? 'safe' : 'lost', title },
      h('span', { 'aria-hidden': 'true' }, amount === 0 ? '✓' : amount.toLocaleString('en-US')),
      h('span', { class: 'unseen' }, title),
    );
  };
  return h(
    'section',
    { class: 'card' },
    h('h2', {}, 'If I lose …'),
    h('p', { class: 'dim' }, sentenceOf(losses)),
    h(
      'div',
      {
        class: 'scroll',
        tabindex: 0,
        role: 'group',
        'aria-label': 'What each bucket and each pair would cost',
      },
      h(
        'table',
        { class: 'losses' },
        h('caption', { class: 'unseen' }, 'Versions lost without a bucket (diagonal) or without two (below)'),
        h(
          'thead',
          {},
          h('tr', {}, h('td'), ...buckets.map((_, at) => h('th', { scope: 'col' }, `${at + 1}`))),
        ),
        h(
          'tbody',
          {},
          ...buckets.map(({ url }, row) =>
            h(
              'tr',
              {},
              h(
                'th',
                { scope: 'row' },
                h('i', {}, `${row + 1}`),
                h('bdi', { title: nameText(url) }, shortOf(url)),
              ),
              ...buckets.map((_, column) => cell(row, column)),
            ),
          ),
        ),
      ),
    ),
    h(
      'p',
      { class: 'legend dim' },
      'Diagonal: that bucket alone. Below: both. A number: versions that would be gone.',
    ),
  );
}

function sentenceOf(losses: StatusView['losses']): string {
  const count = (size: number): readonly [all: number, bad: number] => {
    const some = losses.filter(({ buckets }) => buckets.length === size);
    return [some.length, some.filter(({ versions }) => versions > 0).length];
  };
  const [ones, badOnes] = count(1);
  const [pairs, badPairs] = count(2);
  const alone =
    badOnes === 0 ? 'Any one bucket may be lost.' : `${badOnes} of ${ones} buckets may not be lost.`;
  if (pairs === 0) return alone;
  return `${alone} ${badPairs === 0 ? 'So may any two.' : `Of ${countText(pairs, 'pair')} of them ${badPairs} would take versions along.`}`;
}

/** The end of a URL, which tells more than its beginning. */
function shortOf(url: string): string {
  const text = nameText(url.replace(/^file:\/\//, ''));
  return text.length > 20 ? `…${text.slice(-19)}` : text;
}

function bucketsOf({ buckets }: StatusView): Tree {
  const most = Math.max(1, ...buckets.map(({ bytes }) => bytes ?? 0));
  return h(
    'section',
    { class: 'card' },
    h('h2', {}, 'Buckets'),
    h(
      'ul',
      { class: 'buckets' },
      ...buckets.map(({ url, state, objects, bytes, error }, at) =>
        h(
          'li',
          {},
          h('span', {}, h('i', {}, `${at + 1}`), h('bdi', {}, nameText(url))),
          h(
            'span',
            { class: `badge ${error === null ? (state === 'active' ? 'good' : 'warn') : 'bad'}` },
            error === null ? state : 'down',
          ),
          h(
            'svg',
            { class: 'bar', viewBox: '0 0 100 1', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
            h('rect', { class: 'track', width: 100, height: 1 }),
            h('rect', { class: 'fill', width: ((100 * (bytes ?? 0)) / most).toFixed(2), height: 1 }),
          ),
          h(
            'span',
            { class: 'dim' },
            bytes === null ? 'does not answer' : `${sizeText(bytes)} in ${countText(objects ?? 0, 'object')}`,
          ),
        ),
      ),
    ),
  );
}

/** Height of the picture of days, and the width of each. */
const HEIGHT = 60;
const STEP = 12;

function daysOf({ days }: StatusView): Tree | null {
  const total = days.reduce((sum, { versions }) => sum + versions, 0);
  if (total === 0) return null;
  const most = Math.max(...days.map(({ versions }) => versions));
  const empty = days.filter(({ versions }) => versions === 0).length;
  const label = `${countText(total, 'version')} stored in ${days.length} days, on ${empty} of them none; ${most.toLocaleString('en-US')} on the busiest.`;
  const bar = ({ day, versions }: StatusView['days'][number], at: number): Tree => {
    const height = versions === 0 ? 2 : 4 + ((HEIGHT - 4) * versions) / most;
    const [x, y] = [at * STEP + 1, (HEIGHT - height).toFixed(1)];
    const shape = { x, y, width: STEP - 2, height: height.toFixed(1), rx: 1.5 };
    return h(
      'rect',
      { class: versions === 0 ? 'zero' : 'fill', ...shape },
      h('title', {}, `${day}: ${countText(versions, 'version')}`),
    );
  };
  return h(
    'section',
    { class: 'card' },
    h('h2', {}, 'Versions over time'),
    h(
      'svg',
      { class: 'days', viewBox: `0 0 ${days.length * STEP} ${HEIGHT}`, role: 'img', 'aria-label': label },
      ...days.map(bar),
    ),
    h('p', { class: 'axis dim' }, h('span', {}, days[0]?.day ?? ''), h('span', {}, 'today')),
    h('p', { class: 'dim' }, label),
  );
}

function nightsOf({ nightly }: StatusView): Tree | null {
  if (nightly.length === 0) return null;
  return h(
    'section',
    { class: 'card' },
    h('h2', {}, 'Night after night'),
    h(
      'ul',
      { class: 'nightly' },
      ...nightly.map(({ name, nights }) => {
        const missed = nights.filter((stored) => stored === false).length;
        const dots = nights.map((stored, at) =>
          h('rect', {
            class: stored === null ? 'track' : stored ? 'fill' : 'missed',
            x: at * STEP + 1,
            y: 1,
            width: STEP - 2,
            height: STEP - 2,
            rx: 2,
          }),
        );
        const label =
          missed === 0
            ? `none of ${nights.length} nights missed`
            : `${missed} of ${nights.length} nights missed`;
        return h(
          'li',
          {},
          h('bdi', {}, nameText(name)),
          h(
            'svg',
            {
              preserveAspectRatio: 'xMinYMid',
              viewBox: `0 0 ${nights.length * STEP} ${STEP}`,
              role: 'img',
              'aria-label': label,
            },
            ...dots,
          ),
          h('span', { class: missed === 0 ? 'dim' : 'warn' }, label),
        );
      }),
    ),
    h('p', { class: 'legend dim' }, 'A night without a version was missed, or nothing had changed.'),
  );
}

function runsOf({ runs }: StatusView, nowMs: number): Tree | null {
  if (runs.length === 0) return null;
  return h(
    'section',
    { class: 'card' },
    h('h2', {}, 'Looked after'),
    h(
      'ul',
      { class: 'runs' },
      ...runs.map(({ verb, endedAt, exit }) =>
        h(
          'li',
          {},
          h('code', {}, `vault ${verb}`),
          endedAt === null ? null : timeTree(endedAt, nowMs),
          h(
            'span',
            { class: `badge ${exit === 0 ? 'good' : 'warn'}` },
            exit === 0 ? 'done' : outcomeOf(exit),
          ),
        ),
      ),
    ),
  );
}
