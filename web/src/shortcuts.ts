/** What the keyboard does, everywhere on the page. */

import { TASKS } from "./lib/tasks";
import { chats } from "./stores/chats.svelte";
import { opened } from "./stores/conversation.svelte";
import { view } from "./stores/view.svelte";

interface Shortcut {
  keys: string;
  does: string;
  matches: (event: KeyboardEvent) => boolean;
  run: () => unknown;
  /** Also while something is being written. */
  always: boolean;
}

const isMac = /Mac|iPhone|iPad/.test(navigator.userAgent);
const MOD = isMac ? "⌘" : "Ctrl";

function focus(id: string): void {
  document.getElementById(id)?.focus();
}

function withMod(key: string, shift: boolean) {
  return (event: KeyboardEvent): boolean =>
    (isMac ? event.metaKey : event.ctrlKey) && event.shiftKey === shift && !event.altKey && event.key.toLowerCase() === key;
}

function plain(key: string) {
  return (event: KeyboardEvent): boolean => event.key === key && !event.ctrlKey && !event.metaKey && !event.altKey;
}

function withAlt(key: string) {
  return (event: KeyboardEvent): boolean => event.key === key && event.altKey && !event.ctrlKey && !event.metaKey;
}

/** By the key's place: with Alt and Shift some keyboards write other signs. */
function withAltShift(code: string) {
  return (event: KeyboardEvent): boolean =>
    event.code === code && event.altKey && event.shiftKey && !event.ctrlKey && !event.metaKey;
}

function step(by: number): void {
  const at = chats.list.findIndex((chat) => chat.chat_id === view.chatId);
  const next = chats.list[at < 0 ? 0 : at + by];
  if (next !== undefined) view.open(next.chat_id);
}

/** Escape ends one thing: whatever is on top. Open dialogs close by themselves. */
function escape(): void {
  const conversation = opened.current;
  if (conversation.editing !== null) conversation.editing = null;
  else if (view.listOpen) view.listOpen = false;
  else if (view.task !== null) view.taskPage?.stop() || (view.panel = null);
  else if (conversation.answering !== null) void conversation.stop();
  else view.panel = null;
}

const TASK_KEYS = { answer: "Q", summarize: "S", search: "F", classify: "C" } as const;

export const SHORTCUTS: readonly Shortcut[] = [
  { keys: `${MOD} Shift O`, does: "New conversation", always: true, matches: withMod("o", true), run: () => { view.open(null); focus("composer"); } },
  { keys: `${MOD} K`, does: "Search conversations", always: true, matches: withMod("k", false), run: () => { view.listOpen = true; focus("search"); } },
  { keys: "Alt ↑", does: "Conversation above", always: true, matches: withAlt("ArrowUp"), run: () => step(-1) },
  { keys: "Alt ↓", does: "Conversation below", always: true, matches: withAlt("ArrowDown"), run: () => step(1) },
  { keys: "/", does: "Go to the field", always: false, matches: plain("/"), run: () => focus(view.task === null ? "composer" : "task-field") },
  { keys: `${MOD} M`, does: "Models", always: true, matches: withMod("m", false), run: () => (view.modelsOpen = true) },
  { keys: `${MOD} ,`, does: "Settings of the conversation", always: true, matches: withMod(",", false), run: () => view.task === null && view.toggle("settings") },
  ...TASKS.map(({ task, label }) => ({
    keys: `Alt Shift ${TASK_KEYS[task]}`, does: label, always: true, matches: withAltShift(`Key${TASK_KEYS[task]}`), run: () => view.openTask(task),
  })),
  { keys: "Esc", does: "Stop what goes on, or close what is open", always: true, matches: plain("Escape"), run: escape },
  { keys: "?", does: "These shortcuts", always: false, matches: plain("?"), run: () => (view.shortcutsOpen = true) },
];

/** Those that are the browser's own, or the message field's. */
export const OTHERS = [
  { keys: "Enter", does: "Send" },
  { keys: "Shift Enter", does: "New line" },
  { keys: "↑", does: "In an empty field: edit the last message" },
] as const;

export function onKey(event: KeyboardEvent): void {
  if (event.defaultPrevented || event.isComposing || document.querySelector("dialog[open]") !== null) return;
  const target = event.target as HTMLElement;
  const writing = target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
  const found = SHORTCUTS.find((shortcut) => shortcut.matches(event) && (shortcut.always || !writing));
  if (found === undefined) return;
  event.preventDefault();
  found.run();
}
