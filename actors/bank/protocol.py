"""What any bank must be able to do for us, and the values that go to and fro."""

from typing import Protocol

import msgspec

from wallet.outcomes import FindOutcome, PayOutcome


class PayoutOrder(msgspec.Struct, frozen=True):
    """One payout to be made: `amount` minor units of `currency`.

    `reference` is our withdrawal id and the idempotency key: however often an order is sent, the bank pays
    once. Nothing else may vary between two sendings, or the bank takes the second for another order.
    """

    reference: str
    amount: int
    currency: str
    destination: str | None = None
    """JSON text, opaque to us."""


class BookEntry(msgspec.Struct, frozen=True):
    """One line of the bank's books."""

    payout_id: str
    reference: str
    amount: int
    currency: str
    status: str
    """`paid`, or `returned` when the money came back to us."""


class BooksPage(msgspec.Struct, frozen=True):
    """Some lines of the bank's books, oldest first."""

    entries: list[BookEntry]
    cursor: str | None
    """Where to read on: now if there is `more`, else later. None only while the books are empty."""
    more: bool


class BooksUnreadable(Exception):
    """The bank's books can't be read now. Nothing follows from it about any payout."""


class CursorUnknown(BooksUnreadable):
    """The bank doesn't know the place we want to read on from: these are other books than before."""


class Bank(Protocol):
    """A bank. `pay` and `find` never raise for anything the bank or the network does: they answer an outcome,
    each within `bank_timeout_ms`.

    A cancelled call re-raises `asyncio.CancelledError`; what the bank made of it is then unknown.
    """

    async def pay(self, order: PayoutOrder) -> PayOutcome:
        """Ask the bank to pay. Safe to repeat with an equal order."""

    async def find(self, order: PayoutOrder) -> FindOutcome:
        """Ask what became of an order, without ordering anything.

        The whole order is needed, not the reference alone: an answer that tells of another amount or currency
        must not settle it.
        """

    async def read_books(self, after: str | None) -> BooksPage:
        """Return the next page of the bank's books, from behind cursor `after` (None: from the start).

        Raises `BooksUnreadable`.
        """

    async def close(self) -> None:
        """Give the connections back."""
