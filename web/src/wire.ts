/** The page's names for what the server takes and answers, as its OpenAPI description has it (`openapi.ts`, generated). */

import type { components } from "./openapi";

export type Schemas = components["schemas"];

export type ErrorBody = Schemas["Error"];

export type Health = Schemas["Health"];
export type Me = Schemas["Me"];
export type Queue = Schemas["Queue"];

export type Model = Schemas["Model"];
export type Models = Schemas["Models"];
export type Estimate = Schemas["Estimate"];
export type Progress = Schemas["LoadProgress"];

export type ChatPage = Schemas["ChatPage"];
export type ChatSummary = Schemas["ListedChat"];
export type Chat = Schemas["Chat"];
export type ChatSettings = Pick<Chat, "system" | "model" | "parameters" | "on_overflow">;
export type Parameters = Schemas["Parameters"];
export type Overflow = Chat["on_overflow"];

export type Message = Schemas["Message"];
/** What is told with an answer when it has ended. */
export type Report = Schemas["KeptReport"];
export type Context = Schemas["ChatContext"];
export type Source = Schemas["Source"];
export type ChatFile = Schemas["ChatFile"];

/** The events of an answer, by their names. */
export type ChatEvents = Schemas["ChatEvents"];
export type Done = ChatEvents["done"];

/** What an answer's stream tells, in the page's own words. */
export type AnswerEvent =
  | { kind: "start"; request: string | null; asked: number; answer: number }
  | ({ kind: "queued" } & ChatEvents["queued"])
  | ({ kind: "token" } & ChatEvents["token"])
  | { kind: "done"; done: Done }
  | { kind: "error"; error: ErrorBody };
