/**
 * What an answer of a bucket may be at most. A server that is broken or hostile costs bounded memory and an error, and the
 * other buckets are used. Every limit lies far from what a service that keeps to its protocol sends.
 */

/** One page of a listing, or any other answer that is no object, in bytes. A thousand of the longest keys take 6 MiB. */
export const MAX_PAGE_SIZE = 16 * 1024 * 1024;

/** Keys that one page is asked for, and that it may have: some services know another number than they are asked for. */
export const KEYS_PER_PAGE = 1_000;
export const MAX_KEYS_PER_PAGE = 10_000;

/** The text by which a listing goes on, in characters: it is sent back in the next request's URL. */
export const MAX_TOKEN_LENGTH = 8_192;

/** Pages in a row that a listing may take without a key beyond those before; services do send some empty ones. */
export const MAX_IDLE_PAGES = 100;

/** Keys of one listing: at a chunk of 1 MiB and `2+1`, a bucket that has its share of 50 TB has as many. */
export const MAX_LISTED_KEYS = 100_000_000;

/** How much is read of an answer that explains a failure, in bytes, and told of it, in characters. */
export const MAX_EXPLANATION_SIZE = 64 * 1024;
export const MAX_EXPLANATION_LENGTH = 200;

/** All headers of an answer, in bytes; Node's own limit, whatever the command line of the process says. */
export const MAX_HEADER_SIZE = 16 * 1024;
