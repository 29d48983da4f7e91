"""The gateway is killed while money moves between wallets. The client repeats it, with the result of one request."""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import aiohttp
import pytest

from tests.integration.crash.stage import SETTLED_S_MAX, Stage
from tests.locks import in_a_month, in_an_hour
from tests.polling import poll_until
from wallet.commands import Leg, MakeTransfer, PlaceHold

Split = tuple[int, int, int]
"""Available, locked, held."""


class Case(NamedTuple):
    """A request, what it needs before, and the wallets before and after it."""

    prepare: Callable[[Stage], Awaitable[str]]
    """Makes what the request is about, and returns its path."""
    body: dict[str, Any]
    before: dict[str, Split]
    after: dict[str, Split]
    rows: dict[str, int]
    """The rows that it adds to the ledger, by kind."""
    noted: dict[str, int]
    """The events that it notes, which wait for their numbers."""


async def _money(stage: Stage) -> str:
    await stage.charge("eve", 100)
    return "/transfers"


async def _money_to_hold(stage: Stage) -> str:
    await stage.charge("eve", 100)
    return "/holds"


async def _held(stage: Stage) -> str:
    await stage.charge("eve", 100)
    request = PlaceHold("test", "hold", "eve", "USD", 60, in_a_month())
    return str((await stage.pipeline.ledger.submit(request)).receipt.id)


async def _to_capture(stage: Stage) -> str:
    return f"/holds/{await _held(stage)}/capture"


async def _to_void(stage: Stage) -> str:
    return f"/holds/{await _held(stage)}/void"


async def _locked_charge(stage: Stage) -> str:
    await stage.charge("eve", 100, release_at=in_a_month())
    (row,) = await stage.pipeline.execute("select id from transfers")
    return f"/charges/{row['id']}/reverse"


async def _paid(stage: Stage) -> str:
    await stage.charge("eve", 100)
    legs = (Leg("bob", 30), Leg("bob", 20, in_a_month()))
    request = MakeTransfer("test", "transfer", "eve", "USD", 50, legs)
    return f"/transfers/{(await stage.pipeline.ledger.submit(request)).receipt.id}/reverse"


LEGS = [
    {"to_user_id": "bob", "amount": 30},
    {"to_user_id": "bob", "amount": 20, "release_at": in_a_month().isoformat()},
]

CASES = {
    "transfer": Case(
        _money,
        {"from_user_id": "eve", "legs": LEGS, "idempotency_key": "t"},
        {"eve": (100, 0, 0)},
        {"eve": (50, 0, 0), "bob": (30, 20, 0)},
        {"send": 1, "receive": 2},
        {"transfer.completed": 1},
    ),
    "hold": Case(
        _money_to_hold,
        {"user_id": "eve", "amount": 60, "expires_at": in_a_month().isoformat(), "idempotency_key": "h"},
        {"eve": (100, 0, 0)},
        {"eve": (40, 0, 60)},
        {"hold": 1},
        {"hold.opened": 1},
    ),
    "capture": Case(
        _to_capture,
        {"legs": LEGS, "idempotency_key": "c"},
        {"eve": (40, 0, 60)},
        {"eve": (50, 0, 0), "bob": (30, 20, 0)},
        {"capture": 1, "receive": 2, "void": 1},
        {"hold.captured": 1, "void": 1},
    ),
    "void": Case(_to_void, {}, {"eve": (40, 0, 60)}, {"eve": (100, 0, 0)}, {"void": 1}, {"void": 1}),
    "charge's reversal": Case(
        _locked_charge,
        {"amount": 40, "idempotency_key": "r"},
        {"eve": (0, 100, 0)},
        {"eve": (0, 60, 0)},
        {"reversal": 1},
        {"charge.reversed": 1},
    ),
    "transfer's reversal": Case(
        _paid,
        {"legs": [{"leg": 1, "amount": 10}, {"leg": 2, "amount": 20}], "idempotency_key": "r"},
        {"eve": (50, 0, 0), "bob": (30, 20, 0)},
        {"eve": (80, 0, 0), "bob": (20, 0, 0)},
        {"receive": 1, "send": 2},
        {"transfer.reversed": 1},
    ),
}


@pytest.mark.parametrize("step", ["written, not committed", "committed, not answered"])
@pytest.mark.parametrize("name", CASES)
async def test_killed_while_money_moves(stage: Stage, name: str, step: str) -> None:
    """Goal: wallets, legs, locks, holds, counters, key and event: all are there or none; repeated, it counts once."""
    case = CASES[name]
    path = await case.prepare(stage)
    rows, noted = await stage.transfers(), await stage.noted()
    await stage.gateway.start(dies_at=f"{name} {step}")
    with pytest.raises(aiohttp.ClientError):
        await stage.gateway.post(path, case.body)
    await stage.gateway.died()
    committed = step.startswith("committed")
    expected = case.after if committed else case.before
    assert {user: await stage.wallet(user) for user in expected} == expected
    assert await stage.transfers() == rows + (type(rows)(case.rows) if committed else type(rows)())
    assert await stage.noted() == noted + (type(noted)(case.noted) if committed else type(noted)())
    await stage.pipeline.audit()

    await stage.gateway.start()
    status, body, headers = await stage.gateway.post(path, case.body)
    keyed = bool(case.body)
    assert (status, "idempotent-replayed" in headers) == (200, committed and keyed), body
    assert (await stage.gateway.post(path, case.body))[:2] == (200, body)
    assert {user: await stage.wallet(user) for user in case.after} == case.after
    assert await stage.transfers() == rows + type(rows)(case.rows)
    assert await stage.noted() == noted + type(noted)(case.noted)
    await stage.pipeline.audit()


@pytest.mark.parametrize("step", ["about to release", "release written, not committed", "release committed"])
async def test_killed_while_a_hold_expires(stage: Stage, step: str) -> None:
    """Goal: a hold that has expired is free from its instant, and its row is written once, whoever began with it."""
    await stage.charge("eve", 100)
    request = PlaceHold("test", "hold", "eve", "USD", 60, in_an_hour())
    await stage.pipeline.ledger.submit(request)
    await stage.pipeline.mature()
    reconciler = stage.start_crashing("actors.reconciler", step)
    await reconciler.died()
    written = step == "release committed"
    assert await stage.wallet("eve") == ((100, 0, 0) if written else (40, 0, 60))
    await stage.pipeline.audit()

    stage.pipeline.reconciler.start()

    async def is_written() -> bool:
        return await stage.wallet("eve") == (100, 0, 0)

    await poll_until(is_written, SETTLED_S_MAX, what="the expiry is written")
    assert (await stage.transfers())["void"] == 1
    await stage.pipeline.audit()
