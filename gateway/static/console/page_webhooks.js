// Webhooks: their receivers, what could not be delivered, and redelivery.

import { get, patch, post } from "./api.js";
import { ask, h } from "./dom.js";
import { copyable, facts, number, section, state, table, time, took, words } from "./pieces.js";

export const title = () => "Webhooks";

const pathOf = (id) => `/webhooks/${encodeURIComponent(id)}`;

export async function load(page) {
  let hooks;
  try {
    hooks = (await get("/webhooks")).items;
  } catch (error) {
    if (error.status === 404) return { hooks: null };
    throw error;
  }
  const chosen = hooks.find(({ id }) => id === page.query.id);
  const deliveries = chosen && (await get(`${pathOf(chosen.id)}/deliveries`, { limit: 50, status: page.query.status, cursor: page.query.cursor }));
  return { hooks, chosen, deliveries };
}

const LOOKS = { delivered: "good", refused: "bad", unreachable: "warn" };

async function test(context, hook) {
  await context.act(() => post(`${pathOf(hook.id)}/test`), (came) => (came.delivered ? `It answered ${came.status_code} in ${took(came.took_ms)}` : `Not delivered: ${came.error ?? `HTTP ${came.status_code}`}`));
}

async function change(context, hook) {
  const disable = hook.status === "enabled";
  const given = await ask({ title: disable ? "Disable this webhook" : "Enable this webhook", text: [hook.url, disable ? "It is told nothing more. Once it is enabled again, it goes on where it stopped." : "It goes on where it stopped."], confirm: disable ? "Disable" : "Enable", danger: disable });
  if (given) await context.act(() => patch(pathOf(hook.id), { status: disable ? "disabled" : "enabled" }), disable ? "It is disabled" : "It is enabled");
}

function deliveriesOf({ chosen, deliveries }, context) {
  const rows = deliveries.items.map((one) => ({
    key: one.id,
    cells: [time(one.at, false), number(one.seq), one.type, h("span", { class: `state ${LOOKS[one.status] ?? "dull"}` }, words(one.status)), one.attempt, one.error ?? `HTTP ${one.status_code}`, took(one.took_ms), h("button", { type: "button", class: "quiet", "aria-label": `Deliver event ${one.seq} again`, onclick: () => context.act(() => post(`${pathOf(chosen.id)}/redeliver`, { seq: one.seq }), `Event ${one.seq} is delivered again`) }, "Again")],
  }));
  const columns = [{ title: "When" }, { title: "Event", right: true }, { title: "Type" }, { title: "Result" }, { title: "Try", right: true }, { title: "Answer" }, { title: "Took", right: true }, { title: h("span", { class: "hidden" }, "Deliver again") }];
  const next = deliveries.next_cursor && `/console/webhooks?${new URLSearchParams({ ...context.query, cursor: deliveries.next_cursor })}`;
  return [table("Deliveries", columns, rows, "Nothing was delivered yet."), next && h("p", {}, h("a", { href: next, rel: "next" }, "Older ones"))];
}

function oneOf(found, context) {
  const hook = found.chosen;
  return section(
    hook.url,
    hook.status === "disabled" && h("p", { class: "card bad" }, `Disabled: ${hook.disabled_reason ?? "by request"}`),
    h("p", { class: "buttons" }, h("button", { type: "button", onclick: () => test(context, hook) }, "Call it now"), h("button", { type: "button", class: "quiet", onclick: () => change(context, hook) }, hook.status === "enabled" ? "Disable …" : "Enable …")),
    facts([
      ["Id", copyable(hook.id)],
      ["Dealt with up to event", number(hook.delivered_seq)],
      ["Parked: each is retried by itself", number(hook.parked)],
      ["Failing since", hook.failing_since ? time(hook.failing_since) : "not failing"],
      hook.next_attempt_at && ["Next try", time(hook.next_attempt_at)],
      ["Made", time(hook.created_at)],
    ]),
    h("h3", {}, "Deliveries"),
    deliveriesOf(found, context),
  );
}

export function render(found, context) {
  if (found.hooks === null) return [h("h1", {}, "Webhooks"), h("p", { class: "empty" }, "This stack delivers no webhooks.")];
  const rows = found.hooks.map((one) => ({
    key: one.id,
    selected: one.id === found.chosen?.id,
    cells: [h("a", { href: `/console/webhooks?${new URLSearchParams({ id: one.id })}` }, one.url), one.failing_since && one.status === "enabled" ? state("trouble", "failing") : state(one.status), one.types ? one.types.join(", ") : "all", number(one.parked), one.failing_since ? time(one.failing_since, false) : "", one.description ?? ""],
  }));
  const columns = [{ title: "Address" }, { title: "Status" }, { title: "Events" }, { title: "Parked", right: true }, { title: "Failing since" }, { title: "Description" }];
  return [h("h1", {}, "Webhooks"), table("Webhooks", columns, rows, "There are no webhooks: POST /webhooks makes one."), found.chosen && oneOf(found, context)];
}
