// Dead letters: withdrawals that do not go on by themselves: why, for how long, how much, and what mends them.

import { get, post } from "./api.js";
import { ask, h, say } from "./dom.js";
import { money, number, section, table, time, withdrawalLink, words } from "./pieces.js";
import { columnsOf, rowsOf } from "./page_withdrawals.js";

export const title = () => "Dead letters";

export const load = (page) => get("/operator/dead-letters", { limit: 100, ...page.query });

const PER_S = [["", "all at once"], ["1", "1 per second"], ["5", "5 per second"], ["20", "20 per second"], ["100", "100 per second"]];

// Replays page by page, each withdrawal later than the one before, at the rate that was asked for. The rate holds even when
// this tab is closed: each withdrawal is stored with the time at which it is due.
async function replayAll(body, progress) {
  const done = { replayed: 0, refused: [] };
  let after_s = 0;
  for (;;) {
    const answer = await post("/operator/replays", { ...body, after_s });
    done.replayed += answer.replayed;
    done.refused.push(...answer.refused);
    after_s = answer.after_s;
    if (!answer.more) return done;
    progress(done.replayed);
  }
}

const told = ({ replayed, refused }) => `Replayed ${number(replayed)}${refused.length ? `; ${refused.length} refused: ${refused[0].detail}` : ""}`;

async function replayMany(context, reasons, chosen) {
  const { query, memory } = context;
  const sums = reasons.filter(({ failure_code, currency }) => (!query.failure_code || failure_code === query.failure_code) && (!query.currency || currency === query.currency));
  const count = chosen.length || sums.reduce((sum, { withdrawals }) => sum + withdrawals, 0);
  const text = chosen.length ? `${number(count)} chosen withdrawals` : `All ${number(count)}${query.failure_code ? ` with ${words(query.failure_code)}` : " that require attention"}: ${sums.map(({ amount, currency }) => money(amount, currency).textContent).join(", ")}`;
  const given = await ask({
    title: `Replay ${number(count)}`,
    text: [`${text}. The bank is asked first; nothing is paid twice.`],
    fields: [{ name: "per_s", label: "How fast", options: PER_S, value: count > 100 ? "20" : "" }],
    confirm: "Replay",
  });
  if (!given) return;
  const body = chosen.length ? { ids: chosen } : { all: true, failure_code: query.failure_code || null, currency: query.currency || null };
  if (given.per_s) body.per_s = Number(given.per_s);
  await context.act(() => replayAll(body, (some) => say(`Replayed ${number(some)} so far …`)), (done) => {
    memory.chosen.clear();
    return told(done);
  });
}

function reasonsTable(reasons, query) {
  const rows = reasons.map((one) => ({
    key: `${one.failure_code} ${one.currency}`,
    selected: query.failure_code === one.failure_code && (!query.currency || query.currency === one.currency),
    cells: [h("a", { href: `/console/dead-letters?${new URLSearchParams({ failure_code: one.failure_code ?? "", currency: one.currency })}` }, words(one.failure_code ?? "no reason")), number(one.withdrawals), money(one.amount, one.currency), time(one.since_first), time(one.since_last, false)],
  }));
  return table("Why", [{ title: "Why" }, { title: "Withdrawals", right: true }, { title: "Money held", right: true }, { title: "First" }, { title: "Last" }], rows, "Nothing requires attention: every withdrawal goes on by itself.");
}

const MEANING = {
  bank_unavailable: "The bank accepted no call in any round: it refused, was busy, or was away. Once it is back, replay.",
  outcome_unknown: "The bank took the call and never said what became of it. A replay asks the bank first.",
  bank_conflict: "The bank knows the reference with another body. A person has to compare both orders.",
  bank_contradiction: "The bank had accepted the order and does not know it now. Ask the bank, then settle by hand.",
  bank_key_too_old: "The bank does not know the order, and its key is too old to be sent again. Ask the bank, then settle by hand.",
};

export function render(found, context) {
  const { query, memory } = context;
  const shown = new Set(found.items.map(({ withdrawal_id }) => withdrawal_id));
  for (const id of memory.chosen) if (!shown.has(id)) memory.chosen.delete(id);
  const chosen = [...memory.chosen];
  const toggle = (id, on) => {
    memory.chosen[on ? "add" : "delete"](id);
    context.redraw();
  };
  const all = () => {
    const some = chosen.length < shown.size;
    for (const id of shown) memory.chosen[some ? "add" : "delete"](id);
    context.redraw();
  };
  const next = found.next_cursor && `/console/dead-letters?${new URLSearchParams({ ...query, cursor: found.next_cursor })}`;
  const proposals = found.proposals.map((one) => h("li", {}, withdrawalLink(one.withdrawal_id), ` ${words(one.outcome)}: ${one.reason} – proposed by ${one.proposed_by}`));
  return [
    h("h1", {}, "Dead letters"),
    section("Why", reasonsTable(found.reasons, query), query.failure_code && h("p", {}, MEANING[query.failure_code] ?? "The bank's own code: ask it what it means, then replay or settle by hand.", " ", h("a", { href: "/console/dead-letters" }, "Show all"))),
    proposals.length > 0 && section("Waiting for a second person", h("ul", {}, proposals)),
    section(
      query.failure_code ? `With ${words(query.failure_code)}` : "All",
      found.items.length > 0 &&
        h(
          "p",
          { class: "buttons" },
          h("button", { type: "button", class: "quiet", onclick: all }, chosen.length < shown.size ? "Choose all shown" : "Choose none"),
          h("button", { type: "button", disabled: chosen.length === 0, onclick: () => replayMany(context, found.reasons, chosen) }, chosen.length ? `Replay the ${chosen.length} chosen …` : "Replay the chosen …"),
          h("button", { type: "button", onclick: () => replayMany(context, found.reasons, []) }, query.failure_code ? `Replay all with ${words(query.failure_code)} …` : "Replay all …"),
        ),
      table("Withdrawals that require attention", columnsOf(toggle), rowsOf(found.items, memory, toggle), "None."),
      h("p", { class: "pages" }, query.cursor && h("a", { href: "/console/dead-letters" }, "To the first page"), next && h("a", { href: next, rel: "next" }, "Newer ones")),
    ),
  ];
}
