/** Labels, texts and examples as they are written: one a line, and what belongs to it behind a bar. */

import type { Label } from "../tasks/routes";

export function linesOf(text: string): string[] {
  return text.split(/\r?\n/).map((line) => line.trim()).filter((line) => line !== "");
}

/** "name" or "name | description". */
export function labelsOf(text: string): (string | Label)[] {
  return linesOf(text).map((line) => {
    const [name = "", ...rest] = line.split("|");
    const description = rest.join("|").trim();
    return description === "" ? name.trim() : { name: name.trim(), description };
  });
}

export function nameOf(label: string | Label): string {
  return typeof label === "string" ? label : label.name;
}

/** "text | label"; a text may have bars in it, a label not. Lines without a label have an empty one: the server says so. */
export function examplesOf(text: string): { text: string; label: string }[] {
  return linesOf(text).map((line) => {
    const at = line.lastIndexOf("|");
    return at < 0 ? { text: line, label: "" } : { text: line.slice(0, at).trim(), label: line.slice(at + 1).trim() };
  });
}

/** Of a table, the column that looks most like texts: the one that says most. */
export function wordiest(rows: readonly (readonly string[])[]): number {
  const said: number[] = [];
  for (const row of rows.slice(0, 200)) row.forEach((cell, at) => (said[at] = (said[at] ?? 0) + cell.length));
  return said.indexOf(Math.max(...said));
}
