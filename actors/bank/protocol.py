"""The protocol that every bank module implements, and its values."""

from datetime import datetime
from typing import Protocol

import msgspec

from wallet.outcomes import FindOutcome, PayOutcome
from wallet.traces import Trace


class PayoutOrder(msgspec.Struct, frozen=True):
    """One payout to be made: `amount` minor units of `currency`.

    `reference` identifies the withdrawal at the bank and is also the idempotency key: however often an order is sent,
    the bank pays once. All the other fields must stay the same when it is sent again; otherwise the bank takes the
    second for another order.
    """

    reference: str
    amount: int
    currency: str
    destination: str | None = None
    """JSON text, opaque to us."""
    destination_known: bool = True
    """False for a withdrawal adopted from the bank's books: any destination in a look-up's answer is then right."""
    trace: Trace | None = None
    """No part of the order: the request that it comes from, told to the bank in headers."""


WORD_CHARACTERS_MAX = 255
"""Maximum length of the bank's words (ids, codes, cursors), in visible characters. A longer word is no answer."""
BOOKS_PAGE_ENTRIES_MAX = 1_000

PAID_STATUSES = frozenset({"paid", "returned"})
BOOK_STATUSES = PAID_STATUSES | {"pending", "declined"}


class BookEntry(msgspec.Struct, frozen=True):
    """One readable line of the bank's books."""

    payout_id: str
    reference: str
    amount: int
    """Minor units that were ordered, even if less came back."""
    currency: str
    status: str
    """One of `BOOK_STATUSES`. `pending`: not paid yet. `declined`: not paid, or paid and then reversed by the bank."""
    created_at: datetime
    returned_amount: int | None = None
    """Minor units that came back; only for a `returned` payout."""
    code: str | None = None
    """The reason of the decline or return, if the bank gives one."""

    @property
    def is_paid(self) -> bool:
        """True if the money has left the bank, whether or not it came back later."""
        return self.status in PAID_STATUSES


class BooksPage(msgspec.Struct, frozen=True):
    """A page of the bank's books, in their order: later entries always come after those already read.

    A page has at most `BOOKS_PAGE_ENTRIES_MAX` entries.
    """

    entries: list[BookEntry]
    cursor: str | None
    """The position of the next page: read on now if there is `more`, otherwise later. None only for empty books."""
    more: bool
    passed_over: tuple[str, ...] = ()
    """Lines that say nothing certain (unreadable, or of an unknown status): the fault of each."""


class BooksUnreadable(Exception):
    """The bank's books can't be read now. This says nothing about any payout."""


class CursorUnknown(BooksUnreadable):
    """The bank doesn't know the cursor: these are not the same books as before."""


class Bank(Protocol):
    """A bank. `pay` and `find` never raise because of the bank or the network: each returns an outcome within
    `bank_timeout_ms`.

    A cancelled call re-raises `asyncio.CancelledError`; its outcome at the bank is then unknown.
    """

    async def pay(self, order: PayoutOrder) -> PayOutcome:
        """Ask the bank to pay. Safe to repeat with an equal order."""

    async def find(self, order: PayoutOrder, *, compare_all: bool = False) -> FindOutcome:
        """Look up the outcome of an order, without ordering anything.

        The whole order is needed, not only the reference: an answer with another amount, currency or destination must
        not settle it. With `compare_all`, an answer that omits one of them must not settle it either. This is for
        orders whose reference the bank knows with another body (`OutcomeUnknown.conflict`), and for orders that a
        person must look at anyway.
        """

    async def read_books(self, after: str | None) -> BooksPage:
        """Return the next page of the bank's books, from after cursor `after` (None: from the start).

        Raises `BooksUnreadable`.
        """

    async def close(self) -> None:
        """Give the connections back."""
