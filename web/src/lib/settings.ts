/** What can be set for a conversation: the fields, their ranges as the server has them, and what each does. */

import type { Parameters } from "../wire";

export type Numeric = Exclude<keyof Parameters, "stop">;

export interface Setting {
  name: Numeric;
  label: string;
  about: string;
  min: number;
  max: number;
  step: number;
  /** What holds where nothing is set; null where that depends on the model or is drawn. */
  otherwise: number | null;
  /** A slider makes no sense for what has no scale. */
  slider: boolean;
}

export const MAIN: readonly Setting[] = [
  {
    name: "temperature", label: "Temperature", min: 0, max: 2, step: 0.05, otherwise: 0.7, slider: true,
    about: "How freely words are chosen. 0 always takes the likeliest one; above 1 answers get adventurous.",
  },
  {
    name: "top_p", label: "Top p", min: 0.05, max: 1, step: 0.05, otherwise: 0.9, slider: true,
    about: "Only the likeliest words are considered whose chances add up to this share.",
  },
  {
    name: "max_tokens", label: "Longest answer", min: 1, max: 1_000_000, step: 1, otherwise: null, slider: false,
    about: "In tokens, each about three quarters of a word. Empty: as long as the context allows.",
  },
  {
    name: "seed", label: "Seed", min: 0, max: Number.MAX_SAFE_INTEGER, step: 1, otherwise: null, slider: false,
    about: "The same seed and the same message give the same answer. Empty: another one each time.",
  },
];

export const MORE: readonly Setting[] = [
  {
    name: "top_k", label: "Top k", min: 0, max: 200, step: 1, otherwise: 0, slider: true,
    about: "Only this many of the likeliest words are considered. 0: all.",
  },
  {
    name: "min_p", label: "Min p", min: 0, max: 1, step: 0.01, otherwise: 0, slider: true,
    about: "Words are left out whose chance is below this share of the likeliest one's.",
  },
  {
    name: "repetition_penalty", label: "Repetition penalty", min: 0.5, max: 2, step: 0.05, otherwise: 1, slider: true,
    about: "Makes words less likely that were there before. 1: off.",
  },
  {
    name: "presence_penalty", label: "Presence penalty", min: -2, max: 2, step: 0.1, otherwise: 0, slider: true,
    about: "Makes words less likely that the answer has used at all, so that it turns to new subjects.",
  },
  {
    name: "frequency_penalty", label: "Frequency penalty", min: -2, max: 2, step: 0.1, otherwise: 0, slider: true,
    about: "Makes words less likely the more often the answer has used them.",
  },
];

export interface Preset {
  name: string;
  parameters: Parameters;
  system: string | null;
}

export const PRESETS: readonly Preset[] = [
  { name: "Exact", system: null, parameters: { temperature: 0 } },
  { name: "Balanced", system: null, parameters: {} },
  { name: "Inventive", system: null, parameters: { temperature: 1.1, top_p: 0.95, presence_penalty: 0.3 } },
];

/** A text field's number within a setting's range; null for an empty one, undefined for what is no number. */
export function readNumber(text: string, setting: Setting): number | null | undefined {
  if (text.trim() === "") return null;
  const value = Number(text.replace(",", "."));
  if (!Number.isFinite(value)) return undefined;
  const whole = Number.isInteger(setting.step) ? Math.round(value) : value;
  return Math.min(setting.max, Math.max(setting.min, whole));
}
