import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { addressOf, placeOf } from "../src/lib/tasks";
import { events, FakeServer, json, refused } from "./fake";

let server: FakeServer;

beforeEach(() => {
  vi.resetModules();
  localStorage.clear();
  location.hash = "";
  server = new FakeServer();
  server.on("POST", /^\/cancel$/, json({ cancelled: 1 }));
});

afterEach(() => vi.unstubAllGlobals());

const SUMMARY = {
  id: "r", model: "m", summary: "Short.", words: 1, share_read: 1, parts: 3, rounds: 2, finish_reason: "stop",
  usage: { prompt_tokens: 9, completion_tokens: 2, cached_tokens: 0 }, timing: { total_ms: 5 },
};

describe("addresses", () => {
  it("lead to conversations, tasks and their parts, and nowhere else", () => {
    expect(placeOf("")).toEqual({ task: null, chatId: null });
    expect(placeOf("#/chats/12")).toEqual({ task: null, chatId: 12 });
    expect(placeOf("#/chats/x")).toEqual({ task: null, chatId: null });
    expect(placeOf("#/summarize")).toEqual({ task: "summarize", part: null });
    expect(placeOf("#/summarize/50%")).toEqual({ task: "summarize", part: "50%" });
    expect(placeOf("#/constructor")).toEqual({ task: null, chatId: null });
    const place = { task: "summarize", part: "a b/ü" } as const;
    expect(placeOf(addressOf(place))).toEqual(place);
  });

  it("of a task leave the conversation as it is behind it", async () => {
    const { view } = await import("../src/stores/view.svelte");
    view.open(7);
    view.openTask("summarize");
    expect([view.task, view.chatId, location.hash]).toEqual(["summarize", 7, "#/summarize"]);
    view.become(8); // it got another number meanwhile
    expect([view.task, view.chatId, location.hash]).toEqual(["summarize", 8, "#/summarize"]);
    view.open(8);
    expect([view.task, location.hash]).toEqual([null, "#/chats/8"]);
  });
});

async function summarizing() {
  return (await import("../src/tasks/summary.svelte")).summarizing;
}

describe("a summary", () => {
  it("is followed to its end, which counts", async () => {
    server.on("POST", /^\/summarize$/, events([
      ["1", "progress", { phase: "parts", done: 0, total: 3 }], ["2", "progress", { phase: "joining", done: 0, total: 1 }],
      ["3", "token", { text: "Short. And" }], ["4", "done", SUMMARY],
    ]));
    const task = await summarizing();
    task.text = "Long.";
    await task.start();
    expect([task.written, task.summary, task.round, task.work.running]).toEqual(["Short.", SUMMARY, 2, false]);
    expect(server.to("POST", /summarize/)[0]?.body).toEqual({ text: "Long.", max_words: 150, share: 1, model: null, stream: true });
    expect(server.to("POST", /summarize/)[0]?.headers.get("X-Request-Id")).toMatch(/^web-/);
  });

  it("that is refused, or fails half way, says why", async () => {
    server.on("POST", /^\/summarize$/, refused(400, "invalid_request", "Too few."), events([
      ["1", "error", { error: { code: "engine_failed", message: "It broke.", type: "", param: null, details: {} } }],
    ]));
    const task = await summarizing();
    task.text = "Long.";
    for (const message of ["Too few.", "It broke."]) {
      await task.start();
      expect(task.work.problem?.message).toBe(message);
      expect(task.summary).toBeNull();
    }
  });

  it("is ended on the server by its id; where it is not known there, by leaving", async () => {
    const asked: string[] = [];
    vi.stubGlobal("fetch", (path: string, init: RequestInit) => {
      asked.push(`${path} ${new Headers(init.headers).get("X-Request-Id") ?? (init.body as string)}`);
      if (path === "/cancel") return Promise.resolve(refused(404, "not_found", "No such request."));
      return new Promise((_, reject) => init.signal?.addEventListener("abort", () => reject(new Error("left"))));
    });
    const task = await summarizing();
    task.text = "Long.";
    const ended = task.start();
    await vi.waitFor(() => expect(asked).toHaveLength(1));
    await task.work.stop();
    await ended;
    const id = asked[0]?.split(" ")[1];
    expect(asked).toEqual([`/summarize ${id}`, `/cancel {"id":"${id}"}`]);
    expect([task.work.stopped, task.work.problem, task.work.running]).toEqual([true, null, false]);
  });
});
