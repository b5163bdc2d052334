import { describe, expect, it } from "vitest";

import { Blocks } from "../src/markdown/blocks";
import { drawBlock } from "../src/markdown/draw";

function drawn(markdown: string): HTMLElement {
  const page = document.createElement("div");
  for (const { token } of new Blocks().read(markdown, true)) page.append(drawBlock(token, true));
  return page;
}

const ATTACKS = [
  "<script>alert(1)</script>",
  '<img src=x onerror="alert(1)">',
  "<svg onload=alert(1)>",
  '<iframe src="https://canary.example"></iframe>',
  '<a href="javascript:alert(1)">x</a>',
  "[x](javascript:alert(1))",
  "[x](JaVaScRiPt:alert(1))",
  "[x](data:text/html,<script>alert(1)</script>)",
  "[x](vbscript:x)",
  "![x](https://canary.example/pixel.png)",
  '![x" onerror="alert(1)](https://canary.example/x.png "t" onerror="a)',
  "<style>@import url(https://canary.example)</style>",
  '<link rel="stylesheet" href="https://canary.example">',
  '<form action="https://canary.example"><input></form>',
  '<meta http-equiv="refresh" content="0;url=https://canary.example">',
  "`<img src=https://canary.example>`",
  "```html\n<img src=https://canary.example onerror=alert(1)>\n```",
  "$\\href{javascript:alert(1)}{x}$ $\\includegraphics{https://canary.example/x.png}$",
  "| <img src=x onerror=alert(1)> |\n| - |\n| <script>1</script> |",
  "<math><mi//xlink:href=\"data:x,<script>alert(4)</script>\">",
  "<https://canary.example/\"onmouseover=alert(1)>",
  "```\"><img/src=x/onerror=alert(1)>\ncode\n```",
];

describe("what a model writes", () => {
  for (const attack of ATTACKS) {
    it(`does nothing: ${attack.slice(0, 50)}`, () => {
      const page = drawn(`Before ${attack} after\n\n${attack}`);
      expect(page.querySelector("script, img, iframe, svg, style, link, form, input, meta, object, embed")).toBeNull();
      for (const element of page.querySelectorAll("*")) {
        for (const { name, value } of element.attributes) {
          expect(name).not.toMatch(/^on|^src|^style$/);
          if (name === "href") expect(value).toMatch(/^(https?|mailto):/);
        }
      }
    });
  }

  it("shows HTML as the text that it is", () => {
    expect(drawn("A <b>bold</b> word").textContent).toContain("<b>bold</b>");
  });

  it("is drawn as Markdown", () => {
    const page = drawn("# Title\n\n**bold** and ~~gone~~\n\n1. one\n\n| a | b |\n| - | -: |\n| 1 | 2 |\n\n- [x] done");
    expect(page.querySelector("h3")?.textContent).toBe("Title");
    expect(page.querySelector("strong")?.textContent).toBe("bold");
    expect(page.querySelector("td[align=right]")?.textContent).toBe("2");
    expect(page.textContent).toContain("☑ done");
  });

  it("has links that tell nobody where they were", () => {
    const link = drawn("[x](https://example.org)").querySelector("a");
    expect(link?.rel).toBe("noopener noreferrer nofollow");
  });

  it("has code as it was written, with its language", () => {
    const page = drawn("```python title=x\nif a < b:\n    pass\n```");
    expect(page.querySelector("code")?.textContent).toBe("if a < b:\n    pass");
    expect(page.querySelector("figcaption span")?.textContent).toBe("python");
  });

  it("has formulas where there are some, and prices where there are prices", () => {
    expect(drawn("Let $a_1 < b$ be.").querySelector(".math")).not.toBeNull();
    expect(drawn("From $5 to $10, or $3.50 each.").querySelector(".math")).toBeNull();
    expect(drawn("`$a$`").querySelector(".math")).toBeNull();
  });
});
