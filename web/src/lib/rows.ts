/** A list of which only the part on the screen is drawn: rows of known heights, and which of them can be seen. */

import { dayOf } from "./days";

export const HEADING_PX = 34;
export const ROW_PX = 40;
/** Of what was found: a second line says where. */
export const FOUND_PX = 58;
const BEYOND_PX = 400;

export type Row<Item> =
  | { kind: "heading"; text: string; top: number; height: number }
  | { kind: "item"; item: Item; place: number; top: number; height: number };

/** Rows of a height for items, with a heading where its text changes; null draws none. */
export function rowsOf<Item>(
  items: readonly Item[],
  heading: ((item: Item) => string) | null,
  height = ROW_PX,
): Row<Item>[] {
  const rows: Row<Item>[] = [];
  let top = 0;
  let last: string | null = null;
  items.forEach((item, place) => {
    const text = heading?.(item) ?? null;
    if (text !== null && text !== last) {
      rows.push({ kind: "heading", text, top, height: HEADING_PX });
      top += HEADING_PX;
      last = text;
    }
    rows.push({ kind: "item", item, place, top, height });
    top += height;
  });
  return rows;
}

/** Rows under the headings of their days. */
export function byDay<Item extends { updated_at: string }>(items: readonly Item[], now: Date): Row<Item>[] {
  return rowsOf(items, (item) => dayOf(new Date(item.updated_at), now));
}

/** The height of all rows together. */
export function heightOf(rows: readonly Row<unknown>[]): number {
  const last = rows.at(-1);
  return last === undefined ? 0 : last.top + last.height;
}

/** The rows that can be seen, and some beyond either edge. */
export function visible<Item>(rows: readonly Row<Item>[], scrollTop: number, height: number): Row<Item>[] {
  return rows.slice(firstBelow(rows, scrollTop - BEYOND_PX), firstBelow(rows, scrollTop + height + BEYOND_PX));
}

/** The index of the first row that ends below `y`. */
function firstBelow(rows: readonly Row<unknown>[], y: number): number {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const row = rows[middle];
    if (row !== undefined && row.top + row.height <= y) low = middle + 1;
    else high = middle;
  }
  return low;
}
