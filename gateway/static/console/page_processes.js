// Processes: each as it last reported itself.

import { get } from "./api.js";
import { h } from "./dom.js";
import { span, state, table, time, took, words } from "./pieces.js";

export const title = () => "Processes";

export const load = () => get("/operator/processes");

const said = (says) => Object.entries(says).filter(([, value]) => value !== "ok").map(([name, value]) => `${words(name)}: ${typeof value === "string" ? value : JSON.stringify(value)}`).join("; ");

export function render(processes) {
  const versions = new Set(processes.filter(({ status }) => status !== "stopped").map(({ version }) => version));
  const rows = processes.map((one) => ({
    key: `${one.kind} ${one.instance}`,
    cells: [one.kind, h("code", {}, one.instance), state(one.status), one.version ?? "–", one.started_at ? time(one.started_at, false) : "–", one.memory_mb === null ? "–" : `${one.memory_mb.toFixed(0)} MB`, one.lag_ms === null ? "–" : took(one.lag_ms), `${span(one.age_s)} ago`, one.trouble || said(one.says)],
  }));
  const columns = [{ title: "Kind" }, { title: "Process" }, { title: "Status" }, { title: "Version" }, { title: "Started" }, { title: "Memory", right: true }, { title: "Loop lag", right: true }, { title: "Reported", right: true }, { title: "Says" }];
  const silent = processes.filter(({ status }) => status === "silent");
  return [
    h("h1", {}, "Processes"),
    versions.size > 1 && h("p", { class: "card warn" }, `Several versions run side by side: ${[...versions].join(", ")}.`),
    silent.length > 0 && h("p", { class: "card bad" }, `${silent.length} did not report for 10 s: frozen, killed, or cut off from the database.`),
    table("Processes", columns, rows, "No process has reported within ten minutes."),
    h("p", { class: "hint" }, "Each process reports every 3 s. Processes that have ended are shown for ten minutes. “Loop lag” is the longest delay of its event loop since the previous report; some milliseconds are usual."),
  ];
}

