"""GET /charges, /transfers, /holds and /withdrawals: lists by filters, or one object by its idempotency key."""

from typing import Any
from uuid import UUID

from gateway.contract.cursors import cursor_of
from gateway.contract.list_models import ChargesPage, HoldsPage, TransfersPage, WithdrawalsPage
from gateway.contract.list_parameters import (
    ChargesQuery,
    HoldsQuery,
    ListQuery,
    TransfersQuery,
    WithdrawalsQuery,
)
from gateway.contract.operation import READ_ERRORS, OneOf, Operation, ResponseSpec
from gateway.contract.parameters import ParameterReader
from gateway.contract.response_models import Withdrawal
from gateway.contract.responses import encode, withdrawal_of
from gateway.contract.transfer_models import ChargeNow, Hold, Transfer, charge_of, hold_of, transfer_of
from gateway.routes.charges import CHARGE_BY_ID
from gateway.routes.holds import HOLD_BY_ID
from gateway.routes.transfers import TRANSFER_BY_ID
from gateway.routes.withdrawals import RETRY_DOC, WITHDRAWAL, WithdrawalRoutes
from gateway.services import Services
from gateway.wire.auth import Caller
from gateway.wire.endpoint import Endpoints
from gateway.wire.request import Request
from gateway.wire.response import Response
from wallet.errors import ChargeNotFound, HoldNotFound, TransferNotFound
from wallet.ledger import WalletId
from wallet.scopes import Scope

_WALLET_DOC = (
    "Newest first. `user_id` names the wallet, in `currency` (left out: the configured default). Or "
    "`idempotency_key` alone: then the answer is the one object, or 404. Only keys of your own space. "
)
_OF_ALL_DOC = (
    "Without `user_id` (keys that are bound to users can't): those of all wallets, in any currency. "
)
_PAGES_DOC = (
    "Go on with `next_cursor` until it is null: each page costs the same however deep and however few match, so a page "
    "may have fewer than `limit`, or none, though more follow."
)


def _example(operation: Operation, *newer: dict[str, Any]) -> dict[str, Any]:
    """Return a page with the example of a single one, and what is different with newer ones."""
    one = operation.responses[200].example
    return {"items": [*({**one, **other} for other in newer), one], "next_cursor": None}


_LOCKED = {
    "id": "0199d3c0-7f2b-7a10-8000-2d1f6b7a9c02",
    "amount": 2500,
    "release_at": "2100-01-01T00:00:00Z",
    "metadata": None,
    "created_at": "2026-11-22T12:00:00.323456Z",
}


CHARGES = Operation(
    "GET",
    "/charges",
    "Charges",
    "The charges of a wallet, or one by its key",
    description=_WALLET_DOC + _PAGES_DOC,
    id="listCharges",
    query=ChargesQuery,
    responses={
        200: ResponseSpec(
            "A page, or the charge.",
            OneOf("ChargesOrCharge", (ChargesPage, ChargeNow)),
            _example(CHARGE_BY_ID, _LOCKED),
        )
    },
    errors=(*READ_ERRORS, "wallet_not_found", "charge_not_found", "validation_failed"),
    scope=Scope.READ,
)
TRANSFERS = Operation(
    "GET",
    "/transfers",
    "Transfers",
    "The transfers of a wallet, or one by its key",
    description="Those that the wallet has paid, and those that it was paid by. " + _WALLET_DOC + _PAGES_DOC,
    id="listTransfers",
    query=TransfersQuery,
    responses={
        200: ResponseSpec(
            "A page, or the transfer.",
            OneOf("TransfersOrTransfer", (TransfersPage, Transfer)),
            _example(TRANSFER_BY_ID),
        )
    },
    errors=(*READ_ERRORS, "wallet_not_found", "transfer_not_found", "validation_failed"),
    scope=Scope.READ,
)
HOLDS = Operation(
    "GET",
    "/holds",
    "Holds",
    "The holds of a wallet or of all, or one by its key",
    description=_WALLET_DOC + _OF_ALL_DOC + _PAGES_DOC,
    id="listHolds",
    query=HoldsQuery,
    responses={
        200: ResponseSpec(
            "A page, or the hold.", OneOf("HoldsOrHold", (HoldsPage, Hold)), _example(HOLD_BY_ID)
        )
    },
    errors=(*READ_ERRORS, "wallet_not_found", "hold_not_found", "validation_failed"),
    scope=Scope.READ,
)
WITHDRAWALS = Operation(
    "GET",
    "/withdrawals",
    "Withdrawals",
    "The withdrawals of a wallet or of all, or one by its key",
    description="By its key: for when the answer to `POST /withdraw` was lost. "
    + _WALLET_DOC
    + _OF_ALL_DOC
    + _PAGES_DOC,
    id="listWithdrawals",
    query=WithdrawalsQuery,
    responses={
        200: ResponseSpec(
            "A page, or the withdrawal.",
            OneOf("WithdrawalsOrWithdrawal", (WithdrawalsPage, Withdrawal)),
            _example(WITHDRAWAL),
            headers=RETRY_DOC,
        )
    },
    errors=(*READ_ERRORS, "wallet_not_found", "withdrawal_not_found", "validation_failed"),
    scope=Scope.READ,
)


