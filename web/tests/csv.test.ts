import { describe, expect, it } from "vitest";

import { decoded, delimiterOf, fromCsv, toCsv } from "../src/lib/csv";
import { examplesOf, labelsOf, wordiest } from "../src/lib/labels";

describe("tables", () => {
  it("are read with quotes, line ends and empty lines of any kind", () => {
    expect(fromCsv('a,b\r\n"x, ""y""\nz",\n\n,2')).toEqual([["a", "b"], ['x, "y"\nz', ""], ["", "2"]]);
    expect(fromCsv("")).toEqual([]);
  });

  it("that were written read as they were", () => {
    const rows = [["plain", 'with "quotes"', "two\nlines"], ["a;b", "c,d", ""]];
    expect(fromCsv(toCsv(rows), ",")).toEqual(rows);
  });

  it("tell by their lines what parts their cells", () => {
    expect(delimiterOf("a;b;c\n1,5;2,5;3,5")).toBe(";");
    expect(delimiterOf("a\tb\n1, 2, 3\t4")).toBe("\t");
    expect(delimiterOf("only one column\nof texts, with commas")).toBe(",");
  });

  it("are decoded by what they are", () => {
    expect(decoded(new TextEncoder().encode("\ufeffWörter"))).toBe("Wörter");
    expect(decoded(new Uint8Array([0x57, 0xf6]))).toBe("Wö");
    expect(decoded(new Uint8Array([0xff, 0xfe, 0x57, 0, 0xf6, 0]))).toBe("Wö");
  });
});

describe("what is written a line", () => {
  it("is a label with what it means, or an example with its label", () => {
    expect(labelsOf("weather | rain | wind\n\n  ships ")).toEqual([{ name: "weather", description: "rain | wind" }, "ships"]);
    expect(examplesOf("It rained | all night | weather\nnone")).toEqual([
      { text: "It rained | all night", label: "weather" }, { text: "none", label: "" },
    ]);
  });

  it("is looked for in the column that says most", () => {
    expect(wordiest([["1", "a long text", "x"], ["2", "another", "y"]])).toBe(1);
  });
});
