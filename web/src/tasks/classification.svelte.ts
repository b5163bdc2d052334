/** Texts that are sorted under labels. What was given and what came of it stay while other pages are open. */

import { decoded, fromCsv, toCsv } from "../lib/csv";
import { counted } from "../lib/format";
import { PerFrame } from "../lib/frames";
import { examplesOf, labelsOf, linesOf, nameOf, wordiest } from "../lib/labels";
import * as routes from "./routes";
import type { Classified } from "./wire";
import { Work } from "./work.svelte";

/** Of texts in one request. */
const AT_ONCE = 500;

export interface Sorted extends Classified {
  text: string;
}

/** A table whose one column holds the texts. */
class Table {
  column = $state(0);
  hasHeader = $state(true);

  constructor(
    readonly name: string,
    private readonly rows: string[][],
  ) {
    this.column = Math.max(0, wordiest(rows.slice(1)));
    this.hasHeader = rows.length > 1;
  }

  get columns(): string[] {
    const [first = []] = this.rows;
    return first.map((name, at) => (this.hasHeader && name.trim() !== "" ? name : `Column ${at + 1}`));
  }

  get texts(): string[] {
    return this.rows
      .slice(this.hasHeader ? 1 : 0)
      .map((row) => (row[this.column] ?? "").trim())
      .filter((text) => text !== "");
  }
}

class Classification {
  written = $state("");
  table = $state.raw<Table | null>(null);
  labels = $state("");
  examples = $state("");
  instruction = $state("");
  model = $state<string | null>(null);
  /** Why a file could not be taken. */
  problem = $state<string | null>(null);

  /** Those that are known so far, in the order of the texts. */
  results = $state.raw<Sorted[]>([]);
  /** How many there were to be, where it was stopped before. */
  stoppedOf = $state<number | null>(null);
  /** What these were sorted under. */
  names = $state.raw<string[]>([]);

  readonly work = new Work("classify", () => `${counted(this.results.length, "text")} classified.`);

  texts = $derived(this.table === null ? linesOf(this.written) : this.table.texts);
  given = $derived(labelsOf(this.labels));
  /** How many texts have each label, the most first. */
  counts = $derived.by(() => {
    const counts = new Map<string, number>();
    for (const { label } of this.results) counts.set(label, (counts.get(label) ?? 0) + 1);
    return [...counts].sort(([, a], [, b]) => b - a);
  });

  /** Take the texts of a file: its lines, or a column where it is a table. It stays in the browser. */
  async take(file: File): Promise<void> {
    this.problem = null;
    const text = decoded(new Uint8Array(await file.arrayBuffer()));
    if (text.includes("\0")) {
      this.problem = `${file.name} is no text: texts are taken from lines of TXT files, and columns of CSV and TSV files.`;
    } else if (/\.(csv|tsv)$/i.test(file.name)) this.table = new Table(file.name, fromCsv(text));
    else {
      this.table = null;
      this.written = linesOf(text).join("\n");
    }
  }

  async start(): Promise<void> {
    const { texts, given } = this;
    if (texts.length === 0 || given.length === 0 || this.work.running) return;
    this.results = [];
    this.stoppedOf = null;
    this.names = given.map(nameOf);
    await this.work.run((asking) => this.#follow(texts, given, asking));
  }

  toCsv(): string {
    const rows = this.results.map(({ text, label, probabilities }) => [
      text, label, ...this.names.map((name) => probabilities[name] ?? ""),
    ]);
    return toCsv([["text", "label", ...this.names], ...rows]);
  }

  toJson(): string {
    return `${JSON.stringify(this.results.map(({ text, label, probabilities }) => ({ text, label, probabilities })), null, 2)}\n`;
  }

  async #follow(texts: string[], labels: (string | routes.Label)[], asking: routes.Asking): Promise<void> {
    const wishes = {
      labels, examples: examplesOf(this.examples), instruction: this.instruction.trim() || null, model: this.model,
    };
    const known: Sorted[] = [];
    let count = 0;
    const show = (): void => {
      this.results = known.filter((one) => one !== undefined);
      if (this.work.running) this.work.progress = { phase: "classifying", done: count, total: texts.length };
    };
    const frames = new PerFrame(show);
    try {
      for (let begin = 0; begin < texts.length && !this.work.stopping; begin += AT_ONCE) {
        const some = texts.slice(begin, begin + AT_ONCE);
        for await (const event of routes.classify(some, wishes, asking)) {
          if (event.kind !== "part") continue;
          const { index, label, probabilities } = event.part;
          known[begin + index] = { text: some[index] ?? "", label, probabilities };
          count += 1;
          frames.ask();
        }
      }
    } finally {
      show();
      if (count < texts.length) this.stoppedOf = texts.length;
    }
  }
}

export const classification = new Classification();
