// The console: which page the address names, signing in, and polling.

import { followEvents, get, key, Problem } from "./api.js";
import { draw, h, say } from "./dom.js";
import { knowCurrencies } from "./money.js";
import { span } from "./pieces.js";
import * as bank from "./page_bank.js";
import * as deadLetters from "./page_dead_letters.js";
import * as now from "./page_now.js";
import * as processes from "./page_processes.js";
import * as wallet from "./page_wallet.js";
import * as webhooks from "./page_webhooks.js";
import * as withdrawal from "./page_withdrawal.js";
import * as withdrawals from "./page_withdrawals.js";
import { decoded } from "./text.js";

const POLL_MS = 2000;
const POLL_WITH_EVENTS_MS = 5000;
const EVENTS_AT_MOST_EVERY_MS = 700;
const STALE_S = 10;

const PAGES = [
  ["", "Now", now],
  ["withdrawals", "Withdrawals", withdrawals],
  ["wallet", "Wallet", wallet],
  ["dead-letters", "Dead letters", deadLetters],
  ["bank", "Bank", bank],
  ["processes", "Processes", processes],
  ["webhooks", "Webhooks", webhooks],
];

const main = document.getElementById("main");
const nav = document.getElementById("nav");
const find = document.getElementById("find");
const live = document.getElementById("live");
const leave = document.getElementById("leave");

let about = null; // what this stack is and what the key may do; null until signed in
let page = null; // {name, module, id, query, memory}
let shown = null; // the data of the page as it was last seen
let seenAt = 0;
let trouble = null;
let stuck = 0; // withdrawals that require attention, for the navigation
let streaming = false;
let looking = null;

function pageOf(address) {
  const [, , name = "", id] = address.pathname.split("/");
  const found = PAGES.find(([path]) => path === name);
  const module = name === "withdrawals" && id ? withdrawal : found?.[2];
  const here = { path: address.pathname, name, module, id: id && decoded(id), query: Object.fromEntries(address.searchParams), memory: { chosen: new Set() } };
  return here;
}

function drawNav() {
  draw(
    nav,
    h("ul", {}, PAGES.map(([path, title]) => {
      const isHere = page?.name === path;
      const badge = path === "dead-letters" && stuck > 0 && h("span", { class: "badge" }, stuck);
      return h("li", { key: path || "now" }, h("a", { href: path ? `/console/${path}` : "/console", "aria-current": isHere ? "page" : null }, title, badge && " ", badge));
    })),
  );
}

function drawPage() {
  if (!about || !page) return;
  const age = (Date.now() - seenAt) / 1000;
  const isStale = shown !== null && age > STALE_S;
  live.className = trouble || isStale ? "stale" : streaming ? "streaming" : "";
  const words = trouble ? "not live" : isStale ? "stale" : streaming ? "live" : "polls every 2 s";
  if (live.textContent !== words) live.textContent = words;
  const warning =
    (trouble || isStale) &&
    h("p", { class: "warning", role: "alert", key: "warning" }, shown === null ? "" : `What you see is from ${span(age)} ago. `, trouble ? trouble.message : "No answer yet.");
  main.classList.toggle("is-stale", Boolean(shown !== null && (trouble || isStale)));
  let content;
  if (!page.module) content = [h("h1", {}, "No such page"), h("p", {}, "There is no page at this address. ", h("a", { href: "/console" }, "To the first page"))];
  else if (shown === null) content = [h("h1", {}, page.module.title(page)), !trouble && h("p", { "aria-busy": "true" }, "Loading …")];
  else content = page.module.render(shown, context());
  document.title = `${page.module ? page.module.title(page) : "No such page"} · Wallet Balance Split`;
  draw(main, warning, content);
}

const context = () => ({ about, page, query: page.query, memory: page.memory, go, redraw: drawPage, refresh, act });

async function act(what, done) {
  try {
    const answer = await what();
    if (done) say(typeof done === "function" ? done(answer) : done);
    await refresh();
    return answer;
  } catch (error) {
    say(error.message, true);
    await refresh();
    return null;
  }
}

