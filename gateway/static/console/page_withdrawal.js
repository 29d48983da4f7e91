// One withdrawal: what it is, all that happened to it, and what can be done.

import { get, post } from "./api.js";
import { ask, h } from "./dom.js";
import { copyable, facts, money, section, span, state, time, took, userLink, words } from "./pieces.js";
import { logsCommand } from "./text.js";

export const title = (page) => `Withdrawal ${page.id.slice(0, 8)} …`;

export const load = (page) => get(`/operator/withdrawals/${encodeURIComponent(page.id)}`);

const WHO = { actor: "an actor", reconciler: "the reconciler", bank: "the bank", client: "the client", operator: "an operator" };

function who(by) {
  if (!by) return "";
  const [kind, ...name] = by.split(":");
  return name.length ? `${kind} ${name.join(":")}` : WHO[kind] || by;
}

function stepOf(step, before) {
  const wait = before ? (new Date(step.at) - new Date(before.at)) / 1000 : 0;
  const head = { state: state(step.what), attempt: [h("strong", {}, `Round ${step.number} `), state(step.what)], action: [h("strong", {}, words(step.what))] }[step.kind];
  return h(
    "li",
    { class: `step is-${step.kind}` },
    h("p", {}, head, step.text && h("span", { class: "reason" }, ` ${step.text}`)),
    h("p", { class: "hint" }, time(step.at), step.took_ms !== null && ` · the bank took ${took(step.took_ms)}`, wait >= 1 && ` · ${span(wait)} after the previous step`, step.by && ` · by ${who(step.by)}`),
  );
}

export async function settle(context, one) {
  const id = one.withdrawal_id;
  const given = await ask({
    title: "Settle by hand",
    text: [
      `${money(one.amount, one.currency).textContent} of ${one.user_id}. Do this only if you know from the bank what became of the payout; the audit compares it with the bank's books.`,
      context.about.second_person ? "It takes effect when a second person approves it." : "It takes effect at once, and can't be undone.",
    ],
    fields: [
      { name: "outcome", label: "What became of it", options: [["paid", "The bank paid: the money is gone"], ["declined", "The bank will never pay: the money goes back to the wallet"]] },
      { name: "bank_reference", label: "The bank's name for the payout", hint: "Needed if it paid", maxlength: 255 },
      { name: "reason", label: "How you know", required: true, maxlength: 255 },
    ],
    confirm: "Settle",
    danger: true,
  });
  if (!given) return;
  const body = { outcome: given.outcome, reason: given.reason };
  if (given.outcome === "paid") body.bank_reference = given.bank_reference;
  await context.act(() => post(`/operator/withdrawals/${id}/settle`, body), (answer) => (answer.status === "proposed" ? "Proposed: a second person has to approve it" : `Settled: it is ${words(answer.status)}`));
}

function proposalOf(proposal, context, id) {
  const path = `/operator/withdrawals/${id}/settle`;
  return h(
    "div",
    { class: "card warning" },
    h("p", {}, h("strong", {}, `${who(proposal.proposed_by)} proposes: it was ${words(proposal.outcome)}`), proposal.bank_reference && ` as ${proposal.bank_reference}`, `. ${proposal.reason}`),
    h("p", { class: "hint" }, time(proposal.proposed_at)),
    h("p", { class: "buttons" }, h("button", { type: "button", class: "danger", onclick: () => context.act(() => post(`${path}/approve`, { proposed_at: proposal.proposed_at }), "Approved and settled") }, "Approve"), h("button", { type: "button", class: "quiet", onclick: () => context.act(() => post(`${path}/withdraw`), "The proposal is withdrawn") }, "Withdraw the proposal")),
  );
}

function actions(one, context) {
  const id = one.withdrawal_id;
  const button = (text, handler, look = "") => h("button", { type: "button", class: look, onclick: handler }, text);
  const replay = () => context.act(() => post("/operator/replays", { ids: [id] }), (answer) => (answer.replayed ? "Replayed: it is tried again" : answer.refused[0].detail));
  return h(
    "p",
    { class: "buttons" },
    one.status === "requires_attention" && button("Replay", replay),
    one.status === "requires_attention" && button("Settle by hand …", () => settle(context, one), "quiet"),
    ["pending", "processing", "requires_attention"].includes(one.status) && button("Ask the bank now", () => context.act(() => post(`/operator/withdrawals/${id}/redrive`), "The bank is asked, and the actors are told again"), "quiet"),
    one.status === "pending" && button("Cancel …", async () => (await ask({ title: "Cancel this withdrawal", text: "Its money goes back to the wallet, if the bank was not called yet.", confirm: "Cancel it", danger: true })) && context.act(() => post(`/withdrawals/${id}/cancel`), "Cancelled"), "quiet"),
  );
}

export function render(found, context) {
  const one = found.withdrawal;
  const destination = one.destination === null ? "–" : typeof one.destination === "string" ? one.destination : JSON.stringify(one.destination);
  return [
    h("p", { class: "crumbs" }, h("a", { href: "/console/withdrawals" }, "Withdrawals"), " / ", copyable(one.withdrawal_id)),
    h("h1", {}, money(one.amount, one.currency), " ", state(one.status)),
    one.failure && h("p", { class: one.status === "requires_attention" ? "card bad" : "card" }, h("strong", {}, words(one.failure.code)), one.failure.reason && ` – ${one.failure.reason}`),
    found.proposal && proposalOf(found.proposal, context, one.withdrawal_id),
    actions(one, context),
    facts([
      ["User", userLink(one.user_id, one.currency)],
      ["Accepted", time(one.created_at)],
      ["Last change", time(one.updated_at)],
      ["Rounds of bank calls", one.attempts],
      one.status === "processing" && ["Next round", time(found.next_attempt_at)],
      ["Destination", h("code", {}, destination)],
      ["Reference for the bank", copyable(one.reference)],
      ["The bank's name for it", copyable(one.bank_reference)],
      ["Request that made it", copyable(found.request_id)],
      ["Trace", copyable(found.trace_id)],
      one.metadata && ["Metadata", h("code", {}, JSON.stringify(one.metadata))],
    ]),
    section("Timeline", h("ol", { class: "timeline" }, found.timeline.map((step, place) => stepOf(step, found.timeline[place - 1])))),
    h("p", { class: "hint" }, "In the logs: ", copyable(logsCommand(one.withdrawal_id, found.request_id))),
  ];
}
