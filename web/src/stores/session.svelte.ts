/** Who sits here: a name where the server has no keys, else a key that names its owner. */

import * as api from "../api";
import { recall, remember } from "../lib/local";
import { hear, tell } from "../lib/tabs";
import { sleep } from "../lib/wait";

const REMEMBERED = "identity";

class Session {
  phase = $state<"checking" | "door" | "in">("checking");
  /** Whether the server wants a key. */
  secured = $state(false);
  name = $state("");
  /** Why the door stayed shut. */
  problem = $state("");

  /** Come in as whoever was here before, or stand at the door. */
  async begin(): Promise<void> {
    hear((news) => {
      if (news.kind === "identity") location.reload();
    });
    api.whenStranger(() => {
      if (this.phase !== "in") return;
      this.secured = true;
      this.problem = "The server does not know your key any more.";
      this.phase = "door";
    });
    const kept = recall<api.Identity | null>(REMEMBERED, null);
    api.speakFor(kept ?? {});
    const asked = await this.#ask();
    if (asked === "key") {
      this.secured = true;
      this.phase = "door";
    } else if (kept === null) this.phase = "door";
    else this.#enter(asked.name);
  }

  /** Give a name or a key; `problem` says why it was not taken. */
  async enter(given: string): Promise<void> {
    const identity = this.secured ? { key: given.trim() } : { name: given.trim() };
    api.speakFor(identity);
    this.problem = "";
    try {
      const { user } = await api.me();
      remember(REMEMBERED, identity);
      this.#enter(user);
      tell({ kind: "identity" });
    } catch (error) {
      const unknown = error instanceof api.Refused && error.status === 401;
      this.problem = unknown ? "The server does not know this key." : (error as Error).message;
    }
  }

  /** Leave, in every tab. */
  leave(): void {
    remember(REMEMBERED, null);
    tell({ kind: "identity" });
    location.hash = "";
    location.reload();
  }

  #enter(name: string): void {
    this.name = name;
    this.phase = "in";
  }

  /** Whom the server takes us for; waits for it where it is away. */
  async #ask(): Promise<"key" | { name: string }> {
    for (let wait = 500; ; wait = Math.min(wait * 2, 5000)) {
      try {
        return { name: (await api.me()).user };
      } catch (error) {
        if (error instanceof api.Refused && error.status === 401) return "key";
        this.problem = (error as Error).message;
      }
      await sleep(wait);
      this.problem = "";
    }
  }
}

export const session = new Session();
