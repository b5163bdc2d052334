/** The pages' names for what the server says of the language tasks. */

import type { Schemas } from "../wire";

/** How far a task is: so many of so many of what `phase` names; the first two are the page's own, of a file. */
export type TaskProgress =
  | { phase: "sending" | "reading"; done: number; total: number }
  | Schemas["SummaryProgress"]
  | Schemas["AnswerProgress"]
  | Schemas["ClassifyProgress"];

export type Summary = Schemas["Summary"];

/** Rows that can be found by the meaning of one of their columns. */
export type Collection = Schemas["Collection"];
export type Column = Schemas["Column"];
export type TablePreview = Schemas["TablePreview"];
export type Found = Schemas["Hits"];
export type Row = Schemas["Hit"]["row"];

/** What was found before an answer is written. */
export type GivenSources = Schemas["AnswerSources"];
export type AnswerSource = Schemas["AnswerSource"];
export type Answered = Schemas["TextAnswer"];

/** A text's label, and how likely each of the labels is. */
export type Classified = Schemas["Classified"];
export type Classification = Schemas["Classification"];
