"""What becomes of a payout after it was answered: paid or declined later, declined after it was paid, sent back."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.integration.bank_sim.conftest import Wallet
from tests.polling import poll_until

LATER_MS = 300


async def becomes(bank: Any, reference: str, status: str) -> dict[str, Any]:
    """Wait for a status; the payout then."""
    found: list[dict[str, Any]] = []

    async def has_become() -> bool:
        found[:] = [(await bank.find(reference))[1]]
        return bool(found[0]["status"] == status)

    await poll_until(has_become)
    return found[0]


async def test_pending_then_paid(bank: Any) -> None:
    """Goal: a pending payout has its id, is not in the books until its money leaves, and stands there then."""
    status, first = await bank.pay("w-1", destination=f"test:pending:{LATER_MS}")
    assert (status, first["status"]) == (201, "pending")
    assert (await bank.find("w-1"))[1]["status"] == "pending"
    assert await bank.pay("w-1", destination=f"test:pending:{LATER_MS}") == (200, first)
    assert [line["reference"] for line in await bank.books()] == []
    await bank.pay("w-2")
    paid = await becomes(bank, "w-1", "paid")
    assert (paid["payout_id"], paid["amount"], paid["currency"]) == (first["payout_id"], 100, "USD")
    status, again = await bank.pay("w-1", destination=f"test:pending:{LATER_MS}")
    assert (status, again["status"], again["payout_id"]) == (200, "paid", first["payout_id"])


async def test_a_reader_of_the_books_misses_no_late_payment(bank: Any) -> None:
    """Goal: what is paid late is listed behind what a reader has read, so that its cursor leads there."""
    _, late = await bank.pay("w-late", destination=f"test:pending:{LATER_MS}")
    _, before = await bank.pay("w-before")
    await becomes(bank, "w-late", "paid")
    _, after = await bank.pay("w-after")
    assert [line["reference"] for line in await bank.books(limit=1)] == ["w-before", "w-late", "w-after"]
    assert [line["reference"] for line in await bank.books(after=before["payout_id"])] == [
        "w-late",
        "w-after",
    ]
    assert [line["reference"] for line in await bank.books(after=late["payout_id"])] == ["w-after"]
    assert await bank.books(after=after["payout_id"]) == []


async def test_pending_then_declined(bank: Any) -> None:
    """Goal: a payout declined later never left: no entry in the books, no money to send back, and it stays so."""
    wanted = f"test:pending-decline:{LATER_MS}:account_not_found"
    assert (await bank.pay("w-1", destination=wanted))[1]["status"] == "pending"
    assert (await bank.call("POST", "/payouts/w-1/return"))[1]["code"] == "not_paid"
    declined = await becomes(bank, "w-1", "declined")
    assert (declined["code"], declined["payout_id"]) == ("account_not_found", None)
    status, again = await bank.pay("w-1", destination=wanted)
    assert (status, again["status"], again["code"]) == (422, "declined", "account_not_found")
    assert await bank.books() == []


async def test_declined_after_it_was_paid(bank: Any) -> None:
    """Goal: as banks do days later: it stays in the books, where it stood, as declined and with the code."""
    _, first = await bank.pay("w-1", destination=f"test:late-decline:{LATER_MS}:account_closed")
    assert first["status"] == "paid"
    await bank.pay("w-2")
    declined = await becomes(bank, "w-1", "declined")
    assert (declined["payout_id"], declined["code"]) == (first["payout_id"], "account_closed")
    lines = await bank.books()
    assert [(line["reference"], line["status"]) for line in lines] == [("w-1", "declined"), ("w-2", "paid")]
    assert (await bank.call("POST", "/payouts/w-1/return"))[1]["code"] == "not_paid"


async def test_pending_outlives_a_kill(bank: Any, bank_process: Any) -> None:
    """Goal: kill -9 forgets neither that a payout is pending nor what shall become of it."""
    await bank.set_faults(seed=1, pending_rate=1, decline_rate=0.5, settle_after_ms=2_000)
    references = [f"w-{number}" for number in range(40)]
    firsts = await asyncio.gather(*map(bank.pay, references))
    assert {(status, body["status"]) for status, body in firsts} == {(201, "pending")}
    bank_process.kill()
    await asyncio.to_thread(bank_process.start)

    async def all_settled() -> bool:
        found = [(await bank.find(reference))[1]["status"] for reference in references]
        return "pending" not in found

    await poll_until(all_settled)
    lines = await bank.books()
    ids = {body["reference"]: body["payout_id"] for _, body in firsts}
    assert 0 < len(lines) < len(references)
    assert all(line["payout_id"] == ids[line["reference"]] for line in lines)


async def test_an_old_key_pays_again(bank: Any) -> None:
    """Goal: beyond its window the bank has forgotten an order: sent again, it is paid again, under another id."""
    await bank.set_faults(key_window_ms=1_000)
    _, first = await bank.pay("w-1")
    paid_again: list[str] = []

    async def is_paid_again() -> bool:
        status, body = await bank.pay("w-1")
        if status == 201:
            paid_again.append(body["payout_id"])
        else:
            assert (status, body) == (200, first)
        return bool(paid_again)

    await poll_until(is_paid_again)
    assert paid_again[0] != first["payout_id"]
    assert [line["reference"] for line in await bank.books()] == ["w-1", "w-1"]
    assert (await bank.find("w-1"))[1]["payout_id"] == paid_again[0]
    await bank.heal()
    assert (await bank.pay("w-1"))[1]["payout_id"] == paid_again[0]
    assert (await bank.pay("w-1", amount=7))[0] == 409


# --- Callbacks ---


async def test_what_became_of_it_is_told(wallet: Wallet, calling_bank: Any, connect: Any) -> None:
    """Goal: each event that was not in the answer is reported by a signed callback; the others are not."""
    bank = connect(calling_bank)
    await bank.pay("w-told")
    await bank.pay("w-paid", destination="test:pending:0")
    await bank.pay("w-declined", destination="test:pending-decline:0:limit_exceeded")
    await bank.pay("w-late", destination="test:late-decline:0:account_closed")
    await bank.pay("w-back", destination="test:partial-return:40:0")
    await poll_until(partial(wallet.has, taken=4))
    told = {event["data"]["reference"]: event for event in wallet.taken}
    assert {reference: event["type"] for reference, event in told.items()} == {
        "w-paid": "payout.paid",
        "w-declined": "payout.declined",
        "w-late": "payout.declined",
        "w-back": "payout.returned",
    }
    assert told["w-declined"]["data"]["code"] == "limit_exceeded"
    assert (told["w-back"]["data"]["amount"], told["w-back"]["data"]["returned_amount"]) == (100, 40)
    assert {event["data"]["currency"] for event in wallet.taken} == {"USD"}
    assert len({id_ for id_, _ in wallet.tries}) == 4


async def test_callbacks_that_come_twice(wallet: Wallet, calling_bank: Any, connect: Any) -> None:
    """Goal: a doubled callback is the same one, id and body, again."""
    bank = connect(calling_bank)
    await bank.set_faults(callback_double_rate=1)
    await bank.pay("w-1")
    await bank.call("POST", "/payouts/w-1/return")
    await poll_until(partial(wallet.has, taken=2))

    async def noted() -> bool:
        return not (await bank.call("GET", "/health"))[1]["callbacks_waiting"]

    await poll_until(noted)
    assert len(wallet.tries) == 2
    assert len(set(wallet.tries)) == 1


async def test_callbacks_in_another_order(wallet: Wallet, calling_bank: Any, connect: Any) -> None:
    """Goal: shuffled callbacks overtake each other, none is lost; those of one payout, too."""
    bank = connect(calling_bank)
    await bank.set_faults(seed=4, callback_shuffle_ms=2_000)
    references = [f"w-{number}" for number in range(20)]
    for reference in references:
        await bank.pay(reference)
        await bank.call("POST", f"/payouts/{reference}/return")
    await poll_until(partial(wallet.has, taken=len(references)))
    order = [event["data"]["reference"] for event in wallet.taken]
    assert sorted(order) == sorted(references)
    assert order != references


# --- Test destinations ---


async def test_a_first_order_that_goes_wrong(bank: Any) -> None:
    """Goal: the test destinations for lost replies and errors strike once, after paying; the next answer is right."""
    status, _ = await bank.pay("w-error", destination="test:error")
    assert status == 500
    with pytest.raises(aiohttp.ClientError):
        await bank.pay("w-lost", destination="test:lost_reply")
    with pytest.raises(TimeoutError):
        await bank.pay("w-hang", destination="test:hang", timeout_s=0.5)
    for reference, wanted in (("w-error", "error"), ("w-lost", "lost_reply"), ("w-hang", "hang")):
        status, body = await bank.pay(reference, destination=f"test:{wanted}")
        assert (status, body["status"], body["destination"]) == (200, "paid", f"test:{wanted}")
    assert {line["reference"] for line in await bank.books()} == {"w-error", "w-lost", "w-hang"}


async def test_a_destination_that_is_declined_or_out_of_order(bank: Any) -> None:
    """Goal: a decline with the code asked for; an outage for one payout alone."""
    status, body = await bank.pay("w-1", destination="test:decline:insufficient_details")
    assert (status, body["status"], body["code"]) == (422, "declined", "insufficient_details")
    for _ in range(2):
        assert (await bank.pay("w-2", destination="test:outage"))[0] == 503
    assert (await bank.find("w-2"))[0] == 404
    assert (await bank.pay("w-3"))[0] == 201


@pytest.mark.parametrize(
    "destination",
    [
        "test:",
        "test:decilne",
        "test:pending:soon",
        "test:pending:-1",
        "test:pending:5:6",
        "test:pending:9999999999999",
        "test:decline:a b",
        "test:return:1:2",
        "test:partial-return:101",
        "test:hang:1",
        "test:outage:1",
    ],
)
async def test_a_mistyped_test_pays_nothing(bank: Any, destination: str) -> None:
    """Goal: an unknown test destination is refused by name, and no money moves."""
    status, problem = await bank.pay("w-1", destination=destination)
    assert (status, problem["code"]) == (422, "validation_failed")
    assert "destination" in problem["detail"]
    assert (await bank.find("w-1"))[0] == 404


# --- Books of the version before ---

OLD_BOOKS = """
CREATE TABLE payouts (
    seq INTEGER PRIMARY KEY, reference TEXT NOT NULL UNIQUE, idempotency_key TEXT,
    amount INTEGER NOT NULL CHECK (amount > 0), currency TEXT NOT NULL, destination TEXT,
    status TEXT NOT NULL CHECK (status IN ('paid', 'returned', 'declined')), decline_code TEXT,
    created_us INTEGER NOT NULL, returned_us INTEGER,
    CHECK ((status = 'declined') = (decline_code IS NOT NULL)),
    CHECK ((status = 'returned') = (returned_us IS NOT NULL))
) STRICT;
CREATE UNIQUE INDEX payouts_by_key ON payouts (idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE TABLE callbacks (
    seq INTEGER PRIMARY KEY REFERENCES payouts (seq), attempts INTEGER NOT NULL, due_us INTEGER NOT NULL,
    delivered_us INTEGER
) STRICT;
CREATE INDEX callbacks_due ON callbacks (due_us) WHERE delivered_us IS NULL;
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
INSERT INTO settings VALUES ('books_id', '0a1b2c3d'), ('faults', '{"seed":7,"latency_ms":1}');
INSERT INTO payouts VALUES
    (1, 'w-1', NULL, 100, 'USD', '{"iban":"X"}', 'paid', NULL, 1700000000000000, NULL),
    (2, 'w-2', 'k-2', 100, 'USD', NULL, 'returned', NULL, 1700000000000001, 1700000000000009),
    (3, 'w-3', NULL, 100, 'USD', NULL, 'declined', 'account_closed', 1700000000000002, NULL);
INSERT INTO callbacks VALUES (2, 3, 1700000000000010, NULL);
"""


async def test_books_of_the_version_before(
    new_bank: Callable[..., Any], connect: Any, wallet: Wallet, tmp_path: Path
) -> None:
    """Goal: an older file opens with every payout, decline, key, callback and setting, also the second time."""
    path = tmp_path / "old" / "bank.db"
    path.parent.mkdir()
    old = sqlite3.connect(path)
    old.executescript(OLD_BOOKS)
    old.close()
    process = new_bank(
        WBS_BANK_DATA=str(path), WBS_CALLBACK_URL=wallet.url, WBS_BANK_WEBHOOK_SECRET=wallet.secret
    )
    bank = connect(process)
    for _ in range(2):
        await asyncio.to_thread(process.start)
        lines = await bank.books()
        assert [(line["payout_id"], line["status"]) for line in lines] == [
            ("po_0a1b2c3d_000000000001", "paid"),
            ("po_0a1b2c3d_000000000002", "returned"),
        ]
        assert lines[1]["returned_amount"] == 100
        assert (await bank.find("w-3"))[1]["code"] == "account_closed"
        assert (await bank.pay("w-1", destination={"iban": "X"}))[0] == 200
        assert (await bank.pay("w-9", key="k-2"))[0] == 409
        assert (await bank.call("GET", "/faults"))[1]["seed"] == 7
        process.kill()
    assert wallet.taken[0]["data"]["reference"] == "w-2"
    assert wallet.tries[0][0] == "msg_po_0a1b2c3d_000000000002"


def test_books_of_a_later_version(new_bank: Callable[..., Any], tmp_path: Path) -> None:
    """Goal: a file that a later version wrote is refused in one line, not misread."""
    path = tmp_path / "later.db"
    later = sqlite3.connect(path)
    later.execute("PRAGMA user_version = 99")
    later.close()
    process = new_bank(WBS_BANK_DATA=str(path))
    assert process.spawn().wait(20) == 2
    assert "version 99" in process.log.read_text()
