"use strict";
// The console: a client of the public API like any other. Every write carries a fresh idempotency key.

const REFRESH_MS = 1000;
const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat();
let chosen = null; // id of the withdrawal in the detail pane

function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

function wallet() {
  const form = $("wallet").elements;
  return { user_id: form.user_id.value.trim(), currency: form.currency.value.trim() };
}

async function call(path, body) {
  const headers = {};
  const secret = $("wallet").elements.secret.value || sessionStorage.getItem("wbs-key");
  if (secret) headers.authorization = `Bearer ${secret}`;
  if (body) headers["content-type"] = "application/json";
  const reply = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) });
  if (reply.status === 401) $("login").hidden = false;
  const text = await reply.text();
  const answer = text ? JSON.parse(text) : {};
  if (!reply.ok && !("dependencies" in answer)) throw new Error(answer.detail || answer.title || reply.statusText);
  return answer;
}

function say(text, refused) {
  $("said").textContent = text;
  $("said").className = refused ? "refused" : "";
}

function newKey() {
  // Not crypto.randomUUID: that exists only where the page came by HTTPS or from localhost.
  return "console-" + Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, "0")).join("");
}

// Once: the list changes only with the settings.
async function learnCurrencies() {
  if (exponents.size) return;
  const listed = (await call("currencies")).currencies;
  knowCurrencies(listed);
  $("currencies").replaceChildren(...listed.map(({ code }) => Object.assign(make("option"), { value: code })));
}

async function showHealth() {
  const health = await call("health");
  const items = Object.entries(health.dependencies).map(([name, seen]) => {
    const item = make("li", `${name}: ${seen.status}`, seen.status === "ok" ? "ok" : "bad");
    if (seen.detail) item.title = typeof seen.detail === "string" ? seen.detail : JSON.stringify(seen.detail);
    return item;
  });
  items.push(make("li", `queue: ${number.format(health.queue_length ?? 0)}`));
  $("health").replaceChildren(...items);
}

async function showBalance() {
  const query = new URLSearchParams(wallet());
  const balance = await call(`balance?${query}`);
  const parts = ["withdrawable", "locked", "held"];
  const bars = parts.map((part) => {
    const bar = make("i", undefined, part);
    bar.style.width = balance.total ? `${(100 * balance[part]) / balance.total}%` : "0";
    return bar;
  });
  $("split").replaceChildren(...bars);
  $("split").setAttribute("aria-label", parts.map((part) => `${part} ${spelled(balance[part], balance.currency)}`).join(", "));
  const list = [make("dt", "total"), make("dd", spelled(balance.total, balance.currency))];
  const groups = [group(list)];
  for (const part of parts) {
    const term = make("dt");
    term.append(make("b", undefined, part), part);
    groups.push(group([term, make("dd", spelled(balance[part], balance.currency))]));
  }
  $("balance").replaceChildren(...groups);
}

function group(children) {
  const element = make("div");
  element.append(...children);
  return element;
}

async function showTransactions() {
  const query = new URLSearchParams({ ...wallet(), limit: "12" });
  const page = await call(`transactions?${query}`);
  const rows = page.transactions.map((item) => {
    const row = make("tr", undefined, item.type);
    const status = item.release_at && new Date(item.release_at) > new Date() ? "locked" : item.status;
    row.append(
      make("td", new Date(item.created_at).toLocaleTimeString()),
      make("td", item.type),
      make("td", spelled(item.amount, item.currency), "number"),
      make("td", status, item.status),
      make("td", item.id),
    );
    if (item.type === "withdrawal") {
      row.tabIndex = 0;
      row.addEventListener("click", () => choose(item.id));
      row.addEventListener("keydown", (event) => event.key === "Enter" && choose(item.id));
    }
    return row;
  });
  const focused = [...$("transactions").children].indexOf(document.activeElement);
  $("transactions").replaceChildren(...rows);
  if (focused >= 0 && rows[focused]) rows[focused].focus();
  $("total").textContent = `${number.format(page.total)} in all`;
}

async function showDetail() {
  if (!chosen) return;
  const found = await call(`withdrawals/${chosen}`);
  const facts = {
    id: found.withdrawal_id,
    status: found.status,
    amount: spelled(found.amount, found.currency),
    attempts: found.attempts,
    "next attempt": found.next_attempt_at ? new Date(found.next_attempt_at).toLocaleTimeString() : "–",
    failure: found.failure ? `${found.failure.code}: ${found.failure.reason}` : "–",
    "bank reference": found.bank_reference ?? "–",
  };
  $("facts").replaceChildren(
    ...Object.entries(facts).map(([name, value]) => group([make("dt", name), make("dd", value)])),
  );
  $("history").replaceChildren(
    ...found.history.map((entry) =>
      make("li", `${new Date(entry.at).toLocaleTimeString()} ${entry.status}: ${entry.reason}`, entry.status),
    ),
  );
  $("cancel").hidden = found.status !== "pending";
  $("detail").hidden = false;
}

async function choose(id) {
  chosen = id;
  await refresh();
  $("detail").scrollIntoView({ behavior: "smooth", block: "nearest" });
}

let refreshing = false;
async function refresh() {
  if (refreshing || document.hidden) return;
  refreshing = true;
  await learnCurrencies().catch(() => {}); // whoever may not see them sees why below
  const done = await Promise.allSettled([showHealth(), showBalance(), showTransactions(), showDetail()]);
  const failed = done.find((one) => one.status === "rejected");
  if (failed) say(failed.reason.message, true);
  refreshing = false;
}

async function attempt(action) {
  try {
    say(await action());
  } catch (error) {
    say(error.message, true);
  }
  await refresh();
}

$("wallet").addEventListener("submit", (event) => {
  event.preventDefault();
  chosen = null;
  $("detail").hidden = true;
  say("");
  refresh();
});

$("charge").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target.elements;
  const { currency } = wallet();
  const lock = Number(form.lock.value);
  attempt(async () => {
    const body = { ...wallet(), amount: minorUnits(form.amount.value, currency), idempotency_key: newKey() };
    if (lock > 0) body.release_at = new Date(Date.now() + 1000 * lock).toISOString();
    return `charged ${spelled((await call("charge", body)).amount, currency)}`;
  });
});

$("withdraw").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target.elements;
  attempt(async () => {
    const body = {
      ...wallet(),
      amount: minorUnits(form.amount.value, wallet().currency),
      idempotency_key: newKey(),
    };
    if (form.destination.value) body.destination = form.destination.value;
    const taken = await call("withdraw", body);
    chosen = taken.withdrawal_id;
    return `withdrawal accepted: ${taken.status}`;
  });
});

$("cancel").addEventListener("click", () =>
  attempt(async () => `withdrawal ${(await call(`withdrawals/${chosen}/cancel`, {})).status}`),
);

refresh();
setInterval(refresh, REFRESH_MS);
