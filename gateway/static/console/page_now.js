// Now: is money moving, is anything stuck, what did people do.

import { get, post } from "./api.js";
import { ask, h } from "./dom.js";
import { ago, chart, money, number, section, span, state, table, tile, time, took, withdrawalLink, words } from "./pieces.js";

export const title = () => "Now";

export async function load() {
  const [now, health] = await Promise.all([get("/operator/overview"), get("/health").catch((error) => ({ status: "down", reasons: [{ code: error.message }], dependencies: {} }))]);
  return { now, health };
}

const MOVES = [["write Charge", "charges", "s1"], ["write MakeTransfer", "transfers", "s2"], ["write Withdraw", "withdrawals", "s3"], ["write PlaceHold", "holds", "s4"]];
const ENDS = [["end completed", "completed", "good"], ["end failed", "declined", "dull"], ["end requires_attention", "stuck", "bad"]];
const ANSWERS = [["paid", "good"], ["accepted", "busy"], ["declined", "dull"], ["not_found", "s4"], ["unavailable", "warn"], ["unknown", "bad"]];

function minutesOf(now) {
  const first = Math.floor(new Date(now.at) / 60000) - 59;
  const minutes = Array.from({ length: 60 }, () => ({}));
  for (const { minute, done } of now.activity) {
    const place = Math.floor(new Date(minute) / 60000) - first;
    if (place >= 0 && place < 60) minutes[place] = done;
  }
  return minutes;
}

const numbers = (minutes, names) => minutes.map((done) => names.reduce((sum, name) => sum + (done[name]?.[0] ?? 0), 0));
// The rate now: of the last whole minute and the one that has begun, so that it neither lags nor jumps.
function perMinute(values, at) {
  const begun = (new Date(at) % 60000) / 60000;
  const rate = (values[58] + values[59]) / (1 + begun);
  return rate > 0 && rate < 10 ? Math.round(rate * 10) / 10 : Math.round(rate);
}

function bankLatency(minutes) {
  return minutes.map((done) => {
    let calls = 0;
    let seconds = 0;
    for (const [name, [some, took_s]] of Object.entries(done)) {
      if (!name.startsWith("bank pay")) continue;
      calls += some;
      seconds += took_s;
    }
    return calls ? (1000 * seconds) / calls : 0;
  });
}

const total = (sums, statuses) => sums.filter(({ status }) => statuses.includes(status)).reduce((sum, { withdrawals }) => sum + withdrawals, 0);

async function pause(context) {
  const given = await ask({
    title: "Pause payouts",
    text: "No withdrawal is sent to the bank until payouts are resumed. Withdrawals are still accepted, looked up and cancelled; their money stays held.",
    fields: [{ name: "reason", label: "Reason, for everybody who sees this", required: true, maxlength: 255 }],
    confirm: "Pause payouts",
    danger: true,
  });
  if (given) await context.act(() => post("/operator/payouts/pause", { reason: given.reason }), "Payouts are paused");
}

async function resume(context, payouts) {
  const given = await ask({
    title: "Resume payouts",
    text: [`They were paused by ${payouts.by}: ${payouts.reason}.`, payouts.history_lost_at && "History may have been lost. Have the payouts that only the bank knows been adopted (docs/OPERATIONS.md, Restore)?"],
    confirm: "Resume payouts",
  });
  if (given) await context.act(() => post("/operator/payouts/resume"), "Payouts go on");
}

function standing({ now, health }, context) {
  const { payouts } = now;
  return h(
    "div",
    { class: "standing" },
    h("p", {}, h("strong", {}, "Service "), state(health.status), (health.reasons || []).map(({ code, detail }) => h("span", { class: "reason" }, ` ${words(code)}${detail ? `: ${detail}` : ""}`))),
    h("p", {}, h("strong", {}, "Payouts "), state(payouts.status), payouts.reason && h("span", { class: "reason" }, ` ${payouts.reason} (${payouts.by}, ${ago(payouts.since)})`)),
    payouts.status === "paused" ? h("button", { type: "button", onclick: () => resume(context, payouts) }, "Resume payouts …") : h("button", { type: "button", class: "quiet", onclick: () => pause(context) }, "Pause payouts …"),
  );
}

function moneyTable(now) {
  const currencies = [...new Set(now.open.map(({ currency }) => currency))].sort();
  const cell = (currency, statuses) => {
    const sums = now.open.filter((one) => one.currency === currency && statuses.includes(one.status));
    const amount = sums.reduce((sum, one) => sum + one.amount, 0);
    return amount ? [money(amount, currency), h("span", { class: "hint" }, ` in ${number(sums.reduce((sum, one) => sum + one.withdrawals, 0))}`)] : "–";
  };
  const rows = currencies.map((currency) => ({
    key: currency,
    cells: [currency, cell(currency, ["pending"]), cell(currency, ["processing"]), cell(currency, ["requires_attention"]), cell(currency, ["pending", "processing", "requires_attention"])],
  }));
  const columns = [{ title: "Currency" }, { title: "Waiting", right: true }, { title: "With the bank", right: true }, { title: "Requires attention", right: true }, { title: "Held in all", right: true }];
  return table("Money held for withdrawals, by currency", columns, rows, "No withdrawal is open: no money is held.");
}

