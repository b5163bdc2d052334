/** What the server says. Bodies that are sent are typed from its OpenAPI description (`openapi.ts`, generated). */

import type { components } from "./openapi";

export type Schemas = components["schemas"];

export interface ErrorBody {
  code: string;
  message: string;
  type: string;
  param: string | null;
  details: Record<string, unknown>;
}

export type ModelState =
  | "available"
  | "downloading"
  | "downloaded"
  | "loading"
  | "loaded"
  | "unloading"
  | "failed";

export interface Progress {
  phase: string;
  bytes: number;
  total: number | null;
  eta_ms: number | null;
}

export interface Model {
  name: string;
  architecture: string | null;
  /** In words, such as "135M". */
  parameters: string | null;
  quantization: string | null;
  context_length: number | null;
  size_bytes: number | null;
  state: ModelState;
  active: boolean;
  pinned: boolean;
  capabilities: string[];
  memory: { estimated_bytes: number | null; measured_bytes: number | null; used_bytes: number | null };
  source: string | null;
  progress: Progress | null;
  error: string | null;
}

export interface Models {
  models: Model[];
  active: string | null;
}

export interface Estimate {
  name: string;
  context_length: number;
  weight_bytes: number;
  kv_bytes: number;
  work_bytes: number;
  margin_bytes: number;
  required_bytes: number;
  available_bytes: number;
  fits: boolean;
  unloads: string[];
  largest_context_that_fits: number | null;
}

export interface Health {
  status: "ok" | "degraded";
  version: string;
  uptime_s: number;
  active_model: string | null;
  models: Record<string, ModelState>;
  reason?: string;
}

export interface Me {
  user: string;
  /** Whether a key proves it. */
  secured: boolean;
}

export interface Queue {
  user: string;
  models: ModelQueue[];
}

export interface ModelQueue {
  name: string;
  running: number;
  waiting: number;
  users: { user: string; running: number; waiting: number }[];
  tokens_per_second: { prompt: number | null; completion: number | null };
  pages: { held: number; cached: number; free: number; total: number };
}

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  cached_tokens: number;
}

export interface Timing {
  queue_ms: number;
  prefill_ms: number;
  ttft_ms: number | null;
  total_ms: number;
  tokens_per_second: number | null;
}

export interface Source {
  file_id: number;
  name: string;
  page?: number | null;
  line_from?: number | null;
  line_to?: number | null;
  text: string;
}

export type Role = "system" | "user" | "assistant";
export type Overflow = "error" | "drop_oldest" | "summarize";

export interface ChatPage {
  chats: ChatSummary[];
  /** Whether others come behind these. */
  more: boolean;
}

export interface ChatSummary {
  chat_id: number;
  title: string;
  created_at: string;
  updated_at: string;
  message_count: number;
  preview: string;
  /** Where it was found, in a search. */
  match?: { message_id: number; excerpt: string };
}

export interface Context {
  dropped_messages: number;
  dropped_tokens: number;
  summarized_messages?: number;
}

/** What is told with an answer when it has ended. */
export interface Report {
  usage?: Usage | null;
  timing?: Timing | null;
  context?: Context | null;
  files?: { whole: boolean; selected: boolean; notes: string[] } | null;
  sources?: Source[] | null;
  error?: { code: string; message: string } | null;
}

export interface Message extends Report {
  message_id: number;
  /** Of all its versions, itself among them, the oldest first. */
  siblings: number[];
  role: Role;
  content: string;
  state: "generating" | "complete" | "cut_off";
  finish_reason: string | null;
  model: string | null;
  created_at: string;
}

/** Generation fields that a chat's requests leave open. */
export interface Parameters {
  temperature?: number;
  top_p?: number;
  top_k?: number;
  min_p?: number;
  max_tokens?: number;
  seed?: number;
  repetition_penalty?: number;
  presence_penalty?: number;
  frequency_penalty?: number;
  stop?: string[];
}

export interface ChatSettings {
  system: string | null;
  model: string | null;
  parameters: Parameters;
  on_overflow: Overflow;
}

export interface Chat extends ChatSummary, ChatSettings {
  /** Of the branch that is shown. */
  messages: Message[];
  /** The answer that goes on, and the event from which on it is to be read. */
  running: { id: string; message_id: number; event_id: string } | null;
}

export interface ChatFile {
  file_id: number;
  name: string;
  kind: string;
  size_bytes: number;
  state: "parsing" | "ready" | "failed";
  /** Why it could not be read. */
  error: string | null;
  /** What of it could not, where the rest could. */
  note: string | null;
  /** While it is being read. */
  progress: { phase: string; done: number; total: number | null } | null;
  pages: number | null;
  characters: number | null;
}

/** How an answer ended. */
export interface Done extends Report {
  id: string;
  model: string;
  finish_reason: string;
}

/** What an answer's stream tells. */
export type AnswerEvent =
  | { kind: "start"; request: string; asked: number; answer: number }
  | { kind: "queued"; position: number; estimated_wait_ms: number | null }
  | { kind: "token"; text: string }
  | { kind: "done"; done: Done }
  | { kind: "error"; error: ErrorBody };
