"""Response models of the lists."""

from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.contract.response_models import Withdrawal
from gateway.contract.transfer_models import ChargeNow, Hold, Transfer

NextCursor = Annotated[
    str | None,
    Meta(
        description="Send it as `cursor`, with the same filters, for the next page; null at the end. A page may have "
        "fewer items than `limit`, or none, though more follow."
    ),
]


class ChargesPage(msgspec.Struct):
    """A part of a wallet's charges, newest first."""

    items: list[ChargeNow]
    next_cursor: NextCursor


class TransfersPage(msgspec.Struct):
    """A part of a wallet's transfers, newest first."""

    items: list[Transfer]
    next_cursor: NextCursor


class HoldsPage(msgspec.Struct):
    """A part of the holds, newest first."""

    items: list[Hold]
    next_cursor: NextCursor


class WithdrawalsPage(msgspec.Struct):
    """A part of the withdrawals, newest first."""

    items: list[Withdrawal]
    next_cursor: NextCursor
