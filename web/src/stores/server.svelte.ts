/** How the server is, and the way to it. */

import * as api from "../api";
import { sleep } from "../lib/wait";
import type { Health, Queue } from "../wire";

const EVERY_MS = 5000;
const LOOKED_AT_EVERY_MS = 1000;
const RETRY_MS = [250, 500, 1000, 2000, 3000] as const;

export type Light = "green" | "amber" | "red";

class Server {
  health = $state.raw<Health | null>(null);
  queue = $state.raw<Queue | null>(null);
  away = $state(false);

  light = $derived<Light>(this.#light());
  reason = $derived(this.#reason());

  #returned = new Set<() => void>();
  #watchers = 0;
  #wake = (): void => undefined;

  /** Look after the server for as long as the page is open. */
  async begin(): Promise<void> {
    addEventListener("online", () => this.#wake());
    document.addEventListener("visibilitychange", () => this.#wake());
    for (let failed = 0; ; ) {
      failed = (await this.#look()) ? 0 : failed + 1;
      const retry = RETRY_MS[Math.min(failed, RETRY_MS.length) - 1] ?? EVERY_MS;
      const pause = failed > 0 ? retry : this.#watchers > 0 ? LOOKED_AT_EVERY_MS : EVERY_MS;
      await Promise.race([sleep(pause), new Promise<void>((resolve) => (this.#wake = resolve))]);
    }
  }

  /** The server could not be reached just now. */
  lost(): void {
    this.away = true;
    this.#wake();
  }

  /** Calls back each time the server is there again after it was away. */
  onReturn(listener: () => void): void {
    this.#returned.add(listener);
  }

  /** Resolves when the server is there. */
  async back(signal: AbortSignal): Promise<void> {
    while (this.away) await sleep(100, signal);
  }

  /** Look more often, until the function that comes back is called. */
  watch(): () => void {
    this.#watchers += 1;
    this.#wake();
    return () => (this.#watchers -= 1);
  }

  async #look(): Promise<boolean> {
    const timeout = AbortSignal.timeout(8000);
    try {
      this.health = await api.health(timeout);
      if (this.#watchers > 0) this.queue = await api.queue(timeout);
    } catch {
      this.away = true;
      return false;
    }
    if (this.away) {
      this.away = false;
      for (const listener of this.#returned) listener();
    }
    return true;
  }

  #light(): Light {
    if (this.away) return "red";
    if (this.health === null || this.health.status !== "ok") return "amber";
    const active = this.health.active_model;
    return active !== null && this.health.models[active] === "loaded" ? "green" : "amber";
  }

  #reason(): string {
    if (this.away) return "The server cannot be reached. Trying again…";
    if (this.health === null) return "Asking the server…";
    if (this.health.status !== "ok") return this.health.reason ?? "The server is degraded.";
    const active = this.health.active_model;
    if (active === null) return "No model is loaded.";
    const state = this.health.models[active];
    return state === "loaded" ? "All is well." : `The model ${active} is ${state ?? "unknown"}.`;
  }
}

export const server = new Server();
