/** Blocks of Markdown as nodes that are safe to put into the page. */

import DOMPurify from "dompurify";
import { Parser, type Token } from "marked";

import { codeFigure } from "./code";
import { marked } from "./marked";
import { drawMath } from "./math";

const ALLOWED = {
  ALLOWED_TAGS: [
    "a", "blockquote", "br", "code", "del", "div", "em", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "s",
    "span", "strong", "sub", "sup", "table", "tbody", "td", "th", "thead", "tr", "ul",
  ],
  ALLOWED_ATTR: ["align", "class", "href", "start"],
  ADD_URI_SAFE_ATTR: ["align", "start"], // what they say is no address
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
};

/** HTML of somebody else's making as nodes, with nothing in them that acts. */
export function sanitised(html: string): DocumentFragment {
  return DOMPurify.sanitize(html, { ...ALLOWED, RETURN_DOM_FRAGMENT: true });
}

/** One block, drawn. While `settled` is false it will be drawn again soon, and what is costly is left for later. */
export function drawBlock(token: Token, settled: boolean): DocumentFragment {
  const fragment = sanitised(new Parser(marked.defaults).parse([token]));
  for (const pre of fragment.querySelectorAll("pre")) {
    const code = pre.querySelector("code");
    const language = /(?:^| )language-([\w+#.-]+)/.exec(code?.className ?? "")?.[1] ?? "";
    pre.replaceWith(codeFigure((code?.textContent ?? "").replace(/\n$/, ""), language, settled).figure);
  }
  for (const table of fragment.querySelectorAll("table")) {
    const frame = document.createElement("div");
    frame.className = "table";
    frame.tabIndex = 0; // it scrolls sideways, and must by the keyboard too
    frame.setAttribute("role", "region");
    frame.setAttribute("aria-label", "Table");
    table.replaceWith(frame);
    frame.append(table);
  }
  for (const link of fragment.querySelectorAll("a")) {
    link.rel = "noopener noreferrer nofollow";
    link.target = "_blank";
  }
  for (const formula of fragment.querySelectorAll<HTMLElement>(".math")) drawMath(formula);
  return fragment;
}
