"""GET /balance: the split of a wallet."""

from dataclasses import replace
from datetime import datetime, timedelta

from db.statements import Split
from gateway.contract.operation import READ_ERRORS, USER, Operation, ResponseSpec
from gateway.contract.parameters import BalanceQuery, ParameterReader, within_books
from gateway.contract.response_models import Balance
from gateway.contract.responses import balance_of, encode
from gateway.contract.statement_models import UserWallets
from gateway.reads import Reads
from gateway.services import Services
from gateway.wire.auth import Caller
from gateway.wire.endpoint import Endpoints
from gateway.wire.request import Request
from gateway.wire.response import Response
from wallet.errors import HistoryArchived, ValidationFailed
from wallet.ledger import WalletId
from wallet.positions import position_at
from wallet.scopes import Scope

BALANCE = Operation(
    "GET",
    "/balance/{user_id}",
    "Balances",
    "The split of a wallet",
    description="`total = withdrawable + locked + held`. What has matured is withdrawable from its very "
    "instant. A user that nothing was ever charged to has zeros. `at` any instant of the past: the answer is the same "
    "whenever that is asked. `currency=all` is answered as `GET /wallets/{user_id}` is: call that "
    "with a generated client.",
    id="getBalance",
    query=BalanceQuery,
    responses={
        200: ResponseSpec(
            "As it is.",
            Balance,
            {
                "user_id": USER,
                "currency": "USD",
                "total": 7500,
                "withdrawable": 5000,
                "locked": 2500,
                "held": 0,
            },
        )
    },
    errors=(*READ_ERRORS, "wallet_not_found", "history_archived", "validation_failed"),
    scope=Scope.READ,
)
BALANCE_BY_QUERY = replace(
    BALANCE, id="findBalance", path="/balance", summary="The split of a wallet (the same, other spelling)"
)


class BalanceRoutes:
    """Serves the balances."""

    def __init__(self, services: Services) -> None:
        self._parameters = ParameterReader(BalanceQuery, services.user_ids)
        self._user_ids = services.user_ids
        self._reads = services.reads
        self._currency_to_read = services.intake.currency_to_read

    def register(self, endpoints: Endpoints) -> None:
        """Add the endpoints."""
        endpoints.add(BALANCE, self.balance)
        endpoints.add(BALANCE_BY_QUERY, self.balance)

    async def balance(self, request: Request, caller: Caller, **path: str) -> Response:
        """Return the split of a wallet, or of all wallets of a user."""
        query = self._parameters.read(request.query_string, **path)
        caller.require_own(query.user_id)
        if query.currency == "all":
            return Response(encode(await self.wallets(query.user_id, query.at)))
        wallet = query.user_id, await self._currency_to_read(query.user_id, query.currency)
        if query.at is not None:
            split = await self._split_at(wallet, query.at) or Split()
            return Response(encode(self._balance_of(wallet, split)))
        return Response(encode(balance_of(await self._reads.balance(*wallet), self._user_ids)))

    async def wallets(self, user_id: str, at: datetime | None) -> UserWallets:
        """Return all wallets of a user, as they are now, or those that there were at an instant.

        Raises ValidationFailed for an instant that is not in the past.
        """
        if at is not None:
            _require_before(at, await self._reads.present())
        balances = []
        for currency in await self._reads.currencies(user_id):
            if at is None:
                balances.append(balance_of(await self._reads.balance(user_id, currency), self._user_ids))
            elif split := await self._split_at((user_id, currency), at):
                balances.append(self._balance_of((user_id, currency), split))
        return UserWallets(self._user_ids.back(user_id), balances)

    async def _split_at(self, wallet: WalletId, at: datetime) -> Split | None:
        """Return the split of a wallet at an instant; None: it was not there.

        Raises ValidationFailed for no past, HistoryArchived for what is archived.
        """
        _require_before(at, await self._reads.settled(wallet))
        instant = within_books(at)
        split = await self._reads.split(wallet, position_at(instant + timedelta(microseconds=1)))
        await require_whole(self._reads, wallet, instant)
        return split

    def _balance_of(self, wallet: WalletId, split: Split) -> Balance:
        return Balance(self._user_ids.back(wallet[0]), wallet[1], split.total, *split)


async def require_whole(reads: Reads, wallet: WalletId, start: datetime) -> None:
    """Raise HistoryArchived unless all that counts from `start` on is in the books.

    To be asked after it was read: an archive may have begun in between.
    """
    refuse_archived(await reads.archived_before(wallet), start)


def refuse_archived(whole_from: datetime | None, instant: datetime) -> None:
    """Raise HistoryArchived if a wallet's books are whole only from a later instant on; None: from their beginning."""
    if whole_from is not None and instant < whole_from:
        raise HistoryArchived(whole_from)


def _require_before(at: datetime, present: datetime) -> None:
    """Raise ValidationFailed unless the instant is before the present."""
    if at >= present:
        raise ValidationFailed([("at", "must be in the past")])
