import { DONE, type ExitCode } from '../exit.ts';
import type { Invocation } from '../arguments/invocation.ts';
import { catalogLocation } from '../arguments/options.ts';
import { withoutSecret } from '../../catalog/location.ts';
import { tableFor } from '../terminal/table.ts';
import { count, grouped, showName } from '../terminal/text.ts';
import type { Setting } from '../arguments/config.ts';

/** What holds where nothing is said, as `RequestOptions` has it. */
const USUAL: ReadonlyMap<string, string> = new Map([
  ['timeout', '60s, at first contact 15s'],
  ['max_wait', '2m, of a bucket that has never answered 5s'],
  ['concurrency', '48'],
  ['limit_upload', 'none'],
  ['limit_download', 'none'],
  ['exclude', 'nothing'],
]);

/** `vault config show`: every setting of a vault, and where it comes from. Needs no password. */
export async function showConfig(invocation: Invocation): Promise<ExitCode> {
  const { output, options, environment, settled, terminal } = invocation;
  const settings = settled.settings.map(({ key, value, from }) => {
    const told = key === 'db' ? withoutSecret(catalogLocation(options, environment)) : value;
    return { key, value: told ?? USUAL.get(key) ?? null, from };
  });
  const { name, file } = settled;
  if (options.json === true) await output.json({ vault: name, file, settings });
  else await printSettings(invocation, settings);
  const said = settings.filter(({ from }) => from !== 'default').length;
  terminal.summary(
    `${count(settings.length, 'setting')}, of which ${grouped(said)} ${said === 1 ? 'is not the default' : 'are not the defaults'}.`,
    {
      settings: settings.length,
    },
  );
  return DONE;
}

async function printSettings(invocation: Invocation, settings: readonly Setting[]): Promise<void> {
  const { name, file } = invocation.settled;
  const table = tableFor(invocation, ['SETTING', 'VALUE', 'FROM'], { width: null, piped: true });
  const rows = [{ key: 'vault', value: name, from: file }, ...settings];
  await invocation.output.write(
    table.page(
      rows.map(({ key, value, from }) => [key, value === null ? '-' : showName(value), showName(from)]),
    ),
  );
}
