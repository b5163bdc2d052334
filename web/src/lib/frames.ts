/** Work done once for each frame that is drawn, however often it is asked for. */

/** Calls `draw` at the next frame, or soon where the page is hidden and draws none. */
export class PerFrame {
  #asked = false;

  constructor(private readonly draw: () => void) {}

  ask(): void {
    if (this.#asked) return;
    this.#asked = true;
    const run = (): void => {
      this.#asked = false;
      this.draw();
    };
    if (document.visibilityState === "hidden") setTimeout(run, 250);
    else requestAnimationFrame(run);
  }
}
