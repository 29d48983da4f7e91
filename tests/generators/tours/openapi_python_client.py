"""The story of the document's examples, by a client from openapi-python-client."""

import sys
from datetime import UTC, datetime

from httpx import Timeout
from wallet_client import AuthenticatedClient
from wallet_client.api.balances import get_balance
from wallet_client.api.charges import create_charge
from wallet_client.api.transactions import list_transactions
from wallet_client.api.withdrawals import cancel_withdrawal, create_withdrawal, get_withdrawal
from wallet_client.models import (
    AcceptedWithdrawal,
    Balance,
    ChargeRequest,
    DestinationObject,
    Metadata,
    Problem,
    ProblemCode,
    Transaction,
    TransactionKind,
    TransactionsPage,
    Withdrawal,
    WithdrawalStatus,
    WithdrawRequest,
)


def tour(client: AuthenticatedClient, user: str) -> None:
    """Put money in, look, take some out, look again."""
    metadata = Metadata.from_dict({"order": 7001})
    charge = ChargeRequest(user, 5000, idempotency_key=f"{user}-1", metadata=metadata)
    charged = create_charge.sync(client=client, body=charge)
    assert isinstance(charged, Transaction)
    assert charged.type_ is TransactionKind.CHARGE
    assert charged.created_at.tzinfo is not None
    assert charged.metadata is not None
    assert charged.metadata["order"] == 7001
    again = create_charge.sync_detailed(client=client, body=charge)
    assert again.parsed == charged
    assert again.headers["idempotent-replayed"] == "true"

    release_at = datetime(2100, 1, 1, tzinfo=UTC)
    locked = ChargeRequest(user, 2500, idempotency_key=f"{user}-2", release_at=release_at)
    answer = create_charge.sync(client=client, body=locked)
    assert isinstance(answer, Transaction)
    assert answer.release_at == release_at
    balance = get_balance.sync(user, client=client)
    assert isinstance(balance, Balance)
    assert (balance.total, balance.withdrawable, balance.locked, balance.held) == (7500, 5000, 2500, 0)

    destination = DestinationObject.from_dict({"iban": "DE89"})
    order = WithdrawRequest(user, 1200, idempotency_key=f"{user}-3", destination=destination)
    accepted = create_withdrawal.sync(client=client, body=order)
    assert isinstance(accepted, AcceptedWithdrawal)
    found = get_withdrawal.sync(accepted.withdrawal_id, client=client, wait=30)
    assert isinstance(found, Withdrawal)
    assert found.status is WithdrawalStatus.COMPLETED
    assert found.history[0].status is WithdrawalStatus.PENDING

    late = cancel_withdrawal.sync(accepted.withdrawal_id, client=client)
    assert isinstance(late, Problem)
    assert late.code is ProblemCode.NOT_CANCELLABLE
    too_much = WithdrawRequest(user, 9000, idempotency_key=f"{user}-4")
    refused = create_withdrawal.sync(client=client, body=too_much)
    assert isinstance(refused, Problem)
    assert refused.code is ProblemCode.INSUFFICIENT_FUNDS

    page = list_transactions.sync(user, client=client, limit=2)
    assert isinstance(page, TransactionsPage)
    assert [one.amount for one in page.transactions] == [-1200, 2500]


if __name__ == "__main__":
    tour(AuthenticatedClient(sys.argv[1], "not needed here", timeout=Timeout(40)), sys.argv[2])
    print("toured")
