/** Time. */

/** Resolves after a while, or rejects when the signal says so. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    });
  });
}

/** `work`, put off until it was not asked for during `ms`. */
export class Settling {
  #timer: ReturnType<typeof setTimeout> | undefined;
  #work: (() => void) | undefined;

  constructor(private readonly ms: number) {}

  ask(work: () => void): void {
    clearTimeout(this.#timer);
    this.#work = work;
    this.#timer = setTimeout(() => this.now(), this.ms);
  }

  /** Do at once what is put off. */
  now(): void {
    clearTimeout(this.#timer);
    const work = this.#work;
    this.#work = undefined;
    work?.();
  }
}
