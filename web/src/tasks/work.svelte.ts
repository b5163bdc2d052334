/** Something that the server does for a while: how far it is, how it ended, and how it is stopped. */

import * as api from "../api";
import { requestId } from "../lib/ids";
import { TASKS, type Task } from "../lib/tasks";
import { server } from "../stores/server.svelte";
import { view } from "../stores/view.svelte";
import type { Asking } from "./routes";
import type { TaskProgress } from "./wire";

/** What went wrong, in the server's words, and with which of the things that were sent. */
export interface Problem {
  message: string;
  param: string | null;
}

export class Work {
  running = $state(false);
  stopping = $state(false);
  /** It was stopped before it gave anything. */
  stopped = $state(false);
  problem = $state.raw<Problem | null>(null);
  progress = $state.raw<TaskProgress | null>(null);

  #request = "";
  #leaving = new AbortController();

  /**
   * @param task      whose page it is on: who has left it is told when it has ended
   * @param finished  what is said then, where it came to a good end
   */
  constructor(
    private readonly task: Task,
    private readonly finished: () => string,
  ) {}

  /** Have it done, unless something goes on already; false where it came to no end. */
  async run(does: (asking: Asking) => Promise<void>): Promise<boolean> {
    if (this.running) return false;
    this.running = true;
    this.stopped = false;
    this.problem = this.progress = null;
    this.#request = requestId();
    this.#leaving = new AbortController();
    const { signal } = this.#leaving;
    try {
      await does({ request: this.#request, signal });
      return true;
    } catch (error) {
      if (signal.aborted) this.stopped = true;
      else this.#failed(error as Error);
      return false;
    } finally {
      this.running = this.stopping = false;
      this.progress = null;
      this.#tell();
    }
  }

  /** A file on its way to the server. */
  sent = (done: number, total: number): void => {
    this.progress = { phase: done < total ? "sending" : "reading", done, total };
  };

  /** End it on the server, too. What there is by then is told as its end, where the server has begun to tell. */
  stop = async (): Promise<void> => {
    this.stopping = true;
    const { signal } = this.#leaving;
    try {
      await api.cancel(this.#request);
    } catch {
      if (!signal.aborted) this.#leaving.abort(); // it had nothing under way by this id: leaving it is enough
    }
  };

  #failed(error: Error): void {
    if (error instanceof api.Unreachable) server.lost();
    this.problem = { message: error.message, param: error instanceof api.Refused ? error.body.param : null };
  }

  #tell(): void {
    const text = this.problem?.message ?? (this.stopped ? "Stopped." : this.finished());
    if (view.task === this.task) {
      if (this.problem === null) view.say(text); // a problem is an alert where it is shown
      return;
    }
    const { label } = TASKS.find(({ task }) => task === this.task) ?? { label: "" };
    const back = { label: "Show", run: () => view.openTask(this.task) };
    view.toast(`${label}: ${text}`, back, this.problem !== null);
  }
}
