"""GET /wallets/{user_id}: all wallets of a user; GET a wallet's statement, in pages or as a CSV file."""

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import NamedTuple

from db.statements import Split
from gateway.contract.bodies import JSON
from gateway.contract.cursors import read_statement_cursor, statement_cursor_of
from gateway.contract.operation import READ_ERRORS, USER, Operation, ResponseSpec
from gateway.contract.parameters import BEGINNING, ParameterReader, WalletsQuery, within_books
from gateway.contract.responses import encode
from gateway.contract.statement_models import (
    CSV,
    CSV_COLUMNS,
    Statement,
    StatementQuery,
    UserWallets,
    csv_lines,
    csv_of,
    csv_of_split,
    entry_of,
    split_of,
)
from gateway.routes.balances import BalanceRoutes, refuse_archived, require_whole
from gateway.services import Services
from gateway.wire.auth import Caller
from gateway.wire.endpoint import Endpoints
from gateway.wire.request import Request, wants
from gateway.wire.response import Response
from gateway.wire.streamed_response import StreamedResponse
from wallet.errors import HistoryArchived, ValidationFailed
from wallet.ledger import WalletId
from wallet.positions import Position, position_after, position_at
from wallet.scopes import Scope

CSV_PAGE = 1_000
"""Entries per piece of a CSV file, each read by itself: so many are in memory at a time."""

_BALANCE = {
    "user_id": USER,
    "currency": "USD",
    "total": 7500,
    "withdrawable": 5000,
    "locked": 2500,
    "held": 0,
}
_NOTHING = {"total": 0, "withdrawable": 0, "locked": 0, "held": 0}
_FIRST = {"total": 5000, "withdrawable": 5000, "locked": 0, "held": 0}
_BOTH = {"total": 7500, "withdrawable": 5000, "locked": 2500, "held": 0}
_IDS = ("0199d3c0-7e1a-7c3e-8000-2d1f6b7a9c01", "0199d3c0-7f2b-7a10-8000-2d1f6b7a9c02")
_ENTRY = {
    "id": _IDS[0],
    "kind": "charge",
    "amount": 5000,
    "effect": {"withdrawable": 5000, "locked": 0, "held": 0},
    "balance_after": _FIRST,
    "reference": _IDS[0],
    "counterparty": None,
    "by": "shop",
    "created_at": "2026-11-22T12:00:00.123456Z",
}
_STATEMENT = {
    "user_id": USER,
    "currency": "USD",
    "from": None,
    "to": "2026-11-22T12:00:01Z",
    "opening": _NOTHING,
    "closing": _BOTH,
    "entries": [
        _ENTRY,
        {
            **_ENTRY,
            "id": _IDS[1],
            "amount": 2500,
            "effect": {"withdrawable": 0, "locked": 2500, "held": 0},
            "balance_after": _BOTH,
            "reference": _IDS[1],
            "created_at": "2026-11-22T12:00:00.323456Z",
        },
    ],
    "next_cursor": None,
}

WALLETS = Operation(
    "GET",
    "/wallets/{user_id}",
    "Balances",
    "All wallets of a user",
    description="By currency; none if nothing was ever charged. `at` any instant of the past: those that there were.",
    id="getWallets",
    query=WalletsQuery,
    responses={200: ResponseSpec("As they are.", UserWallets, {"user_id": USER, "wallets": [_BALANCE]})},
    errors=(*READ_ERRORS, "wallet_not_found", "history_archived", "validation_failed"),
    scope=Scope.READ,
)
STATEMENT = Operation(
    "GET",
    "/wallets/{user_id}/entries",
    "Balances",
    "The statement of a wallet",
    description="Every movement from `from` on and before `to`, oldest first in the order in which it counts, with its "
    "effect and the split after it: `opening` plus all effects is `closing`. The end of a lock and the expiry of a "
    "hold count from their very instant. Asked again, it is the same. `Accept: text/csv` gives all of it as one file, "
    "whose last line is `closing`: without that it was cut off. A name in it that a spreadsheet would take for a "
    "formula has an apostrophe before it.",
    id="getStatement",
    headers={"Accept": "`text/csv` for a file."},
    query=StatementQuery,
    responses={200: ResponseSpec("A page, or the file.", Statement, _STATEMENT, media_types=(JSON, CSV))},
    errors=(*READ_ERRORS, "wallet_not_found", "history_archived", "validation_failed"),
    scope=Scope.READ,
)


class _Asked(NamedTuple):
    """A wallet's statement from `start` on and before `end`."""

    wallet: WalletId
    start: datetime
    end: datetime
    told_from: datetime | None
    """The start as it is told: None for the beginning of the books."""


