/** The Markdown of answers: GitHub's, with mathematics, without HTML and without images. */

import { Marked, type TokenizerAndRendererExtension, type Tokens } from "marked";

interface MathToken extends Tokens.Generic {
  tex: string;
  display: boolean;
}

const ENTITIES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (char) => ENTITIES[char] ?? char);
}

const MATH = {
  mathBlock: /^ {0,3}(?:\$\$([\s\S]+?)\$\$|\\\[([\s\S]+?)\\\])[ \t]*(?:\n|$)/,
  // Prices are none: a formula touches its dollars, and no digit follows.
  mathInline: /^(?:\$\$([^$]+?)\$\$|\$(?![\s$])((?:\\.|[^\\$\n])*?[^\s\\$])\$(?!\d)|\\\(([\s\S]+?)\\\)|\\\[([\s\S]+?)\\\])/,
};

/** Where one may begin. A paragraph ends there, so of a block the end must be there too: more may come. */
const STARTS = {
  mathBlock: /\n {0,3}(?:\$\$[\s\S]+?\$\$|\\\[[\s\S]+?\\\])[ \t]*(?:\n|$)/,
  mathInline: /\$|\\\(|\\\[/,
};

function math(name: "mathBlock" | "mathInline"): TokenizerAndRendererExtension {
  return {
    name,
    level: name === "mathBlock" ? "block" : "inline",
    start: (source) => {
      const at = source.search(STARTS[name]);
      return at < 0 ? undefined : at + (name === "mathBlock" ? 1 : 0);
    },
    tokenizer: (source): MathToken | undefined => {
      const match = MATH[name].exec(source);
      if (!match) return undefined;
      const tex = match.slice(1).find((part) => part !== undefined)?.trim() ?? "";
      const display = /^ *(\$\$|\\\[)/.test(match[0]);
      return { type: name, raw: match[0], tex, display };
    },
    renderer: (token) => {
      const { tex, display } = token as MathToken;
      const tag = name === "mathBlock" ? "div" : "span";
      const kind = display ? "math display" : "math";
      return `<${tag} class="${kind}">${escapeHtml(tex)}</${tag}>`;
    },
  };
}

export const marked = new Marked({
  gfm: true,
  extensions: [math("mathBlock"), math("mathInline")],
  renderer: {
    html: ({ text }) => escapeHtml(text),
    image: ({ href, text }) => `<a href="${escapeHtml(href)}">${escapeHtml(text || href)}</a>`,
    heading({ tokens, depth }) {
      const level = Math.min(depth + 2, 6); // the page's own headings stand above an answer's
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>`;
    },
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
  },
});
