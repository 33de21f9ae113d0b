/** What people type, verb by verb. */

/** A command line, and what it does. */
export type Example = readonly [line: string, what: string];

export const EXAMPLES: ReadonlyMap<string, readonly Example[]> = new Map<string, readonly Example[]>([
  [
    '',
    [
      ['vault init --local', 'try it out with three folders on this machine'],
      ['vault put report.pdf', 'store a file, print its hash'],
      ['vault ls', 'what is stored'],
      ['vault get report.pdf -o copy.pdf', 'get it back, by name or hash'],
      ["vault get '*.pdf' -o restored/", 'all that match a pattern, into a folder'],
    ],
  ],
  [
    'init',
    [
      ['vault init', 'ask for everything'],
      ['vault init --local', 'three folders beside the catalog'],
      ['vault init --bucket gs://acme-1 --bucket s3://acme-2 --bucket /mnt/nas/vault', 'three places'],
    ],
  ],
  [
    'put',
    [
      ['vault put report.pdf docs', 'a file and a folder, under their paths'],
      ['vault put -n docs/*', 'show what would be new'],
      ["vault put docs --exclude '*.tmp'", 'a folder, as one version'],
      ["vault put --from-command 'pg_dump shop' --name shop.dump", 'what a command prints, if it succeeds'],
      ['vault put shop.dump --expires 30d', 'for 30 days'],
    ],
  ],
  [
    'get',
    [
      ['vault get report.pdf', 'the newest version, into this folder'],
      ['vault get 6705a8b0602f -o old.pdf', 'any version, by the beginning of its hash'],
      ["vault get 'docs/**' -o restored/", 'all that match a pattern'],
      ['vault get docs -o restored', 'a folder'],
      ['vault get docs/2024/a.pdf', 'one file of it'],
    ],
  ],
  [
    'prune',
    [
      ['vault prune shop.dump --keep-daily 7 --keep-weekly 4 -n', 'what these rules would keep, and why'],
      ["vault prune 'backups/**' --keep-within 30d --yes", 'without being asked, from cron'],
    ],
  ],
  [
    'drill',
    [
      ['vault drill', 'restore ten files from the buckets and the password alone'],
      ['vault drill --sample 1%', 'one file in a hundred'],
    ],
  ],
  [
    'schedule print',
    [
      ['vault schedule print ~/documents --cron --password-file ~/.vault-password', 'lines for a crontab'],
      ['vault schedule print ~/documents --systemd', 'services and timers'],
    ],
  ],
  [
    'cat',
    [
      ['vault cat notes.txt', 'print a text'],
      ['vault cat docs.tar | tar -xf -', 'unpack what was packed'],
    ],
  ],
  [
    'ls',
    [
      ["vault ls 'docs/**' --long", 'whole hashes, exact sizes'],
      ['vault ls --sort size --larger 100M', 'the largest first'],
      ['vault ls --all notes.txt', 'every version of a name'],
      ['vault ls --deleted', 'what can be brought back'],
      ['vault ls docs/ --recursive', 'what is in a folder'],
    ],
  ],
  [
    'diff',
    [
      ['vault diff docs', 'the newest version, and the folder docs here'],
      ['vault diff 0b1c1f0e docs', 'two versions'],
    ],
  ],
  [
    'share',
    [
      ['vault share report.pdf', 'a link that is valid for a week'],
      ['vault share report.pdf --expires 12h --password', 'for 12 hours, with a password'],
      ['vault share docs', 'a folder, as a tar archive'],
    ],
  ],
  ['share ls', [['vault share ls', 'what is shared, and until when']]],
  ['share rm', [['vault share rm 3f0c91aa', 'revoke a link']]],
  [
    'info',
    [
      ['vault info', 'the vault: its buckets and redundancy'],
      ['vault info report.pdf', 'a file, and where its shards are'],
    ],
  ],
  [
    'rm',
    [
      ['vault rm report.pdf', 'hide it; "vault undelete" brings it back'],
      ["vault rm -n '*.tmp'", 'show which ones would be removed'],
      ['vault rm report.pdf --all-versions --now', 'for good'],
    ],
  ],
  ['undelete', [['vault undelete report.pdf', 'bring it back']]],
  [
    'sweep',
    [
      ['vault sweep', 'every night'],
      ['vault sweep -n', 'show what would be removed'],
    ],
  ],
  [
    'status',
    [
      ['vault status', 'what the vault holds, and how safe it is'],
      ['vault status --max-age 26h shop.dump', 'exit with 3 if the last backup is older'],
    ],
  ],
  [
    'report',
    [
      ['vault report -o vault.html', 'the status as one HTML file'],
      ['vault report -o vault.html --redact-names', 'one that you can show to others'],
    ],
  ],
  [
    'verify',
    [
      ['vault verify', 'by listings, without downloading'],
      ['vault verify --sample 5%', 'and download a part'],
      ['vault verify --locks', 'and how much of it is locked'],
      ['vault verify --no-password --bucket /mnt/nas/vault', 'a bucket, by its own checksums'],
    ],
  ],
  [
    'repair',
    [
      ['vault repair', 'replace what is missing'],
      ['vault repair --read-data', 'and what is damaged'],
      ['vault repair --redundancy 3+2', 'store everything with another redundancy'],
      ['vault repair --retain 30d', 'also lock what files need'],
      ['vault repair --forget-bucket gs://acme-1', 'a bucket is lost for good'],
    ],
  ],
  ['sync', [['vault sync && vault ls', 'with what machines that can only store have stored']]],
  ['recover', [['vault recover --bucket gs://acme-1 --bucket /mnt/nas/vault', 'a new catalog']]],
  ['password', [['vault password', 'ask for the old one and the new one']]],
  [
    'key add',
    [
      ['vault key add --label ann', 'another person, who chooses a password'],
      ['vault key add --label web-1 --role put --new-key-file web-1.key', 'a machine that only stores'],
    ],
  ],
  ['key ls', [['vault key ls', 'who can open the vault']]],
  ['key rm', [['vault key rm ann', 'her password no longer opens the vault']]],
  [
    'key rotate',
    [['vault key rotate', 'somebody may still have a full key: change the root, ask for a new password']],
  ],
  [
    'key reseal',
    [['vault key reseal > new-hashes', 'also what was stored before; if interrupted, repeat it']],
  ],
  ['key rename', [['vault key rename 5f3a91c07b2e laptop', 'change its name']]],
  ['config show', [['vault --vault work config show', 'where each setting comes from']]],
  [
    'serve',
    [
      ['vault serve', 'on this machine alone, at 127.0.0.1:8750'],
      [
        'vault serve --listen 0.0.0.0:8750 --public-url https://files.example.com',
        'behind a proxy; needs a token',
      ],
    ],
  ],
  [
    'token add',
    [['vault token add --scope put,list --label backups --expires 90d', 'for a program that uploads']],
  ],
  ['token ls', [['vault token ls', 'who may use the server']]],
  ['token rm', [['vault token rm 5f3a91c07b2e', 'from now on no server accepts it']]],
  ['catalog copy', [['vault catalog copy postgres://vault@db.example.com/vault', 'from a file to a server']]],
  ['bucket ls', [['vault bucket ls', 'what each holds, and whether it answers']]],
  ['bucket add', [['vault bucket add gs://acme-4', 'new files use it from now on']]],
  [
    'bucket rm',
    [
      ['vault bucket rm /mnt/nas/vault', 'move what it holds to the others'],
      ['vault bucket rm gs://acme-1 --gone', 'it is lost: rebuild what it held'],
    ],
  ],
  ['bucket set-url', [['vault bucket set-url /mnt/nas/vault /mnt/new/vault', 'the same bucket, moved']]],
  [
    'completion',
    [
      ['eval "$(vault completion bash)"', 'in ~/.bashrc; likewise zsh in ~/.zshrc'],
      ['vault completion fish > ~/.config/fish/completions/vault.fish', 'for fish'],
      ['vault completion powershell | Out-String | Invoke-Expression', 'in the profile of PowerShell'],
    ],
  ],
  [
    'help',
    [
      ['vault help bucket rm', 'one command'],
      ['vault help options', 'the options that every command takes'],
    ],
  ],
  ['version', [['vault version --json', 'with the versions of format and Node']]],
]);
