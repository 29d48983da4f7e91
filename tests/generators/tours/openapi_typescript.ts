// The story of the document's examples, by a client from openapi-typescript and openapi-fetch.
import assert from "node:assert/strict";

import createClient from "openapi-fetch";

import type { components, paths } from "./generated/types";

type Balance = components["schemas"]["Balance"];
type Status = components["schemas"]["WithdrawalStatus"];

const [, , baseUrl, user] = process.argv;
assert(baseUrl && user);
const client = createClient<paths>({ baseUrl });

async function balance(user_id: string): Promise<Balance> {
  const { data, error } = await client.GET("/balance/{user_id}", { params: { path: { user_id } } });
  assert(data, error?.detail);
  return data;
}

async function tour(user_id: string): Promise<void> {
  const charge = { user_id, amount: 5000, idempotency_key: `${user_id}-1`, metadata: { order: 7001 } };
  const charged = await client.POST("/charge", { body: charge });
  assert(charged.data);
  const kind: components["schemas"]["TransactionKind"] = charged.data.type;
  assert.equal(kind, "charge");
  assert.deepEqual(charged.data.metadata, { order: 7001 });
  assert(new Date(charged.data.created_at) <= new Date(Date.now() + 60_000));

  const again = await client.POST("/charge", { body: charge });
  assert.deepEqual(again.data, charged.data);
  assert.equal(again.response.headers.get("idempotent-replayed"), "true");

  const bulk = await client.POST("/charges", {
    body: [{ user_id, amount: 2500, idempotency_key: `${user_id}-2`, release_at: "2100-01-01T00:00:00Z" }],
  });
  assert(bulk.data && typeof bulk.data !== "string"); // a text only to those who accept NDJSON
  assert.equal(bulk.data.results[0]?.transaction?.release_at, "2100-01-01T00:00:00Z");
  const split = await balance(user_id);
  assert.deepEqual([split.total, split.withdrawable, split.locked, split.held], [7500, 5000, 2500, 0]);

  const body = { user_id, amount: 1200, idempotency_key: `${user_id}-3`, destination: { iban: "DE89" } };
  const accepted = await client.POST("/withdraw", { body });
  assert(accepted.data);
  const pending: "pending" = accepted.data.status;
  assert.equal(pending, "pending");
  const path = { withdrawal_id: accepted.data.withdrawal_id };
  const found = await client.GET("/withdrawals/{withdrawal_id}", { params: { path, query: { wait: 30 } } });
  assert(found.data);
  const status: Status = found.data.status;
  assert.equal(status, "completed");
  assert.equal(found.data.failure, null);

  const late = await client.POST("/withdrawals/{withdrawal_id}/cancel", { params: { path } });
  const code: components["schemas"]["ProblemCode"] | undefined = late.error?.code;
  assert.equal(code, "not_cancellable");
  const refused = await client.POST("/withdraw", { body: { ...body, amount: 9000, idempotency_key: `${user_id}-4` } });
  assert.equal(refused.error?.code, "insufficient_funds");

  const page = await client.GET("/transactions/{user_id}", { params: { path: { user_id }, query: { limit: 2 } } });
  assert.deepEqual(page.data?.transactions.map((one) => one.amount), [-1200, 2500]);
  assert(page.data?.next_cursor);
}

tour(user).then(() => console.log("toured"));
