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
  let first = lines.length - 1;
  if (!ROW.test(lines[first] ?? "")) return text;
  while (first > 0 && ROW.test(lines[first - 1] ?? "")) first -= 1;
  if (lines.length - first > 2) return text; // heading and delimiters are whole
  return lines.slice(0, first).map((line) => `${line}\n`).join("");
}
