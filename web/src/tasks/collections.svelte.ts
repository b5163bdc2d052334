/** The collections: their list, one that is being made of a file, and what was searched for in each. */

import { SvelteSet } from "svelte/reactivity";

import * as api from "../api";
import { counted } from "../lib/format";
import { sleep } from "../lib/wait";
import { server } from "../stores/server.svelte";
import { view } from "../stores/view.svelte";
import * as routes from "./routes";
import type { Collection, Column, Found, Row, TablePreview } from "./wire";
import { Work } from "./work.svelte";

const LOOK_MS = 700;
const UNDO_MS = 6000;
const LONGEST_NAME = 64;
const LOOKED_AT = 500;
const MOST_SUGGESTED = 60;

/** Whether a collection is made ready no sooner than it is searched, as what comes with the server is. */
export function waits({ builtin, state, embedded_count }: Collection): boolean {
  return builtin && state === "embedding" && embedded_count === 0;
}

class CollectionList {
  loading = $state(true);
  problem = $state<string | null>(null);
  /** Those that are being deleted are gone already. */
  list = $derived.by(() => this.#all.filter((collection) => !this.#hidden.has(collection.name)));

  #all = $state.raw<Collection[]>([]);
  #hidden = new SvelteSet<string>();
  #timers = new Map<string, ReturnType<typeof setTimeout>>();
  #looking: Promise<void> | null = null;

  constructor() {
    server.onReturn(() => void this.refresh());
    addEventListener("pagehide", () => {
      for (const name of this.#timers.keys()) void routes.deleteCollection(name, true).catch(() => undefined); // nobody is left to tell
    });
  }

  named(name: string): Collection | undefined {
    return this.list.find((collection) => collection.name === name);
  }

  /** Read the list; goes on by itself while rows are being embedded. */
  refresh(): Promise<void> {
    this.#looking ??= this.#look().finally(() => (this.#looking = null));
    return this.#looking;
  }

  /** Put one in that was made just now. */
  add(collection: Collection): void {
    this.#all = [...this.#all.filter((other) => other.name !== collection.name), collection];
    void this.refresh();
  }

  /** Delete a collection, after a while in which this can be undone; one that is still embedded stops at once. */
  remove(collection: Collection): void {
    const { name } = collection;
    this.#hidden.add(name);
    if (view.task === "search" && view.part === name) view.openTask("search");
    if (collection.state === "embedding") {
      void this.#delete(name);
      return;
    }
    this.#timers.set(
      name,
      setTimeout(() => void this.#delete(name), UNDO_MS),
    );
    const undo = (): void => {
      clearTimeout(this.#timers.get(name));
      this.#timers.delete(name);
      this.#hidden.delete(name);
      close();
    };
    const close = view.toast(`“${name}” was deleted.`, { label: "Undo", run: undo });
  }

  async #delete(name: string): Promise<void> {
    this.#timers.delete(name);
    try {
      await routes.deleteCollection(name);
      this.#all = this.#all.filter((collection) => collection.name !== name);
      searches.forget(name);
    } catch (error) {
      view.fail(error);
    }
    this.#hidden.delete(name);
  }

  async #look(): Promise<void> {
    try {
      for (;;) {
        this.#all = await routes.collections();
        this.problem = null;
        this.loading = false;
        if (!this.list.some((collection) => collection.state === "embedding" && !waits(collection))) return;
        await sleep(LOOK_MS);
      }
    } catch (error) {
      if (error instanceof api.Unreachable) server.lost();
      else this.problem = (error as Error).message;
    }
  }
}

/** A collection that is being made: its file, how that is read, and its name. */
class Making {
  file = $state.raw<File | null>(null);
  preview = $state.raw<TablePreview | null>(null);
  name = $state("");
  /** What was chosen in place of what was found out. */
  reading = $state.raw<routes.TableReading>(FOUND_OUT);

  readonly looking = new Work("search", () => "The table can be looked at.");
  readonly creating = new Work("search", () => `“${this.name}” was made.`);

  async choose(file: File): Promise<void> {
    this.leave();
    this.file = file;
    this.name = nameFor(file.name, collections.list.map((collection) => collection.name));
    await this.#look();
  }

  /** Read it in another way. */
  async read(change: Partial<routes.TableReading>): Promise<void> {
    this.reading = { ...this.reading, ...change };
    await this.#look();
  }

