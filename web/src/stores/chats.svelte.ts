/** The list of conversations. */

import { SvelteSet } from "svelte/reactivity";

import * as api from "../api";
import { nextDay } from "../lib/days";
import { hear, tell } from "../lib/tabs";
import { Settling } from "../lib/wait";
import type { ChatSummary } from "../wire";
import { server } from "./server.svelte";
import { view } from "./view.svelte";

const PAGE = 200;
const LOOK_AGAIN_MS = 20_000;
const UNDO_MS = 6000;

class Chats {
  /** What was asked for in the search; "" for all. */
  query = $state("");
  loading = $state(true);
  now = $state.raw(new Date());
  /** Newest first; those that are being deleted are gone already. */
  list = $derived.by(() => this.#all.filter((chat) => !this.#hidden.has(chat.chat_id)));

  #all = $state.raw<ChatSummary[]>([]);
  #complete = false;
  /** What the list that is shown was asked for. */
  #shown = "";
  /** Those that are being deleted, in this tab or another. */
  #hidden = new SvelteSet<number>();
  /** Of those that this tab deletes, until then. */
  #timers = new Map<number, ReturnType<typeof setTimeout>>();
  #typing = new Settling(150);
  #asked = 0;

  begin(): void {
    hear((news) => {
      if (news.kind === "deleted") this.#forget(news.id);
      else if (news.kind === "leaving") this.#hide(news.id);
      else if (news.kind === "kept") this.#hidden.delete(news.id);
      else if (news.kind === "chat") void this.refresh();
    });
    server.onReturn(() => void this.refresh());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") void this.refresh();
    });
    setInterval(() => {
      if (document.visibilityState === "visible" && !server.away) void this.refresh();
    }, LOOK_AGAIN_MS);
    addEventListener("pagehide", () => {
      for (const id of this.#timers.keys()) void api.deleteChat(id, true).catch(() => undefined); // nobody is left to tell
    });
    this.#atMidnight();
    void this.refresh();
  }

  search(text: string): void {
    this.query = text;
    this.#typing.ask(() => void this.refresh());
  }

  /** Read the newest again; what comes behind them stays as it was read. */
  async refresh(): Promise<void> {
    await this.#read(null);
  }

  /** Read on. */
  async more(): Promise<void> {
    const last = this.#all.at(-1);
    if (this.#complete || this.loading || last === undefined) return;
    await this.#read(last);
  }

  async rename(chat: ChatSummary, title: string): Promise<void> {
    if (title.trim() === "" || title === chat.title) return;
    this.#put({ ...chat, title });
    try {
      await api.changeChat(chat.chat_id, { title: title.trim() });
      tell({ kind: "chat", id: chat.chat_id });
    } catch (error) {
      view.fail(error);
    }
    await this.refresh();
  }

  /** Delete a chat, after a while in which this can be undone. */
  remove(chat: ChatSummary): void {
    const id = chat.chat_id;
    this.#hide(id);
    tell({ kind: "leaving", id });
    this.#timers.set(
      id,
      setTimeout(() => void this.#delete(id), UNDO_MS),
    );
    const undo = (): void => {
      clearTimeout(this.#timers.get(id));
      this.#timers.delete(id);
      this.#hidden.delete(id);
      tell({ kind: "kept", id });
      close();
    };
    const close = view.toast(`“${chat.title || "Untitled"}” was deleted.`, { label: "Undo", run: undo });
  }

  async #delete(id: number): Promise<void> {
    this.#timers.delete(id);
    try {
      await api.deleteChat(id);
      this.#forget(id);
      tell({ kind: "deleted", id });
    } catch (error) {
      this.#hidden.delete(id);
      tell({ kind: "kept", id });
      view.fail(error);
    }
  }

  #hide(id: number): void {
    this.#hidden.add(id);
    if (view.chatId === id) view.become(null);
  }

  async #read(after: ChatSummary | null): Promise<void> {
    const ticket = ++this.#asked;
    const q = this.query.trim();
    this.loading = true;
    try {
      const { chats: page, more } = await api.chats({ q, limit: PAGE, before: after?.chat_id ?? null });
      if (ticket !== this.#asked) return; // what was asked later is more to the point
      if (after === null) {
        const older = more && q === this.#shown ? behind(page, this.#all) : [];
        this.#all = [...page, ...older];
        this.#complete = !more || (this.#complete && older.length > 0);
      } else {
        this.#all = [...this.#all, ...page];
        this.#complete = !more;
      }
      this.#shown = q;
    } catch (error) {
      if (error instanceof api.Unreachable) server.lost();
      else view.fail(error);
    } finally {
      if (ticket === this.#asked) this.loading = false;
    }
  }

  #forget(id: number): void {
    this.#all = this.#all.filter((chat) => chat.chat_id !== id);
    this.#hidden.delete(id);
    if (view.chatId === id) view.become(null);
  }

  #put(changed: ChatSummary): void {
    this.#all = this.#all.map((chat) => (chat.chat_id === changed.chat_id ? changed : chat));
  }

  #atMidnight(): void {
    setTimeout(() => {
      this.now = new Date();
      this.#atMidnight();
    }, nextDay(this.now).getTime() - Date.now() + 1000);
  }
}

/** Of a list that was read before, what comes behind a page of its beginning that was read now. */
function behind(page: ChatSummary[], before: ChatSummary[]): ChatSummary[] {
  const last = page.at(-1);
  if (last === undefined) return [];
  const known = new Set(page.map((chat) => chat.chat_id));
  return before.filter((chat) => !known.has(chat.chat_id) && chat.updated_at <= last.updated_at);
}

export const chats = new Chats();
