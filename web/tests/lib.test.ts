import { describe, expect, it } from "vitest";

import { dayOf, nextDay } from "../src/lib/days";
import { bytes, counted, duration, percent, rate } from "../src/lib/format";
import { byDay, HEADING_PX, heightOf, ROW_PX, rowsOf, visible } from "../src/lib/rows";
import { MAIN, MORE, readNumber } from "../src/lib/settings";
import { sends } from "../src/lib/writing";

describe("figures", () => {
  it("of bytes", () => {
    expect([0, 999, 1000, 98_400_000, 1_930_000_000, 999_600].map(bytes)).toEqual([
      "0 B", "999 B", "1.0 kB", "98 MB", "1.9 GB", "1.0 MB",
    ]);
  });
  it("of time", () => {
    expect([35.4, 999, 1500, 61_000, 59_700, 4_521_000].map(duration)).toEqual([
      "35 ms", "999 ms", "1.5 s", "1 min 1 s", "1 min 0 s", "1 h 15 min",
    ]);
  });
  it("of counts and rates", () => {
    expect(counted(1, "token")).toBe("1 token");
    expect(counted(2048, "token")).toBe("2,048 tokens");
    expect(rate(215.4)).toBe("215 tokens/s");
    expect(rate(3.14)).toBe("3.1 tokens/s");
    expect(percent(5, null)).toBe(0);
    expect(percent(7, 5)).toBe(100);
  });
});

describe("days", () => {
  const now = new Date(2026, 10, 26, 0, 30);
  it("begin at midnight, not 24 hours ago", () => {
    expect(dayOf(new Date(2026, 10, 26, 0, 10), now)).toBe("Today");
    expect(dayOf(new Date(2026, 10, 25, 23, 50), now)).toBe("Yesterday");
    expect(dayOf(new Date(2026, 10, 20), now)).toBe("Last 7 days");
    expect(dayOf(new Date(2026, 10, 1), now)).toBe("Last 30 days");
    expect(dayOf(new Date(2026, 8, 1), now)).toBe("September 2026");
  });
  it("that a wrong clock puts ahead are today", () => {
    expect(dayOf(new Date(2026, 10, 28), now)).toBe("Today");
  });
  it("end at the next midnight", () => {
    expect(nextDay(now)).toEqual(new Date(2026, 10, 27));
  });
});

describe("rows", () => {
  const now = new Date("2026-11-26T12:00:00");
  const items = Array.from({ length: 5000 }, (_, index) => ({
    id: index,
    updated_at: new Date(now.getTime() - index * 3_600_000).toISOString(),
  }));
  const rows = byDay(items, now);

  it("lie one below the other", () => {
    let top = 0;
    for (const row of rows) {
      expect(row.top).toBe(top);
      top += row.height;
    }
    expect(heightOf(rows)).toBe(top);
    expect(rows.filter((row) => row.kind === "item")).toHaveLength(5000);
  });
  it("have a heading where a day begins", () => {
    expect(rows[0]).toMatchObject({ kind: "heading", text: "Today", height: HEADING_PX });
    expect(new Set(rows.flatMap((row) => (row.kind === "heading" ? [row.text] : []))).size).toBe(
      rows.filter((row) => row.kind === "heading").length,
    );
  });
  it("are drawn where they can be seen, and few of them", () => {
    const drawn = visible(rows, 50_000, 600);
    expect(drawn.length).toBeLessThan(60);
    expect(drawn[0]?.top).toBeLessThan(50_000);
    expect(drawn.at(-1)?.top).toBeGreaterThan(50_600);
  });
  it("of nothing are none", () => {
    expect(visible(rowsOf([], null), 0, 600)).toEqual([]);
    expect(heightOf([])).toBe(0);
    expect(rowsOf([{}], null)).toMatchObject([{ kind: "item", top: 0, height: ROW_PX }]);
  });
});

describe("settings", () => {
  const named = (name: string) => [...MAIN, ...MORE].find((setting) => setting.name === name)!;
  it("are read as people write numbers", () => {
    expect(readNumber("0,5", named("temperature"))).toBe(0.5);
    expect(readNumber(" ", named("temperature"))).toBeNull();
    expect(readNumber("warm", named("temperature"))).toBeUndefined();
    expect(readNumber("7", named("temperature"))).toBe(2);
    expect(readNumber("12.6", named("max_tokens"))).toBe(13);
    expect(readNumber("-4", named("seed"))).toBe(0);
  });
});

describe("Enter", () => {
  const press = (init: KeyboardEventInit & { keyCode?: number }) => sends(new KeyboardEvent("keydown", { key: "Enter", ...init }));
  it("sends", () => expect(press({})).toBe(true));
  it("with Shift makes a line", () => expect(press({ shiftKey: true })).toBe(false));
  it("does not send while an input method composes", () => {
    expect(press({ isComposing: true })).toBe(false);
    expect(press({ keyCode: 229 })).toBe(false);
  });
});
