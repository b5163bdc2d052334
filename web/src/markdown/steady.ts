/** Of a text that grows, what can be drawn already without looking otherwise in a moment. */

const ROW = /^ {0,3}\|/;
const MARKERS = /^ {0,3}(?:`{1,3}|~{1,3}|[-*_=+#>]+|\d{1,9}[.)]?|\$\$?|\\\[?)[ \t]*$/;

/**
 * Leaves out the beginning of a last line that may become the mark of something else (a fence, a rule, a list), and
 * the first rows of what may become a table: a row of bars is text until the row below says that it is a heading.
 */
export function steady(text: string): string {
  const end = text.lastIndexOf("\n") + 1;
  if (MARKERS.test(text.slice(end))) return text.slice(0, end);
  const lines = text.split("\n");
  const whole = lines.length - 1; // what stands behind the last line's end is not
  let first = text.endsWith("\n") ? whole : lines.length;
  while (first > 0 && ROW.test(lines[first - 1] ?? "")) first -= 1;
  if (whole - first >= 2) return text; // heading and delimiters are there
  return lines.slice(0, first).map((line) => `${line}\n`).join("").slice(0, text.length);
}

const FENCE = /^ {0,3}(?:```|~~~)/gm;

/** The same text with the last paragraph's open emphasis and code ended, so that nobody reads their marks first. */
export function ended(text: string): string {
  if ((text.match(FENCE)?.length ?? 0) % 2 === 1) return text; // within a fence nothing is a mark
  const paragraph = text.slice(text.lastIndexOf("\n\n") + 1);
  if (odd(paragraph, "`")) return text.endsWith("`") ? text.slice(0, -1) : `${text}\``;
  if (odd(paragraph, "**")) return text.endsWith("**") ? text.slice(0, -2) : `${text.trimEnd()}**`;
  return text;
}

function odd(text: string, mark: string): boolean {
  return text.split(mark).length % 2 === 0;
}
