/** What is shown: which chat, which panel, and what the page has to say. */

import { recall, remember } from "../lib/local";
import { addressOf, placeOf, type Task } from "../lib/tasks";

export type Panel = "settings" | "files" | "server";
export type Theme = "system" | "light" | "dark";

export interface Toast {
  id: number;
  text: string;
  bad: boolean;
  action?: { label: string; run: () => void };
}

/** What a task's page does with the keyboard and with files, while it is open. */
export interface TaskPage {
  /** What happens to files that are dropped, and what is said while they are over the page. */
  drop?: { label: string; take: (files: File[]) => void };
  /** End what goes on; false where nothing does. */
  stop: () => boolean;
}

const TOAST_MS = 6000;

class View {
  /** Of the open chat; null for a new one. */
  chatId = $state<number | null>(null);
  /** Whose page is shown in place of the conversation, and what of it, such as a collection. */
  task = $state<Task | null>(null);
  part = $state<string | null>(null);
  taskPage = $state.raw<TaskPage | null>(null);
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
      const place = placeOf(location.hash);
      if (place.task === null) this.#show(place.chatId);
      else this.#showTask(place.task, place.part);
    };
    addEventListener("hashchange", read);
    read();
    this.#applyTheme();
  }

  open(chatId: number | null): void {
    location.hash = addressOf({ task: null, chatId });
    this.#show(chatId);
    this.listOpen = false;
  }

  /** Open a task's page; the conversation stays as it is behind it. */
  openTask(task: Task, part: string | null = null): void {
    location.hash = addressOf({ task, part });
    this.#showTask(task, part);
    this.listOpen = false;
  }

  /** The conversation that is open is another one from now on, in front or behind a task's page. */
  become(chatId: number | null): void {
    if (this.task === null) this.open(chatId);
    else this.chatId = chatId;
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

  #show(chatId: number | null): void {
    this.task = this.part = null;
    this.chatId = chatId;
  }

  #showTask(task: Task, part: string | null): void {
    this.task = task;
    this.part = part;
    if (this.panel !== "server") this.panel = null; // the others are of the conversation
  }

  #applyTheme(): void {
    if (this.theme === "system") delete document.documentElement.dataset["theme"];
    else document.documentElement.dataset["theme"] = this.theme;
  }
}

export const view = new View();
