import { describe, expect, it } from "vitest";

import { Blocks } from "../src/markdown/blocks";
import { ended, steady } from "../src/markdown/steady";

const TEXTS: Record<string, string> = {
  "prose and lists": "# Title\n\nOne *two*\nthree.\n\n- a\n- b\n\n  still b\n\n- c\n\n1. x\n2. y\n\nEnd",
  code: "Before\n\n```python\nprint(1)\n\n\n# not a title\n```\n\nAfter `code`\n\n    indented\n\nDone.",
  "an open fence": "Look:\n\n```js\nlet a = 1;\n\nlet b",
  tables: "| a | b |\n| - | -: |\n| 1 | 2 |\n| 3 | 4 |\n\nText | with | bars\n\n> quote\n> more\n\nx",
  "setext titles": "Title\n=====\n\nOther\n---\n\ntext\n***\nmore",
  mathematics: "Let $a^2$ and\n\n$$\nx = \\frac{1}{2}\n$$\n\n\\[ y \\]\n\nIt costs $5 and $10.",
  "a formula with a blank line": "So:\n\n$$\na\n\nb\n$$\n\nend",
  "other line ends": "One\r\n\r\n- a\r\n- b\r\n\r\nTwo\rThree",
  html: "<script>alert(1)</script>\n\n<b>bold</b> text\n\n<div>\n\nx\n\n</div>",
  "nothing but blanks": "\n\n  \n",
};

function read(text: string, chunks: number[]): { drawn: string[]; keys: number[] } {
  const blocks = new Blocks();
  let at = 0;
  for (const size of chunks) {
    at += size;
    blocks.read(text.slice(0, at), false);
  }
  const whole = blocks.read(text, true);
  return { drawn: whole.map((block) => block.token.raw.trimEnd()), keys: whole.map((block) => block.key) };
}

/** A plain generator of pseudo-random numbers, so that a failure can be seen again. */
function* randoms(seed: number): Generator<number, never> {
  for (let state = seed; ; ) {
    state = (state * 1664525 + 1013904223) % 2 ** 32;
    yield state / 2 ** 32;
  }
}

describe("what can be drawn already", () => {
  it("is all but the beginning of a mark", () => {
    expect(steady("One\n``")).toBe("One\n");
    expect(steady("One\n\n1.")).toBe("One\n\n");
    expect(steady("One\n---")).toBe("One\n");
    expect(steady("One\n- two")).toBe("One\n- two");
    expect(steady("```py")).toBe("```py");
  });
  it("has rows of a table when their heading is whole", () => {
    expect(steady("One\n\n| a | b")).toBe("One\n\n");
    expect(steady("One\n\n| a | b |\n| - |")).toBe("One\n\n");
    expect(steady("One\n\n| a | b |\n| - | - |\n")).toBe("One\n\n| a | b |\n| - | - |\n");
    expect(steady("| a |\n| - |\n| 1")).toBe("| a |\n| - |\n| 1");
    expect(steady("One\n\n| a | b |\n")).toBe("One\n\n");
    expect(steady("| a bar, and no table |\n\n")).toBe("| a bar, and no table |\n\n");
    expect(steady("No bars\nat all")).toBe("No bars\nat all");
  });
});

describe("emphasis that is still open", () => {
  it("is ended for as long as it grows", () => {
    expect(ended("They **rub aga")).toBe("They **rub aga**");
    expect(ended("They **rub ")).toBe("They **rub**");
    expect(ended("They **")).toBe("They ");
    expect(ended("They **rub** on")).toBe("They **rub** on");
    expect(ended("Call `haul(")).toBe("Call `haul(`");
    expect(ended("Call `")).toBe("Call ");
    expect(ended("One ** alone.\n\nNext")).toBe("One ** alone.\n\nNext");
  });
  it("is none within code", () => {
    expect(ended("```c\nint **p")).toBe("```c\nint **p");
    expect(ended("```c\nint **p;\n```\n\nA **b")).toBe("```c\nint **p;\n```\n\nA **b**");
  });
});

describe("blocks of a growing text", () => {
  for (const [name, text] of Object.entries(TEXTS)) {
    it(`are those of the whole text, however it came: ${name}`, () => {
      const expected = read(text, []).drawn;
      expect(read(text, [...text].map(() => 1)).drawn).toEqual(expected);
      const random = randoms(7);
      for (let run = 0; run < 40; run++) {
        const chunks: number[] = [];
        for (let sum = 0; sum < text.length; sum += chunks.at(-1) ?? 0) chunks.push(1 + Math.floor(random.next().value * 9));
        expect(read(text, chunks).drawn).toEqual(expected);
      }
    });
  }

  it("settle once more text cannot change them, and keep their keys", () => {
    const blocks = new Blocks();
    const [first] = blocks.read("One", false);
    expect(first).toMatchObject({ key: 0, settled: false });
    const [again, second] = blocks.read("One\n\nTwo", false);
    expect(again).toMatchObject({ key: 0, settled: true });
    expect(second).toMatchObject({ key: 1, settled: false });
    expect(blocks.read("One\n\nTwo", true)).toMatchObject([{ settled: true }, { settled: true }]);
  });

  it("that are settled are not read again", () => {
    const blocks = new Blocks();
    const [before] = blocks.read("One\n\nTwo", false);
    const [after] = blocks.read("One\n\nTwo and three\n\nFour", false);
    expect(after).toBe(before);
  });

  it("know a link that is defined after its use when the text is whole", () => {
    const blocks = new Blocks();
    const text = "See [this][1].\n\nMore.\n\n[1]: https://example.org\n\nEnd.";
    blocks.read(text.slice(0, 30), false);
    blocks.read(text, false);
    const [first] = blocks.read(text, true);
    expect(JSON.stringify(first?.token)).toContain("https://example.org");
  });

  it("begin anew with another text", () => {
    const blocks = new Blocks();
    blocks.read("A long beginning\n\nand more", true);
    expect(blocks.read("Short", false).map((block) => block.token.raw)).toEqual(["Short"]);
  });
});
