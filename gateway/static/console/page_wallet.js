// A user's wallets: the split, the statement, locks and holds. In development, charges and withdrawals by hand.

import { get, newKey, post } from "./api.js";
import { ask, h, say } from "./dom.js";
import { minorUnits } from "./money.js";
import { copyable, money, section, state, table, time, words } from "./pieces.js";

export const title = (page) => (page.query.user_id ? `Wallet of ${page.query.user_id}` : "Wallet");

export async function load(page, about) {
  const user = page.query.user_id;
  if (!user) return {};
  const wallets = (await get(`/wallets/${encodeURIComponent(user)}`)).wallets;
  const currency = page.query.currency || (wallets.find((one) => one.currency === about.default_currency) ?? wallets[0])?.currency || about.default_currency;

  const [transactions, holds, locks, withdrawals] = await Promise.all([
    get("/transactions", { user_id: user, currency, limit: 20, cursor: page.query.cursor }),
    get("/holds", { user_id: user, currency, status: "open", limit: 20 }),
    get("/operator/locks", { user_id: user, currency }),
    get("/operator/withdrawals", { user_id: user, currency, status: "open", limit: 20 }),
  ]);
  return { user, currency, wallets, transactions, holds, locks, withdrawals };
}

function splitOf(wallet) {
  const parts = ["withdrawable", "locked", "held"];
  const label = parts.map((part) => `${part} ${money(wallet[part], wallet.currency).textContent}`).join(", ");
  return h(
    "div",
    { class: "card split", key: wallet.currency },
    h("p", { class: "split-total" }, h("a", { href: `/console/wallet?${new URLSearchParams({ user_id: wallet.user_id, currency: wallet.currency })}` }, wallet.currency), " ", h("strong", {}, money(wallet.total, wallet.currency))),
    h("div", { class: "bar", role: "img", "aria-label": label }, parts.map((part) => h("i", { class: part, style: `width: ${wallet.total ? (100 * wallet[part]) / wallet.total : 0}%` }))),
    h("dl", {}, parts.map((part) => h("div", {}, h("dt", {}, h("i", { class: part }), part), h("dd", {}, money(wallet[part], wallet.currency))))),
  );
}

async function move(context, kind, user, currency) {
  const isCharge = kind === "charge";
  const given = await ask({
    title: isCharge ? `Charge the wallet of ${user}` : `Withdraw from the wallet of ${user}`,
    text: "Only possible because this stack asks for no keys.",
    fields: [
      { name: "amount", label: `Amount in ${currency}`, required: true, inputmode: "decimal" },
      isCharge ? { name: "lock", label: "Seconds to lock it for", value: "0", inputmode: "numeric" } : { name: "destination", label: "Destination", value: "DE02120300000000202051", hint: "test:decline:account_closed, test:pending:5000 … tell the simulator what to do" },
    ],
    confirm: isCharge ? "Charge" : "Withdraw",
  });
  if (!given) return;
  await context.act(async () => {
    const body = { user_id: user, currency, amount: minorUnits(given.amount, currency), idempotency_key: newKey() };
    if (isCharge && Number(given.lock) > 0) body.release_at = new Date(Date.now() + 1000 * Number(given.lock)).toISOString();
    if (!isCharge && given.destination) body.destination = given.destination;
    return post(isCharge ? "/charge" : "/withdraw", body);
  }, isCharge ? "Charged" : "Accepted: the money is held until the bank has paid");
}

function transactionRows({ transactions }) {
  return transactions.transactions.map((one) => ({
    key: one.id,
    cells: [time(one.created_at, false), one.type, money(one.amount, one.currency), state(one.release_at && new Date(one.release_at) > Date.now() ? "locked" : one.status), one.type === "withdrawal" ? copyable(one.id, `/console/withdrawals/${one.id}`) : copyable(one.id)],
  }));
}

export function render(found, context) {
  const { query, about } = context;
  const open = (event) => {
    event.preventDefault();
    const user = event.target.elements.user_id.value.trim();
    if (!user) return say("Name a user", true);
    context.go(`/console/wallet?${new URLSearchParams({ user_id: user })}`);
  };
  const form = h("form", { class: "filters card", onsubmit: open, key: `user ${query.user_id}`, "aria-label": "Open a wallet" }, h("label", {}, "User", h("input", { name: "user_id", value: query.user_id || "", autocomplete: "off", required: true })), h("button", {}, "Open"));
  if (!found.user) return [h("h1", {}, "Wallet"), form, h("p", { class: "empty" }, "Name a user to see the wallets, their movements, locks and holds.")];
  const { user, currency, wallets, transactions, holds, locks, withdrawals } = found;
  const next = transactions.next_cursor && `/console/wallet?${new URLSearchParams({ user_id: user, currency, cursor: transactions.next_cursor })}`;
  return [
    h("h1", {}, "Wallet of ", user),
    form,
    wallets.length ? h("div", { class: "splits" }, wallets.map(splitOf)) : h("p", { class: "empty" }, "This user has no wallet yet: the first charge makes one."),
    about.development && h("p", { class: "buttons" }, h("button", { type: "button", onclick: () => move(context, "charge", user, currency) }, "Charge …"), h("button", { type: "button", class: "quiet", onclick: () => move(context, "withdraw", user, currency) }, "Withdraw …")),
    section(`Movements in ${currency}`, table("Movements", [{ title: "When" }, { title: "What" }, { title: "Amount", right: true }, { title: "Status" }, { title: "Id" }], transactionRows(found), "None yet."), h("p", { class: "pages" }, query.cursor && h("a", { href: `/console/wallet?${new URLSearchParams({ user_id: user, currency })}` }, "To the newest"), next && h("a", { href: next, rel: "next" }, "Older ones"))),
    section("Open withdrawals", table("Open withdrawals", [{ title: "Accepted" }, { title: "Status" }, { title: "Amount", right: true }, { title: "Why" }, { title: "Id" }], withdrawals.items.map((one) => ({ key: one.withdrawal_id, cells: [time(one.created_at, false), state(one.status), money(one.amount, one.currency), one.failure ? words(one.failure.code) : "", copyable(one.withdrawal_id, `/console/withdrawals/${one.withdrawal_id}`)] })), "None.")),
    section("Open holds", table("Open holds", [{ title: "Placed" }, { title: "Amount", right: true }, { title: "Expires" }, { title: "Id" }], holds.items.map((one) => ({ key: one.id, cells: [time(one.created_at, false), money(one.amount, one.currency), time(one.expires_at), copyable(one.id)] })), "None.")),
    section("Locks", table("Locks", [{ title: "Until" }, { title: "Amount", right: true }, { title: "Charge" }], locks.map((one) => ({ key: `${one.charge_id} ${one.release_at}`, cells: [time(one.release_at), money(one.amount, currency), copyable(one.charge_id)] })), "No money is locked.")),
  ];
}

