// Calls of the API. The key stays in this tab, and goes in a header.

const KEPT = "wbs-key";

export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `HTTP ${status}`);
    this.status = status;
    this.code = body.code || "";
    this.fields = body.errors || [];
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEPT),
  set: (secret) => sessionStorage.setItem(KEPT, secret),
  forget: () => sessionStorage.removeItem(KEPT),
};

function headersOf(more = {}) {
  const headers = { ...more };
  if (key.get()) headers.authorization = `Bearer ${key.get()}`;
  return headers;
}

async function call(method, path, body) {
  const headers = headersOf(body === undefined ? {} : { "content-type": "application/json" });
  let reply;
  try {
    reply = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store" });
  } catch {
    throw new Problem(0, { title: "The gateway can't be reached" });
  }
  const text = await reply.text();
  let answer = {};
  try {
    answer = text ? JSON.parse(text) : {};
  } catch {
    throw new Problem(reply.status, { title: `The answer is not JSON (HTTP ${reply.status})` });
  }
  // A health report is worth reading even when it is red.
  if (!reply.ok && !("dependencies" in answer)) throw new Problem(reply.status, answer);
  return answer;
}

export function get(path, query = {}) {
  const asked = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(asked).toString();
  return call("GET", text ? `${path}?${text}` : path);
}

export const post = (path, body = {}) => call("POST", path, body);
export const put = (path, body) => call("PUT", path, body);
export const patch = (path, body) => call("PATCH", path, body);
export const remove = (path) => call("DELETE", path);

export function newKey() {
  // Not crypto.randomUUID: that exists only where the page came by HTTPS or from localhost.
  return "console-" + Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, "0")).join("");
}

// Calls `changed` whenever withdrawals have changed, until something fails. It waits for one event and goes on after the
// last there is: a busy stack's whole stream would flood a tab that only wants to know when to look again.
export async function followEvents(changed) {
  let { last_seq: after } = await get("/events", { limit: 1 });
  changed();
  for (;;) {
    const page = await get("/events", { after, type: "withdrawal", limit: 1, wait: 20 });
    after = page.last_seq;
    if (page.events.length) await changed();
  }
}
