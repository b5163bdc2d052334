/** One conversation: its messages, its settings, and the answer that goes on in it. */

import * as api from "../api";
import { requestId } from "../lib/ids";
import { tell } from "../lib/tabs";
import { Settling } from "../lib/wait";
import type { Chat, ChatSettings, Message } from "../wire";
import { Answering, type Outcome } from "./answering.svelte";
import { Attachments } from "./attachments.svelte";
import { chats } from "./chats.svelte";
import { server } from "./server.svelte";
import { view } from "./view.svelte";

const PLAIN: ChatSettings = { system: null, model: null, parameters: {}, on_overflow: "drop_oldest" };

export class Conversation {
  /** Null until it is on the server, which is when something is sent or attached. */
  id = $state<number | null>(null);
  title = $state("");
  settings = $state.raw<ChatSettings>(PLAIN);
  messages = $state.raw<Message[]>([]);
  answering = $state.raw<Answering | null>(null);
  loading = $state(false);
  /** Why it cannot be shown. */
  problem = $state<string | null>(null);
  draft = $state("");
  /** The message that is being written anew. */
  editing = $state<number | null>(null);
  readonly attachments: Attachments;

  #saving = new Settling(400);
  #unsaved: Partial<ChatSettings> = {};
  /** When what was set so far is the server's, one change after the other: what is asked next is answered by it. */
  #saved: Promise<void> = Promise.resolve();
  #created: Promise<number> | null = null;
  /** When what is being read of it is there: a turn goes behind it. */
  #read: Promise<void> = Promise.resolve();
  /** What a message was called when it was first drawn: it stays in place when the server numbers it. */
  #keys = new Map<number, number>();
  /** The last number that was given to a message before the server did; these are below 0. */
  #provisional = 0;

  constructor(id: number | null, settings: Partial<ChatSettings> = {}) {
    this.id = id;
    this.settings = { ...PLAIN, ...settings };
    this.attachments = new Attachments(() => this.create());
    if (id !== null) this.attachments.of(id);
  }

  /** What a message is called in lists that are drawn. */
  keyOf(message: Message): number {
    return this.#keys.get(message.message_id) ?? message.message_id;
  }

  /** Read it from the server, and take up an answer that goes on. */
  load(): Promise<void> {
    if (this.id === null || this.#busy) return Promise.resolve();
    this.#read = this.#load(this.id);
    return this.#read;
  }

  async #load(id: number): Promise<void> {
    this.loading = this.messages.length === 0;
    try {
      const chat = await api.chat(id);
      if (this.#busy) return; // a turn was sent meanwhile: in its end all is read again
      this.problem = null;
      this.#take(chat);
      if (chat.running !== null) this.#takeUp(chat.running);
      void this.attachments.refresh();
    } catch (error) {
      if (error instanceof api.Unreachable) server.lost();
      else if (error instanceof api.Refused && error.status === 404) this.problem = "This conversation does not exist.";
      else this.problem = (error as Error).message;
    } finally {
      this.loading = false;
    }
  }

  /** Put it on the server, where it is not yet. */
  create(): Promise<number> {
    if (this.id !== null) return Promise.resolve(this.id);
    this.#created ??= (async () => {
      const chat = await api.createChat(this.settings);
      this.id = chat.chat_id;
      this.#unsaved = {};
      this.attachments.of(chat.chat_id);
      opened.adopt(this, chat.chat_id);
      return chat.chat_id;
    })().finally(() => (this.#created = null));
    return this.#created;
  }

  // ---- turns ----------------------------------------------------------------------------------------

  async send(prompt: string): Promise<void> {
    if (this.loading) await this.#read;
    return this.#turn({ prompt }, this.messages, prompt);
  }

  /** Another answer to the same message; the one that is there stays as a version. */
  regenerate(answer: Message): Promise<void> {
    return this.#turn({ regenerate: answer.message_id }, this.#before(answer), null);
  }

  /** The message in other words, in a branch of its own. */
  edit(message: Message, prompt: string): Promise<void> {
    this.editing = null;
    return this.#turn({ edit: message.message_id, prompt }, this.#before(message), prompt);
  }

  /** Read another version of a message, and what came after it. */
  async choose(version: number): Promise<void> {
    if (this.id === null) return;
    try {
      this.#take(await api.changeChat(this.id, { leaf: version }));
      tell({ kind: "chat", id: this.id });
    } catch (error) {
      view.fail(error);
    }
  }

  async stop(): Promise<void> {
    try {
      await this.answering?.stop();
    } catch (error) {
      view.fail(error);
    }
  }

  async #turn(turn: api.Turn, before: Message[], asked: string | null): Promise<void> {
    if (this.answering !== null) return;
    const was = this.messages;
    const asking = asked === null ? null : provisional(--this.#provisional, "user", asked);
    const answer = provisional(--this.#provisional, "assistant", "");
    this.messages = [...before, ...(asking === null ? [] : [asking]), answer];
    this.#saving.now();
    let started = false;
    try {
      await this.#saved;
      const id = await this.create();
      this.answering = new Answering(id, requestId());
      const outcome = await this.answering.send(turn, (askedId, answerId) => {
        started = true;
        if (asking !== null) this.#number(asking, askedId);
        this.#number(answer, answerId);
        this.#tellOthers(id);
      });
      await this.#ended(outcome);
    } catch (error) {
      this.answering = null;
      if (error instanceof api.Unreachable) server.lost();
      view.fail(error);
      if (started) await this.load();
      else {
        this.messages = was;
        if (asked !== null && this.draft === "") this.draft = asked; // nothing that was written is lost
      }
    }
  }

  /** Whether a turn is under way, or about to be. */
  get #busy(): boolean {
    return this.answering !== null || this.messages.some((message) => message.message_id < 0);
  }

  #before(message: Message): Message[] {
    return this.messages.slice(0, this.messages.indexOf(message));
  }

