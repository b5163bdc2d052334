/** Conversations by day: the headings of the list. */

const DAY_MS = 86_400_000;

/** What a conversation last changed at `when` stands under. Days are those of the reader's own clock. */
export function dayOf(when: Date, now: Date): string {
  const ago = Math.round((midnight(now) - midnight(when)) / DAY_MS); // rounded: a day may have 23 or 25 hours
  if (ago <= 0) return "Today";
  if (ago === 1) return "Yesterday";
  if (ago < 7) return "Last 7 days";
  if (ago < 30) return "Last 30 days";
  return when.toLocaleDateString("en", { month: "long", year: "numeric" });
}

/** The moment at which the next day begins, when headings change. */
export function nextDay(now: Date): Date {
  return new Date(now.getFullYear(), now.getMonth(), now.getDate() + 1);
}

function midnight(date: Date): number {
  return new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
}
