// Withdrawals: found by filters, or by any of their names.

import { get } from "./api.js";
import { h } from "./dom.js";
import { minorUnits } from "./money.js";
import { copyable, money, state, table, time, userLink, words } from "./pieces.js";
import { say } from "./dom.js";

const STATUSES = [["", "any"], ["open", "open"], ["stuck", "waiting or with the bank"], ["pending", "pending"], ["processing", "processing"], ["requires_attention", "requires attention"], ["completed", "completed"], ["failed", "failed"], ["cancelled", "cancelled"], ["returned", "returned"]];
const AGES = [["", "any age"], ["60", "1 minute"], ["600", "10 minutes"], ["3600", "1 hour"], ["86400", "1 day"], ["604800", "1 week"]];

export const title = () => "Withdrawals";

export function load(page) {
  return get("/operator/withdrawals", { limit: 50, ...page.query });
}

const FOUND = { id: "its id", reference: "the reference that the bank knows it by", idempotency_key: "its idempotency key", bank_reference: "the bank's own name for the payout" };

export function rowsOf(items, memory, toggle) {
  return items.map((one) => ({
    key: one.withdrawal_id,
    selected: memory?.chosen.has(one.withdrawal_id),
    cells: [
      toggle && h("input", { type: "checkbox", "aria-label": `Choose ${one.withdrawal_id}`, checked: memory.chosen.has(one.withdrawal_id), onchange: (event) => toggle(one.withdrawal_id, event.target.checked) }),
      time(one.created_at, false),
      state(one.status),
      money(one.amount, one.currency),
      userLink(one.user_id, one.currency),
      one.attempts,
      one.failure ? [words(one.failure.code), one.failure.reason && h("span", { class: "hint" }, ` ${one.failure.reason}`)] : one.next_attempt_at && new Date(one.next_attempt_at) > Date.now() ? ["next try ", time(one.next_attempt_at, false)] : "",
      copyable(one.withdrawal_id, `/console/withdrawals/${one.withdrawal_id}`),
    ].slice(toggle ? 0 : 1),
  }));
}

export const columnsOf = (toggle) => [...(toggle ? [{ title: h("span", { class: "hidden" }, "Chosen") }] : []), { title: "Accepted" }, { title: "Status" }, { title: "Amount", right: true }, { title: "User" }, { title: "Rounds", right: true }, { title: "Why" }, { title: "Id" }];

const select = (name, label, options, value) => h("label", {}, label, h("select", { name }, options.map(([choice, text]) => h("option", { value: choice, selected: choice === (value || "") }, text))));
const input = (name, label, value, more = {}) => h("label", {}, label, h("input", { name, value: value || "", autocomplete: "off", ...more }));

function filters(context) {
  const { query, about } = context;
  const currency = query.currency || about.default_currency;
  const submit = (event) => {
    event.preventDefault();
    const given = Object.fromEntries([...new FormData(event.target)].filter(([, value]) => value !== ""));
    try {
      if (given.amount) given.amount = minorUnits(given.amount, given.currency || about.default_currency);
      if (given.amount && !given.currency) given.currency = about.default_currency;
    } catch (error) {
      return say(error.message, true);
    }
    if (given.order === "newest") delete given.order;
    context.go(`/console/withdrawals?${new URLSearchParams(given)}`);
  };
  const spelledAmount = query.amount ? money(Number(query.amount), currency).textContent.split(" ")[0] : "";
  return h(
    "form",
    { class: "filters card", onsubmit: submit, key: JSON.stringify(query), "aria-label": "Filters" },
    select("status", "Status", STATUSES, query.status),
    select("older_than_s", "Older than", AGES, query.older_than_s),
    input("user_id", "User", query.user_id, { size: 14 }),
    select("currency", "Currency", [["", "any"], ...about.currencies.map(({ code }) => [code, code])], query.currency),
    input("amount", "Amount", spelledAmount, { inputmode: "decimal", size: 9 }),
    input("failure_code", "Why", query.failure_code, { size: 14, placeholder: "outcome_unknown" }),
    select("order", "Order", [["newest", "newest first"], ["oldest", "oldest first"]], query.order),
    h("button", {}, "Show"),
    Object.keys(query).length > 0 && h("a", { href: "/console/withdrawals" }, "All"),
  );
}

export function render(found, context) {
  const { query } = context;
  const how = [...new Set(Object.values(found.found_by))].map((name) => FOUND[name]).join(", ");
  const next = found.next_cursor && `/console/withdrawals?${new URLSearchParams({ ...query, cursor: found.next_cursor })}`;
  return [
    h("h1", {}, "Withdrawals"),
    filters(context),
    query.q && h("p", {}, "Found by ", h("q", {}, query.q), ": ", how ? `by ${how}.` : found.is_user ? ["the withdrawals of this ", h("a", { href: `/console/wallet?${new URLSearchParams({ user_id: query.q })}` }, "user"), "."] : "nothing. Looked for ids, references, idempotency keys, names of the bank among the newest 20,000, and users."),
    query.status === "requires_attention" && h("p", {}, h("a", { href: "/console/dead-letters" }, "Why, and what mends them")),
    table("Withdrawals", columnsOf(false), rowsOf(found.items), found.next_cursor ? "None on this page. There may be some further back." : "No withdrawal matches."),
    h("p", { class: "pages" }, query.cursor && h("a", { href: `/console/withdrawals?${new URLSearchParams(Object.entries(query).filter(([name]) => name !== "cursor"))}` }, "To the first page"), next && h("a", { href: next, rel: "next" }, query.order === "oldest" ? "Newer ones" : "Older ones")),
  ];
}
