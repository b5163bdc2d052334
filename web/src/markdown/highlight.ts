/** Code in colours, by highlight.js, which is fetched with the first code that names its language. */

import DOMPurify from "dompurify";

type Highlighter = typeof import("highlight.js/lib/common").default;

const LONGEST = 60_000;
let fetching: Promise<Highlighter> | null = null;

/** Colours the text of `element` in place; does nothing for a language that nobody knows. */
export async function highlight(element: HTMLElement, language: string): Promise<void> {
  const code = element.textContent ?? "";
  if (language === "" || code.length > LONGEST) return;
  fetching ??= import("highlight.js/lib/common").then((module) => module.default);
  const highlighter = await fetching.catch(() => (fetching = null));
  if (!highlighter || highlighter.getLanguage(language) === undefined || element.textContent !== code) return;
  const { value } = highlighter.highlight(code, { language, ignoreIllegals: true });
  const coloured = DOMPurify.sanitize(value, {
    ALLOWED_TAGS: ["span"],
    ALLOWED_ATTR: ["class"],
    RETURN_DOM_FRAGMENT: true,
  });
  element.replaceChildren(coloured);
}
