// The story of the document's examples, by a client from @hey-api/openapi-ts.
import assert from "node:assert/strict";

import {
  cancelWithdrawal,
  createCharge,
  createCharges,
  createWithdrawal,
  getBalance,
  getWithdrawal,
  listTransactions,
} from "./generated";
import type { ProblemCode, Transaction, TransactionKind, WithdrawalStatus } from "./generated";
import { client } from "./generated/client.gen";

const [, , baseUrl, user] = process.argv;
assert(baseUrl && user);
client.setConfig({ baseUrl });

async function tour(user_id: string): Promise<void> {
  const charge = { user_id, amount: 5000, idempotency_key: `${user_id}-1`, metadata: { order: 7001 } };
  const charged = await createCharge({ body: charge, throwOnError: true });
  const transaction: Transaction = charged.data;
  const kind: TransactionKind = transaction.type;
  assert.equal(kind, "charge");
  assert.deepEqual((await createCharge({ body: charge })).data, transaction);

  const bulk = await createCharges({
    body: [{ user_id, amount: 2500, idempotency_key: `${user_id}-2`, release_at: "2100-01-01T00:00:00Z" }],
  });
  assert.equal(bulk.data?.results[0]?.transaction?.release_at, "2100-01-01T00:00:00Z");
  const { data: split } = await getBalance({ path: { user_id }, throwOnError: true });
  assert.deepEqual([split.total, split.withdrawable, split.locked, split.held], [7500, 5000, 2500, 0]);

  const body = { user_id, amount: 1200, idempotency_key: `${user_id}-3`, destination: { iban: "DE89" } };
  const { data: accepted } = await createWithdrawal({ body, throwOnError: true });
  const path = { withdrawal_id: accepted.withdrawal_id };
  const { data: found } = await getWithdrawal({ path, query: { wait: 30 }, throwOnError: true });
  const status: WithdrawalStatus = found.status;
  assert.equal(status, "completed");

  const late = await cancelWithdrawal({ path });
  const code: ProblemCode | undefined = late.error?.code;
  assert.equal(code, "not_cancellable");
  const refused = await createWithdrawal({ body: { ...body, amount: 9000, idempotency_key: `${user_id}-4` } });
  assert.equal(refused.error?.code, "insufficient_funds");

  const page = await listTransactions({ path: { user_id }, query: { limit: 2 } });
  assert.deepEqual(page.data?.transactions.map((one) => one.amount), [-1200, 2500]);
}

tour(user).then(() => console.log("toured"));
