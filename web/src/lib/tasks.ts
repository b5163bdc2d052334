/** The language tasks that have pages of their own beside the conversations. */

export const TASKS = [
  { task: "answer", label: "Answer", about: "A question, answered from given sources alone" },
  { task: "summarize", label: "Summarise", about: "Long texts and files made short" },
  { task: "search", label: "Collections", about: "Rows of tables, found by meaning" },
  { task: "classify", label: "Classify", about: "Texts sorted under labels" },
] as const;

export type Task = (typeof TASKS)[number]["task"];

/** Where an address leads: to a conversation (null for a new one), or to a task's page and a part of it. */
export type Place = { task: null; chatId: number | null } | { task: Task; part: string | null };

export function placeOf(hash: string): Place {
  const [, name = "", part] = /^#\/([a-z]+)(?:\/([^/]+))?$/.exec(hash) ?? [];
  const found = TASKS.find(({ task }) => task === name);
  if (found !== undefined) return { task: found.task, part: part === undefined ? null : decoded(part) };
  return { task: null, chatId: name === "chats" && /^\d+$/.test(part ?? "") ? Number(part) : null };
}

export function addressOf(place: Place): string {
  if (place.task === null) return place.chatId === null ? "#/" : `#/chats/${place.chatId}`;
  return place.part === null ? `#/${place.task}` : `#/${place.task}/${encodeURIComponent(place.part)}`;
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // written by hand, with a % that is only itself
  }
}
