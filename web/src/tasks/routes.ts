/** The routes of the language tasks, as their pages see them. `../api` sends what is asked. */

import { ask, failure, type OnSent, query, stream, Unreachable } from "../api";
import type { ServerEvent } from "../lib/sse";
import type { Schemas } from "../wire";
import type {
  Answered,
  Classification,
  Collection,
  Found,
  GivenSources,
  Row,
  Summary,
  TablePreview,
  TaskProgress,
} from "./wire";

/** How a task is asked for: the id by which it can be ended, and what ends it by leaving. */
export interface Asking {
  request: string;
  signal: AbortSignal;
}

/** What a task's stream tells on the way to its end. */
export type TaskEvent<Done, Part = never> =
  | { kind: "progress"; progress: TaskProgress }
  | { kind: "token"; text: string }
  | { kind: "part"; part: Part }
  | { kind: "done"; done: Done };

export interface SummaryWishes {
  max_words: number;
  share: number;
  model: string | null;
}

/** Makes a text or a file short. The file is not kept. */
export function summarize(
  source: string | File,
  wishes: SummaryWishes,
  onSent: OnSent,
  asking: Asking,
): AsyncGenerator<TaskEvent<Summary>> {
  if (typeof source === "string") {
    const body = { text: source, ...wishes, stream: true } satisfies Schemas["SummarizeBody"];
    return task(stream("POST", "/summarize", { body, ...asking }));
  }
  const form = { files: [source], onSent };
  return task(stream("POST", `/summarize/file${query({ ...wishes, stream: "true" })}`, { form, ...asking }));
}

/** How a table's file is to be read; what is left out is found out. */
export interface TableReading {
  text_column: string | null;
  delimiter: string | null;
  encoding: string | null;
}

/** Of a column: a value, some values, or a range. */
export type Filter = string | string[] | { from?: number; to?: number };

export interface SearchWishes {
  query: string;
  top_k: number;
  filters: Record<string, Filter>;
}

export const collections = async (): Promise<Collection[]> => (await ask<Schemas["Collections"]>("GET", "/collections")).collections;

/** How a file would be read as a table. Nothing of it is kept. */
export const previewTable = (file: File, reading: TableReading, onSent: OnSent, asking: Asking): Promise<TablePreview> =>
  ask("POST", `/collections/preview${query({ ...reading })}`, { form: { files: [file], onSent }, ...asking });

/** A collection of a table's rows; their embedding goes on by itself. */
export const createCollection = (
  name: string,
  file: File,
  reading: TableReading,
  onSent: OnSent,
  asking: Asking,
): Promise<Collection> =>
  ask("POST", `/collections/file${query({ name, ...reading })}`, { form: { files: [file], onSent }, ...asking });

/** `leaving`: also while the page is being closed. */
export const deleteCollection = (name: string, leaving = false): Promise<void> =>
  ask("DELETE", `/collections/${encodeURIComponent(name)}`, { keepalive: leaving });

export const searchCollection = (name: string, wishes: SearchWishes, asking: Asking): Promise<Found> =>
  ask("POST", `/collections/${encodeURIComponent(name)}/search`, { body: wishes satisfies Schemas["SearchBody"], ...asking });

/** The first rows of a collection. */
export const collectionRows = async (name: string, limit: number): Promise<Row[]> => {
  const path = `/collections/${encodeURIComponent(name)}/rows${query({ limit })}`;
  return (await ask<Schemas["Rows"]>("GET", path)).rows.map(({ row }) => row);
};

export interface AnswerWishes {
  question: string;
  top_k: number;
  /** The score that a source must have; null for the server's own. */
  threshold: number | null;
  model: string | null;
}

/** What an answer is drawn from: a text, files that are not kept, or a collection. */
export type AnswerFrom = { context: string } | { collection: string } | { files: readonly File[] };

/** Answers a question from what is given and nothing else; tells the sources before the answer. */
export function answerFrom(
  from: AnswerFrom,
  wishes: AnswerWishes,
  onSent: OnSent,
  asking: Asking,
): AsyncGenerator<TaskEvent<Answered, GivenSources>> {
  if ("files" in from) {
    const form = { files: from.files, onSent };
    return task(stream("POST", `/answer/file${query({ ...wishes, stream: "true" })}`, { form, ...asking }), "sources");
  }
  const { threshold, ...others } = wishes;
  const body = { ...from, ...others, ...(threshold !== null && { threshold }), stream: true } satisfies Schemas["AnswerBody"];
  return task(stream("POST", "/answer", { body, ...asking }), "sources");
}

export interface Label {
  name: string;
  description: string;
}

export interface Classifying {
  labels: (string | Label)[];
  examples: { text: string; label: string }[];
  /** What is to be told apart; null for the server's own words. */
  instruction: string | null;
  model: string | null;
}

/** Sorts texts under labels; tells each text's as soon as it is known. */
export function classify(
  texts: readonly string[],
  wishes: Classifying,
  asking: Asking,
): AsyncGenerator<TaskEvent<Classification, Schemas["ClassifiedText"]>> {
  const { instruction, ...others } = wishes;
  const body = { texts: [...texts], ...others, ...(instruction !== null && { instruction }), stream: true };
  return task(stream("POST", "/classify", { body: body satisfies Schemas["ClassifyBody"], ...asking }), "result");
}

/** @param part  the event that tells something of the task's own on the way */
async function* task<Done, Part = never>(
  events: AsyncGenerator<ServerEvent>,
  part?: string,
): AsyncGenerator<TaskEvent<Done, Part>> {
  for await (const { name, data } of events) {
    if (name === "progress") yield { kind: "progress", progress: JSON.parse(data) as TaskProgress };
    else if (name === "token") yield { kind: "token", ...(JSON.parse(data) as Schemas["Text"]) };
    else if (name === part) yield { kind: "part", part: JSON.parse(data) as Part };
    else if (name === "error") throw failure(data);
    else if (name === "done") {
      yield { kind: "done", done: JSON.parse(data) as Done };
      return;
    }
  }
  throw new Unreachable();
}
