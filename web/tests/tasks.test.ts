import { File } from "node:buffer";

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

const COLLECTION = {
  name: "log", state: "ready", model: "e", text_column: "note", text_column_guessed: true,
  columns: [{ name: "note", type: "text" }, { name: "ship", type: "text" }, { name: "year", type: "number" }],
  row_count: 2, embedded_count: 2, skipped_count: 0, index: { kind: "exact", recall: null }, builtin: false, error: null,
} as const;

describe("collections", () => {
  it("are looked at until their rows are embedded", async () => {
    const house = { ...COLLECTION, name: "topics", state: "embedding", embedded_count: 0, builtin: true }; // until it is searched
    server.on("GET", /^\/collections$/, json({ collections: [{ ...COLLECTION, state: "embedding" }, house] }), json({ collections: [COLLECTION, house] }));
    const { collections } = await import("../src/tasks/collections.svelte");
    await collections.refresh();
    expect(collections.list.map((one) => one.state)).toEqual(["ready", "embedding"]);
    expect(server.to("GET", /collections/)).toHaveLength(2);
  });

  it("are deleted after a while in which it can be undone; at once while they are embedded", async () => {
    vi.useFakeTimers();
    const other = { ...COLLECTION, name: "other", state: "embedding" } as const;
    server.on("GET", /^\/collections$/, json({ collections: [COLLECTION, { ...other, state: "ready" }] }));
    server.on("DELETE", /^\/collections\//, () => new Response(null, { status: 204 }));
    const { collections } = await import("../src/tasks/collections.svelte");
    const { view } = await import("../src/stores/view.svelte");
    await collections.refresh();
    collections.remove(COLLECTION as never);
    expect(collections.named("log")).toBeUndefined();
    view.toasts[0]?.action?.run();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(collections.named("log")).toBeDefined();
    expect(server.to("DELETE", /collections/)).toHaveLength(0);
    collections.remove(COLLECTION as never);
    collections.remove(other as never);
    await vi.advanceTimersByTimeAsync(0);
    expect(server.to("DELETE", /collections/).map((asked) => asked.path)).toEqual(["/collections/other"]);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(server.to("DELETE", /collections/).map((asked) => asked.path)).toEqual(["/collections/other", "/collections/log"]);
    expect(collections.list).toEqual([]);
    vi.useRealTimers();
  });

  it("are searched by what was written into their filters", async () => {
    const found = { results: [], searched: 2, state: "ready", took_ms: 1 };
    server.on("POST", /^\/collections\/log\/search$/, json(found));
    const { searches } = await import("../src/tasks/collections.svelte");
    const search = searches.of("log");
    search.query = " storm ";
    search.values = { ship: "Ada | Vega|", note: "" };
    search.ends = { year: { from: "1887", to: "1,5x" } };
    await search.start(COLLECTION.columns);
    expect(server.to("POST", /search/)[0]?.body).toEqual({
      query: "storm", top_k: 10, filters: { ship: ["Ada", "Vega"], year: { from: 1887 } },
    });
    expect(search.found).toEqual(found);
    expect(searches.of("log")).toBe(search);
  });

  it("get names that none has yet", async () => {
    const { nameFor } = await import("../src/tasks/collections.svelte");
    expect(nameFor("Mein Häfen!.csv", [])).toBe("Mein-H-fen");
    expect(nameFor("log.csv", ["log", "log-2"])).toBe("log-3");
    expect(nameFor("日本.csv", [])).toBe("collection");
    expect(nameFor(`${"x".repeat(80)}.csv`, ["x".repeat(64)])).toBe(`${"x".repeat(62)}-2`);
  });
});

describe("a classification", () => {
  it("is shown as it comes, and written as tables are", async () => {
    const sure = { label: "ships", probabilities: { weather: 0.1, ships: 0.9 } };
    server.on("POST", /^\/classify$/, events([
      ["1", "result", { index: 1, ...sure }], ["2", "result", { index: 0, label: "weather", probabilities: { weather: 0.75, ships: 0.25 } }],
      ["3", "done", {}],
    ]));
    const { classification } = await import("../src/tasks/classification.svelte");
    classification.written = "Rain, again\n\nA brig\n";
    classification.labels = "weather | rain\nships";
    await classification.start();
    expect(server.to("POST", /classify/)[0]?.body).toEqual({
      texts: ["Rain, again", "A brig"], labels: [{ name: "weather", description: "rain" }, "ships"], examples: [],
      model: null, stream: true,
    });
    expect(classification.results.map(({ text, label }) => [text, label])).toEqual([["Rain, again", "weather"], ["A brig", "ships"]]);
    expect(classification.counts).toEqual([["weather", 1], ["ships", 1]]);
    expect(classification.toCsv()).toBe('text,label,weather,ships\r\n"Rain, again",weather,0.75,0.25\r\nA brig,ships,0.1,0.9\r\n');
    expect(JSON.parse(classification.toJson())[1]).toEqual({ text: "A brig", ...sure });
  });

  it("takes its texts from a table's column, and no file that is no text", async () => {
    const { classification } = await import("../src/tasks/classification.svelte");
    // jsdom's files cannot be read, Node's can.
    await classification.take(new File(["id;note\n1;A long note\n2;Another"], "notes.csv") as never);
    expect(classification.table?.columns).toEqual(["id", "note"]);
    expect(classification.texts).toEqual(["A long note", "Another"]);
    await classification.take(new File(["\0\0"], "x.xls") as never);
    expect(classification.problem).toContain("x.xls is no text");
  });
});

describe("an answer from sources", () => {
  it("has its sources first, and may be that it is not known", async () => {
    const given = { sources: [{ kind: "context", text: "A rope.", score: 0.1 }], best_score: 0.1, threshold: 0.35 };
    const done = { ...given, id: "r", model: "m", answered: false, answer: "I do not know: …", finish_reason: "stop" };
    server.on("POST", /^\/answer$/, events([["1", "sources", given], ["2", "done", done]]));
    const { questioning } = await import("../src/tasks/question.svelte");
    questioning.question = "Why?";
    expect(questioning.empty).toBe(true);
    questioning.text = "A rope.";
    questioning.threshold = "0,35";
    await questioning.start();
    expect(server.to("POST", /answer/)[0]?.body).toEqual({
      context: "A rope.", question: "Why?", top_k: 5, threshold: 0.35, model: null, stream: true,
    });
    expect([questioning.sources, questioning.answer, questioning.written]).toEqual([done, done, done.answer]);
  });
});
