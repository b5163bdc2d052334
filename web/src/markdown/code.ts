/** A figure with code in it: its language, a button that copies it, and the code. */

import { highlight } from "./highlight";

export interface CodeFigure {
  figure: HTMLElement;
  /** Shows this text in place of what was there. */
  show(text: string, settled: boolean): void;
}

/** The figure. The button is found by its class: one listener on the page serves all (`copyOnClick`). */
export function codeFigure(text: string, language: string, settled: boolean): CodeFigure {
  const figure = document.createElement("figure");
  figure.className = "code";
  const caption = document.createElement("figcaption");
  const name = document.createElement("span");
  name.textContent = language || "text";
  const copy = document.createElement("button");
  copy.type = "button";
  copy.className = "copy-code";
  copy.textContent = "Copy";
  copy.setAttribute("aria-label", `Copy ${language ? `${language} ` : ""}code`);
  caption.append(name, copy);
  const pre = document.createElement("pre");
  pre.tabIndex = 0; // it scrolls sideways, and must by the keyboard too
  pre.dir = "ltr";
  const code = document.createElement("code");
  pre.append(code);
  figure.append(caption, pre);

  const growing = document.createTextNode("");
  code.append(growing);
  const show = (shown: string, isSettled: boolean): void => {
    if (!growing.isConnected && growing.parentNode !== code) return; // it is in colours already
    if (shown.startsWith(growing.data)) growing.appendData(shown.slice(growing.data.length));
    else growing.data = shown;
    if (isSettled) void highlight(code, language);
  };
  show(text, settled);
  return { figure, show };
}

/** Copies the code of the figure whose button was pressed, and says so on the button. */
export async function copyOnClick(event: MouseEvent): Promise<void> {
  const button = (event.target as Element).closest<HTMLButtonElement>("button.copy-code");
  if (button === null) return;
  const code = button.closest("figure")?.querySelector("code")?.textContent ?? "";
  button.textContent = (await copyText(code)) ? "Copied" : "Not allowed";
  setTimeout(() => (button.textContent = "Copy"), 1600);
}

/** Puts text on the clipboard; false where the browser does not allow it. Works without HTTPS, too. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text); // outside secure contexts, such as a server in the house by its plain address
  }
}

function copyBySelection(text: string): boolean {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "unseen";
  document.body.append(area);
  const before = document.activeElement;
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  if (before instanceof HTMLElement) before.focus();
  return copied;
}
