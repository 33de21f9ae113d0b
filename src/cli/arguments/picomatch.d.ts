// The package has no types of its own; this is what is used of it.
declare module 'picomatch' {
  namespace picomatch {
    interface Options {
      /** Wildcards also match names that begin with a dot. */
      readonly dot?: boolean;
      /** A leading `!` is an ordinary character. */
      readonly nonegate?: boolean;
      /** `+(a|b)` and its like are ordinary characters. */
      readonly noextglob?: boolean;
      readonly flags?: string;
      readonly posixSlashes?: boolean;
    }
  }
  function picomatch(pattern: string, options?: picomatch.Options): (text: string) => boolean;
  export default picomatch;
}
