/** Server-sent events, read from the body of a `fetch`: `EventSource` can neither POST nor send headers. */

export interface ServerEvent {
  /** "" where the server gave none. */
  id: string;
  name: string;
  data: string;
}

/** Turns chunks of text into events, wherever the chunks are cut. */
export class EventParser {
  #rest = "";
  #id = "";
  #name = "";
  #data: string[] = [];

  /** The events that this chunk completes. */
  feed(chunk: string): ServerEvent[] {
    const text = this.#rest + chunk;
    const events: ServerEvent[] = [];
    let start = 0;
    for (let end = lineEnd(text, start); end !== null; end = lineEnd(text, start)) {
      const event = this.#line(text.slice(start, end.at));
      if (event !== null) events.push(event);
      start = end.next;
    }
    this.#rest = text.slice(start);
    return events;
  }

  #line(line: string): ServerEvent | null {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "id") this.#id = value;
    else if (field === "event") this.#name = value;
    else if (field === "data") this.#data.push(value);
    return null; // comments, and fields that nobody knows
  }

  #dispatch(): ServerEvent | null {
    const event = { id: this.#id, name: this.#name || "message", data: this.#data.join("\n") };
    const empty = this.#data.length === 0;
    this.#name = "";
    this.#data = [];
    return empty ? null : event;
  }
}

/** Where the line that begins at `start` ends. A carriage return at the very end may be half of a line's end. */
function lineEnd(text: string, start: number): { at: number; next: number } | null {
  for (let at = start; at < text.length; at++) {
    if (text[at] === "\n") return { at, next: at + 1 };
    if (text[at] === "\r") {
      if (at + 1 === text.length) return null;
      return { at, next: text[at + 1] === "\n" ? at + 2 : at + 1 };
    }
  }
  return null;
}

/** The events of a stream; ends with it. */
export async function* eventsOf(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const parser = new EventParser();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield* parser.feed(decoder.decode(value, { stream: true }));
    }
  } finally {
    await reader.cancel().catch(() => undefined); // a stream that broke has nothing left to cancel
  }
}
