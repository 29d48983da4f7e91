"""A bank behind HTTP that speaks as the simulator does, but for one thing that it says or does wrongly."""

import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from actors.bank.protocol import CursorUnknown, PayoutOrder
from tests.in_memory_bank import InMemoryBank
from wallet.outcomes import Accepted, Declined, NotFound, OutcomeUnknown, Returned

Change = Callable[[dict[str, Any]], Any]
"""Changes the answer about a payout, or returns another body that is not JSON."""


def says(**members: Any) -> Change:
    """Another value of these members; None leaves one out."""

    def change(said: dict[str, Any]) -> None:
        for name, value in members.items():
            if value is None:
                said.pop(name, None)
            else:
                said[name] = value(said[name]) if callable(value) else value

    return change


def sends(make: Callable[[bytes], Any]) -> Change:
    """Other bytes, or another response."""
    return lambda said: make(json.dumps(said).encode())


PAYOUT: dict[str, Change] = {
    "payout_id with NUL": says(payout_id="po_\0"),
    "payout_id of 60 kB": says(payout_id="p" * 60_000),
    "payout_id a number": says(payout_id=12345),
    "no payout_id": says(payout_id=None),
    "amount as text": says(amount=str),
    "amount as float": says(amount=float),
    "another amount": says(amount=lambda amount: amount + 1),
    "currency in small letters": says(currency=str.lower),
    "status in capitals": says(status=str.upper),
    "status unheard of": says(status="settled"),
    "no reference": says(reference=None),
    "another reference": says(reference=lambda reference: reference + "0"),
    "another destination": says(destination="elsewhere"),
    "a member twice": sends(lambda body: body[:-1] + b', "status": "paid"}'),
    "a byte order mark": sends(lambda body: b"\xef\xbb\xbf" + body),
    "half of it": sends(lambda body: body[: len(body) // 2]),
    "a page for people": sends(lambda body: b"<html>maintenance</html>"),
    "encoded": sends(
        lambda body: web.Response(body=gzip.compress(body), headers={"Content-Encoding": "gzip"})
    ),
    "a redirect": sends(lambda body: web.Response(status=307, headers={"Location": "/payouts"})),
    "nothing": sends(lambda body: web.Response(status=204)),
    "an error": sends(lambda body: web.Response(status=500)),
    "no entry": sends(lambda body: web.Response(status=401)),
    "an empty body": sends(lambda body: web.Response(status=201)),
}
"""Possible errors in an answer about a payout."""

ENTRY: dict[str, Change] = {
    "no amount": says(amount=None),
    "amount as float": says(amount=float),
    "another amount": says(amount=lambda amount: amount * 100),
    "another currency": says(currency="EUR"),
    "status unheard of": says(status="settled"),
    "not paid": says(status="pending"),
    "another reference": says(reference=lambda reference: reference + "0"),
    "another id": says(payout_id=lambda payout_id: payout_id + "0"),
    "no date": says(created_at=None),
    "a date without an offset": says(created_at="2026-11-27T05:00:00"),
}
"""Possible errors in an entry of the books."""


class WrongBank:
    """Serves `/payouts` over an `InMemoryBank`; `payout` and `entry` change what it says."""

    def __init__(self, payout: Change | None = None, entry: Change | None = None) -> None:
        self.bank = InMemoryBank()
        self._payout = payout
        self._entry = entry

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """The address of the bank."""
        app = web.Application()
        app.add_routes(
            [
                web.post("/payouts", self._pay),
                web.get("/payouts/{reference}", self._find),
                web.get("/payouts", self._books),
            ]
        )
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        await runner.cleanup()

    async def _pay(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        destination = None if "destination" not in body else json.dumps(body["destination"])
        order = PayoutOrder(body["reference"], body["amount"], body["currency"], destination)
        outcome = await self.bank.pay(order)
        if isinstance(outcome, OutcomeUnknown):
            return web.json_response({"code": "idempotency_key_reused"}, status=409)
        return self._said(order, outcome, 422 if isinstance(outcome, Declined) else 201)

    async def _find(self, request: web.Request) -> web.StreamResponse:
        order = self.bank.orders.get(request.match_info["reference"])
        outcome = NotFound() if order is None else await self.bank.find(order)
        if order is None or isinstance(outcome, NotFound):
            return web.json_response({"code": "payout_not_found"}, status=404)
        return self._said(order, outcome, 200)

    async def _books(self, request: web.Request) -> web.StreamResponse:
        try:
            page = await self.bank.read_books(request.query.get("after"))
        except CursorUnknown:
            return web.json_response({"code": "unknown_cursor"}, status=422)
        entries = []
        for entry in page.entries:
            said = {
                "payout_id": entry.payout_id,
                "reference": entry.reference,
                "amount": entry.amount,
                "currency": entry.currency,
                "status": entry.status,
                "created_at": "2026-11-27T05:00:00Z",
            }
            if self._entry is not None:
                self._entry(said)
            entries.append(said)
        return web.json_response({"payouts": entries, "next": page.cursor if page.more else None})

    def _said(self, order: PayoutOrder, outcome: object, status: int) -> web.StreamResponse:
        said: dict[str, Any] = {
            "payout_id": self.bank.ids[order.reference],
            "reference": order.reference,
            "amount": order.amount,
            "currency": order.currency,
            "status": "paid",
        }
        if order.destination is not None:
            said["destination"] = json.loads(order.destination)
        if isinstance(outcome, Declined):
            said |= {"status": "declined", "code": outcome.code}
        if isinstance(outcome, Accepted):
            said |= {"status": "pending"}
        if isinstance(outcome, Returned):
            said |= {"status": "returned", "returned_amount": outcome.amount}
        instead = None if self._payout is None else self._payout(said)
        if isinstance(instead, web.Response):
            return instead
        return web.Response(
            body=instead or json.dumps(said).encode(), status=status, content_type="application/json"
        )
