"""GET /operator/…: what operators see in the console and with `wbs`. For keys of scope `operate` bound to no users."""

import asyncio
from datetime import UTC, datetime
from time import monotonic
from uuid import UUID

from db import heartbeats, operator_reads, operator_search, reads
from gateway.contract.cursors import cursor_of
from gateway.contract.operation import Operation, RequestBody
from gateway.contract.operator_models import (
    DeadLetters,
    Listed,
    Now,
    bank_of,
    now_of,
    one_withdrawal_of,
    plain,
    processes_of,
    withdrawals_of,
)
from gateway.contract.operator_parameters import (
    DeadLettersQuery,
    LocksQuery,
    OperatorWithdrawalsQuery,
    ids_of,
)
from gateway.contract.parameters import NoQuery, ParameterReader, read_id
from gateway.contract.problems import Forbidden
from gateway.contract.response_models import Currency
from gateway.contract.responses import encode
from gateway.services import Services
from gateway.wire.auth import Caller
from gateway.wire.endpoint import Endpoints, Handler
from gateway.wire.request import Request
from gateway.wire.response import Response
from runtime.address_rules import simulator_url
from runtime.identity import our_version
from wallet.errors import WithdrawalNotFound
from wallet.scopes import Scope

FRESH_S = 0.9
"""An overview is used for all requests within this time."""


def operation(method: str, path: str, id: str, summary: str, body: RequestBody | None = None) -> Operation:
    """Return an endpoint for operators. They are described in docs/OPERATIONS.md, not in the API's document."""
    return Operation(
        method,
        f"/operator{path}",
        "Operator",
        summary,
        {},
        id=id,
        body=body,
        scope=Scope.OPERATE,
        documented=False,
    )


ABOUT = operation("GET", "/about", "aboutOperator", "What this stack is and what the key may do")
OVERVIEW = operation("GET", "/overview", "showOverview", "How everything stands")
WITHDRAWALS = operation("GET", "/withdrawals", "searchWithdrawals", "Withdrawals by filters, or by any name")
WITHDRAWAL = operation("GET", "/withdrawals/{withdrawal_id}", "showWithdrawal", "All that happened to one")
DEAD_LETTERS = operation("GET", "/dead-letters", "showDeadLetters", "Those that require attention, and why")
PROCESSES = operation("GET", "/processes", "showProcesses", "Each process, as it last reported")
LOCKS = operation("GET", "/locks", "showLocks", "What of a wallet is locked, and until when")
BANK = operation("GET", "/bank", "showBank", "The bank's books, compared with ours")


