// The bank: its books compared with ours, and, with the simulator, what goes wrong there.

import { get, put, remove } from "./api.js";
import { ask, h } from "./dom.js";
import { copyable, facts, number, section, state, table, time, words } from "./pieces.js";

export const title = () => "Bank";

export async function load(page, about) {
  const [bank, faults] = await Promise.all([get("/operator/bank"), about.simulator ? get("/operator/bank/faults").catch((error) => ({ away: error.message })) : null]);
  return { bank, faults };
}

const KIND = {
  contradiction: "The bank contradicts what it had said",
  different: "Another amount or currency",
  doubled: "Paid twice there",
  missing_there: "Paid here, and the bank does not know it",
  not_writable: "The bank's word could not be written",
  paid_but_not_by_us: "Paid there, and not by us",
  returned_less: "Less came back than was paid",
  unknown_here: "Paid there, and not known here",
  unreadable: "A line of the books that can't be read",
};

const SICK = ["outage", "hang_rate", "error_rate", "lost_reply_rate", "decline_rate", "pending_rate", "latency_ms"];

const isSick = (faults) => SICK.some((name) => Boolean(faults[name]));

async function change(context, faults) {
  const given = await ask({
    title: "Test faults of the simulated bank",
    text: "From now on, for every payout. Rates are between 0 and 1.",
    fields: [
      { name: "outage", label: "Outage", options: [["false", "no"], ["true", "yes: every call is refused"]], value: String(Boolean(faults.outage)) },
      ...["error_rate", "lost_reply_rate", "hang_rate", "decline_rate", "pending_rate", "latency_ms"].map((name) => ({ name, label: words(name), value: String(faults[name] ?? 0), inputmode: "decimal" })),
    ],
    confirm: "Set these faults",
    danger: true,
  });
  if (!given) return;
  const wanted = { outage: given.outage === "true" };
  for (const [name, value] of Object.entries(given)) if (name !== "outage") wanted[name] = Number(value);
  await context.act(() => put("/operator/bank/faults", wanted), "The faults are set");
}

function faultsOf(faults, context) {
  if (faults.away) return h("p", { class: "warning" }, `The simulator can't be reached: ${faults.away}`);
  const struck = Object.entries(faults).filter(([name, value]) => SICK.includes(name) && value);
  return [
    h("p", {}, isSick(faults) ? state("trouble", "sick") : state("ok", "healthy"), " ", struck.map(([name, value]) => `${words(name)}: ${value}`).join(", ")),
    h(
      "p",
      { class: "buttons" },
      h("button", { type: "button", disabled: !isSick(faults), onclick: () => context.act(() => remove("/operator/bank/faults"), "The bank is healed") }, "Heal the bank"),
      h("button", { type: "button", class: "quiet", onclick: () => change(context, faults) }, "Set faults …"),
    ),
  ];
}

export function render({ bank, faults }, context) {
  const said = Object.entries(bank.said);
  const rows = bank.discrepancies.map((one) => ({
    key: `${one.kind} ${one.reference}`,
    cells: [KIND[one.kind] ?? words(one.kind), h("a", { href: `/console/withdrawals?${new URLSearchParams({ q: one.reference })}` }, h("code", {}, one.reference)), one.bank, one.ours ?? "nothing", time(one.first_seen_at), time(one.last_seen_at, false)],
  }));
  return [
    h("h1", {}, "Bank"),
    section("As our processes see it", said.length ? h("ul", { class: "plain" }, said.map(([name, words_]) => h("li", {}, state(words_ === "ok" ? "ok" : "trouble", words_), ` ${name}`))) : h("p", { class: "empty" }, "No actor and no reconciler has reported lately.")),
    section(
      "Books",
      facts([
        ["Compared up to the bank's entry", copyable(bank.read_up_to)],
        ["Our references begin with", copyable(bank.bank_prefix)],
        ["Withdrawals being looked up", number(bank.look_ups)],
      ]),
      h("h3", {}, "Differences that no call settles"),
      table("Differences", [{ title: "What" }, { title: "Reference" }, { title: "The bank says" }, { title: "We say" }, { title: "Since" }, { title: "Last seen" }], rows, "None: the bank's books and ours agree as far as they were compared."),
    ),
    faults && section("Test faults (simulator)", faultsOf(faults, context)),
  ];
}
