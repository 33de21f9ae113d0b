/** What a verb is called elsewhere; one of a parent's without that, if several have it. */
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
  add: 'create new make insert register put',
  rename: 'move mv label relabel',
  rotate: 'rekey renew',
  print: 'add create new make install list ls show get export',
  show: 'list ls print get',
  'set-url': 'move mv rename edit change',
  copy: 'migrate move mv export',
  completion: 'completions',
  help: 'man',
};

/** @returns the verbs that somebody may mean who types this, some of which are there behind a parent only */
export function synonymsOf(word: string): readonly string[] {
  const typed = word.toLowerCase();
  return Object.entries(SYNONYMS).flatMap(([verb, words]) =>
    words.split(' ').includes(typed) ? [verb] : [],
  );
}
