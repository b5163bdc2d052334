/** Fields in which people write messages. */

/** On a screen that is touched, Enter makes a line: a button sends. */
const touched = typeof matchMedia === "function" && matchMedia("(pointer: coarse) and (hover: none)").matches;

/** Whether a key press sends: Enter alone, and not while an input method composes with it. */
export function sends(event: KeyboardEvent): boolean {
  const composing = event.isComposing || event.keyCode === 229; // the latter where the press ends the composition
  return event.key === "Enter" && !event.shiftKey && !event.altKey && !composing && !touched;
}

/** Puts the keyboard into a field, unless that would bring one up over half of the screen. */
export function ready(field: HTMLElement): void {
  if (!touched) field.focus();
}

/** Has a text area be as high as its text. */
export function growing(area: HTMLTextAreaElement): () => void {
  if (CSS.supports("field-sizing", "content")) {
    area.style.setProperty("field-sizing", "content");
    return () => undefined;
  }
  const fit = (): void => {
    area.style.height = "auto";
    area.style.height = `${area.scrollHeight}px`;
  };
  area.addEventListener("input", fit);
  fit();
  return () => area.removeEventListener("input", fit);
}

const SEEN_PX = 240;

/** Brings the beginning of what has come into being into sight, where it is below it; what was written above stays as far as it can. */
export function seen(element: HTMLElement): void {
  const frame = element.closest(".frame");
  if (frame === null) return;
  const { top, height } = element.getBoundingClientRect();
  frame.scrollTop += Math.max(0, top + Math.min(height, SEEN_PX) - frame.getBoundingClientRect().bottom);
}