class WalletRoutes:
    """Serves the wallets of users, and their statements."""

    def __init__(self, services: Services, balance_routes: BalanceRoutes) -> None:
        self._wallets_of = balance_routes.wallets
        self._reads = services.reads
        self._user_ids = services.user_ids
        self._currency_to_read = services.intake.currency_to_read
        self._wallets = ParameterReader(WalletsQuery, services.user_ids)
        self._statement = ParameterReader(StatementQuery, services.user_ids)

    def register(self, endpoints: Endpoints) -> None:
        """Add the endpoints."""
        endpoints.add(WALLETS, self.wallets)
        endpoints.add(STATEMENT, self.statement)

    async def wallets(self, request: Request, caller: Caller, **path: str) -> Response:
        """Return all wallets of a user."""
        query = self._wallets.read(request.query_string, **path)
        caller.require_own(query.user_id)
        return Response(encode(await self._wallets_of(query.user_id, query.at)))

    async def statement(self, request: Request, caller: Caller, **path: str) -> Response:
        """Return a page of a wallet's statement, or all of it as a CSV file."""
        query = self._statement.read(request.query_string, **path)
        caller.require_own(query.user_id)
        as_file = wants(request, CSV)
        if as_file and query.cursor is not None:
            raise ValidationFailed([("cursor", "is not for files: they have all entries")])
        try:
            return await self._told(query, as_file)
        except HistoryArchived:
            if query.from_ is not None:
                raise
        return await self._told(query, as_file)  # an archive has just begun: the wallet's books begin later

    async def _told(self, query: StatementQuery, as_file: bool) -> Response:
        asked, position = await self._asked(query)
        opening = await self._split(asked.wallet, position_at(asked.start))
        closing = await self._split(asked.wallet, position_at(asked.end))
        if as_file:
            await require_whole(self._reads, asked.wallet, asked.start)
            return StreamedResponse(
                self._file(asked, opening, closing),
                f"{CSV}; charset=utf-8",
                {"content-disposition": 'attachment; filename="statement.csv"'},
            )
        split = opening if position is None else await self._split(asked.wallet, position)
        page = await self._reads.entries(
            asked.wallet, position or position_at(asked.start), asked.end, split, query.limit
        )
        await require_whole(self._reads, asked.wallet, asked.start)
        next_cursor = None if page.last is None else statement_cursor_of(*page.last, asked.end)
        return Response(
            encode(
                Statement(
                    self._user_ids.back(query.user_id),
                    asked.wallet[1],
                    asked.told_from,
                    asked.end,
                    split_of(opening),
                    split_of(closing),
                    [entry_of(entry, self._user_ids) for entry in page.items],
                    next_cursor,
                )
            )
        )

    async def _split(self, wallet: WalletId, position: Position) -> Split:
        return await self._reads.split(wallet, position) or Split()

    async def _asked(self, query: StatementQuery) -> tuple[_Asked, Position | None]:
        """Return what is asked for, and the position that a cursor names. Raises ValidationFailed, HistoryArchived."""
        wallet = query.user_id, await self._currency_to_read(query.user_id, query.currency)
        whole_from = await self._reads.archived_before(wallet)
        start = (whole_from or BEGINNING) if query.from_ is None else within_books(query.from_)
        refuse_archived(whole_from, start)
        if query.cursor is None:
            end = now = await self._reads.settled(wallet)
            if query.to is not None:
                if query.to > now:
                    raise ValidationFailed([("to", "must not be in the future")])
                end = within_books(query.to)
            position = None
        else:
            last, at, end = read_statement_cursor(query.cursor)
            if query.to is not None and query.to != end:
                raise ValidationFailed([("to", "is another than that of the cursor")])
            position = position_after(last, at)
            refuse_archived(whole_from, position.at)
        if start >= end or (position is not None and position.at < start):
            raise ValidationFailed([("from", "must be before to, and with a cursor the same as before")])
        return _Asked(wallet, start, end, query.from_ or whole_from), position

    async def _file(self, asked: _Asked, opening: Split, closing: Split) -> AsyncGenerator[bytes, None]:
        yield csv_lines([CSV_COLUMNS, csv_of_split("opening", opening, asked.told_from)])
        position: Position | None = position_at(asked.start)
        split = opening
        while position is not None:
            page = await self._reads.entries(asked.wallet, position, asked.end, split, CSV_PAGE)
            if page.items:
                yield csv_lines(map(csv_of, page.items))
            split = page.closing
            position = None if page.last is None else position_after(*page.last)
        await require_whole(self._reads, asked.wallet, asked.start)
        assert split == closing
        yield csv_lines([csv_of_split("closing", closing, asked.end)])
