// Pays a seller with types that are generated from the service's own document, and a client that sends again.
import createClient from "openapi-fetch";

import type { paths } from "./generated/types";

const [, , baseUrl = "http://localhost:8080", run = Date.now().toString(36)] = process.argv;

/** Sends the same until there is an answer, for a minute at most: each write carries its key, so that is safe. */
async function persistently(request: Request): Promise<Response> {
  const end = Date.now() + 60_000;
  for (let pause = 100; ; pause = Math.min(2 * pause, 5_000)) {
    let answer: Response | undefined;
    try {
      answer = await fetch(request.clone());
      if (answer.status !== 429 && answer.status < 500) return answer;
    } catch (error) {
      if (Date.now() + pause > end) throw error; // it may have taken effect: the same again later
    }
    const asked = 1000 * Number(answer?.headers.get("Retry-After") ?? 0);
    const wait = Math.max(asked, pause * (0.5 + Math.random() / 2));
    if (answer && Date.now() + wait > end) return answer;
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

const wallets = createClient<paths>({ baseUrl, fetch: persistently });

async function pay(): Promise<void> {
  const [buyer, seller] = [`buyer-${run}`, `seller-${run}`];
  await wallets.POST("/charge", { body: { user_id: buyer, amount: 10_000, idempotency_key: `${run}-top-up` } });
  const paid = await wallets.POST("/transfers", {
    body: { from_user_id: buyer, to_user_id: seller, amount: 4_500, idempotency_key: `${run}-order` },
  });
  if (paid.error) throw new Error(paid.error.code); // insufficient_funds, …
  const { data: accepted, error } = await wallets.POST("/withdraw", {
    body: { user_id: seller, amount: 4_500, destination: { iban: "DE89" }, idempotency_key: `${run}-payout` },
  });
  if (!accepted) throw new Error(error.code);
  const { data: ended } = await wallets.GET("/withdrawals/{withdrawal_id}", {
    params: { path: { withdrawal_id: accepted.withdrawal_id }, query: { wait: 30 } },
  });
  console.log(ended?.status, ended?.amount);
}

pay();