async function refresh() {
  if (!about || !page?.module) return drawPage();
  const asked = page;
  try {
    const found = await page.module.load(page, about);
    if (page !== asked) return;
    shown = found;
    seenAt = Date.now();
    trouble = null;
  } catch (error) {
    if (page !== asked) return;
    if (!(error instanceof Problem)) console.error(error);
    if (error.status === 401) return signIn("This key is no longer valid. Sign in again.");
    trouble = error;
  }
  drawPage();
}

async function countStuck() {
  try {
    const seen = await get("/operator/overview");
    stuck = seen.attention.reduce((sum, { withdrawals: some }) => sum + some, 0);
    drawNav();
  } catch {
    // the page itself says what is wrong
  }
}

async function lookForEver() {
  let turn = 0;
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, streaming && !trouble ? POLL_WITH_EVENTS_MS : POLL_MS));
    if (document.hidden || !about) continue;
    if (page?.query.cursor === undefined) await refresh();
    else drawPage();
    if (turn++ % 2 === 0) await countStuck();
  }
}

async function followForEver() {
  const changed = async () => {
    streaming = true;
    if (!document.hidden && page?.query.cursor === undefined) await refresh();
    await new Promise((resolve) => setTimeout(resolve, EVENTS_AT_MOST_EVERY_MS));
  };
  for (;;) {
    try {
      if (about) await followEvents(changed);
    } catch (error) {
      if (error.status === 403) return; // this key may not see events: polling is enough
    }
    streaming = false;
    await new Promise((resolve) => setTimeout(resolve, about ? POLL_MS : EVENTS_AT_MOST_EVERY_MS / 7));
  }
}

function arrive(isNew = true) {
  page = pageOf(new URL(location.href));
  shown = null;
  trouble = null;
  document.getElementById("find-text").value = page.query.q || "";
  drawNav();
  drawPage();
  if (isNew) {
    scrollTo(0, 0);
    main.focus({ preventScroll: true });
  }
  return refresh();
}

function go(address, replace = false) {
  history[replace ? "replaceState" : "pushState"](null, "", address);
  return arrive(!replace);
}

function signIn(words) {
  about = null;
  nav.hidden = find.hidden = leave.hidden = true;
  live.textContent = "";
  document.title = "Sign in · Wallet Balance Split";
  const enter = (event) => {
    event.preventDefault();
    key.set(event.target.elements.secret.value.trim());
    start();
  };
  main.classList.remove("is-stale");
  draw(
    main,
    h("form", { class: "card narrow", onsubmit: enter, key: "sign-in" },
      h("h1", {}, "Sign in"),
      words && h("p", { class: "warning", role: "alert" }, words),
      h("p", { class: "field" }, h("label", { for: "secret" }, "API key"), h("input", { id: "secret", name: "secret", type: "password", autocomplete: "off", required: true })),
      h("p", {}, h("button", {}, "Open the console")),
      h("p", { class: "hint" }, "A key with the scope ", h("code", {}, "operate"), ", and ", h("code", {}, "read"), " for wallets: ", h("code", {}, "wbs keys create NAME --scopes operate,read,events"), ". It stays in this tab, and is forgotten when you close it."),
    ),
  );
  document.getElementById("secret").focus();
}

async function start() {
  try {
    about = await get("/operator/about");
  } catch (error) {
    if (error.status === 401) {
      const tried = key.get() !== null;
      key.forget();
      return signIn(tried ? error.message : "");
    }
    if (error.status === 403) {
      key.forget();
      return signIn(error.message);
    }
    draw(main, h("p", { class: "warning", role: "alert" }, `${error.message}. Trying again …`));
    return setTimeout(start, POLL_MS);
  }
  knowCurrencies(about.currencies);
  nav.hidden = find.hidden = false;
  leave.hidden = key.get() === null;
  await arrive(false);
  await countStuck();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || link.target) return;
  const address = new URL(link.href);
  if (address.origin !== location.origin || !/^\/console(\/|$)/.test(address.pathname) || address.hash) return;
  event.preventDefault();
  go(address.pathname + address.search);
});
addEventListener("popstate", () => arrive());
document.addEventListener("visibilitychange", () => document.hidden || refresh());
leave.addEventListener("click", () => {
  key.forget();
  signIn("");
});
find.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = find.elements.q.value.trim();
  if (text) go(`/console/withdrawals?${new URLSearchParams({ q: text })}`);
});

start();
lookForEver();
followForEver();
