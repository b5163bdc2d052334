/** The files of one conversation: those on their way, and those on the server. */

import * as api from "../api";
import { bytes } from "../lib/format";
import { sleep } from "../lib/wait";
import type { ChatFile } from "../wire";
import { view } from "./view.svelte";

/** Of one file, unless the server is set otherwise; it says so then. */
export const MOST_BYTES = 50 * 2 ** 20;
export const MOST_SHOWN = "50 MiB";
const LOOK_MS = 700;

export class Upload {
  sent = $state(0);
  problem = $state<string | null>(null);
  readonly leaving = new AbortController();

  constructor(readonly file: File) {}
}

export class Attachments {
  files = $state.raw<ChatFile[]>([]);
  uploads = $state.raw<Upload[]>([]);

  /** Those that were attached since something was sent last. */
  fresh = $state.raw<ReadonlySet<number>>(new Set());

  #chatId: number | null = null;
  #looking = false;

  /** @param create  puts the conversation on the server, and gives its number */
  constructor(private readonly create: () => Promise<number>) {}

  of(chatId: number): void {
    this.#chatId = chatId;
  }

  get count(): number {
    return this.files.length + this.uploads.length;
  }

  /** Something was sent: what was attached for it is known. */
  sent(): void {
    this.fresh = new Set();
    this.uploads = this.uploads.filter((upload) => upload.problem === null);
  }

  async add(files: Iterable<File>): Promise<void> {
    const uploads = [...files].map((file) => new Upload(file));
    this.uploads = [...this.uploads, ...uploads];
    for (const upload of uploads) await this.#send(upload);
  }

  /** Take a file away, or leave one that is on its way. */
  async remove(file: ChatFile | Upload): Promise<void> {
    if (file instanceof Upload) {
      file.leaving.abort();
      this.#drop(file);
      return;
    }
    if (this.#chatId === null) return;
    this.files = this.files.filter((other) => other !== file);
    try {
      await api.removeFile(this.#chatId, file.file_id);
    } catch (error) {
      view.fail(error);
    }
    await this.refresh();
  }

  /** Read the list; goes on by itself while a file is being parsed. */
  async refresh(): Promise<void> {
    if (this.#looking || this.#chatId === null) return;
    this.#looking = true;
    try {
      for (;;) {
        this.files = await api.files(this.#chatId);
        if (!this.files.some((file) => file.state === "parsing")) return;
        await sleep(LOOK_MS);
      }
    } catch {
      // It stays as it was; the server's light tells of a server that is away.
    } finally {
      this.#looking = false;
    }
  }

  async #send(upload: Upload): Promise<void> {
    const { file } = upload;
    if (file.size > MOST_BYTES) {
      upload.problem = `It has ${bytes(file.size)}; a file may have ${MOST_SHOWN} at most.`;
      return;
    }
    try {
      const id = await this.create();
      const stored = await api.uploadFile(id, file, (sent) => (upload.sent = sent), upload.leaving.signal);
      this.fresh = new Set([...this.fresh, stored.file_id]);
      this.files = [...this.files.filter((other) => other.file_id !== stored.file_id), stored];
      this.#drop(upload);
      void this.refresh();
    } catch (error) {
      if (!upload.leaving.signal.aborted) upload.problem = (error as Error).message;
    }
  }

  #drop(upload: Upload): void {
    this.uploads = this.uploads.filter((other) => other !== upload);
  }
}