  /** Put it on the server; what comes then is told with the list. */
  async create(): Promise<void> {
    const { file, name, reading } = this;
    if (file === null) return;
    await this.creating.run(async (asking) => {
      const made = await routes.createCollection(name.trim(), file, reading, this.creating.sent, asking);
      collections.add(made);
      this.leave();
      if (view.task === "search") view.openTask("search", made.name);
    });
  }

  leave(): void {
    this.looking.problem = this.creating.problem = null;
    this.file = this.preview = null;
    this.reading = FOUND_OUT;
  }

  async #look(): Promise<void> {
    const { file, reading } = this;
    if (file === null) return;
    await this.looking.run(async (asking) => {
      const preview = await routes.previewTable(file, reading, this.looking.sent, asking);
      if (this.file === file) this.preview = preview;
    });
  }
}

const FOUND_OUT: routes.TableReading = { text_column: null, delimiter: null, encoding: null };

/** What is asked of one collection, and what was found. */
export class Search {
  query = $state("");
  topK = $state(10);
  /** As they were written, by column: values of texts, the ends of numbers' ranges. */
  values = $state<Record<string, string>>({});
  ends = $state<Record<string, { from: string; to: string }>>({});
  found = $state.raw<Found | null>(null);
  /** What was searched for when it was found. */
  asked = $state("");

  /** Values of columns of texts, for those that have few. */
  known = $state.raw<Record<string, string[]>>({});

  readonly work = new Work("search", () => `${counted(this.found?.results.length ?? 0, "row")} found.`);

  constructor(private readonly name: string) {}

  async start(columns: readonly Column[]): Promise<void> {
    const query = this.query.trim();
    if (query === "") return;
    const wishes = { query, top_k: this.topK, filters: this.filters(columns) };
    await this.work.run(async (asking) => {
      this.found = await routes.searchCollection(this.name, wishes, asking);
      this.asked = query;
    });
    void collections.refresh(); // a search may have made it ready
  }

  /** Look which values columns have, in the first rows. */
  async look(columns: readonly Column[]): Promise<void> {
    try {
      this.known = valuesIn(await routes.collectionRows(this.name, LOOKED_AT), columns);
    } catch {
      // Values are not suggested then; what is wrong is told by a search.
    }
  }

  filters(columns: readonly Column[]): Record<string, routes.Filter> {
    const filters: Record<string, routes.Filter> = {};
    for (const { name, type } of columns) {
      const filter = type === "number" ? rangeOf(this.ends[name]) : valuesOf(this.values[name]);
      if (filter !== null) filters[name] = filter;
    }
    return filters;
  }
}

class Searches {
  #all = new Map<string, Search>();

  of(name: string): Search {
    const kept = this.#all.get(name) ?? new Search(name);
    this.#all.set(name, kept);
    return kept;
  }

  forget(name: string): void {
    this.#all.delete(name);
  }
}

/** The values that columns of texts have in these rows, where they have few. */
function valuesIn(rows: readonly Row[], columns: readonly Column[]): Record<string, string[]> {
  const known: Record<string, string[]> = {};
  for (const { name, type } of columns) {
    const values = new Set(rows.map((row) => row[name]).filter((value) => value !== null && value !== ""));
    if (type === "text" && values.size <= MOST_SUGGESTED) known[name] = [...values].map(String).sort();
  }
  return known;
}

/** The values that are written with a | between them. */
function valuesOf(written = ""): routes.Filter | null {
  const values = written.split("|").map((value) => value.trim()).filter((value) => value !== "");
  return values.length > 1 ? values : (values[0] ?? null);
}

function rangeOf(ends: { from: string; to: string } | undefined): routes.Filter | null {
  const from = numberIn(ends?.from);
  const to = numberIn(ends?.to);
  return from === null && to === null ? null : { ...(from !== null && { from }), ...(to !== null && { to }) };
}

function numberIn(written = ""): number | null {
  const number = Number(written.replace(",", "."));
  return written.trim() === "" || !Number.isFinite(number) ? null : number;
}

/** A name that a collection of a file may have, and none has. */
export function nameFor(file: string, taken: readonly string[]): string {
  const plain = file.replace(/\.\w+$/, "").replace(/[^\w.-]+/g, "-").replace(/^-+|-+$/g, "") || "collection";
  for (let count = 1; ; count++) {
    const end = count === 1 ? "" : `-${count}`;
    const name = plain.slice(0, LONGEST_NAME - end.length) + end;
    if (!taken.includes(name)) return name;
  }
}

export const collections = new CollectionList();
export const making = new Making();
export const searches = new Searches();
