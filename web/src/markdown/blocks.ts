/**
 * A growing Markdown text as blocks. Those that more text cannot change are settled and drawn once; only the last is
 * read and drawn anew for each frame, so that a frame costs the same however long the answer is.
 */

import { Lexer, type Token } from "marked";

import { marked } from "./marked";
import { ended, steady } from "./steady";

export interface Block {
  /** Of its place; a block keeps it while it grows. */
  key: number;
  token: Token;
  settled: boolean;
}

type Links = Lexer["tokens"]["links"];

export class Blocks {
  #settled: Block[] = [];
  #settledLength = 0;
  #links = none();

  /** The blocks of `text`, which goes on from what was given before unless it is shorter. */
  read(text: string, done: boolean): Block[] {
    const source = text.replace(/\r\n?/g, "\n"); // as the lexer has it: its tokens' lengths are counted on
    if (done) return this.#whole(source);
    if (source.length < this.#settledLength) this.#reset();
    const tokens = this.#lex(ended(steady(source.slice(this.#settledLength))));
    const last = tokens.findLastIndex(isDrawn);
    for (const token of tokens.slice(0, Math.max(last, 0))) {
      this.#settledLength += token.raw.length;
      if (isDrawn(token)) this.#settled.push({ key: this.#settled.length, token, settled: true });
    }
    const growing = tokens[last];
    if (growing === undefined) return [...this.#settled];
    return [...this.#settled, { key: this.#settled.length, token: growing, settled: false }];
  }

  /**
   * All of the text, read at once: what stands at its end can change what stood before, such as a link's address or
   * the end of a formula with blank lines in it. Blocks that it does not change stay what they were.
   */
  #whole(source: string): Block[] {
    const before = this.#settled;
    this.#reset();
    const drawn = this.#lex(source).filter(isDrawn);
    this.#settledLength = source.length;
    this.#settled = drawn.map((token, key) => {
      const known = before[key];
      return known !== undefined && same(known.token, token) ? known : { key, token, settled: true };
    });
    return [...this.#settled];
  }

  #lex(source: string): Token[] {
    const lexer = new Lexer(marked.defaults);
    Object.assign(lexer.tokens.links, this.#links);
    const tokens = lexer.lex(source);
    Object.assign(this.#links, tokens.links);
    return tokens;
  }

  #reset(): void {
    this.#settled = [];
    this.#settledLength = 0;
    this.#links = none();
  }
}

function none(): Links {
  return Object.create(null) as Links;
}

function isDrawn(token: Token): boolean {
  return token.type !== "space" && token.type !== "def";
}

/** Whether two tokens are drawn alike; a link in them may have found its address. */
function same(one: Token, other: Token): boolean {
  return one.raw === other.raw && JSON.stringify(one) === JSON.stringify(other);
}
