/** The server, as this page sees it. No other file sends a request. */

import { eventsOf, type ServerEvent } from "./lib/sse";
import type {
  AnswerEvent,
  Chat,
  ChatEvents,
  ChatFile,
  ChatSettings,
  ChatPage,
  ErrorBody,
  Estimate,
  Health,
  Me,
  Model,
  Models,
  Progress,
  Queue,
  Schemas,
} from "./wire";

/** Who this page speaks for: a name where the server has no keys, else a key. */
export interface Identity {
  name?: string;
  key?: string;
}

/** The server refused. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly body: ErrorBody,
    readonly retryAfterS: number | null,
  ) {
    super(body.message);
  }
}

/** No answer came: the server is away, or the way to it. */
export class Unreachable extends Error {
  constructor() {
    super("The server cannot be reached.");
  }
}

let identity: Identity = {};
let onStranger = (): void => undefined;

/** Speak for somebody from now on. */
export function speakFor(who: Identity): void {
  identity = who;
}

/** Calls back when the server does not know whom this page speaks for, such as after a key was revoked. */
export function whenStranger(listener: () => void): void {
  onStranger = listener;
}

// ---- how it is asked ------------------------------------------------------------------------------

function headers(): Record<string, string> {
  if (identity.key !== undefined) return { Authorization: `Bearer ${identity.key}` };
  // Headers are bytes: a name is sent in UTF-8, each byte as the character of its number.
  const name = identity.name ?? "";
  return name === "" ? {} : { "X-Fairlead-User": String.fromCharCode(...new TextEncoder().encode(name)) };
}

/** Told how much of a form is on the server. */
export type OnSent = (sent: number, total: number) => void;

interface Options {
  body?: unknown;
  /** Sent in place of a body, and followed on its way. */
  form?: { files: readonly File[]; onSent: OnSent };
  signal?: AbortSignal | undefined;
  keepalive?: boolean;
  /** An id of our own for the request. */
  request?: string;
}

