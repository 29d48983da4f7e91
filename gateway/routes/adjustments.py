"""POST /operator/adjustments: an operator adds money to a wallet or takes some; GET lists them. Scope `operate`.

With WBS_SECOND_PERSON=1 a request is a proposal, which another person confirms within a week.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from db import adjustments
from db.adjustments import Proposal
from db.lists import LAST_ID
from gateway.contract.adjustment_models import (
    AdjustmentList,
    AdjustmentRequest,
    AdjustmentsQuery,
    adjustment_of,
    proposed_of,
)
from gateway.contract.bodies import JSON
from gateway.contract.cursors import read_cursor
from gateway.contract.operation import RequestBody
from gateway.contract.parameters import NoQuery, ParameterReader, read_id
from gateway.contract.responses import encode
from gateway.routes.operator import cursor, for_all_wallets, operation
from gateway.routes.replays import answer
from gateway.services import Services
from gateway.wire.auth import Caller
from gateway.wire.endpoint import Endpoints
from gateway.wire.request import Request, key_header
from gateway.wire.response import Response
from gateway.wire.transfer_reader import BodyReader, asked_and_key
from wallet.adjustments import CONFIRMED_WITHIN, Adjust
from wallet.commands import OPERATOR
from wallet.errors import AdjustmentNotFound, ValidationFailed
from wallet.ids import uuid7_sequence
from wallet.receipts import AdjustmentReceipt

_EXAMPLE = {
    "user_id": 42,
    "amount": -500,
    "reason": "chargeback 4711 of order 7001",
    "idempotency_key": "chargeback-4711",
}
ADJUST = operation(
    "POST",
    "/adjustments",
    "adjust",
    "Add to a wallet or take from it",
    RequestBody({JSON: (AdjustmentRequest, _EXAMPLE)}),
)
CONFIRM = operation(
    "POST", "/adjustments/{adjustment_id}/confirm", "confirmAdjustment", "Book what another one proposed"
)
ADJUSTMENTS = operation("GET", "/adjustments", "listAdjustments", "Those that are booked, or those that wait")
ADJUSTMENT = operation(
    "GET", "/adjustments/{adjustment_id}", "getAdjustment", "An adjustment, by itself or its proposal"
)


class AdjustmentRoutes:
    """Serves adjustments."""

    def __init__(self, services: Services) -> None:
        self._follow_up = services.ledger.follow_up
        self._reads = services.reads
        self._user_ids = services.user_ids
        self._currency = services.intake.currency_to_read
        self._bodies = BodyReader(AdjustmentRequest, services.user_ids)
        self._list = ParameterReader(AdjustmentsQuery, services.user_ids)
        self._none = ParameterReader(NoQuery, services.user_ids)
        self._by_two = bool(services.settings.second_person)

    def register(self, endpoints: Endpoints) -> None:
        """Add the endpoints."""
        endpoints.add(ADJUST, for_all_wallets(self.adjust))
        endpoints.add(CONFIRM, for_all_wallets(self.confirm))
        endpoints.add(ADJUSTMENTS, for_all_wallets(self.adjustments))
        endpoints.add(ADJUSTMENT, for_all_wallets(self.adjustment))

    async def adjust(self, request: Request, caller: Caller) -> Response:
        """Book an adjustment, or write its proposal down."""
        asked = await self._read(request.body, caller, key_header(request))
        if self._by_two:
            id = next(uuid7_sequence(datetime.now(UTC)))
            proposal = await self._reads.ask(adjustments.propose, id, asked)
            if proposal is not None:
                return await self._told(proposal, status=202)
        return await self._book(asked)

    async def confirm(self, request: Request, caller: Caller, adjustment_id: str) -> Response:
        """Book what another person proposed; again, it is answered alike."""
        id = read_id(adjustment_id, AdjustmentNotFound("no such adjustment"))
        proposal = await self._reads.ask(adjustments.proposal, id)
        if proposal.movement_id is not None:
            return await self._told(proposal)
        return await self._book(proposal.confirmed(_name(caller)))

    async def adjustments(self, request: Request, caller: Caller) -> Response:
        """Return a page, newest first."""
        query = self._list.read(request.query_string)
        before = LAST_ID if query.cursor is None else read_cursor(query.cursor)
        wanted = query.limit + 1
        if query.status == "completed":
            booked = await self._reads.ask(adjustments.all_booked, before, wanted)
            items = [adjustment_of(one, self._user_ids) for one in booked]
        else:
            since = datetime.now(UTC) - CONFIRMED_WITHIN
            waiting = await self._reads.ask(adjustments.proposals, before, wanted, since)
            items = [proposed_of(one, self._user_ids) for one in waiting]
        page = items[: query.limit]
        next_ = page[-1].id if len(items) > query.limit else None
        return Response(encode(AdjustmentList(page, cursor(next_))))

    async def adjustment(self, request: Request, caller: Caller, adjustment_id: str) -> Response:
        """Return an adjustment, by its own identifier or its proposal's."""
        self._none.read(request.query_string)
        id = read_id(adjustment_id, AdjustmentNotFound("no such adjustment"))
        found = await self._reads.ask(adjustments.booked, id)
        if found is not None:
            return Response(encode(adjustment_of(found, self._user_ids)))
        return await self._told(await self._reads.ask(adjustments.proposal, id))

    async def _read(self, body: bytes, caller: Caller, header_keys: Sequence[str]) -> Adjust:
        asked, key = asked_and_key(self._bodies, body, header_keys)
        if asked.amount == 0:
            raise ValidationFailed([("amount", "must not be 0")])
        user_id = str(asked.user_id)
        currency = await self._currency(user_id, asked.currency)
        return Adjust(caller.space, key, user_id, currency, asked.amount, asked.reason, _name(caller))

    async def _book(self, command: Adjust) -> Response:
        recorded = await self._follow_up(command)
        assert isinstance(recorded.receipt, AdjustmentReceipt)
        return answer(encode(adjustment_of(recorded.receipt, self._user_ids)), recorded)

    async def _told(self, proposal: Proposal, status: int = 200) -> Response:
        booked: AdjustmentReceipt | None = None
        if proposal.movement_id is not None:
            booked = await self._reads.ask(adjustments.booked, proposal.movement_id)
        if booked is None:
            return Response(encode(proposed_of(proposal, self._user_ids)), status)
        return Response(encode(adjustment_of(booked, self._user_ids)))


def _name(caller: Caller) -> str:
    return caller.name or OPERATOR
