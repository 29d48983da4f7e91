"""The client for programs without an event loop. `AsyncClient` has the same methods, to be awaited."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar
from uuid import UUID

import httpx

from wbs_client import endpoints, events, reads, writes
from wbs_client.call import Call, Listing, Part
from wbs_client.event_models import Event
from wbs_client.events import Following
from wbs_client.flow import Pause, Said, Steps, answered, drive, ended
from wbs_client.models import AcceptedWithdrawal, Withdrawal
from wbs_client.target import Target, method_of

P = ParamSpec("P")
T = TypeVar("T")


def _answering(build: Callable[P, Call[T]]) -> Callable[Concatenate["Client", P], T]:
    @method_of(build)
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.send(build(*args, **kwargs))

    return method


def _iterating(build: Callable[P, Listing[T]]) -> Callable[Concatenate["Client", P], Iterator[T]]:
    @method_of(build)
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return self.walk(build(*args, **kwargs))

    return method


def _following(build: Callable[P, Following]) -> Callable[Concatenate["Client", P], Iterator[Event]]:
    @method_of(build)
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Iterator[Event]:
        return self.follow(build(*args, **kwargs))

    return method


def _pending(
    build: Callable[P, Call[AcceptedWithdrawal]],
) -> Callable[Concatenate["Client", P], "PendingWithdrawal"]:
    @method_of(build)
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> "PendingWithdrawal":
        return PendingWithdrawal(self.send(build(*args, **kwargs)), self)

    return method


class Client:
    """The service at `url`. Threads may share it.

    A request is sent again, the same each time, until there is an answer: after a broken connection, 429 and 5xx, with
    growing pauses or after `Retry-After`, for `patience_s` seconds in all. Each try has `timeout_s` seconds. `http`: a
    client of httpx of your own, with your proxies and certificates, which you close.

    Every method raises ApiError (one class per code) and Unanswered.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        patience_s: float = 60.0,
        timeout_s: float = 10.0,
        http: httpx.Client | None = None,
    ) -> None:
        self._target = Target(url, api_key, patience_s, timeout_s)
        self._http = http or httpx.Client()
        self._is_own = http is None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        if self._is_own:
            self._http.close()

    def send(self, call: Call[T]) -> T:
        """Send a call until there is an answer."""
        return self._drive(answered(call, self._target.patience_s))

    def walk(self, listing: Listing[T]) -> Iterator[T]:
        """Iterate over a list, page by page."""
        call: Call[Part[T]] | None = listing.first
        while call is not None:
            part = self.send(call)
            yield from part.items
            call = listing.after(part)

    def follow(self, following: Following) -> Iterator[Event]:
        """Iterate over a stream of events, connecting again and again."""
        while True:
            said: Said = None
            request = self._target.request(self._http, following.call)
            try:
                response = self._http.send(request, stream=True)
                with closing(response):
                    if response.is_success:
                        for chunk in response.iter_bytes():
                            yield from following.take(chunk)
                    else:
                        response.read()
                        said = response
            except httpx.RequestError as error:
                said = error
            time.sleep(following.pause_s(said, self._target.patience_s))

    def _drive(self, steps: Steps[T]) -> T:
        return drive(steps, self._take)

    def _take(self, step: Call[Any] | Pause) -> Said:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        try:
            return self._http.send(self._target.request(self._http, step))
        except httpx.RequestError as error:
            return error

    def wait_for_withdrawal(self, withdrawal_id: UUID | str, timeout_s: float = 60.0) -> Withdrawal:
        """Return a withdrawal as soon as it has ended or needs an operator, otherwise its state after `timeout_s`."""
        return self._drive(ended(withdrawal_id, timeout_s, self._target.patience_s))

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
class PendingWithdrawal:
    """A withdrawal that was accepted. Keep its `id`: any process can ask later for the outcome."""

    accepted: AcceptedWithdrawal
    _client: Client

    @property
    def id(self) -> UUID:
        """The withdrawal's identifier."""
        return self.accepted.withdrawal_id

    def wait(self, timeout_s: float = 60.0) -> Withdrawal:
        """Return the withdrawal as soon as it has ended or needs an operator, otherwise as it is after `timeout_s`."""
        return self._client.wait_for_withdrawal(self.id, timeout_s)

    def cancel(self) -> Withdrawal:
        """Cancel it while it is pending. Raises NotCancellable once the bank may have been called."""
        return self._client.cancel_withdrawal(self.id)
