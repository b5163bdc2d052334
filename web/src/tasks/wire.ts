/** What the server says of the language tasks. */

import type { Usage } from "../wire";

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
