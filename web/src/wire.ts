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

/** How far a task is: so many of so many of what `phase` names. */
export interface TaskProgress {
  phase: string;
  done: number;
  total: number;
}

/** What every task tells of itself when it has ended. */
export interface TaskReport {
  id: string;
  model: string;
  finish_reason: string;
  usage: Usage;
  timing: { total_ms: number };
}

export interface Summary extends TaskReport {
  summary: string;
  words: number;
  /** Of the text's characters, how many the model was given. */
  share_read: number;
  parts: number;
  rounds: number;
}

export type Cell = string | number | boolean | null;
export type Row = Record<string, Cell>;

export interface Column {
  name: string;
  type: "text" | "number";
}

/** Rows that can be found by the meaning of one of their columns. */
export interface Collection {
  name: string;
  state: "embedding" | "ready" | "failed";
  model: string;
  text_column: string;
  text_column_guessed: boolean;
  columns: Column[];
  row_count: number;
  embedded_count: number;
  skipped_count: number;
  /** How it is searched; `recall` of what an exact search finds. */
  index: { kind: "exact" | "approximate"; recall: number | null };
  builtin: boolean;
  error: string | null;
}

export interface Collections {
  collections: Collection[];
}

/** How a table's file is read, and its first rows. */
export interface TablePreview {
  columns: Column[];
  text_column: string;
  text_column_guessed: boolean;
  delimiter: string | null;
  encoding: string | null;
  rows: Row[];
  row_count: number;
}

export interface Hit {
  id: number;
  row: Row;
  text: string;
  score: number;
}

export interface Found {
  results: Hit[];
  /** Rows that were looked at. */
  searched: number;
  state: Collection["state"];
  took_ms: number;
}

/** What an answer was drawn from, and where it stands. */
export interface AnswerSource {
  kind: "context" | "file" | "row";
  text: string;
  score: number;
  /** Of files. */
  name?: string;
  page?: number;
  line_from?: number;
  line_to?: number;
  /** Of rows. */
  collection?: string;
  row_id?: number;
}

/** What was found before an answer is written. */
export interface GivenSources {
  sources: AnswerSource[];
  best_score: number | null;
  threshold: number;
}

export interface Answered extends GivenSources {
  id: string;
  model: string;
  /** False where nothing that was given tells it. */
  answered: boolean;
  answer: string;
  finish_reason: string;
  usage: Usage;
  timing: { search_ms: number; ttft_ms: number | null; total_ms: number };
}

/** A text's label, and how likely each of the labels is, in the order in which they were given. */
export interface Classified {
  label: string;
  probabilities: Record<string, number>;
}

export interface Classification extends TaskReport {
  /** Null for texts that were not reached before it was stopped. */
  results: (Classified | null)[];
}
