/**
 * What is typed before a question is asked: the terminal does not show it, and the question gets it. Somebody who knows that a password
 * will be asked for does not wait for the question.
 */
const CTRL_C = '\u0003';
/** How often it is looked whether a question has begun, in milliseconds; and how many times. */
const LOOK_MS = 10;
const MOST_LOOKS = 1000;

let stop: (() => (Buffer | string)[]) | null = null;

/** From here on nothing typed is shown, until `giveTyped`. Without a terminal nothing happens. */
export function holdTyped(): void {
  const input = process.stdin;
  if (!input.isTTY) return;
  if (stop !== null) {
    // A question that was answered at once is over, and has left the terminal as it was.
    input.setRawMode(true);
    input.resume();
    return;
  }
  const kept: (Buffer | string)[] = [];
  const onData = (data: Buffer | string): void => {
    // The question's own.
    if (hasBegun()) return;
    // Without the terminal's echo there are no signals of keys either.
    if (data.includes(CTRL_C)) process.kill(process.pid, 'SIGINT');
    else kept.push(data);
  };
  input.setRawMode(true);
  // Reading stopped after the question before.
  input.on('data', onData).resume();
  stop = () => {
    input.off('data', onData);
    return kept;
  };
}

/**
 * Gives what was typed to whoever reads next.
 *
 * @param options `shown`: from here on what is typed is shown; a question that hides it sees to that by itself. `later`: for a question
 *   that throws away what is there when it begins: until then it is still held
 */
export function giveTyped({
  shown,
  later = false,
}: {
  readonly shown: boolean;
  readonly later?: boolean;
}): void {
  if (stop === null) return;
  if (shown) process.stdin.setRawMode(false);
  if (later) {
    giveWhenAsked(stop);
    return;
  }
  process.stdin.pause();
  give();
}

function give(): void {
  const kept = stop?.() ?? [];
  stop = null;
  for (const data of kept.toReversed()) process.stdin.unshift(data);
}

/** On a busy machine it takes its time until a question has begun. */
function giveWhenAsked(held: typeof stop, looks = 0): void {
  setTimeout(() => {
    // It may have been given meanwhile, as the command has ended.
    if (stop !== held) return;
    if (hasBegun() || looks === MOST_LOOKS) give();
    else giveWhenAsked(held, looks + 1);
  }, LOOK_MS);
}

/** A question has begun when somebody besides the reader of lines listens to keys. */
function hasBegun(): boolean {
  return process.stdin.listenerCount('keypress') > 1;
}
