/** A text or a file that is made short. What was given and what came of it stay while other pages are open. */

import { PerFrame } from "../lib/frames";
import * as routes from "./routes";
import type { Summary } from "./wire";
import { Work } from "./work.svelte";

class Summarizing {
  text = $state("");
  file = $state.raw<File | null>(null);
  maxWords = $state(150);
  share = $state(1);
  model = $state<string | null>(null);

  /** What is written of it so far; in the end the summary itself. */
  written = $state("");
  summary = $state.raw<Summary | null>(null);
  /** What the summary is of, as a name for a file. */
  name = $state("summary");
  round = $state(0);

  readonly work = new Work("summarize", () => "The summary is ready.");

  get empty(): boolean {
    return this.file === null && this.text.trim() === "";
  }

  async start(): Promise<void> {
    if (this.empty || this.work.running) return;
    this.summary = null;
    this.written = "";
    this.round = 0;
    const source = this.file ?? this.text;
    this.name = this.file?.name.replace(/\.\w+$/, "") ?? "summary";
    await this.work.run((asking) => this.#follow(source, asking));
  }

  async #follow(source: string | File, asking: routes.Asking): Promise<void> {
    const wishes = { max_words: this.maxWords, share: this.share, model: this.model };
    let text = "";
    const frames = new PerFrame(() => {
      if (this.summary === null && this.work.running) this.written = text;
    });
    for await (const event of routes.summarize(source, wishes, this.work.sent, asking)) {
      if (event.kind === "token") {
        text += event.text;
        frames.ask();
      } else if (event.kind === "progress") {
        if (event.progress.done === 0) this.round += 1;
        this.work.progress = event.progress;
      } else if (event.kind === "done") {
        this.written = event.done.summary;
        this.summary = event.done;
      }
    }
  }
}

export const summarizing = new Summarizing();
