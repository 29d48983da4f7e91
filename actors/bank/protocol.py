"""What any bank must be able to do for us, and the values that go to and fro."""

from datetime import datetime
from typing import Protocol

import msgspec

from wallet.outcomes import FindOutcome, PayOutcome


class PayoutOrder(msgspec.Struct, frozen=True):
    """One payout to be made: `amount` minor units of `currency`.

    `reference` is what the bank knows the withdrawal by, and the idempotency key: however often an order is
    sent, the bank pays once. Nothing else may vary between two sendings, or the bank takes the second for
    another order.
    """

    reference: str
    amount: int
    currency: str
    destination: str | None = None
    """JSON text, opaque to us."""
    destination_known: bool = True
    """False of what was adopted from the bank's books: whatever destination a look-up tells is right then."""


WORD_CHARACTERS_MAX = 255
"""Of the bank's words (ids, codes, cursors), visible ones. Longer ones are no answer."""
BOOKS_PAGE_ENTRIES_MAX = 1_000

PAID_STATUSES = frozenset({"paid", "returned"})
BOOK_STATUSES = PAID_STATUSES | {"pending", "declined"}


class BookEntry(msgspec.Struct, frozen=True):
    """One line of the bank's books that could be read and understood."""

    payout_id: str
    reference: str
    amount: int
    """Minor units that were ordered, also where less came back."""
    currency: str
    status: str
    """One of `BOOK_STATUSES`. `pending`: not paid yet. `declined`: not paid, or the bank took it back since."""
    created_at: datetime
    returned_amount: int | None = None
    """Minor units that came back; of a `returned` payout only."""
    code: str | None = None
    """Why it is declined, or came back, where the bank says so."""

    @property
    def is_paid(self) -> bool:
        """True if the money has left the bank, whether or not it came back since."""
        return self.status in PAID_STATUSES


class BooksPage(msgspec.Struct, frozen=True):
    """Some lines of the bank's books, in their order: what is entered later stands behind what was read before.

    At most `BOOKS_PAGE_ENTRIES_MAX` entries.
    """

    entries: list[BookEntry]
    cursor: str | None
    """Where to read on: now if there is `more`, else later. None only while the books are empty."""
    more: bool
    passed_over: tuple[str, ...] = ()
    """Lines that say nothing certain (unreadable, or of an unknown status): what is wrong with each."""


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

    async def find(self, order: PayoutOrder, *, compare_all: bool = False) -> FindOutcome:
        """Look up what became of an order, without ordering anything.

        The whole order is needed, not the reference alone: an answer that tells of another amount, currency
        or destination must not settle it. `compare_all`: an answer that leaves one of them out must not
        either. That is for orders whose reference the bank knows with another body
        (`OutcomeUnknown.conflict`), and for those that a person has to look at anyway.
        """

    async def read_books(self, after: str | None) -> BooksPage:
        """Return the next page of the bank's books, from behind cursor `after` (None: from the start).

        Raises `BooksUnreadable`.
        """

    async def close(self) -> None:
        """Give the connections back."""
