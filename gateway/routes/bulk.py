"""Many commands in one request: all are under way at once and share their transactions; each has its own result."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from gateway.contract.problems import Problem, problem_of
from runtime.telemetry import REFUSALS, log
from wallet.commands import LedgerCommand
from wallet.errors import ValidationFailed, WalletError
from wallet.receipts import Recorded

Command = TypeVar("Command", bound=LedgerCommand)


def require_some(commands: Sequence[object]) -> None:
    """Raise ValidationFailed if the request holds nothing."""
    if not commands:
        raise ValidationFailed([("$", "must hold at least one item")])


async def submit_all(
    submit: Callable[[Command], Awaitable[Recorded]], commands: Sequence[Command | WalletError]
) -> list[Recorded | Problem]:
    """Return the outcome of each command, in order: its receipt, or why it was refused."""
    under_way = [_submitted(submit, command) for command in commands]
    outcomes: list[Recorded | Problem] = []
    for one in under_way:
        try:
            outcomes.append(await one)
        except WalletError as error:
            outcomes.append(_refusal_of(error))
        except Exception as error:  # noqa: BLE001 - a bug met by one item must not hide the results of others
            log.error("item_failed", exc_info=True)
            outcomes.append(_refusal_of(error))
    return outcomes


def counts(outcomes: Sequence[Recorded | Problem]) -> dict[str, int]:
    """Return what the log says of many commands: how many there were, and how many were refused."""
    return {"items": len(outcomes), "refused": sum(isinstance(outcome, Problem) for outcome in outcomes)}


def _submitted(
    submit: Callable[[Command], Awaitable[Recorded]], command: Command | WalletError
) -> Awaitable[Recorded]:
    try:
        if isinstance(command, WalletError):
            raise command
        return submit(command)
    except WalletError as error:
        refused: asyncio.Future[Recorded] = asyncio.get_running_loop().create_future()
        refused.set_exception(error)
        return refused


def _refusal_of(error: Exception) -> Problem:
    problem = problem_of(error, None)
    REFUSALS.labels(problem.code).inc()
    return problem
