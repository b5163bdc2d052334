/** Tables as text (RFC 4180), read and written in the browser. */

const DELIMITERS = [",", ";", "\t", "|"] as const;
const LOOKED_AT = 20;

/** The rows of a table, each with its cells. Lines that hold nothing are left out. */
export function fromCsv(text: string, delimiter = delimiterOf(text)): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  let cell = "";
  let quoted = false;
  for (let at = 0; at < text.length; at++) {
    const sign = text[at] as string;
    if (quoted) {
      if (sign !== '"') cell += sign;
      else if (text[at + 1] === '"') cell += text[++at];
      else quoted = false;
    } else if (sign === '"' && cell === "") quoted = true;
    else if (sign === delimiter) {
      row.push(cell);
      cell = "";
    } else if (sign === "\n" || sign === "\r") {
      if (sign === "\r" && text[at + 1] === "\n") at += 1;
      row.push(cell);
      if (row.some((one) => one !== "")) rows.push(row);
      row = [];
      cell = "";
    } else cell += sign;
  }
  row.push(cell);
  if (row.some((one) => one !== "")) rows.push(row);
  return rows;
}

/** What parts the cells: the sign that stands equally often in the first lines, and the most often. */
export function delimiterOf(text: string): string {
  const start = text.split("\n", LOOKED_AT * 4).join("\n");
  const cells = (delimiter: string): number => {
    const lengths = fromCsv(start, delimiter).slice(0, LOOKED_AT).map((row) => row.length);
    return Math.min(...lengths);
  };
  return DELIMITERS.reduce<string>((best, one) => (cells(one) > cells(best) ? one : best), ",");
}

/** A table as CSV, each row ended as the standard has it. */
export function toCsv(rows: readonly (readonly (string | number)[])[]): string {
  return rows.map((row) => `${row.map(quotedIfNeeded).join(",")}\r\n`).join("");
}

function quotedIfNeeded(cell: string | number): string {
  const text = String(cell);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** A file's text, in the encoding that it is in: UTF-16 by its mark, else UTF-8 where it is that, else Windows-1252. */
export function decoded(bytes: Uint8Array): string {
  const [first, second] = bytes;
  if (first === 0xff && second === 0xfe) return new TextDecoder("utf-16le").decode(bytes);
  if (first === 0xfe && second === 0xff) return new TextDecoder("utf-16be").decode(bytes);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return new TextDecoder("windows-1252").decode(bytes);
  }
}
