/**
 * A compact set of chunk ids: about eight bytes each, whatever their number. It may rarely say that it has an id that it has not,
 * once in billions; what goes by it keeps garbage then, and never loses anything.
 */

/** Entries of the first table; each further one is twice as large. */
const FIRST_SIZE = 1 << 14;
/** Tables are filled so far; then a further one is begun. */
const MOST_FULL = 0.7;

interface Table {
  readonly slots: Uint32Array;
  count: number;
}

export class IdSet {
  readonly #tables: Table[] = [];
  /** Distinct ids added. */
  size = 0;

  /** @param id 64 hex digits @returns whether it was new */
  add(id: string): boolean {
    if (this.has(id)) return false;
    let table = this.#tables.at(-1);
    if (table === undefined || table.count >= table.slots.length * MOST_FULL) {
      table = { slots: new Uint32Array(FIRST_SIZE << this.#tables.length), count: 0 };
      this.#tables.push(table);
    }
    const { at, mark } = place(id, table.slots);
    table.slots[at] = mark;
    table.count += 1;
    this.size += 1;
    return true;
  }

  has(id: string): boolean {
    return this.#tables.some(({ slots }) => slots[place(id, slots).at] !== 0);
  }
}

/** Where an id is in a table, or would be: the first 32 bits say where to begin, the next ones are the mark. */
function place(id: string, slots: Uint32Array): { readonly at: number; readonly mark: number } {
  const mark = Number.parseInt(id.slice(8, 16), 16) || 1;
  const mask = slots.length - 1;
  let at = Number.parseInt(id.slice(0, 8), 16) & mask;
  while (slots[at] !== 0 && slots[at] !== mark) at = (at + 1) & mask;
  return { at, mark };
}
