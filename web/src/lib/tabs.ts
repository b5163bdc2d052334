/** News between the tabs of this browser, so that what is done in one is seen in all. */

export type News =
  | { kind: "identity" }
  | { kind: "chat"; id: number }
  | { kind: "leaving"; id: number }
  | { kind: "kept"; id: number }
  | { kind: "deleted"; id: number }
  | { kind: "models" };

const channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel("fairlead");

/** Tell the other tabs; this one hears nothing of it. */
export function tell(news: News): void {
  channel?.postMessage(news);
}

/** Hear of the other tabs. */
export function hear(listener: (news: News) => void): void {
  channel?.addEventListener("message", (event: MessageEvent<News>) => listener(event.data));
}
