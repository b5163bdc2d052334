/** The server's models: what there is, in which state, and what is being done about it. */

import { SvelteMap } from "svelte/reactivity";

import * as api from "../api";
import { hear, tell } from "../lib/tabs";
import { sleep } from "../lib/wait";
import type { Estimate, Model, Progress } from "../wire";

const MOVING = new Set(["downloading", "loading", "unloading"]);
const LOOK_MS = 700;

class ModelList {
  list = $state.raw<Model[]>([]);
  active = $state<string | null>(null);
  /** Of what this page started; others' progress is in the list. */
  progress = new SvelteMap<string, Progress>();
  estimates = new SvelteMap<string, Estimate>();
  /** Why something could not be done, by model. */
  problems = new SvelteMap<string, string>();

  #looking = false;
  /** How much of what this page asked for goes on. */
  #doing = 0;

  begin(): void {
    hear((news) => {
      if (news.kind === "models") void this.refresh();
    });
    void this.refresh();
  }

  named(name: string | null): Model | undefined {
    return this.list.find((model) => model.name === name);
  }

  /** How far a model's load or download is. */
  progressOf(model: Model): Progress | null {
    return this.progress.get(model.name) ?? model.progress;
  }

  /** Read the list; goes on by itself while something moves in it. */
  async refresh(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    try {
      for (;;) {
        const { models, active } = await api.models();
        this.list = models;
        this.active = active;
        if (this.#doing === 0 && !models.some((model) => MOVING.has(model.state))) return;
        await sleep(LOOK_MS);
      }
    } catch {
      // The server's light tells of it; the list stays as it was until it is asked for again.
    } finally {
      this.#looking = false;
    }
  }

  /** What loading a model would take. */
  async estimate(name: string): Promise<void> {
    try {
      this.estimates.set(name, await api.estimate({ name }));
    } catch (error) {
      if (error instanceof api.Refused) this.problems.set(name, error.message);
    }
  }

  /** Have a model in memory; false where it could not be. */
  load = (name: string): Promise<boolean> => this.#do(name, () => api.loadModel(name, (told) => this.progress.set(name, told)));

  pull = (name: string): Promise<boolean> => this.#do(name, () => api.pullModel(name, (told) => this.progress.set(name, told)));

  /** Also cancels a load or a download. */
  unload = (name: string): Promise<boolean> => this.#do(name, () => api.unloadModel(name));

  remove = (name: string): Promise<boolean> => this.#do(name, () => api.removeModel(name));

  makeActive = (name: string): Promise<boolean> => this.#do(name, () => api.setModel(name));

  async #do(name: string, work: () => Promise<unknown>): Promise<boolean> {
    this.problems.delete(name);
    this.#doing += 1;
    const doing = work();
    void this.refresh();
    try {
      await doing;
      return true;
    } catch (error) {
      this.problems.set(name, (error as Error).message);
      return false;
    } finally {
      this.#doing -= 1;
      this.progress.delete(name);
      this.estimates.delete(name);
      tell({ kind: "models" });
      await this.refresh();
    }
  }
}

export const models = new ModelList();
