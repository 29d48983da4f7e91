"""`wbs reconcile --adopt`: payouts that only the bank knows, booked by an operator."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from ops.adopt import REASON, adopt_all, wanted
from ops.errors import OpsError
from ops.reconcile import reconcile
from tests.integration.actors.pipeline import Pipeline
from tests.integration.actors.test_reconciler import pay_directly
from wallet.commands import Charge


async def prefix(pipeline: Pipeline) -> str:
    [row] = await pipeline.execute("select bank_prefix from stack")
    return str(row["bank_prefix"])


@pytest.mark.parametrize(("charged", "adjusted"), [(0, 70), (30, 40), (100, 0)])
async def test_it_is_booked_once(pipeline: Pipeline, charged: int, adjusted: int) -> None:
    """Goal: withdrawal, reserve, payout and history, the lack as an adjustment; again, and at once, it is known."""
    pipeline.start(pipeline.bank)
    reference = await prefix(pipeline) + "a" * 24
    await pay_directly(pipeline, reference, 70)
    if charged:
        await pipeline.ledger.submit(Charge("default", "c", "ann", "USD", charged))
    once = adopt_all(pipeline.settings, {reference: "ann"}, "operator:eve", REASON)
    results = [
        result
        for [result] in await asyncio.gather(
            once,
            *(adopt_all(pipeline.settings, {reference: "ann"}, "operator:eve", REASON) for _ in range(3)),
        )
    ]
    assert sorted(result.result for result in results) == ["adopted", "known", "known", "known"]
    [new] = [result for result in results if result.result == "adopted"]
    assert (new.amount, new.currency, new.adjusted) == (70, "USD", adjusted)
    [wallet] = await pipeline.execute("select available, held from wallets")
    assert tuple(wallet) == (max(charged - 70, 0), 0)
    await pipeline.audit()
    assert (await reconcile(pipeline.settings)).differences.total() == 0


async def test_a_file_of_many_and_one_that_came_back(pipeline: Pipeline, tmp_path: Path) -> None:
    """Goal: a file adopts many; what came back since is taken back; what the bank has not paid is refused."""
    pipeline.start(pipeline.bank)
    start = await prefix(pipeline)
    paid, returned, missing = (start + c * 24 for c in "abc")
    for reference in (paid, returned):
        await pay_directly(pipeline, reference, 70)
    await pipeline.bank.send_back(returned)
    file = tmp_path / "lost"
    file.write_text(f"# lost\n{paid} ann\n{returned} bob\n\n{missing} eve\n")
    users = wanted(str(file), None)
    results = await adopt_all(pipeline.settings, users, "operator:eve", REASON)
    assert [result.result for result in results] == ["adopted", "adopted", "refused"]
    assert (await reconcile(pipeline.settings)).settled == 1
    [row] = await pipeline.execute("select status from withdrawals where user_id = 'bob'")
    assert row["status"] == "returned"
    again = await adopt_all(pipeline.settings, {paid: "mallory"}, "operator:eve", REASON)
    assert [result.result for result in again] == ["refused"]
    await pipeline.audit()


def test_what_can_not_be_understood(tmp_path: Path) -> None:
    """Goal: a file that names no user, or two users for one payout, is refused, with the line."""
    reference = uuid4().hex
    for text, user in (("nonsense", "ann"), (reference, None)):
        with pytest.raises(OpsError):
            wanted(text, user)
    file = tmp_path / "lost"
    for content in (f"{reference}\n", f"{reference} ann\n{reference} bob\n", "", "nonsense ann\n"):
        file.write_text(content)
        with pytest.raises(OpsError):
            wanted(str(file), None)
    file.write_text(f"{reference}\n")
    assert wanted(str(file), "ann") == {reference: "ann"}
