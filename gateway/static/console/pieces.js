// What pages are made of: times, amounts, ids, states, tables, charts.

import { h, say } from "./dom.js";
import { spelled } from "./money.js";

const WHEN = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });
const NUMBER = new Intl.NumberFormat("en");
const STEPS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

export const number = (value) => NUMBER.format(value);
export const words = (name) => String(name).replaceAll("_", " ");

export function span(seconds) {
  const s = Math.max(0, seconds);
  if (s < 1) return "0 s";
  const place = STEPS.findIndex(([size]) => s >= size);
  const [size, unit] = STEPS[place];
  const rest = Math.floor((s % size) / (STEPS[place + 1]?.[0] ?? 1));
  const more = place < 3 && rest > 0 && s / size < 10 ? ` ${rest} ${STEPS[place + 1][1]}` : "";
  return `${Math.floor(s / size)} ${unit}${more}`;
}

export function ago(at) {
  const seconds = (Date.now() - new Date(at)) / 1000;
  return seconds < 0 ? `in ${span(-seconds)}` : `${span(seconds)} ago`;
}

export function time(at, both = true) {
  if (!at) return "–";
  const date = new Date(at);
  const shown = both ? `${WHEN.format(date)} · ${ago(at)}` : ago(at);
  return h("time", { datetime: at, title: `${WHEN.format(date)} (${date.toISOString()})` }, shown);
}

export const took = (ms) => (ms === null || ms === undefined ? "" : ms < 1000 ? `${ms} ms` : `${(ms / 1000).toFixed(ms < 10000 ? 1 : 0)} s`);

export const money = (amount, currency) => h("span", { class: "money" }, spelled(amount, currency));

export function copyable(text, link) {
  if (!text) return "–";
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      say(`Copied ${text}`);
    } catch {
      say("This browser does not let pages copy here; select the text instead", true);
    }
  };
  const shown = link ? h("a", { href: link }, h("code", {}, text)) : h("code", {}, text);
  return h("span", { class: "copyable" }, shown, h("button", { type: "button", class: "copy", "aria-label": `Copy ${text}`, title: "Copy", onclick: copy }, h("svg", { viewBox: "0 0 16 16", class: "icon", "aria-hidden": "true" }, h("path", { d: "M5.5 5.5V2.5h8v8h-3M2.5 5.5h8v8h-8z" }))));
}

export const withdrawalLink = (id) => copyable(id, `/console/withdrawals/${id}`);
export const userLink = (user, currency) =>
  h("a", { href: `/console/wallet?${new URLSearchParams(currency ? { user_id: user, currency } : { user_id: user })}` }, String(user));

const LOOKS = { completed: "good", ok: "good", processing: "busy", pending: "busy", requires_attention: "bad", failed: "dull", cancelled: "dull", returned: "warn", trouble: "warn", degraded: "warn", paused: "warn", waiting: "warn", silent: "bad", down: "bad", stopped: "dull", unknown: "warn", paid: "good", declined: "dull", accepted: "busy", outcome_unknown: "bad", bank_unavailable: "warn", enabled: "good", disabled: "bad", open: "busy", locked: "warn" };
export const state = (name, text) => h("span", { class: `state ${LOOKS[name] || "dull"}` }, text || words(name));

const isBlank = (cell) => cell === "" || cell === null || cell === undefined || cell === false;

// rows: [{key, cells: [..], selected}], columns: [{title, right}]
export function table(caption, columns, rows, empty) {
  if (!rows.length) return h("p", { class: "empty" }, empty);
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "group", "aria-label": caption },
    h(
      "table",
      {},
      h("caption", { class: "hidden" }, caption),
      h("thead", {}, h("tr", {}, columns.map(({ title, right }) => h("th", { scope: "col", class: right ? "right" : null }, title)))),
      h("tbody", {}, rows.map(({ key, cells, selected }) => h("tr", { key, class: selected ? "selected" : null }, cells.map((cell, place) => h("td", { class: [columns[place].right && "right", isBlank(cell) && "blank"].filter(Boolean).join(" ") || null, "data-title": typeof columns[place].title === "string" ? columns[place].title : null }, h("span", {}, cell)))))),
    ),
  );
}

export const facts = (pairs) =>
  h("dl", { class: "facts" }, pairs.filter(Boolean).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value ?? "–"))));

export const section = (title, ...children) => h("section", { "aria-label": title, key: title }, h("h2", {}, title), ...children);

export function tile(title, value, below, look, link) {
  const inside = [h("span", { class: "tile-title" }, title), h("strong", {}, value), h("span", { class: "tile-below" }, below || " ")];
  return link ? h("a", { class: `tile ${look || ""}`, href: link, key: title }, inside) : h("div", { class: `tile ${look || ""}`, key: title }, inside);
}

// Sixty minutes as stacked bars. series: [{name, look, values: [60]}]
export function chart(title, series, unit = "per minute", spell = number) {
  const minutes = series[0].values.length;
  const sums = Array.from({ length: minutes }, (_, m) => series.reduce((sum, { values }) => sum + values[m], 0));
  const top = Math.max(1e-9, ...sums);
  const bars = [];
  for (let m = 0; m < minutes; m++) {
    let y = 60;
    for (const { look, values } of series) {
      const height = (values[m] / top) * 58;
      if (height <= 0) continue;
      y -= height;
      bars.push(h("rect", { x: m * 4, y: y.toFixed(2), width: 3.2, height: height.toFixed(2), class: look }));
    }
  }
  const last = sums[minutes - 2] ?? 0;
  const label = `${title}, the last hour: ${spell(last)} ${unit} in the last whole minute, ${spell(top < 1e-6 ? 0 : top)} at most`;
  return h(
    "figure",
    { key: title },
    h("figcaption", {}, title, h("span", { class: "hint" }, ` ${spell(last)} ${unit} · at most ${spell(top < 1e-6 ? 0 : top)}`)),
    h("svg", { viewBox: `0 0 ${minutes * 4} 60`, role: "img", "aria-label": label, preserveAspectRatio: "none" }, bars, h("line", { x1: 0, x2: minutes * 4, y1: 59.7, y2: 59.7, class: "axis" })),
    h("p", { class: "legend ends" }, h("span", {}, "60 min ago"), h("span", {}, "now")),
    series.length > 1 && h("p", { class: "legend" }, series.map(({ name, look }) => h("span", { class: "entry" }, h("i", { class: look }), name))),
  );
}
