/** Names for requests, that nobody can guess. */

/** `crypto.randomUUID` exists in secure contexts alone, and a server in the house is none. */
export function requestId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `web-${[...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
