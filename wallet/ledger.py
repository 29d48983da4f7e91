"""The rows of the ledger and the balances that follow from them, as values.

Every movement of money is one `Transfer`: it debits one account and credits another by the same amount, so the
ledger balances by construction. A wallet's balances are the running sums of its transfers.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from wallet.ids import instant_of, uuid7_sequence


class Account(StrEnum):
    """The accounts that hold money. `available`, `locked` and `held` are the wallet's split.

    `funding` and `bank` are outside; `peer` stands for the other wallets of a transfer, and is zero for each.
    """

    FUNDING = "funding"
    AVAILABLE = "available"
    LOCKED = "locked"
    HELD = "held"
    BANK = "bank"
    PEER = "peer"


class Kind(StrEnum):
    """The reason for a transfer."""

    CHARGE = "charge"
    RELEASE = "release"
    RESERVE = "reserve"
    PAYOUT = "payout"
    REFUND = "refund"
    RETURN = "return"
    ADJUSTMENT = "adjustment"
    REVERSAL = "reversal"
    SEND = "send"
    RECEIVE = "receive"
    HOLD = "hold"
    VOID = "void"
    CAPTURE = "capture"


ACCOUNTS: dict[Kind, tuple[Account, Account]] = {
    Kind.CHARGE: (Account.FUNDING, Account.AVAILABLE),
    Kind.RELEASE: (Account.LOCKED, Account.AVAILABLE),
    Kind.RESERVE: (Account.AVAILABLE, Account.HELD),
    Kind.PAYOUT: (Account.HELD, Account.BANK),
    Kind.REFUND: (Account.HELD, Account.AVAILABLE),
    Kind.RETURN: (Account.BANK, Account.AVAILABLE),
    Kind.ADJUSTMENT: (Account.FUNDING, Account.AVAILABLE),
    Kind.REVERSAL: (Account.AVAILABLE, Account.FUNDING),
    Kind.SEND: (Account.AVAILABLE, Account.PEER),
    Kind.RECEIVE: (Account.PEER, Account.AVAILABLE),
    Kind.HOLD: (Account.AVAILABLE, Account.HELD),
    Kind.VOID: (Account.HELD, Account.AVAILABLE),
    Kind.CAPTURE: (Account.HELD, Account.PEER),
}
"""kind → (debited, credited). Charges and receives with a `release_at` credit `locked` instead; reversals and sends
that take locked money back debit it. An adjustment may go backwards."""

TRANSACTIONS = frozenset({Kind.CHARGE, Kind.RESERVE})
"""The kinds that a wallet counts as its transactions."""

WalletId = tuple[str, str]
"""(user_id, currency)"""


class Transfer(NamedTuple):
    """One row of the ledger; `…_after` is the wallet's split after the transfer, in minor units.

    `made_by` is the name of the API key that requested it; None if there was none.
    """

    id: UUID
    user_id: str
    currency: str
    kind: str
    debit_account: str
    credit_account: str
    amount: int
    available_after: int
    locked_after: int
    held_after: int
    reference: UUID
    release_at: datetime | None
    metadata: str | None
    created_at: datetime
    made_by: str | None
    peer_user_id: str | None = None
    """Against `peer`: the user on the other side; None if there are several."""
    effective_at: datetime | None = None
    """Releases and expired holds: the instant from which they count, which is before `created_at`."""


class MaturedLock(NamedTuple):
    """Money whose time has come, although it is still in `locked` (charges, receives) or `held` (expired holds)."""

    source_id: UUID
    """Of the charge or receive, or of the hold."""
    release_at: datetime
    amount: int
    account: str = Account.LOCKED.value


class Wallet:
    """The balances of one wallet while a batch is decided, and the source of the transfers that change them.

    Each row carries the instant `at` and an identifier that begins with it. A wallet's instants never go back: `at`
    is later than every row that the wallet already had, whatever the clock says by which decisions are made.
    """

    __slots__ = (
        "_before",
        "_ids",
        "_new_ids",
        "at",
        "available",
        "currency",
        "held",
        "locked",
        "matured",
        "matured_complete",
        "open_holds",
        "open_locks",
        "transactions",
        "user_id",
    )

    def __init__(
        self,
        user_id: str,
        currency: str,
        available: int = 0,
        locked: int = 0,
        held: int = 0,
        matured: list[MaturedLock] | None = None,
        matured_complete: bool = True,
        *,
        at: datetime,
        new_ids: Callable[[datetime], Iterator[UUID]] = uuid7_sequence,
    ) -> None:
        self.user_id = user_id
        self.currency = currency
        self.available = available
        self.locked = locked
        self.held = held
        self._before = (available, locked, held)
        self.transactions = 0
        """Number of charges and withdrawals that were added."""
        self.matured = matured or []
        self.matured_complete = matured_complete
        """False if more locks have matured than are listed."""
        self.open_locks = 0
        """Number of locks, with those that were added; counted only where it is limited, as `open_holds`."""
        self.open_holds = 0
        self.at = at
        self._new_ids = new_ids
        self._ids: Iterator[UUID] | None = None

    @property
    def total(self) -> int:
        """All the money of the wallet, in minor units."""
        return self.available + self.locked + self.held

    def change(self) -> tuple[int, int, int, int]:
        """Return the changes of available, locked and held, and the number of added transactions."""
        available, locked, held = self._before
        return self.available - available, self.locked - locked, self.held - held, self.transactions

    def not_before(self, instant: datetime) -> None:
        """Make sure that no row written from here on carries an earlier instant than this."""
        if instant > self.at:
            self.at = instant
            self._ids = None

    def move(
        self,
        kind: Kind,
        amount: int,
        *,
        reference: UUID | None = None,
        release_at: datetime | None = None,
        metadata: str | None = None,
        made_by: str | None = None,
        peer: str | None = None,
        effective_at: datetime | None = None,
        from_locked: bool = False,
        backwards: bool = False,
    ) -> Transfer:
        """Change the balances as `kind` says and return the row that records it.

        The default `reference` is the row's own id. Raises AssertionError, even under `python -O`, if a balance would
        go below zero: the caller must have checked before.
        """
        if amount <= 0:
            raise AssertionError(f"an amount of {amount}")
        debit, credit = ACCOUNTS[kind]
        if backwards:
            debit, credit = credit, debit
        if from_locked:
            debit = Account.LOCKED
        if release_at is not None:
            credit = Account.LOCKED
            self.open_locks += 1
        elif kind is Kind.HOLD:
            self.open_holds += 1
        if kind in TRANSACTIONS:
            self.transactions += 1
        self._add(debit, -amount)
        self._add(credit, amount)
        if min(self.available, self.locked, self.held) < 0:
            raise AssertionError("a balance below zero")
        if self._ids is None:
            self._ids = self._new_ids(self.at)
        id = next(self._ids)
        return Transfer(
            id,
            self.user_id,
            self.currency,
            kind.value,
            debit.value,
            credit.value,
            amount,
            self.available,
            self.locked,
            self.held,
            id if reference is None else reference,
            release_at,
            metadata,
            self.at,
            made_by,
            peer,
            effective_at,
        )

    def release(self, lock: MaturedLock, now: datetime) -> Transfer:
        """Make the money of a matured lock available, and return the row. Raises AssertionError before its time."""
        if lock.release_at > now:
            raise AssertionError(f"a lock until {lock.release_at} was taken for matured")
        kind = Kind.VOID if lock.account == Account.HELD else Kind.RELEASE
        effective_at = max(lock.release_at, instant_of(lock.source_id))
        return self.move(kind, lock.amount, reference=lock.source_id, effective_at=effective_at)

    def _add(self, account: Account, amount: int) -> None:
        if account is Account.AVAILABLE:
            self.available += amount
        elif account is Account.LOCKED:
            self.locked += amount
        elif account is Account.HELD:
            self.held += amount
