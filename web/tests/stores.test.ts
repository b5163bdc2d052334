import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { chat, DONE, events, FakeServer, json, message, refused, START } from "./fake";

let server: FakeServer;

beforeEach(() => {
  vi.resetModules();
  localStorage.clear();
  location.hash = "";
  server = new FakeServer();
  server.on("GET", /^\/health$/, json({ status: "ok", models: {}, active_model: null }));
  server.on("GET", /^\/me$/, json({ user: "Ada", secured: false }));
  server.on("GET", /^\/queue$/, json({ user: "Ada", models: [] }));
  server.on("GET", /^\/chats(\?|$)/, json({ chats: [], more: false }));
  server.on("GET", /^\/chats\/\d+\/files$/, json({ files: [] }));
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const QUESTION = message(1, "user", "Why?");
const ANSWER = message(2, "assistant", "Because.");

async function conversation(id: number | null) {
  const { Conversation } = await import("../src/stores/conversation.svelte");
  return new Conversation(id);
}

describe("a turn", () => {
  it("makes the chat, streams, and ends with what the server has", async () => {
    server.on("POST", /^\/chats$/, json(chat(7), 201));
    server.on("POST", /messages$/, events([["2:0", "start", START], ["2:3", "token", { text: "Bec" }], ["2:8", "token", { text: "ause." }], ["2:8", "done", DONE]]));
    server.on("GET", /^\/chats\/7$/, json(chat(7, [QUESTION, ANSWER])));
    const talk = await conversation(null);
    const sent = talk.send("Why?");
    expect(talk.messages.map((one) => [one.role, one.content])).toEqual([["user", "Why?"], ["assistant", ""]]);
    const places = talk.messages.map((one) => talk.keyOf(one));
    await sent;
    expect(talk.id).toBe(7);
    expect(talk.messages).toEqual([QUESTION, ANSWER]);
    expect(talk.messages.map((one) => talk.keyOf(one))).toEqual(places); // nothing is drawn anew
    expect(talk.answering).toBeNull();
    expect(server.to("POST", /messages/)[0]?.body).toEqual({ prompt: "Why?" });
  });

  it("goes behind what is still being read, and is not overwritten by what was read before it", async () => {
    const read: (() => void)[] = [];
    const old = chat(7, [message(3, "user", "Before?"), message(4, "assistant", "Before.")]);
    server.on("GET", /^\/chats\/7$/, () => new Promise((resolve) => read.push(() => resolve(json(old)))));
    server.on("POST", /messages$/, () => new Promise<Response>(() => undefined));
    const talk = await conversation(7);
    void talk.load();
    void talk.send("Why?");
    await vi.waitFor(() => expect(read).toHaveLength(1));
    read[0]?.();
    await vi.waitFor(() => expect(talk.messages.map((one) => one.content)).toEqual(["Before?", "Before.", "Why?", ""]));
    const again = talk.load();
    read[1]?.();
    await again;
    expect(talk.messages).toHaveLength(4);
    expect(server.to("POST", /messages/)).toHaveLength(1);
  });

  it("that is refused gives the words back", async () => {
    server.on("POST", /messages$/, refused(429, "queue_full", "Too many requests wait."));
    const talk = await conversation(7);
    talk.messages = [QUESTION, ANSWER];
    await talk.send("More?");
    expect(talk.messages).toEqual([QUESTION, ANSWER]);
    expect(talk.draft).toBe("More?");
    const { view } = await import("../src/stores/view.svelte");
    expect(view.toasts.map((toast) => toast.text)).toEqual(["Too many requests wait."]);
  });

  it("waits until what was set before is the server's", async () => {
    let stored = (): void => undefined;
    server.on("PATCH", /^\/chats\/7$/, () => new Promise((resolve) => (stored = () => resolve(json(chat(7))))));
    server.on("POST", /messages$/, refused(429, "queue_full", "Too many requests wait."));
    const talk = await conversation(7);
    talk.set({ parameters: { max_tokens: 7 } });
    const sent = talk.send("Why?");
    await vi.waitFor(() => expect(server.to("PATCH", /chats/)).toHaveLength(1));
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(server.to("POST", /messages/)).toHaveLength(0);
    stored();
    await sent;
    expect(server.to("POST", /messages/)).toHaveLength(1);
  });

  it("is not sent twice where nobody knows whether it was taken", async () => {
    server.on("POST", /messages$/, () => Promise.reject(new TypeError("network error")));
    const talk = await conversation(7);
    await talk.send("Why?");
    expect(server.to("POST", /messages/)).toHaveLength(1);
    expect(talk.draft).toBe("Why?");
  });

  it("is taken up again where the connection was lost", async () => {
    server.on("POST", /messages$/, () => events([["2:0", "start", START], ["2:3", "token", { text: "Bec" }]], { cut: true }));
    let goOn = (): void => undefined;
    const rest = events([["2:3", "start", START], ["2:8", "token", { text: "ause." }], ["2:8", "done", DONE]]);
    server.on("GET", /stream/, () => new Promise<Response>((resolve) => (goOn = () => resolve(rest))));
    server.on("GET", /^\/chats\/7$/, json(chat(7, [QUESTION, ANSWER])));
    const stores = await import("../src/stores/server.svelte");
    vi.spyOn(stores.server, "back").mockResolvedValue();
    const talk = await conversation(7);
    const sent = talk.send("Why?");
    await vi.waitFor(() => expect(talk.answering?.broken).toBe(true));
    const answering = talk.answering;
    goOn();
    await sent;
    expect(answering?.text).toBe("Because.");
    expect(server.to("GET", /stream/)[0]?.path).toBe("/chats/7/stream?after=2%3A3");
  });

  it("regenerates and edits as branches", async () => {
    server.on("POST", /messages$/, () => events([["5:0", "start", START], ["5:0", "done", DONE]]));
    server.on("GET", /^\/chats\/7$/, json(chat(7, [QUESTION, ANSWER])));
    const talk = await conversation(7);
    talk.messages = [QUESTION, ANSWER];
    const again = talk.regenerate(ANSWER);
    expect(talk.messages).toHaveLength(2);
    await again;
    await talk.edit(QUESTION, "How?");
    expect(server.to("POST", /messages/).map((asked) => asked.body)).toEqual([{ regenerate: 2 }, { edit: 1, prompt: "How?" }]);
  });

  it("is stopped by the id that it was sent with", async () => {
    let end = (): void => undefined;
    server.on("POST", /messages$/, () => new Promise<Response>((resolve) => (end = () => resolve(events([["2:0", "start", START], ["2:0", "done", DONE]])))));
    server.on("POST", /^\/cancel$/, json({}));
    server.on("GET", /^\/chats\/7$/, json(chat(7, [QUESTION, ANSWER])));
    const talk = await conversation(7);
    const sent = talk.send("Why?");
    await vi.waitFor(() => expect(talk.answering).not.toBeNull());
    await talk.stop();
    const sentAs = server.to("POST", /messages/)[0]?.headers.get("X-Request-Id");
    expect(server.to("POST", /cancel/)[0]?.body).toEqual({ id: sentAs });
    end();
    await sent;
  });
});

describe("a conversation that is opened", () => {
  it("takes up the answer that goes on in it", async () => {
    const running = { id: "req-9", message_id: 2, event_id: "2:3" };
    const growing = message(2, "assistant", "Bec", { state: "generating", finish_reason: null });
    server.on("GET", /^\/chats\/7$/, json(chat(7, [QUESTION, growing], { running })), json(chat(7, [QUESTION, ANSWER])));
    server.on("GET", /stream/, events([["2:3", "start", START], ["2:8", "token", { text: "ause." }], ["2:8", "done", DONE]]));
    const talk = await conversation(7);
    await talk.load();
    expect(talk.answering?.text).toBe("Bec");
    await vi.waitFor(() => expect(talk.answering).toBeNull());
    expect(talk.messages).toEqual([QUESTION, ANSWER]);
    expect(server.to("GET", /stream/)[0]?.path).toBe("/chats/7/stream?after=2%3A3");
  });

  it("that is not there says so", async () => {
    server.on("GET", /^\/chats\/8$/, refused(404, "chat_not_found", "There is no such chat."));
    const talk = await conversation(8);
    await talk.load();
    expect(talk.problem).toBe("This conversation does not exist.");
  });

  it("keeps what is set, and tells the server once", async () => {
    vi.useFakeTimers();
    server.on("PATCH", /^\/chats\/7$/, json(chat(7)));
    const talk = await conversation(7);
    talk.set({ parameters: { temperature: 0.1 } });
    talk.set({ parameters: { temperature: 0.2 }, system: "Be brief." });
    await vi.advanceTimersByTimeAsync(500);
    expect(server.to("PATCH", /chats/).map((asked) => asked.body)).toEqual([{ parameters: { temperature: 0.2 }, system: "Be brief." }]);
  });
});

describe("the list of conversations", () => {
  const listed = (id: number) => ({ ...chat(id), updated_at: new Date(2026, 10, id).toISOString() });

  it("goes on behind what was read, and keeps it when its beginning is read again", async () => {
    const { chats } = await import("../src/stores/chats.svelte");
    server.on("GET", /^\/chats\?limit/, json({ chats: [listed(9), listed(8)], more: true }));
    server.on("GET", /before=8/, json({ chats: [listed(7)], more: false }));
    await chats.refresh();
    await chats.more();
    expect(chats.list.map((one) => one.chat_id)).toEqual([9, 8, 7]);
    server.on("GET", /^\/chats\?limit/, json({ chats: [listed(10), listed(9)], more: true }));
    await chats.refresh();
    expect(chats.list.map((one) => one.chat_id)).toEqual([10, 9, 8, 7]);
  });

  it("deletes after a while, and not where that is undone", async () => {
    vi.useFakeTimers();
    const { chats } = await import("../src/stores/chats.svelte");
    const { view } = await import("../src/stores/view.svelte");
    server.on("GET", /^\/chats\?/, json({ chats: [listed(9), listed(8)], more: false }));
    server.on("DELETE", /^\/chats\/\d+$/, json({}));
    await chats.refresh();
    chats.remove(chats.list[0]!);
    expect(chats.list.map((one) => one.chat_id)).toEqual([8]);
    view.toasts[0]?.action?.run();
    expect(chats.list.map((one) => one.chat_id)).toEqual([9, 8]);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(server.to("DELETE", /./)).toEqual([]);
    chats.remove(chats.list[1]!);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(server.to("DELETE", /./).map((asked) => asked.path)).toEqual(["/chats/8"]);
    expect(chats.list.map((one) => one.chat_id)).toEqual([9]);
  });

  it("shows the answer to what was asked last", async () => {
    const { chats } = await import("../src/stores/chats.svelte");
    let late = (): void => undefined;
    server.on("GET", /q=slow/, () => new Promise<Response>((resolve) => (late = () => resolve(json({ chats: [listed(1)], more: false })))));
    server.on("GET", /q=quick/, json({ chats: [listed(2)], more: false }));
    chats.query = "slow";
    const slow = chats.refresh();
    chats.query = "quick";
    await chats.refresh();
    late();
    await slow;
    expect(chats.list.map((one) => one.chat_id)).toEqual([2]);
  });
});

describe("the door", () => {
  it("asks for a name at first, and knows it the next time", async () => {
    const first = await import("../src/stores/session.svelte");
    await first.session.begin();
    expect([first.session.phase, first.session.secured]).toEqual(["door", false]);
    await first.session.enter(" Ada ");
    expect(first.session.phase).toBe("in");
    expect(server.asked.at(-1)?.headers.get("X-Fairlead-User")).toBe("Ada");
    vi.resetModules();
    const { session } = await import("../src/stores/session.svelte");
    await session.begin();
    expect(session.phase).toBe("in");
  });

  it("asks for a key where the server has some", async () => {
    server.on("GET", /^\/me$/, refused(401, "unauthorized", "A key is needed."));
    const { session } = await import("../src/stores/session.svelte");
    await session.begin();
    expect([session.phase, session.secured]).toEqual(["door", true]);
    await session.enter("wrong");
    expect(session.problem).toBe("The server does not know this key.");
    server.on("GET", /^\/me$/, json({ user: "Grace", secured: true }));
    await session.enter("right");
    expect([session.phase, session.name]).toEqual(["in", "Grace"]);
    expect(server.asked.at(-1)?.headers.get("Authorization")).toBe("Bearer right");
    server.on("GET", /^\/models$/, refused(401, "unauthorized", "The key was revoked."));
    const { models } = await import("../src/stores/models.svelte");
    await models.refresh();
    expect(session.phase).toBe("door");
  });
});

describe("the server's light", () => {
  it("tells of trouble by the server's own words", async () => {
    vi.useFakeTimers();
    const { server: state } = await import("../src/stores/server.svelte");
    server.on("GET", /^\/health$/, json({ status: "degraded", reason: "The engine is stuck.", models: {}, active_model: "m" }, 503));
    void state.begin();
    await vi.advanceTimersByTimeAsync(10);
    expect([state.light, state.reason]).toEqual(["amber", "The engine is stuck."]);
  });

  it("is red while the server is away, and tells when it is back", async () => {
    vi.useFakeTimers();
    const { server: state } = await import("../src/stores/server.svelte");
    const returned = vi.fn();
    state.onReturn(returned);
    server.on("GET", /^\/health$/, () => Promise.reject(new TypeError("refused")));
    void state.begin();
    await vi.advanceTimersByTimeAsync(10);
    expect(state.light).toBe("red");
    expect(returned).not.toHaveBeenCalled();
    server.on("GET", /^\/health$/, json({ status: "ok", models: { m: "loaded" }, active_model: "m" }));
    await vi.advanceTimersByTimeAsync(5000);
    expect(state.light).toBe("green");
    expect(returned).toHaveBeenCalledOnce();
  });
});

describe("requests", () => {
  it("carry names of any alphabet", async () => {
    const api = await import("../src/api");
    api.speakFor({ name: "Žofie 李" });
    await api.queue();
    const sent = server.asked.at(-1)?.headers.get("X-Fairlead-User") ?? "";
    expect(new TextDecoder().decode(Uint8Array.from(sent, (char) => char.charCodeAt(0)))).toBe("Žofie 李");
  });

  it("that something else answers are refused in a sentence", async () => {
    const api = await import("../src/api");
    server.on("GET", /^\/models$/, new Response("<h1>Bad Gateway</h1>", { status: 502 }));
    await expect(api.models()).rejects.toMatchObject({ status: 502, message: "The server answered 502." });
  });

  it("for a load tell how far it is, and why it failed", async () => {
    const api = await import("../src/api");
    const error = { error: { code: "insufficient_memory", message: "It does not fit.", type: "", param: null, details: {} } };
    server.on("POST", /^\/load_model$/, events([["1", "progress", { phase: "loading", bytes: 5, total: 10, eta_ms: 1 }], ["2", "error", error]]));
    const told: number[] = [];
    await expect(api.loadModel("m", (progress) => told.push(progress.bytes))).rejects.toThrow("It does not fit.");
    expect(told).toEqual([5]);
  });
});
