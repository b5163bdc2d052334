/** A question that is answered from what is given with it. What was given and what came of it stay while other pages are open. */

import { PerFrame } from "../lib/frames";
import * as routes from "./routes";
import type { Answered, GivenSources } from "./wire";
import { Work } from "./work.svelte";

class Questioning {
  question = $state("");
  /** Whether a collection is asked, and not what is pasted or chosen. */
  ofCollection = $state(false);
  text = $state("");
  files = $state.raw<File[]>([]);
  collection = $state("");
  topK = $state(5);
  /** As it was written; "" for the server's own. */
  threshold = $state("");
  model = $state<string | null>(null);

  /** What was asked, when it was answered. */
  asked = $state("");
  written = $state("");
  sources = $state.raw<GivenSources | null>(null);
  answer = $state.raw<Answered | null>(null);

  readonly work = new Work("answer", () => (this.answer?.answered ? "The answer is there." : "It is not known."));

  /** What it is answered from; null where nothing was given. */
  get from(): routes.AnswerFrom | null {
    if (this.ofCollection) return this.collection === "" ? null : { collection: this.collection };
    if (this.files.length > 0) return { files: this.files };
    return this.text.trim() === "" ? null : { context: this.text };
  }

  get empty(): boolean {
    return this.question.trim() === "" || this.from === null;
  }

  async start(): Promise<void> {
    const { from } = this;
    if (from === null || this.empty || this.work.running) return;
    this.answer = this.sources = null;
    this.written = "";
    this.asked = this.question.trim();
    await this.work.run((asking) => this.#follow(from, asking));
  }

  async #follow(from: routes.AnswerFrom, asking: routes.Asking): Promise<void> {
    const threshold = this.threshold.trim() === "" ? null : Number(this.threshold.replace(",", "."));
    const wishes = { question: this.asked, top_k: this.topK, threshold, model: this.model };
    let text = "";
    const frames = new PerFrame(() => {
      if (this.answer === null && this.work.running) this.written = text;
    });
    for await (const event of routes.answerFrom(from, wishes, this.work.sent, asking)) {
      switch (event.kind) {
        case "progress":
          this.work.progress = event.progress;
          break;
        case "part":
          this.sources = event.part;
          this.work.progress = null;
          break;
        case "token":
          text += event.text;
          frames.ask();
          break;
        case "done":
          this.written = event.done.answer;
          this.answer = this.sources = event.done;
      }
    }
  }
}

export const questioning = new Questioning();
