"""The client for programs with an event loop. It has the methods of `Client`, to be awaited."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar
from uuid import UUID

import httpx

from wbs_client import endpoints, events, reads, writes
from wbs_client.call import Call, Listing, Part
from wbs_client.event_models import Event
from wbs_client.events import Following
from wbs_client.flow import Pause, Said, Steps, answered, drive_async, ended
from wbs_client.models import AcceptedWithdrawal, Withdrawal
from wbs_client.target import Target, method_of

P = ParamSpec("P")
T = TypeVar("T")
Answering = Callable[Concatenate["AsyncClient", P], Coroutine[Any, Any, T]]


def _answering(build: Callable[P, Call[T]]) -> Answering[P, T]:
    @method_of(build)
    async def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.send(build(*args, **kwargs))

    return method


def _iterating(build: Callable[P, Listing[T]]) -> Callable[Concatenate["AsyncClient", P], AsyncIterator[T]]:
    @method_of(build)
    def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        return self.walk(build(*args, **kwargs))

    return method


def _following(
    build: Callable[P, Following],
) -> Callable[Concatenate["AsyncClient", P], AsyncIterator[Event]]:
    @method_of(build)
    def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[Event]:
        return self.follow(build(*args, **kwargs))

    return method


def _pending(build: Callable[P, Call[AcceptedWithdrawal]]) -> Answering[P, "AsyncPendingWithdrawal"]:
    @method_of(build)
    async def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> "AsyncPendingWithdrawal":
        return AsyncPendingWithdrawal(await self.send(build(*args, **kwargs)), self)

    return method


class AsyncClient:
    """The service at `url`, for the tasks of one event loop. All else is as `Client` says."""

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        patience_s: float = 60.0,
        timeout_s: float = 10.0,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._target = Target(url, api_key, patience_s, timeout_s)
        self._http = http or httpx.AsyncClient()
        self._is_own = http is None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        if self._is_own:
            await self._http.aclose()

    async def send(self, call: Call[T]) -> T:
        """Send a call until there is an answer."""
        return await self._drive(answered(call, self._target.patience_s))

    async def walk(self, listing: Listing[T]) -> AsyncIterator[T]:
        """Iterate over a list, page by page."""
        call: Call[Part[T]] | None = listing.first
        while call is not None:
            part = await self.send(call)
            for item in part.items:
                yield item
            call = listing.after(part)

    async def follow(self, following: Following) -> AsyncIterator[Event]:
        """Iterate over a stream of events, connecting again and again."""
        while True:
            said: Said = None
            request = self._target.request(self._http, following.call)
            try:
                response = await self._http.send(request, stream=True)
                async with aclosing(response):
                    if response.is_success:
                        async for chunk in response.aiter_bytes():
                            for event in following.take(chunk):
                                yield event
                    else:
                        await response.aread()
                        said = response
            except httpx.RequestError as error:
                said = error
            await asyncio.sleep(following.pause_s(said, self._target.patience_s))

    async def _drive(self, steps: Steps[T]) -> T:
        return await drive_async(steps, self._take)

    async def _take(self, step: Call[Any] | Pause) -> Said:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        try:
            return await self._http.send(self._target.request(self._http, step))
        except httpx.RequestError as error:
            return error

    async def wait_for_withdrawal(self, withdrawal_id: UUID | str, timeout_s: float = 60.0) -> Withdrawal:
        """Return a withdrawal as soon as it has ended or needs an operator, otherwise its state after `timeout_s`."""
        return await self._drive(ended(withdrawal_id, timeout_s, self._target.patience_s))

    charge = _answering(writes.charge)
    charge_many = _answering(writes.charge_many)
    reverse_charge = _answering(writes.reverse_charge)
    transfer = _answering(writes.transfer)
    transfer_many = _answering(writes.transfer_many)
    reverse_transfer = _answering(writes.reverse_transfer)
    hold = _answering(writes.hold)
    capture_hold = _answering(writes.capture_hold)
    void_hold = _answering(writes.void_hold)
    withdraw = _pending(writes.withdraw)
    cancel_withdrawal = _answering(writes.cancel_withdrawal)

    balance = _answering(reads.balance)
    wallets = _answering(reads.wallets)
    statement = _answering(reads.statement)
    statement_csv = _answering(reads.statement_csv)
    entries = _iterating(reads.entries)
    transactions = _iterating(reads.transactions)
    get_charge = _answering(reads.get_charge)
    find_charge = _answering(reads.find_charge)
    charges = _iterating(reads.charges)
    get_transfer = _answering(reads.get_transfer)
    find_transfer = _answering(reads.find_transfer)
    transfers = _iterating(reads.transfers)
    get_hold = _answering(reads.get_hold)
    find_hold = _answering(reads.find_hold)
    holds = _iterating(reads.holds)
    get_withdrawal = _answering(reads.get_withdrawal)
    find_withdrawal = _answering(reads.find_withdrawal)
    withdrawals = _iterating(reads.withdrawals)
    events_page = _answering(events.events_page)
    stream = _following(events.stream)
    events = _iterating(events.events)

    create_webhook = _answering(endpoints.create_webhook)
    webhooks = _iterating(endpoints.webhooks)
    get_webhook = _answering(endpoints.get_webhook)
    update_webhook = _answering(endpoints.update_webhook)
    delete_webhook = _answering(endpoints.delete_webhook)
    rotate_webhook_secret = _answering(endpoints.rotate_webhook_secret)
    test_webhook = _answering(endpoints.test_webhook)
    webhook_deliveries = _iterating(endpoints.webhook_deliveries)
    redeliver = _answering(endpoints.redeliver)

    currencies = _answering(reads.currencies)
    health = _answering(reads.health)


@dataclass(frozen=True, slots=True)
class AsyncPendingWithdrawal:
    """A withdrawal that was accepted. Keep its `id`: any process can ask later for the outcome."""

    accepted: AcceptedWithdrawal
    _client: AsyncClient

    @property
    def id(self) -> UUID:
        """The withdrawal's identifier."""
        return self.accepted.withdrawal_id

    async def wait(self, timeout_s: float = 60.0) -> Withdrawal:
        """Return the withdrawal as soon as it has ended or needs an operator, otherwise as it is after `timeout_s`."""
        return await self._client.wait_for_withdrawal(self.id, timeout_s)

    async def cancel(self) -> Withdrawal:
        """Cancel it while it is pending. Raises NotCancellable once the bank may have been called."""
        return await self._client.cancel_withdrawal(self.id)
