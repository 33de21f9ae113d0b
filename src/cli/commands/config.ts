import type { ExitCode } from '../exit.ts';
import { DONE } from '../exit.ts';
import type { Invocation } from '../arguments/invocation.ts';
import { catalogLocation, withoutSecret } from '../arguments/options.ts';
import { Table } from '../terminal/table.ts';
import { styleFor } from '../terminal/terminal.ts';
import { showName } from '../terminal/text.ts';

/** `vault config show`: every setting of a vault, and where it comes from. Needs no password. */
export async function showConfig(invocation: Invocation): Promise<ExitCode> {
  const { output, options, environment, settled } = invocation;
  const settings = settled.settings.map(({ key, value, from }) => {
    const told = key === 'db' ? withoutSecret(catalogLocation(options, environment)) : value;
    return { key, value: told, from };
  });
  const { name, file } = settled;
  if (options.json === true) {
    await output.json({ vault: name, file, settings });
    return DONE;
  }
  const style = styleFor(process.stdout, environment);
  const table = new Table(
    [
      { heading: 'SETTING', align: 'left' },
      { heading: 'VALUE', align: 'left' },
      { heading: 'FROM', align: 'left' },
    ],
    { width: null, styleHeading: (line) => style('bold', line) },
  );
  const rows = [{ key: 'vault', value: name, from: file }, ...settings];
  await output.write(
    table.page(
      rows.map(({ key, value, from }) => [key, value === null ? '-' : showName(value), showName(from)]),
    ),
  );
  return DONE;
}
