"""Reads the bank's books over HTTP, page by page: what the audit and the reconciliation compare ours with."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import aiohttp
import msgspec

from db.audit import Payout

PAGE = 1_000
_TIMEOUT_S = 10


class _Entry(msgspec.Struct):
    payout_id: str
    reference: str
    amount: int
    currency: str
    status: str
    created_at: datetime


class _Page(msgspec.Struct):
    payouts: list[_Entry]
    next: str | int | None = None


async def pages(bank_url: str) -> AsyncIterator[list[Payout]]:
    """Yield the books from the first entry on, in order, until their end at this moment.

    Raises aiohttp.ClientError, TimeoutError, or msgspec.ValidationError if the bank answers something else.
    """
    after: str | None = None
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        while True:
            query: dict[str, Any] = {"limit": PAGE} if after is None else {"limit": PAGE, "after": after}
            async with session.get(f"{bank_url}/payouts", params=query) as reply:
                reply.raise_for_status()
                page = msgspec.json.decode(await reply.read(), type=_Page)
            yield [
                Payout(e.payout_id, e.reference, e.amount, e.currency, e.status, e.created_at)
                for e in page.payouts
            ]
            if page.next is None or str(page.next) == after:
                return
            after = str(page.next)
