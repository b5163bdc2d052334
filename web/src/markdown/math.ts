/** Formulas, by KaTeX, which is fetched with the first of them. */

type Katex = typeof import("katex").default;

let katex: Katex | null = null;
let fetching: Promise<Katex> | null = null;

async function fetched(): Promise<Katex> {
  const [module] = await Promise.all([import("katex"), import("katex/dist/katex.min.css")]);
  katex = module.default;
  return katex;
}

/** Replaces the TeX in `element` by the formula; at once, where KaTeX is here already. */
export function drawMath(element: HTMLElement): void {
  const tex = element.textContent ?? "";
  const display = element.classList.contains("display");
  if (katex !== null) render(katex, tex, element, display);
  else {
    fetching ??= fetched();
    fetching.then(
      (loaded) => render(loaded, tex, element, display),
      () => (fetching = null), // the TeX stays as it is, and the next formula tries again
    );
  }
}

function render(loaded: Katex, tex: string, element: HTMLElement, displayMode: boolean): void {
  const options = { displayMode, throwOnError: false, trust: false, strict: "ignore", maxExpand: 200, maxSize: 20 };
  const tree = (loaded as unknown as Trees).__renderToDomTree(tex, options);
  putStylesAside(tree);
  element.replaceChildren(tree.toNode());
  for (const styled of element.querySelectorAll<HTMLElement | SVGElement | MathMLElement>("[data-style]")) {
    styled.style.cssText = styled.dataset.style ?? "";
    delete styled.dataset.style;
  }
}

/** What KaTeX's types leave out: the tree that it makes nodes of. */
interface Trees {
  __renderToDomTree(tex: string, options: object): Drawn;
}

interface Drawn {
  attributes?: Record<string, string>;
  children?: Drawn[];
  toNode(): Node;
}

/** Some styles KaTeX sets as attributes, which the page's Content-Security-Policy forbids; a script may set them. */
function putStylesAside({ attributes, children }: Drawn): void {
  if (attributes?.style !== undefined) {
    attributes["data-style"] = attributes.style;
    delete attributes.style;
  }
  children?.forEach(putStylesAside);
}