function reasonsTable(now) {
  const rows = now.attention.map((one) => ({
    key: `${one.failure_code} ${one.currency}`,
    cells: [
      h("a", { href: `/console/dead-letters?${new URLSearchParams({ failure_code: one.failure_code ?? "", currency: one.currency })}` }, words(one.failure_code ?? "no reason")),
      number(one.withdrawals),
      money(one.amount, one.currency),
      time(one.since_first, false),
    ],
  }));
  return table("Why withdrawals require attention", [{ title: "Why" }, { title: "Withdrawals", right: true }, { title: "Money held", right: true }, { title: "Since" }], rows, "Nothing requires attention.");
}

export function actionsTable(actions) {
  const rows = actions.map((one) => ({
    key: `action-${one.id}`,
    cells: [time(one.at), one.made_by.replace(/^operator:?/, "") || "an operator", words(one.action), one.withdrawal_id ? withdrawalLink(one.withdrawal_id) : number(one.withdrawals), one.reason ?? ""],
  }));
  return table("What operators did", [{ title: "When" }, { title: "Who" }, { title: "What" }, { title: "Withdrawals" }, { title: "Reason" }], rows, "No operator has done anything yet.");
}

export function render(seen, context) {
  const { now } = seen;
  const minutes = minutesOf(now);
  const moves = MOVES.map(([name, text, look]) => ({ name: text, look, values: numbers(minutes, [name]) }));
  const ends = ENDS.map(([name, text, look]) => ({ name: text, look, values: numbers(minutes, [name]) }));
  const answers = ANSWERS.map(([name, look]) => ({ name: words(name), look, values: numbers(minutes, [`bank pay ${name}`, `bank find ${name}`]) }));
  const latency = bankLatency(minutes);
  const waiting = total(now.open, ["pending", "processing"]);
  const stuck = total(now.open, ["requires_attention"]);
  const oldest = now.oldest.waiting;
  const oldestS = oldest ? (Date.now() - new Date(oldest.created_at)) / 1000 : 0;
  const atLeast = now.is_complete ? "" : "at least ";
  const failures = perMinute(answers[4].values, now.at) + perMinute(answers[5].values, now.at);
  const accepted = now.oldest.with_the_bank;
  const waits = oldest ? `oldest for ${span(oldestS)}` : accepted ? `the bank has accepted one ${ago(accepted.created_at)}` : "nothing waits";
  const inAttention = now.open.filter(({ status }) => status === "requires_attention").map(({ amount, currency }) => [money(amount, currency), " "]);
  return [
    h("h1", {}, "Now"),
    standing(seen, context),
    h(
      "div",
      { class: "tiles" },
      tile("Charges", number(perMinute(moves[0].values, now.at)), "per minute"),
      tile("Payouts", number(perMinute(ends[0].values, now.at)), "completed per minute"),
      tile("Waiting", atLeast + number(waiting), waits, oldestS > 60 ? "warn" : "", waiting ? "/console/withdrawals?status=stuck&order=oldest" : null),
      tile("Requires attention", atLeast + number(stuck), stuck ? inAttention : "no money is stuck", stuck ? "bad" : "", "/console/dead-letters"),
      tile("Outbox", number(now.outbox.messages), now.outbox.messages ? `oldest for ${span(now.outbox.age_s)}` : "all is announced", now.outbox.age_s > 30 ? "warn" : ""),
      tile("Bank", latency[58] || latency[59] ? took(Math.round(latency[58] || latency[59])) : "–", failures ? `${number(failures)} calls per minute fail` : "mean answer to a payout", failures ? "warn" : "", "/console/bank"),
    ),
    h("div", { class: "charts" }, chart("Money moves", moves), chart("Payouts ended", ends), chart("The bank's answers", answers), chart("The bank's mean time", [{ name: "ms", look: "s1", values: latency }], "in the last minute", (ms) => took(Math.round(ms)) || "0 ms")),
    section("Money held for withdrawals", moneyTable(now), !now.is_complete && h("p", { class: "hint" }, "Sums are over the oldest 10,000 withdrawals of each status: the real sums are no smaller.")),
    section("Why withdrawals require attention", reasonsTable(now)),
    oldest && section("Waiting longest", h("p", {}, withdrawalLink(oldest.id), " accepted ", time(oldest.created_at))),
    section("What operators did", actionsTable(now.actions.slice(0, 10))),
  ];
}

