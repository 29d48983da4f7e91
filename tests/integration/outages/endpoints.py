"""Every endpoint that needs the database, called once each, and what it must answer when that is away."""

import asyncio
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from standardwebhooks import Webhook

from tests.polling import poll_until
from tests.service import INTERVAL_S, Answer, Service

REFUSED_MAX_S = 2.0
BACK_MAX_S = 5.0
SLACK_S = 2.0
"""The machine is shared, and so is its time."""


class Call(NamedTuple):
    """A request that can be made again and again."""

    method: str
    path: str
    more: dict[str, Any]

    async def on(self, service: Service) -> Answer:
        """Make it."""
        return await service.call(self.method, self.path, **self.more)


async def every_call(service: Service) -> list[Call]:
    """Return a call of each endpoint. The wallet has money, and a withdrawal that is paid."""
    await service.charge(10_000)
    key = f"{service.user}-first"
    id_ = await service.withdraw(10, key=key)
    assert await service.ends(id_) == "completed"
    return [
        Call("POST", "/charge", {"json": service.order(1)}),
        Call("POST", "/charges", {"json": [service.order(1)]}),
        Call("POST", "/withdraw", {"json": service.order(1)}),
        Call("POST", f"/withdrawals/{id_}/cancel", {}),
        Call("POST", "/bank/callbacks", _callback(service, id_)),
        Call("GET", f"/withdrawals/{id_}", {}),
        Call("GET", f"/withdrawals?idempotency_key={key}", {}),
        Call("GET", f"/balance/{service.user}", {}),
        Call("GET", f"/balance?user_id={service.user}", {}),
        Call("GET", f"/transactions/{service.user}", {}),
        Call("GET", f"/transactions?user_id={service.user}", {}),
        Call("GET", "/health", {}),
        Call("GET", "/health/ready", {}),
    ]


def _callback(service: Service, id_: str) -> dict[str, Any]:
    """Return a callback as the bank signs it. It names a payout that we don't know, so it moves nothing."""
    payout = {"reference": id_, "payout_id": "po_none", "amount": 10, "currency": "USD"}
    body = json.dumps({"type": "payout.returned", "data": payout})
    now = datetime.now(UTC)
    signature = Webhook(service.stack.env["WBS_BANK_WEBHOOK_SECRET"]).sign("msg_outage", now, body)
    headers = {
        "content-type": "application/json",
        "webhook-id": "msg_outage",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signature,
    }
    return {"data": body, "headers": headers}


def is_refused(call: Call, answer: Answer) -> bool:
    """Tell whether the answer says that the database is away."""
    if call.path == "/charges":
        return answer.status == 200 and int(answer.json["results"][0]["status"]) == 503
    return answer.status == 503


def check_refused(call: Call, answer: Answer) -> None:
    """Assert a clear 503."""
    assert is_refused(call, answer), (call, answer)
    if call.path == "/charges":
        assert answer.json["results"][0]["error"]["code"] in ("unavailable", "overloaded")
        return
    assert int(answer.headers["retry-after"]) >= 1
    if call.path.startswith("/health"):
        assert answer.json["status"] == "down"
        assert answer.json["dependencies"]["postgres"]["status"] == "down"
    else:
        assert answer.code in ("unavailable", "overloaded")


async def all_refuse(service: Service, calls: Sequence[Call], *, at_once: int = 4) -> float:
    """Make each call several times at once; each must be refused, and what needs no database goes on.

    Returns the time of the slowest answer, in seconds.
    """

    async def refusal(call: Call) -> Answer:
        if not call.path.startswith("/health"):
            return await call.on(service)

        async def is_told() -> Answer | None:  # each gateway's last report serves for half a second
            answer = await call.on(service)
            return answer if is_refused(call, answer) else None

        told: Answer | None = await poll_until(is_told, what=call.path)
        assert told is not None
        return told

    made = [call for call in calls for _ in range(at_once)]
    answers = await asyncio.gather(*map(refusal, made))
    for call, answer in zip(made, answers, strict=True):
        check_refused(call, answer)
    for path in ("/health/live", "/metrics", "/openapi.json", "/docs"):
        answers.append(await service.call("GET", path))
        assert answers[-1].status == 200, path
    return max(answer.seconds for answer in answers)


async def all_work(service: Service, calls: Sequence[Call]) -> float:
    """Return when no call is refused any more, and how many seconds that took."""
    started = time.monotonic()

    async def works(call: Call) -> bool:
        answer = await call.on(service)
        assert answer.status < 500 or answer.status == 503, (call, answer)
        return not is_refused(call, answer)

    await asyncio.gather(
        *(poll_until(lambda call=call: works(call), what=str(call), interval_s=INTERVAL_S) for call in calls)  # type: ignore[misc]
    )
    return time.monotonic() - started
