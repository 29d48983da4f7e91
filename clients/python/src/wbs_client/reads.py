"""What can be asked for: each function returns the request. They are the methods of both clients."""

from dataclasses import replace
from datetime import datetime
from typing import TypeVar
from uuid import UUID

import httpx
import msgspec

from wbs_client.call import Call, Listing, Part, as_json, listing, params, part, segment
from wbs_client.enumerations import HoldStatus, TransactionKind, TransferDirection, WithdrawalStatus
from wbs_client.models import (
    Balance,
    ChargeNow,
    CurrencyList,
    Health,
    Hold,
    Page,
    Statement,
    StatementEntry,
    Transaction,
    TransactionsPage,
    Transfer,
    UserId,
    UserWallets,
    Withdrawal,
)

T = TypeVar("T")
Id = UUID | str

PAGE = 100
"""Items on a page of a list that is read to its end."""


def _get(operation: str, path: str, kind: type[T], **query: object) -> Call[T]:
    return Call(operation=operation, method="GET", path=path, read=as_json(kind), params=params(**query))


def _waiting(call: Call[T], wait_s: float) -> Call[T]:
    """Return the call that the service may answer later, for up to `wait_s` seconds."""
    if not wait_s:
        return call
    return replace(call, params={**call.params, **params(wait=wait_s)}, waits_s=wait_s)


def _list(operation: str, path: str, kind: type[Page[T]], **query: object) -> Listing[T]:
    return listing(operation, path, kind, params(**query, limit=PAGE))


# --- Wallets ---


def balance(user_id: UserId, *, currency: str | None = None, at: datetime | None = None) -> Call[Balance]:
    """Return how a wallet's money is split, now or at an instant of the past. A user without a wallet has zeros."""
    return _get("getBalance", f"/balance/{segment(user_id)}", Balance, currency=currency, at=at)


def wallets(user_id: UserId, *, at: datetime | None = None) -> Call[UserWallets]:
    """Return all wallets of a user, in all currencies."""
    return _get("getWallets", f"/wallets/{segment(user_id)}", UserWallets, at=at)


def statement(
    user_id: UserId,
    *,
    currency: str | None = None,
    from_: datetime | None = None,
    to: datetime | None = None,
    limit: int = PAGE,
    cursor: str | None = None,
) -> Call[Statement]:
    """Return a page of a wallet's statement, with the opening and the closing balance of the whole time."""
    path = f"/wallets/{segment(user_id)}/entries"
    query = {"currency": currency, "from_": from_, "to": to, "limit": limit, "cursor": cursor}
    return _get("getStatement", path, Statement, **query)


def entries(
    user_id: UserId,
    *,
    currency: str | None = None,
    from_: datetime | None = None,
    to: datetime | None = None,
) -> Listing[StatementEntry]:
    """Iterate over the entries of a wallet's statement, the oldest first."""
    whole = statement(user_id, currency=currency, from_=from_, to=to)

    def read(response: httpx.Response) -> Part[StatementEntry]:
        page = whole.read(response)
        return part(page.entries, page.next_cursor)

    return Listing(
        Call(operation=whole.operation, method="GET", path=whole.path, read=read, params=whole.params)
    )


def statement_csv(
    user_id: UserId,
    *,
    currency: str | None = None,
    from_: datetime | None = None,
    to: datetime | None = None,
) -> Call[str]:
    """Return all of a wallet's statement as one CSV file, in memory. Raises Unanswered if it was cut off."""

    def read(response: httpx.Response) -> str:
        last_line = response.text.rstrip("\r\n").rpartition("\n")[2]
        if not last_line.startswith(",closing,"):
            raise ValueError("the file was cut off")
        return response.text

    query = params(currency=currency, from_=from_, to=to)
    path = f"/wallets/{segment(user_id)}/entries"
    return Call(operation="getStatement", method="GET", path=path, read=read, params=query, accept="text/csv")


def transactions(
    user_id: UserId,
    *,
    currency: str | None = None,
    type: TransactionKind | str | None = None,
    status: WithdrawalStatus | str | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
) -> Listing[Transaction]:
    """Iterate over a wallet's charges and withdrawals, the newest first."""

    def read(response: httpx.Response) -> Part[Transaction]:
        page = msgspec.json.decode(response.content, type=TransactionsPage)
        return part(page.transactions, page.next_cursor)

    query = params(
        currency=currency,
        type=type,
        status=status,
        created_from=created_from,
        created_to=created_to,
        limit=PAGE,
    )
    path = f"/transactions/{segment(user_id)}"
    return Listing(Call(operation="listTransactions", method="GET", path=path, read=read, params=query))