/** The answer, whatever its status. */
async function exchange(method: string, path: string, options: Options = {}): Promise<Response> {
  const { body, form, signal, keepalive = false, request } = options;
  const given = {
    ...headers(),
    ...(body !== undefined && { "Content-Type": "application/json" }),
    ...(request !== undefined && { "X-Request-Id": request }),
  };
  if (form !== undefined) return sendForm(method, path, given, form, signal);
  try {
    return await fetch(path, {
      method,
      headers: given,
      body: body === undefined ? null : JSON.stringify(body),
      signal: signal ?? null,
      keepalive,
      cache: "no-store",
      credentials: "omit",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Unreachable();
  }
}

/** As `fetch`, which cannot tell how far an upload is: hence the older way. */
function sendForm(
  method: string,
  path: string,
  given: Record<string, string>,
  { files, onSent }: NonNullable<Options["form"]>,
  signal?: AbortSignal,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const bytes = new TransformStream<Uint8Array, Uint8Array>();
    const writer = bytes.writable.getWriter();
    const fail = (error: Error): void => {
      reject(error);
      void writer.abort(error).catch(() => undefined); // whoever reads it is told
    };
    let read = 0;
    const readOn = (): void => {
      const text = request.responseText.slice(read);
      read += text.length;
      void writer.write(new TextEncoder().encode(text)).catch(() => undefined); // nobody reads it any more
    };
    request.open(method, path);
    for (const [name, value] of Object.entries(given)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => onSent(event.loaded, event.total);
    request.onreadystatechange = () => {
      if (request.readyState !== XMLHttpRequest.HEADERS_RECEIVED) return;
      const body = [204, 205, 304].includes(request.status) ? null : bytes.readable;
      const retry = request.getResponseHeader("Retry-After");
      resolve(new Response(body, { status: request.status, headers: retry === null ? {} : { "Retry-After": retry } }));
    };
    request.onprogress = readOn;
    request.onload = () => {
      readOn();
      void writer.close().catch(() => undefined);
    };
    request.onerror = () => fail(new Unreachable());
    request.onabort = () => fail(new DOMException("It was left.", "AbortError"));
    signal?.addEventListener("abort", () => request.abort());
    const form = new FormData();
    for (const file of files) form.append("file", file);
    request.send(form);
  });
}

/** The answer, where it is a good one; otherwise Refused. */
async function send(method: string, path: string, options?: Options): Promise<Response> {
  const response = await exchange(method, path, options);
  if (!response.ok) throw refusal(response.status, await response.text(), response.headers.get("Retry-After"));
  return response;
}

function refusal(status: number, text: string, retryAfter: string | null): Refused {
  if (status === 401) onStranger();
  let body: ErrorBody | undefined;
  try {
    body = (JSON.parse(text) as Partial<Schemas["ErrorResponse"]>).error;
  } catch {
    // Something between us and the server answered in its place.
  }
  const unknown = { code: "unknown", message: `The server answered ${status}.`, type: "", param: null, details: {} };
  return new Refused(status, body ?? unknown, retryAfter === null ? null : Number(retryAfter));
}

/** What it answers, as JSON. */
export async function ask<T>(method: string, path: string, options?: Options): Promise<T> {
  const response = await send(method, path, options);
  return (response.status === 204 ? undefined : await response.json()) as T;
}

/** The events that it answers with. */
export async function* stream(method: string, path: string, options?: Options): AsyncGenerator<ServerEvent> {
  const response = await send(method, path, options);
  if (response.body === null) throw new Unreachable();
  try {
    yield* eventsOf(response.body);
  } catch (error) {
    if (options?.signal?.aborted) throw error;
    throw new Unreachable();
  }
}

/** Fields as a query; those that say nothing are left out. */
export function query(fields: Record<string, string | number | null | undefined>): string {
  const given = Object.entries(fields).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length === 0 ? "" : `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}`;
}

// ---- the service ----------------------------------------------------------------------------------

/** How the server is; one that is degraded says so with a 503. */
export async function health(signal?: AbortSignal): Promise<Health> {
  const response = await exchange("GET", "/health", { signal });
  try {
    return (await response.json()) as Health;
  } catch {
    throw new Unreachable(); // a proxy that stands before a server which is away
  }
}

/** Whom the server takes us for. */
export const me = (): Promise<Me> => ask("GET", "/me");

export const queue = (signal?: AbortSignal): Promise<Queue> => ask("GET", "/queue", { signal });

/** Ends an answer, wherever it is. */
export const cancel = (id: string): Promise<void> =>
  ask("POST", "/cancel", { body: { id } satisfies Schemas["CancelBody"] });

// ---- models ---------------------------------------------------------------------------------------

export const models = (signal?: AbortSignal): Promise<Models> => ask("GET", "/models", { signal });

export const estimate = (body: Schemas["EstimateBody"], signal?: AbortSignal): Promise<Estimate> =>
  ask("POST", "/models/estimate", { body, signal });

export const setModel = (name: string): Promise<Schemas["ActiveModel"]> =>
  ask("POST", "/set_model", { body: { name } satisfies Schemas["ModelBody"] });

/** Also ends a load or a download that is under way. */
export const unloadModel = (name: string): Promise<Model> =>
  ask("POST", "/unload_model", { body: { name } satisfies Schemas["UnloadBody"] });

export const removeModel = (name: string): Promise<void> => ask("DELETE", `/models/${encodeURIComponent(name)}`);

/** Loads a model, and fetches it first where needed; tells how far it is. */
export const loadModel = (name: string, onProgress: (progress: Progress) => void): Promise<Model> =>
  followed("/load_model", { name, stream: true } satisfies Schemas["LoadBody"], onProgress);

/** Fetches a model's file. */
export const pullModel = (name: string, onProgress: (progress: Progress) => void): Promise<Model> =>
  followed("/models/pull", { name, stream: true } satisfies Schemas["FetchBody"], onProgress);

async function followed(path: string, body: object, onProgress: (progress: Progress) => void): Promise<Model> {
  for await (const event of stream("POST", path, { body })) {
    if (event.name === "progress") onProgress(JSON.parse(event.data) as Progress);
    else if (event.name === "done") return JSON.parse(event.data) as Model;
    else if (event.name === "error") throw failure(event.data);
  }
  throw new Unreachable();
}

/** A stream's `error` event; the status has been sent by then. */
export function failure(data: string): Refused {
  return new Refused(200, (JSON.parse(data) as Schemas["ErrorResponse"]).error, null);
}

// ---- chats ----------------------------------------------------------------------------------------

export interface Listing {
  /** Words to be found in titles and messages; "" for all chats. */
  q: string;
  limit: number;
  /** The chat after which the list goes on. */
  before: number | null;
}

/** A part of the list, newest first. */
export const chats = (listing: Listing): Promise<ChatPage> => ask("GET", `/chats${query({ ...listing })}`);

export const chat = (id: number, signal?: AbortSignal): Promise<Chat> => ask("GET", `/chats/${id}`, { signal });

export const createChat = (settings: Partial<ChatSettings>): Promise<Chat> =>
  ask("POST", "/chats", { body: settings satisfies Schemas["ChatFields"] });

export const changeChat = (id: number, change: Partial<ChatSettings> & { title?: string; leaf?: number }): Promise<Chat> =>
  ask("PATCH", `/chats/${id}`, { body: change satisfies Schemas["ChangedChat"] });

/** `leaving`: also while the page is being closed. */
export const deleteChat = (id: number, leaving = false): Promise<void> =>
  ask("DELETE", `/chats/${id}`, { keepalive: leaving });

export const importChat = (exported: unknown): Promise<Chat> => ask("POST", "/chats/import", { body: exported });

export const exportChat = async (id: number, format: "md" | "json"): Promise<Blob> =>
  (await send("GET", `/chats/${id}/export?format=${format}`)).blob();

// ---- answers --------------------------------------------------------------------------------------

/** A message to send; or, of one that is there, another answer (`regenerate`) or another wording (`edit`). */
export interface Turn {
  prompt?: string;
  regenerate?: number;
  edit?: number;
}

export interface Told {
  /** Of the event, by which the stream can be taken up again. */
  id: string;
  event: AnswerEvent;
}

/** Sends a turn and follows the answer; `request` is the id by which it can be ended. A lost connection does not end it: `resume` takes it up again. */
export const sendTurn = (chatId: number, turn: Turn, request: string, signal: AbortSignal): AsyncGenerator<Told> =>
  answer("POST", `/chats/${chatId}/messages`, { body: turn satisfies Schemas["SendBody"], signal, request });

/** Follows an answer that is under way, from after the event with this id. */
export const resume = (chatId: number, after: string, signal: AbortSignal): AsyncGenerator<Told> =>
  answer("GET", `/chats/${chatId}/stream${query({ after })}`, { signal });

async function* answer(method: string, path: string, options: Options): AsyncGenerator<Told> {
  for await (const event of stream(method, path, options)) {
    const read = answerEvent(event);
    if (read !== null) yield { id: event.id, event: read };
  }
}

/** What an event tells; null for one that a later server knows and this page does not. */
function answerEvent({ name, data }: ServerEvent): AnswerEvent | null {
  switch (name) {
    case "start": {
      const told = JSON.parse(data) as ChatEvents["start"];
      return { kind: "start", request: told.id, asked: told.user_message_id, answer: told.message_id };
    }
    case "queued":
      return { kind: "queued", ...(JSON.parse(data) as ChatEvents["queued"]) };
    case "token":
      return { kind: "token", ...(JSON.parse(data) as ChatEvents["token"]) };
    case "done":
      return { kind: "done", done: JSON.parse(data) as ChatEvents["done"] };
    case "error":
      return { kind: "error", error: (JSON.parse(data) as ChatEvents["error"]).error };
    default:
      return null;
  }
}

// ---- files ----------------------------------------------------------------------------------------

export const files = async (chatId: number, signal?: AbortSignal): Promise<ChatFile[]> =>
  (await ask<Schemas["ChatFiles"]>("GET", `/chats/${chatId}/files`, { signal })).files;

export const removeFile = (chatId: number, fileId: number): Promise<void> =>
  ask("DELETE", `/chats/${chatId}/files/${fileId}`);

/** Sends a file. */
export async function uploadFile(chatId: number, file: File, onSent: OnSent, signal: AbortSignal): Promise<ChatFile> {
  const form = { files: [file], onSent };
  const { files: stored } = await ask<Schemas["ChatFiles"]>("POST", `/chats/${chatId}/files`, { form, signal });
  return stored[0] as ChatFile;
}
