"""A decision about a batch: the outcomes, and the rows to be written."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from wallet.errors import WalletError
from wallet.ledger import Transfer, WalletId
from wallet.receipts import HoldReceipt, Recorded, WithdrawReceipt
from wallet.traces import Trace


class NewKey(NamedTuple):
    """An idempotency key to be written together with its movement."""

    space: str
    key: str
    fingerprint: bytes


class NewLeg(NamedTuple):
    """A leg of a transfer to be written, with the row in the payee's books."""

    transfer_id: UUID
    from_user_id: str
    leg: int
    to_user_id: str
    currency: str
    amount: int
    release_at: datetime | None
    receive_id: UUID


class NewLock(NamedTuple):
    """Money that will be released at an instant: the columns of `locks`."""

    user_id: str
    currency: str
    release_at: datetime
    source_id: UUID
    amount: int
    account: str


class NewHold(NamedTuple):
    """A hold to be written: its receipt, and the API key that placed it."""

    receipt: HoldReceipt
    made_by: str | None


class NewWithdrawal(NamedTuple):
    """A withdrawal to be written: its receipt, the API key that sent it, the end of its bank reference, its trace."""

    receipt: WithdrawReceipt
    made_by: str | None
    reference_end: str
    trace: Trace | None = None


class ReleasesNeeded(NamedTuple):
    """Not decided: more locks have matured than were listed, and the request may need them to be accepted."""

    wallet: WalletId
    amount: int
    """Minor units that must be available before the next try, unless all matured locks have been released."""


@dataclass(slots=True)
class Decision:
    """The outcomes, in the order of the requests, and the rows to be written."""

    outcomes: list[Recorded | WalletError | ReleasesNeeded] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)
    keys: dict[UUID, NewKey] = field(default_factory=dict)
    """The key of each charge and reserve, by the movement's identifier."""
    withdrawals: list[NewWithdrawal] = field(default_factory=list)
    locks: list[NewLock] = field(default_factory=list)
    legs: list[NewLeg] = field(default_factory=list)
    holds: list[NewHold] = field(default_factory=list)
    releases: list[Transfer] = field(default_factory=list)
    """Releases and expiries among the transfers: their locks end."""
