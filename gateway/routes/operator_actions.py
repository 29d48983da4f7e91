"""POST /operator/…: what operators do. Each action is recorded with the name of the API key."""

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from db import operator_reads, operator_search, operator_writes, stack
from gateway.contract.operator_requests import (
    REPLAYED_MAX,
    ApproveRequest,
    Nothing,
    PauseRequest,
    ReplayRequest,
    SettleRequest,
    read_request,
)
from gateway.contract.parameters import read_id
from gateway.contract.problems import Forbidden
from gateway.contract.responses import encode
from gateway.routes.operator import for_all_wallets, operation
from gateway.services import Services
from gateway.wire.auth import Caller
from gateway.wire.endpoint import Endpoints
from gateway.wire.request import Request
from gateway.wire.response import Response
from wallet.commands import OPERATOR
from wallet.errors import IllegalMove, WalletError, WithdrawalNotFound
from wallet.outcomes import Declined, Paid

AT_ONCE = 100
"""Withdrawals that one request replays; they leave room for others in the transactions that they share."""
BY_HAND = "settled_by_hand"
"""Failure code of a withdrawal that an operator ended as not paid."""

REPLAYS = operation("POST", "/replays", "replayWithdrawals", "Try withdrawals again, at a rate")
REDRIVE = operation("POST", "/withdrawals/{withdrawal_id}/redrive", "redriveWithdrawal", "Ask the bank now")
SETTLE = operation("POST", "/withdrawals/{withdrawal_id}/settle", "settleByHand", "End one by hand")
APPROVE = operation("POST", "/withdrawals/{withdrawal_id}/settle/approve", "approveSettlement", "As proposed")
WITHDRAW = operation(
    "POST", "/withdrawals/{withdrawal_id}/settle/withdraw", "dropSettlement", "Not as proposed"
)
PAUSE = operation("POST", "/payouts/pause", "pausePayouts", "Ask the bank for nothing more")
RESUME = operation("POST", "/payouts/resume", "resumePayouts", "Go on")


