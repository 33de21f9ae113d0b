/**
 * Loaded by a thread that starts in a folder that has been removed. Node asks for that folder's path once before it runs what it was
 * given, if only to tell it to whoever debugs Node, and ends the thread where there is none.
 */
// oxlint-disable-next-line typescript/unbound-method -- it needs no `this`
const asked = process.cwd;
process.cwd = () => {
  // From here on whoever asks is told that there is none.
  process.cwd = asked;
  return '/';
};
