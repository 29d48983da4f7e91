// Load for k6: each user charges a wallet of their own, sends the same again, pays somebody, looks at the balance.
//
//   k6 run --no-usage-report -e API=http://localhost:8080 -e USERS=20 -e DURATION=30s charges.js
//
// It fails unless every answer is right, and reports what k6 measures. For figures that are compared: `wbs bench`.
import http from "k6/http";
import { check } from "k6";

const API = __ENV.API || "http://localhost:8080";
const HEADERS = { "Content-Type": "application/json" };
if (__ENV.KEY) HEADERS.Authorization = `Bearer ${__ENV.KEY}`;

export const options = {
  vus: Number(__ENV.USERS || 20),
  duration: __ENV.DURATION || "30s",
  thresholds: { checks: ["rate==1"] },
};

// Sends a request until there is an answer: the key makes that safe.
function send(path, body) {
  for (let attempt = 0; ; attempt++) {
    const answer = http.post(API + path, JSON.stringify(body), { headers: HEADERS, tags: { name: path } });
    if ((answer.status !== 0 && answer.status !== 429 && answer.status < 500) || attempt === 10) return answer;
  }
}

export function setup() {
  return { run: Date.now().toString(36) };
}

export default function ({ run }) {
  const user_id = `k6-${run}-${__VU}`;
  const key = `${user_id}-${__ITER}`;
  const charge = { user_id, amount: 200, idempotency_key: `${key}-charge` };
  const charged = send("/charge", charge);
  check(charged, { charged: (answer) => answer.status === 200 && answer.json("amount") === 200 });
  const again = send("/charge", charge);
  check(again, { "the same again": (answer) => answer.status === 200 && answer.body === charged.body });
  const order = { from_user_id: user_id, to_user_id: `k6-${run}-shop`, amount: 100, idempotency_key: `${key}-order` };
  check(send("/transfers", order), { paid: (answer) => answer.status === 200 });
  const balance = http.get(`${API}/balance/${user_id}`, { headers: HEADERS, tags: { name: "/balance" } });
  check(balance, { "the balance adds up": (answer) => answer.json("total") === 100 * (__ITER + 1) });
}