class OperatorRoutes:
    """Serves what operators see."""

    def __init__(self, services: Services) -> None:
        self._reads = services.reads
        self._user_ids = services.user_ids
        self._currencies = services.intake.currencies
        self._withdrawals = ParameterReader(OperatorWithdrawalsQuery, services.user_ids)
        self._dead_letters = ParameterReader(DeadLettersQuery, services.user_ids)
        self._none = ParameterReader(NoQuery, services.user_ids)
        settings = services.settings
        self._is_simulator = settings.bank_url == simulator_url(settings.bank_port)
        self._second_person = bool(settings.second_person)
        self._locks = ParameterReader(LocksQuery, services.user_ids)
        self._overview: Now | None = None
        self._overview_at = 0.0
        self._looking = asyncio.Lock()

    def register(self, endpoints: Endpoints) -> None:
        """Add the endpoints."""
        endpoints.add(ABOUT, for_all_wallets(self.about))
        endpoints.add(OVERVIEW, for_all_wallets(self.overview))
        endpoints.add(WITHDRAWALS, for_all_wallets(self.withdrawals))
        endpoints.add(WITHDRAWAL, for_all_wallets(self.withdrawal))
        endpoints.add(DEAD_LETTERS, for_all_wallets(self.dead_letters))
        endpoints.add(PROCESSES, for_all_wallets(self.processes))
        endpoints.add(BANK, for_all_wallets(self.bank))
        endpoints.add(LOCKS, for_all_wallets(self.locks))

    async def about(self, request: Request, caller: Caller) -> Response:
        """Return what the console needs to know before anything else."""
        self._none.read(request.query_string)
        listed = [Currency(code, exponent) for code, exponent in self._currencies.exponents.items()]
        about = {
            "version": our_version(),
            "by": caller.name,
            "scopes": sorted(scope.value for scope in caller.scopes),
            "currencies": listed,
            "default_currency": self._currencies.default,
            "development": caller.name is None,
            "simulator": caller.name is None and self._is_simulator,
            "second_person": self._second_person,
        }
        return Response(encode(about))

    async def overview(self, request: Request, caller: Caller) -> Response:
        """Return how everything stands, at most FRESH_S old: many consoles cost no more than one."""
        self._none.read(request.query_string)
        async with self._looking:
            if self._overview is None or monotonic() - self._overview_at > FRESH_S:
                found = await self._reads.ask(operator_reads.overview)
                self._overview, self._overview_at = now_of(found, datetime.now(UTC)), monotonic()
        return Response(encode(self._overview))

    async def withdrawals(self, request: Request, caller: Caller) -> Response:
        """Return a page of withdrawals by filters, or those that a text names."""
        query = self._withdrawals.read(request.query_string)
        filters, span = query.filters(), query.span()
        if query.q is not None:
            named = await self._reads.ask(operator_search.named, query.q.strip())
            if named.found_by or not named.is_user:
                views = await self._reads.ask(reads.withdrawals, ids_of(named.found_by))
                items = withdrawals_of(views, self._user_ids)
                return Response(encode(Listed(items, None, named.found_by, named.is_user)))
            filters = filters._replace(user_id=query.q.strip())
        found = await self._reads.ask(operator_search.search, filters, query.limit, span)
        items = withdrawals_of(found.items, self._user_ids)
        return Response(encode(Listed(items, cursor(found.next), is_user=query.q is not None)))

    async def withdrawal(self, request: Request, caller: Caller, withdrawal_id: str) -> Response:
        """Return a withdrawal, and all that happened to it."""
        self._none.read(request.query_string)
        id = read_id(withdrawal_id, WithdrawalNotFound("no such withdrawal"))
        found = await self._reads.ask(operator_reads.withdrawal_in_full, id)
        return Response(encode(one_withdrawal_of(found, self._user_ids)))

    async def dead_letters(self, request: Request, caller: Caller) -> Response:
        """Return withdrawals that require attention, the oldest first, and the totals by reason."""
        query = self._dead_letters.read(request.query_string)
        reasons, found = await asyncio.gather(
            self._reads.ask(operator_reads.attention_sums),
            self._reads.ask(operator_search.search, query.filters(), query.limit, query.span()),
        )
        proposals = await self._reads.ask(operator_reads.proposals, [view.id for view in found.items])
        return Response(
            encode(
                DeadLetters(
                    [plain(sum_) for sum_ in reasons],
                    withdrawals_of(found.items, self._user_ids),
                    cursor(found.next),
                    [plain(proposal) for proposal in proposals.values()],
                )
            )
        )

    async def processes(self, request: Request, caller: Caller) -> Response:
        """Return the processes that reported within ten minutes."""
        self._none.read(request.query_string)
        return Response(encode(processes_of(await self._reads.ask(heartbeats.heartbeats))))

    async def bank(self, request: Request, caller: Caller) -> Response:
        """Return how the bank's books compare with ours."""
        self._none.read(request.query_string)
        books, beats = await asyncio.gather(
            self._reads.ask(operator_reads.books), self._reads.ask(heartbeats.heartbeats)
        )
        return Response(encode(bank_of(books, beats)))

    async def locks(self, request: Request, caller: Caller) -> Response:
        """Return the locks of a wallet, the soonest first."""
        query = self._locks.read(request.query_string)
        found = await self._reads.ask(operator_reads.locks, query.user_id, query.currency)
        return Response(encode([plain(lock) for lock in found]))


def for_all_wallets(handler: Handler) -> Handler:
    """Return the handler, which then raises Forbidden if the key is bound to some users."""

    async def checked(request: Request, caller: Caller, **parts: str) -> Response:
        if caller.user_prefix is not None:
            raise Forbidden("this key is bound to some users; operators see all wallets")
        return await handler(request, caller, **parts)

    return checked


def cursor(next: UUID | None) -> str | None:
    """Return the cursor of the next page; None at the end."""
    return None if next is None else cursor_of(next)