# --- Charges, transfers, holds ---


def get_charge(charge_id: Id) -> Call[ChargeNow]:
    """Return a charge as it is now."""
    return _get("getCharge", f"/charges/{segment(charge_id)}", ChargeNow)


def find_charge(idempotency_key: str) -> Call[ChargeNow]:
    """Return the charge that was made under a key. Raises ChargeNotFound."""
    return _get("listCharges", "/charges", ChargeNow, idempotency_key=idempotency_key)


def charges(
    user_id: UserId,
    *,
    currency: str | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
) -> Listing[ChargeNow]:
    """Iterate over a wallet's charges, the newest first."""
    query = {"currency": currency, "created_from": created_from, "created_to": created_to}
    return _list("listCharges", "/charges", Page[ChargeNow], user_id=user_id, **query)


def get_transfer(transfer_id: Id) -> Call[Transfer]:
    """Return a transfer as it is now."""
    return _get("getTransfer", f"/transfers/{segment(transfer_id)}", Transfer)


def find_transfer(idempotency_key: str) -> Call[Transfer]:
    """Return the transfer that was made under a key. Raises TransferNotFound."""
    return _get("listTransfers", "/transfers", Transfer, idempotency_key=idempotency_key)


def transfers(
    user_id: UserId,
    *,
    currency: str | None = None,
    type: TransferDirection | str | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
) -> Listing[Transfer]:
    """Iterate over a wallet's transfers, the newest first; `type`: only those it sent, or received."""
    query = {"currency": currency, "type": type, "created_from": created_from, "created_to": created_to}
    return _list("listTransfers", "/transfers", Page[Transfer], user_id=user_id, **query)


def get_hold(hold_id: Id) -> Call[Hold]:
    """Return a hold as it is now."""
    return _get("getHold", f"/holds/{segment(hold_id)}", Hold)


def find_hold(idempotency_key: str) -> Call[Hold]:
    """Return the hold that was placed under a key. Raises HoldNotFound."""
    return _get("listHolds", "/holds", Hold, idempotency_key=idempotency_key)


def holds(
    user_id: UserId | None = None,
    *,
    currency: str | None = None,
    status: HoldStatus | str | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
) -> Listing[Hold]:
    """Iterate over the holds of a wallet, or of all wallets, the newest first."""
    query = {"currency": currency, "status": status, "created_from": created_from, "created_to": created_to}
    return _list("listHolds", "/holds", Page[Hold], user_id=user_id, **query)


# --- Withdrawals ---


def get_withdrawal(withdrawal_id: Id, *, wait: float = 0) -> Call[Withdrawal]:
    """Return a withdrawal as it is now, or as it is after `wait` seconds (30 at most), unless it ends before."""
    return _waiting(_get("getWithdrawal", f"/withdrawals/{segment(withdrawal_id)}", Withdrawal), wait)


def watch_withdrawal(withdrawal_id: Id, wait: float) -> Call[tuple[Withdrawal, float]]:
    """Return a withdrawal as `get_withdrawal` does, and how many seconds later it is worth asking again."""

    def read(response: httpx.Response) -> tuple[Withdrawal, float]:
        withdrawal = msgspec.json.decode(response.content, type=Withdrawal)
        return withdrawal, float(response.headers.get("retry-after") or 1)

    path = f"/withdrawals/{segment(withdrawal_id)}"
    asked = Call(operation="getWithdrawal", method="GET", path=path, read=read)
    return _waiting(asked, wait)


def find_withdrawal(idempotency_key: str, *, wait: float = 0) -> Call[Withdrawal]:
    """Return the withdrawal that was accepted under a key; `wait` as above. Raises WithdrawalNotFound."""
    by_key = _get("listWithdrawals", "/withdrawals", Withdrawal, idempotency_key=idempotency_key)
    return _waiting(by_key, wait)


def withdrawals(
    user_id: UserId | None = None,
    *,
    currency: str | None = None,
    status: WithdrawalStatus | str | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
) -> Listing[Withdrawal]:
    """Iterate over the withdrawals of a wallet, or of all wallets, the newest first."""
    query = {"currency": currency, "status": status, "created_from": created_from, "created_to": created_to}
    return _list("listWithdrawals", "/withdrawals", Page[Withdrawal], user_id=user_id, **query)


# --- The service ---


def currencies() -> Call[CurrencyList]:
    """Return the currencies that are taken."""
    return _get("listCurrencies", "/currencies", CurrencyList)


def health() -> Call[Health]:
    """Return how the service is."""
    return replace(_get("getHealth", "/health", Health), good=(503,))
