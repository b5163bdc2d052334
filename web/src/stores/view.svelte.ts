/** What is shown: which chat, which panel, and what the page has to say. */

import { recall, remember } from "../lib/local";

export type Panel = "settings" | "files" | "server";
export type Theme = "system" | "light" | "dark";

export interface Toast {
  id: number;
  text: string;
  bad: boolean;
  action?: { label: string; run: () => void };
}

const TOAST_MS = 6000;

class View {
  /** Of the open chat; null for a new one. */
  chatId = $state<number | null>(null);
  panel = $state<Panel | null>(null);
  /** The list of conversations, where there is no room for it beside them. */
  listOpen = $state(false);
  modelsOpen = $state(false);
  shortcutsOpen = $state(false);
  /** Where a link in an answer leads, while the reader is asked about it. */
  leaving = $state<string | null>(null);
  theme = $state<Theme>(recall<Theme>("theme", "system"));
  toasts = $state<Toast[]>([]);
  /** For screen readers alone. */
  spoken = $state("");

  #toasted = 0;

  begin(): void {
    const read = (): void => {
      const found = /^#\/chats\/(\d+)$/.exec(location.hash);
      this.chatId = found ? Number(found[1]) : null;
    };
    addEventListener("hashchange", read);
    read();
    this.#applyTheme();
  }

  open(chatId: number | null): void {
    location.hash = chatId === null ? "#/" : `#/chats/${chatId}`;
    this.chatId = chatId;
    this.listOpen = false;
  }

  toggle(panel: Panel): void {
    this.panel = this.panel === panel ? null : panel;
  }

  setTheme(theme: Theme): void {
    this.theme = theme;
    remember("theme", theme);
    this.#applyTheme();
  }

  say(text: string): void {
    this.spoken = text;
  }

  toast(text: string, action?: Toast["action"], bad = false): () => void {
    const id = ++this.#toasted;
    this.toasts.push({ id, text, bad, ...(action && { action }) });
    const close = (): void => {
      this.toasts = this.toasts.filter((toast) => toast.id !== id);
    };
    setTimeout(close, TOAST_MS);
    return close;
  }

  /** Tell of something that did not work. */
  fail(error: unknown): void {
    this.toast(error instanceof Error ? error.message : String(error), undefined, true);
  }

  #applyTheme(): void {
    if (this.theme === "system") delete document.documentElement.dataset["theme"];
    else document.documentElement.dataset["theme"] = this.theme;
  }
}

export const view = new View();