class OperatorActionRoutes:
    """Serves what operators do."""

    def __init__(self, services: Services) -> None:
        self._reads = services.reads
        self._withdrawals = services.withdrawals
        self._second_person = bool(services.settings.second_person)

    def register(self, endpoints: Endpoints) -> None:
        """Add the endpoints."""
        endpoints.add(REPLAYS, for_all_wallets(self.replay))
        endpoints.add(REDRIVE, for_all_wallets(self.redrive))
        endpoints.add(SETTLE, for_all_wallets(self.settle))
        endpoints.add(APPROVE, for_all_wallets(self.approve))
        endpoints.add(WITHDRAW, for_all_wallets(self.withdraw))
        endpoints.add(PAUSE, for_all_wallets(self.pause))
        endpoints.add(RESUME, for_all_wallets(self.resume))

    async def replay(self, request: Request, caller: Caller) -> Response:
        """Try up to REPLAYED_MAX withdrawals again; tell whether there are more, and when the next one is due."""
        asked = read_request(ReplayRequest, request.body)
        asked.check()
        ids, more = await self._asked_for(asked)
        gap_s = 0.0 if asked.per_s is None else 1 / asked.per_s
        refused: list[dict[str, Any]] = []
        replayed: list[UUID] = []
        for start in range(0, len(ids), AT_ONCE):
            some = ids[start : start + AT_ONCE]
            delays = [asked.after_s + gap_s * (start + place) for place in range(len(some))]
            answers = await asyncio.gather(
                *(self._replay_one(id, by(caller), delay) for id, delay in zip(some, delays, strict=True))
            )
            for id, refusal in zip(some, answers, strict=True):
                if refusal is None:
                    replayed.append(id)
                else:
                    refused.append({"withdrawal_id": id, "code": refusal.code, "detail": str(refusal)})
        if replayed:
            only = replayed[0] if len(ids) == 1 else None
            reason = asked.failure_code if asked.per_s is None else f"{asked.per_s:g} a second"
            await self._reads.ask(
                operator_writes.note_action, by(caller), "replay", only, reason, len(replayed)
            )
        after_s = asked.after_s + gap_s * len(ids)
        return Response(
            encode(
                {"replayed": len(replayed), "refused": refused, "more": more, "after_s": round(after_s, 3)}
            )
        )

    async def _asked_for(self, asked: ReplayRequest) -> tuple[list[UUID], bool]:
        if asked.ids is not None:
            return list(dict.fromkeys(asked.ids)), False
        filters = operator_search.Filters(
            ("requires_attention",),
            currency=asked.currency,
            failure_code=asked.failure_code,
            oldest_first=True,
        )
        page = await self._reads.ask(operator_search.ids, filters, REPLAYED_MAX)
        return page.ids, page.next is not None

    async def _replay_one(self, id: UUID, made_by: str, delay_s: float) -> WalletError | None:
        try:
            await self._withdrawals.replay(id, made_by, timedelta(seconds=delay_s))
        except (IllegalMove, WithdrawalNotFound) as refusal:
            return refusal
        return None

    async def redrive(self, request: Request, caller: Caller, withdrawal_id: str) -> Response:
        """Have the bank asked about an open withdrawal now, and announce it to the actors again."""
        id = _id(withdrawal_id)
        read_request(Nothing, request.body)
        if not await self._reads.ask(operator_writes.redrive, id):
            found = await self._reads.withdrawal(id)
            raise IllegalMove(f"it is {found.status}: nothing is to be asked any more")
        await self._reads.ask(operator_writes.note_action, by(caller), "ask the bank", id)
        return Response(encode({"status": "asked"}))

    async def settle(self, request: Request, caller: Caller, withdrawal_id: str) -> Response:
        """End a withdrawal that requires attention, or propose how, where a second person has to approve it."""
        id = _id(withdrawal_id)
        asked = read_request(SettleRequest, request.body)
        asked.check()
        if not self._second_person:
            return await self._settle(id, asked, by(caller))
        if caller.name is None:
            raise Forbidden("WBS_SECOND_PERSON=1 needs API keys: without them nobody has a name")
        proposed = await self._reads.ask(
            operator_writes.propose, id, asked.outcome, asked.bank_reference, asked.reason, by(caller)
        )
        if not proposed:
            found = await self._reads.withdrawal(id)
            raise IllegalMove(
                "there is a proposal already"
                if found.status == "requires_attention"
                else f"it is {found.status}; only a withdrawal that requires attention is settled by hand"
            )
        await self._reads.ask(
            operator_writes.note_action, by(caller), f"propose {asked.outcome}", id, asked.reason
        )
        return Response(encode({"status": "proposed"}), 202)

    async def approve(self, request: Request, caller: Caller, withdrawal_id: str) -> Response:
        """End a withdrawal as another operator proposed."""
        id = _id(withdrawal_id)
        approved = read_request(ApproveRequest, request.body)
        proposal = (await self._reads.ask(operator_reads.proposals, [id])).get(id)
        if proposal is None:
            raise IllegalMove("there is no proposal")
        if approved.proposed_at not in (None, proposal.proposed_at):
            raise IllegalMove("there is another proposal by now: look again")
        if caller.name is None or proposal.proposed_by == by(caller):
            raise Forbidden("who proposed it can't approve it")
        asked = SettleRequest(
            "paid" if proposal.outcome == "paid" else "declined", proposal.reason, proposal.bank_reference
        )
        who = f"{by(caller)} as {proposal.proposed_by} proposed"
        return await self._settle(id, asked, by(caller), who, proposal.proposed_at)

    async def withdraw(self, request: Request, caller: Caller, withdrawal_id: str) -> Response:
        """Drop a proposal."""
        id = _id(withdrawal_id)
        read_request(Nothing, request.body)
        if not await self._reads.ask(operator_writes.drop_proposal, id):
            raise IllegalMove("there is no proposal")
        await self._reads.ask(operator_writes.note_action, by(caller), "withdraw the proposal", id)
        return Response(encode({"status": "withdrawn"}))

    async def pause(self, request: Request, caller: Caller) -> Response:
        """Pause payouts."""
        asked = read_request(PauseRequest, request.body)
        await self._reads.ask(stack.pause, by(caller), asked.reason)
        await self._reads.ask(operator_writes.note_action, by(caller), "pause payouts", None, asked.reason, 0)
        return Response(encode({"status": "paused"}))

    async def resume(self, request: Request, caller: Caller) -> Response:
        """Resume payouts."""
        read_request(Nothing, request.body)
        resumed = await self._reads.ask(stack.resume)
        if resumed:
            await self._reads.ask(operator_writes.note_action, by(caller), "resume payouts", None, None, 0)
        return Response(encode({"status": "ok", "was_paused": resumed}))

    async def _settle(
        self,
        id: UUID,
        asked: SettleRequest,
        made_by: str,
        who: str | None = None,
        proposed_at: datetime | None = None,
    ) -> Response:
        """End a withdrawal, and record who did. The history names the operator too."""
        outcome = Declined(BY_HAND) if asked.bank_reference is None else Paid(asked.bank_reference)
        reason = asked.reason if who is None else f"{asked.reason} ({who})"
        status = await self._withdrawals.settle_by_hand(id, outcome, reason, made_by, proposed_at)
        await self._reads.ask(operator_writes.note_action, made_by, f"settle as {asked.outcome}", id, reason)
        return Response(encode({"status": status.value}))


def by(caller: Caller) -> str:
    """Return the operator's name as histories spell it."""
    return OPERATOR if caller.name is None else f"{OPERATOR}:{caller.name}"


def _id(text: str) -> UUID:
    return read_id(text, WithdrawalNotFound("no such withdrawal"))
