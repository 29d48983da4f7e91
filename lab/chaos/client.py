"""Calls the API and the bank as a client would, and records every call in the history."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import aiohttp
import msgspec

from lab.chaos.history import Call, HistoryWriter
from lab.chaos.requests import Request, Unclear

CONNECTIONS_MAX = 256
KEEPALIVE_S = 3.0
"""Short, so that new connections spread over the gateways."""


class _Taken(msgspec.Struct):
    """A result of a bulk request: the own bytes of what was made, for comparison with other answers."""

    status: int
    transaction: msgspec.Raw = msgspec.Raw(b"")
    transfer: msgspec.Raw = msgspec.Raw(b"")
    error: msgspec.Raw = msgspec.Raw(b"")
    replayed: bool = False


class _Results(msgspec.Struct):
    results: list[_Taken]


class RecordingClient:
    """Sends requests and counts them. Every method returns its record in the history."""

    def __init__(self, api_url: str, bank_url: str, history: HistoryWriter, timeout_s: float) -> None:
        self._api_url = api_url
        self._bank_url = bank_url
        self._history = history
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None
        self.phase = "load"
        self.unclear = Unclear()
        self.operations: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        """Number of answers to the load, by `op status`; `op none` is no answer at all."""

    async def __aenter__(self) -> "RecordingClient":
        connector = aiohttp.TCPConnector(limit=CONNECTIONS_MAX, keepalive_timeout=KEEPALIVE_S)
        self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._session is not None
        await self._session.close()

    # --- writes ------------------------------------------------------------------------------------------

    async def send(self, request: Request) -> Call:
        """Send a request."""
        body, path = request.body, request.path or f"/{request.op}"
        headers = {"Content-Type": "application/json"}
        if request.key_in_header:
            headers["Idempotency-Key"] = request.key
        status = 0
        self.unclear.begun(request)
        try:
            call = await self._exchange("POST", self._api_url + path, body, headers)
            status = call.status
        finally:
            self.unclear.ended(request, status)
        return self._write(
            call,
            op=request.op,
            path=path,
            subject=request.subject,
            cell=request.cell,
            wallet=request.wallet,
            key=request.key,
            key_in_header=request.key_in_header,
            body=body,
        )

    async def send_bulk(self, requests: Sequence[Request], path: str = "/charges") -> list[Call]:
        """Send charges, or transfers, in one request; each item becomes a call in the history."""
        body = "[" + ",".join(request.body for request in requests) + "]"
        headers = {"Content-Type": "application/json"}
        items: list[dict[str, Any]] = [{} for _ in requests]
        for request in requests:
            self.unclear.begun(request)
        try:
            call = await self._exchange("POST", self._api_url + path, body, headers)
            if call.status == 200:
                items = _items(call.answer)
        finally:
            for request, item in zip(requests, items, strict=True):
                self.unclear.ended(request, item.get("status", 0))
        return [
            self._write(
                call,
                op=request.op,
                path=path,
                cell=request.cell,
                wallet=request.wallet,
                key=request.key,
                body=request.body,
                bulk=True,
                **item,
            )
            for request, item in zip(requests, items, strict=True)
        ]

    async def cancel(self, cell: str, wallet: str, id: str) -> Call:
        """Ask for a withdrawal to be cancelled."""
        path = f"/withdrawals/{id}/cancel"
        call = await self._exchange("POST", self._api_url + path, "", {})
        return self._write(call, op="cancel", path=path, cell=cell, wallet=wallet, subject=id)

    async def void(self, cell: str, wallet: str, id: str) -> Call:
        """Ask for a hold to be voided."""
        path = f"/holds/{id}/void"
        call = await self._exchange("POST", self._api_url + path, "", {})
        return self._write(call, op="void", path=path, cell=cell, wallet=wallet, subject=id)

    async def take_back(self, cell: str, wallet: str, id: str, reference: str) -> Call:
        """Make the bank return a payout that it knows by `reference`."""
        path = f"/payouts/{reference}/return"
        call = await self._exchange("POST", self._bank_url + path, "", {})
        return self._write(call, op="return", path=path, cell=cell, wallet=wallet, subject=id)

    # --- reads -------------------------------------------------------------------------------------------

    async def read(self, op: str, path: str, *, cell: str, wallet: str = "", **about: Any) -> Call:
        """Read from the API. `about`: subject, key, walk, as the history names them. `wait` in a path adds time."""
        call = await self._exchange("GET", self._api_url + path, None, {})
        return self._write(call, op=op, path=path, cell=cell, wallet=wallet, **about)

    async def find_at_bank(self, cell: str, wallet: str, id: str, reference: str) -> Call:
        """Look up one payout at the bank by `reference`."""
        path = f"/payouts/{reference}"
        call = await self._exchange("GET", self._bank_url + path, None, {})
        return self._write(call, op="find", path=path, cell=cell, wallet=wallet, subject=id)

    async def bank(self, method: str, path: str, document: Any = None) -> tuple[int, Any]:
        """Control the bank: faults, listing. Not part of the history. Return status (0: none) and JSON."""
        body = None if document is None else json.dumps(document)
        call = await self._exchange(method, self._bank_url + path, body, {"Content-Type": "application/json"})
        try:
            return call.status, json.loads(call.answer)
        except ValueError:
            return call.status, None

    async def webhooks(self, path: str, document: Any) -> Any:
        """Post to `/webhooks…`; return the answer, or None without success. Not part of the history."""
        url, body = f"{self._api_url}/webhooks{path}", json.dumps(document)
        call = await self._exchange("POST", url, body, {"Content-Type": "application/json"})
        return json.loads(call.answer) if call.status // 100 == 2 else None

    # --- the wire ----------------------------------------------------------------------------------------

    async def _exchange(self, method: str, url: str, body: str | None, headers: dict[str, str]) -> Call:
        assert self._session is not None
        start = self._history.now()
        status, answer, error = 0, "", ""
        replayed = retry_after = False
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._session.request(method, url, data=body, headers=headers) as response,
            ):
                answer = (await response.read()).decode("utf-8", "replace")
                status = response.status
                replayed = response.headers.get("Idempotent-Replayed") == "true"
                retry_after = "Retry-After" in response.headers
        except (TimeoutError, OSError, aiohttp.ClientError) as problem:
            error = f"{type(problem).__name__}: {problem}"[:200]
        return Call(
            "",
            start,
            self._history.now(),
            self.phase,
            method=method,
            status=status,
            replayed=replayed,
            retry_after=retry_after,
            answer=answer,
            error=error,
        )

    def _write(self, call: Call, **values: Any) -> Call:
        call = msgspec.structs.replace(call, **values)
        self._history.write(call)
        if self.phase == "load":
            self.operations[call.op] += 1
            self.answers[f"{call.op} {call.status or 'none'}"] += 1
        return call


def _items(answer: str) -> list[dict[str, Any]]:
    """Return what a bulk request's answer says of each of its items."""
    return [
        {
            "status": one.status,
            "answer": (bytes(one.transaction) or bytes(one.transfer) or bytes(one.error)).decode(),
            "replayed": one.replayed,
            "retry_after": one.status == 503,  # an item has no header of its own
        }
        for one in msgspec.json.decode(answer, type=_Results).results
    ]