  /** Call a message what the server calls it; where it is drawn it keeps its place. */
  #number(message: Message, id: number): void {
    this.#keys.set(id, message.message_id);
    this.messages = this.messages.map((other) => (other === message ? { ...message, message_id: id } : other));
  }

  /** Follow an answer that goes on already: begun in another tab, on another device, or before this page was opened. */
  #takeUp({ id, message_id, event_id }: NonNullable<Chat["running"]>): void {
    if (this.id === null) return;
    const soFar = this.messages.find((message) => message.message_id === message_id)?.content ?? "";
    const answering = new Answering(this.id, id, soFar);
    this.answering = answering;
    answering.takeUp(message_id, event_id).then(
      (outcome) => this.#ended(outcome),
      (error: unknown) => {
        this.answering = null;
        view.fail(error);
      },
    );
  }

  /** Put what the server has in place of what was drawn meanwhile. */
  async #ended(outcome: Outcome): Promise<void> {
    if (outcome.kind === "gone" || this.id === null) return;
    const chat = await api.chat(this.id).catch(() => null);
    if (chat !== null) this.#take(chat);
    this.answering = null;
    if (outcome.kind === "error") view.toast(outcome.error.message, undefined, true);
    view.say(outcome.kind === "done" ? "The answer is complete." : "The answer failed.");
    this.#tellOthers(this.id);
  }

  #tellOthers(id: number): void {
    tell({ kind: "chat", id });
    void chats.refresh();
  }

  // ---- settings -------------------------------------------------------------------------------------

  /** Change what is set for this conversation; the server is told a moment later. */
  set(change: Partial<ChatSettings>): void {
    this.settings = { ...this.settings, ...change };
    this.#unsaved = { ...this.#unsaved, ...change };
    this.#saving.ask(() => {
      this.#saved = this.#saved.then(() => this.#save());
    });
  }

  async #save(): Promise<void> {
    const change = this.#unsaved;
    if (this.id === null || Object.keys(change).length === 0) return;
    this.#unsaved = {};
    try {
      await api.changeChat(this.id, change);
      tell({ kind: "chat", id: this.id });
    } catch (error) {
      view.fail(error);
    }
  }

  #take(chat: Chat): void {
    this.title = chat.title;
    this.settings = {
      system: chat.system,
      model: chat.model,
      parameters: chat.parameters,
      on_overflow: chat.on_overflow,
      ...this.#unsaved,
    };
    this.messages = chat.messages;
  }
}

function provisional(id: number, role: "user" | "assistant", content: string): Message {
  return {
    message_id: id,
    parent: null,
    role,
    content,
    siblings: [],
    state: role === "user" ? "complete" : "generating",
    finish_reason: null,
    model: null,
    created_at: new Date().toISOString(),
    finished_at: null,
  };
}

/** The conversation that is shown, and those whose answers go on behind it. */
class Opened {
  current = $state.raw<Conversation>(new Conversation(null));
  #kept = new Map<number, Conversation>();

  begin(): void {
    server.onReturn(() => void this.current.load());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible" && this.current.answering === null) void this.current.load();
    });
  }

  /** Show a conversation; null begins a new one. */
  show(id: number | null): void {
    if (id === this.current.id) return;
    if (id === null) {
      this.current = new Conversation(null);
      return;
    }
    const kept = this.#kept.get(id);
    const next = kept ?? new Conversation(id);
    this.#kept.set(id, next);
    this.current = next;
    void next.load();
    this.#forget();
  }

  /** Another tab has changed a conversation. */
  changed(id: number): void {
    const kept = this.#kept.get(id);
    if (kept !== undefined && kept.answering === null) void kept.load();
  }

  /** Whether an answer goes on in a conversation. */
  answers(id: number): boolean {
    return this.#kept.get(id)?.answering != null;
  }

  /** A conversation has come to be on the server. */
  adopt(conversation: Conversation, id: number): void {
    this.#kept.set(id, conversation);
    if (conversation === this.current) view.become(id);
  }

  #forget(): void {
    for (const [id, kept] of this.#kept) {
      if (this.#kept.size <= 8) return;
      if (kept !== this.current && kept.answering === null) this.#kept.delete(id);
    }
  }
}

export const opened = new Opened();
