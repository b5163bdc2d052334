import { describe, expect, it } from "vitest";

import { EventParser, eventsOf, type ServerEvent } from "../src/lib/sse";

const STREAM = [
  ": keep-alive\n\n",
  'id: 1\nevent: token\ndata: {"text":"a"}\n\n',
  "id: 2\r\nevent: done\r\ndata: one\r\ndata: two\r\n\r\n",
  "data:no space\n\n",
  "id: 4\nevent: nothing\n\n",
  "retry: 5\rid\revent: late\rdata: x\r\r\n",
].join("");

const EVENTS: ServerEvent[] = [
  { id: "1", name: "token", data: '{"text":"a"}' },
  { id: "2", name: "done", data: "one\ntwo" },
  { id: "2", name: "message", data: "no space" },
  { id: "", name: "late", data: "x" },
];

describe("server-sent events", () => {
  it("come whole, wherever the chunks are cut", () => {
    for (let size = 1; size <= STREAM.length; size++) {
      const parser = new EventParser();
      const events: ServerEvent[] = [];
      for (let at = 0; at < STREAM.length; at += size) events.push(...parser.feed(STREAM.slice(at, at + size)));
      expect(events, `chunks of ${size}`).toEqual(EVENTS);
    }
  });

  it("come out of bytes that are cut within a character", async () => {
    const bytes = new TextEncoder().encode("data: naïve 🪢\n\n");
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        for (const byte of bytes) controller.enqueue(Uint8Array.of(byte));
        controller.close();
      },
    });
    const events: ServerEvent[] = [];
    for await (const event of eventsOf(body)) events.push(event);
    expect(events.map((event) => event.data)).toEqual(["naïve 🪢"]);
  });

  it("that are not ended are none", () => {
    expect(new EventParser().feed("data: cut off\n")).toEqual([]);
  });
});