class ListRoutes:
    """Serves the lists."""

    def __init__(self, services: Services, withdrawal_routes: WithdrawalRoutes) -> None:
        self._reads = services.reads
        self._withdrawal_by_key = withdrawal_routes.by_key
        self._user_ids = services.user_ids
        self._currency_to_read = services.intake.currency_to_read
        self._charges = ParameterReader(ChargesQuery, services.user_ids)
        self._transfers = ParameterReader(TransfersQuery, services.user_ids)
        self._holds = ParameterReader(HoldsQuery, services.user_ids)
        self._withdrawals = ParameterReader(WithdrawalsQuery, services.user_ids)

    def register(self, endpoints: Endpoints) -> None:
        """Add the endpoints."""
        endpoints.add(CHARGES, self.charges)
        endpoints.add(TRANSFERS, self.transfers)
        endpoints.add(HOLDS, self.holds)
        endpoints.add(WITHDRAWALS, self.withdrawals)

    async def charges(self, request: Request, caller: Caller) -> Response:
        """Return a page of a wallet's charges, or the one with a key."""
        query = self._charges.read(request.query_string)
        query.check(of_all=False)
        if query.idempotency_key is not None:
            charge = await self._reads.charge_by_key(caller.space, query.key())
            if not caller.owns(charge.receipt.user_id):
                raise ChargeNotFound("no such charge")
            return Response(encode(charge_of(charge.receipt, self._user_ids, charge.reversed)))
        wallet = await self._wallet(query, caller)
        assert wallet is not None
        found, next = await self._reads.charges(wallet, query.span(), query.limit)
        return Response(
            encode(
                ChargesPage(
                    [charge_of(view.receipt, self._user_ids, view.reversed) for view in found], _cursor(next)
                )
            )
        )

    async def transfers(self, request: Request, caller: Caller) -> Response:
        """Return a page of a wallet's transfers, or the one with a key."""
        query = self._transfers.read(request.query_string)
        query.check(of_all=False)
        if query.idempotency_key is not None:
            transfer = (await self._reads.transfer_by_key(caller.space, query.key())).seen_by(caller.owns)
            if transfer is None:
                raise TransferNotFound("no such transfer")
            return Response(encode(transfer_of(transfer.receipt, self._user_ids, transfer.reversed)))
        wallet = await self._wallet(query, caller)
        assert wallet is not None
        all_legs, next = await self._reads.transfers(wallet, query.span(), query.limit, query.type)
        found = filter(None, (view.seen_by(caller.owns) for view in all_legs))
        return Response(
            encode(
                TransfersPage(
                    [transfer_of(view.receipt, self._user_ids, view.reversed) for view in found],
                    _cursor(next),
                )
            )
        )

    async def holds(self, request: Request, caller: Caller) -> Response:
        """Return a page of the holds, or the one with a key."""
        query = self._holds.read(request.query_string)
        query.check(of_all=caller.user_prefix is None)
        if query.idempotency_key is not None:
            hold = await self._reads.hold_by_key(caller.space, query.key())
            if not caller.owns(hold.user_id):
                raise HoldNotFound("no such hold")
            return Response(encode(hold_of(hold, self._user_ids)))
        found, next = await self._reads.holds(
            await self._wallet(query, caller), query.span(), query.limit, query.status
        )
        return Response(encode(HoldsPage([hold_of(hold, self._user_ids) for hold in found], _cursor(next))))

    async def withdrawals(self, request: Request, caller: Caller) -> Response:
        """Return a page of the withdrawals, or the one with a key, as it is now, or when it has ended."""
        query = self._withdrawals.read(request.query_string)
        query.check(of_all=caller.user_prefix is None)
        if query.idempotency_key is not None:
            return await self._withdrawal_by_key(caller, query.key(), query.wait)
        found, next = await self._reads.withdrawals(
            await self._wallet(query, caller), query.span(), query.limit, query.status
        )
        return Response(
            encode(WithdrawalsPage([withdrawal_of(view, self._user_ids) for view in found], _cursor(next)))
        )

    async def _wallet(self, query: ListQuery, caller: Caller) -> WalletId | None:
        """Return the wallet that is asked for; None: all. Raises WalletNotFound for another's."""
        if query.user_id is None:
            return None
        caller.require_own(query.user_id)
        return query.user_id, await self._currency_to_read(query.user_id, query.currency)


def _cursor(next: UUID | None) -> str | None:
    return None if next is None else cursor_of(next)
