/** A server that says what a test has it say. */

import { vi } from "vitest";

import type { Chat, Message } from "../src/wire";

export interface Asked {
  method: string;
  path: string;
  body: unknown;
  headers: Headers;
}

type Answer = Response | (() => Response | Promise<Response>);

/** Answers each request by the first route that fits; every one is noted in `asked`. */
export class FakeServer {
  readonly asked: Asked[] = [];
  #routes: { method: string; path: RegExp; answer: (asked: Asked) => Response | Promise<Response> }[] = [];

  constructor() {
    vi.stubGlobal("fetch", (path: string, init: RequestInit = {}) => this.#answer(path, init));
  }

  /** What is said later stands above what was said before. */
  on(method: string, path: RegExp, ...answers: Answer[]): void {
    let count = 0;
    const answer = (): Response | Promise<Response> => {
      const next = answers[Math.min(count++, answers.length - 1)];
      if (next === undefined) throw new Error("no answer was given");
      return typeof next === "function" ? next() : next.clone();
    };
    this.#routes.unshift({ method, path, answer });
  }

  to(method: string, path: RegExp): Asked[] {
    return this.asked.filter((asked) => asked.method === method && path.test(asked.path));
  }

  async #answer(path: string, init: RequestInit): Promise<Response> {
    const body = typeof init.body === "string" ? (JSON.parse(init.body) as unknown) : undefined;
    const asked = { method: init.method ?? "GET", path, body, headers: new Headers(init.headers) };
    this.asked.push(asked);
    const route = this.#routes.find((one) => one.method === asked.method && one.path.test(path));
    if (route === undefined) throw new TypeError(`nothing answers ${asked.method} ${path}`);
    return route.answer(asked);
  }
}

export function json(value: unknown, status = 200, headers: Record<string, string> = {}): Response {
  return new Response(JSON.stringify(value), { status, headers });
}

export function refused(status: number, code: string, message: string): Response {
  return json({ error: { code, message, type: "", param: null, details: {} } }, status);
}

/** Events as the server writes them; a stream that is `cut` ends in a broken connection. */
export function events(list: [id: string, name: string, data: unknown][], { cut = false } = {}): Response {
  const text = list.map(([id, name, data]) => `id: ${id}\nevent: ${name}\ndata: ${JSON.stringify(data)}\n\n`).join("");
  let told = false;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (!told) controller.enqueue(new TextEncoder().encode(text));
      else if (cut) controller.error(new TypeError("network error"));
      else controller.close();
      told = true;
    },
  });
  return new Response(body);
}

export function message(id: number, role: Message["role"], content: string, more: Partial<Message> = {}): Message {
  return {
    message_id: id, parent: null, siblings: [id], role, content, state: "complete",
    finish_reason: role === "assistant" ? "stop" : null, model: null, created_at: "2026-11-26T00:00:00Z", finished_at: null, ...more,
  };
}

export function chat(id: number, messages: Message[] = [], more: Partial<Chat> = {}): Chat {
  return {
    chat_id: id, title: `Chat ${id}`, titled_by: "nobody",
    created_at: "2026-11-26T00:00:00Z", updated_at: "2026-11-26T00:00:00Z", message_count: messages.length, leaf: null, system: null, model: null, parameters: {}, on_overflow: "drop_oldest",
    running: null, messages, ...more,
  };
}

export const START = { id: "req-1", chat_id: 7, user_message_id: 1, message_id: 2 };
export const DONE = { ...START, model: "m", finish_reason: "stop" };
