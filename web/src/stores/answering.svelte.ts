/** An answer that goes on: what is read of it, and how it is taken up again after the connection was lost. */

import * as api from "../api";
import { PerFrame } from "../lib/frames";
import type { Done, ErrorBody } from "../wire";
import { server } from "./server.svelte";

export type Outcome = { kind: "done"; done: Done } | { kind: "error"; error: ErrorBody } | { kind: "gone" };

/** Told which messages the question and its answer are, when the server has taken them. */
export type OnStart = (asked: number, answer: number) => void;

interface Place {
  position: number;
  waitMs: number | null;
}

/** Follows one answer. Its text changes once for each frame, however fast tokens come. */
export class Answering {
  text = $state("");
  /** In the queue; null where it does not wait. */
  place = $state.raw<Place | null>(null);
  /** Whether the connection was lost and is being sought. */
  broken = $state(false);
  stopping = $state(false);
  /** The message that it becomes; null until the server has said. */
  messageId: number | null = null;

  #request: string;
  #text: string;
  #last = "";
  #leaving = new AbortController();
  #frames = new PerFrame(() => (this.text = this.#text));

  /**
   * @param request  the request's id, by which it can be ended
   * @param text     what is there of the answer already
   */
  constructor(
    private readonly chatId: number,
    request: string,
    text = "",
  ) {
    this.#request = request;
    this.#text = this.text = text;
  }

  /** Send a turn and follow its answer to the end. `onStart` is called when the server has taken it. */
  send(turn: api.Turn, onStart: OnStart): Promise<Outcome> {
    return this.#follow(() => api.sendTurn(this.chatId, turn, this.#request, this.#leaving.signal), onStart);
  }

  /** Follow an answer that goes on already, from an event on. */
  takeUp(messageId: number, after: string): Promise<Outcome> {
    this.messageId = messageId;
    this.#last = after;
    return this.#follow(() => this.#resumed(), () => undefined);
  }

  /** End it, wherever it is. */
  async stop(): Promise<void> {
    this.stopping = true;
    await api.cancel(this.#request).catch((error: unknown) => {
      if (!(error instanceof api.Refused && error.status === 404)) throw error; // it had ended by itself
    });
  }

  /** Read on no more; the answer goes on by itself. */
  leave(): void {
    this.#leaving.abort();
  }

  #resumed(): AsyncGenerator<api.Told> {
    return api.resume(this.chatId, this.#last, this.#leaving.signal);
  }

  async #follow(connect: () => AsyncGenerator<api.Told>, onStart: OnStart): Promise<Outcome> {
    for (;;) {
      try {
        const outcome = await this.#read(connect(), onStart);
        if (outcome !== null) return outcome;
      } catch (error) {
        if (this.#leaving.signal.aborted) return { kind: "gone" };
        // Before the start nothing says that the turn was taken: it is not sent twice.
        if (!(error instanceof api.Unreachable) || this.messageId === null) throw error;
      }
      this.broken = true;
      server.lost();
      await server.back(this.#leaving.signal);
      connect = () => this.#resumed();
    }
  }

  /** One connection's events; null where it ended before the answer did. */
  async #read(events: AsyncGenerator<api.Told>, onStart: OnStart): Promise<Outcome | null> {
    for await (const { id, event } of events) {
      this.broken = false;
      this.#last = id || this.#last;
      switch (event.kind) {
        case "start":
          this.#request = event.request ?? this.#request;
          if (this.messageId === null) onStart(event.asked, event.answer);
          this.messageId = event.answer;
          break;
        case "queued":
          this.place = { position: event.position, waitMs: event.estimated_wait_ms };
          break;
        case "token":
          this.place = null;
          this.#text += event.text;
          this.#frames.ask();
          break;
        default:
          this.text = this.#text;
          return event;
      }
    }
    return null;
  }
}
