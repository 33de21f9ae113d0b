/**
 * A piece of a page: the page makes elements of it, the report text. Neither ever reads a name as HTML, and there is no place for a
 * script or a style.
 */
export interface Tree {
  readonly tag: string;
  readonly attributes: Attributes;
  readonly children: readonly Child[];
}

/** True stands for an attribute without a value; false for none. */
export type Attributes = Readonly<Record<string, string | number | boolean>>;
export type Child = Tree | string | null;

export function h(tag: string, attributes: Attributes = {}, ...children: readonly Child[]): Tree {
  return { tag, attributes, children };
}

/** Elements without an end. */
const VOID = new Set(['br', 'hr', 'img', 'input', 'link', 'meta']);

export function htmlOf(child: Child): string {
  if (child === null) return '';
  if (typeof child === 'string') return escaped(child);
  const { tag, attributes, children } = child;
  const written = Object.entries(attributes)
    .filter(([, value]) => value !== false)
    .map(([name, value]) => ` ${name}${value === true ? '' : `="${escaped(String(value))}"`}`);
  const start = `<${tag}${written.join('')}>`;
  return VOID.has(tag) ? start : `${start}${children.map(htmlOf).join('')}</${tag}>`;
}

function escaped(text: string): string {
  return text.replaceAll(/[&<>"']/g, (one) => `&#${one.charCodeAt(0)};`);
}
