/** What a verb is called elsewhere. */
const SYNONYMS: Readonly<Record<string, string>> = {
  init: 'create new setup mkvault',
  put: 'add backup save store upload push archive',
  get: 'download extract fetch pull restore checkout export',
  cat: 'dump print',
  ls: 'dir files list snapshots',
  info: 'describe details stat where',
  rm: 'del delete erase forget remove unlink',
  undelete: 'undo unremove unrm untrash',
  sweep: 'clean cleanup compact expire gc purge vacuum',
  status: 'du health monitor stats',
  verify: 'audit check fsck scrub test validate',
  repair: 'fix heal rebuild resilver',
  recover: 'import reindex',
  password: 'key passwd rekey',
  'config show': 'settings',
  'catalog copy': 'migrate',
  'bucket ls': 'buckets remote remotes repo repository',
  'bucket set-url': 'move mv',
  completion: 'completions',
  help: 'man',
};

/** @returns the verb that somebody means who types this; undefined for a word that means nothing */
export function synonymOf(word: string): string | undefined {
  const typed = word.toLowerCase();
  return Object.entries(SYNONYMS).find(([, words]) => words.split(' ').includes(typed))?.[0];
}
