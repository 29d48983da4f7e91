"""`wbs archive`: what is old and closed leaves the books for files, under load, and the books still add up."""

import asyncio
import gzip
import io
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from db import archive, reads, statements
from db.connections import Reader, connect
from db.ledger import Ledger
from db.reconciliation import WithdrawalRow
from db.releases import release_matured
from db.statements import Split
from db.withdrawals import Attempt, Withdrawals
from ops import archive_files
from ops.archive_files import SUFFIX, ArchiveFolder
from ops.cli import main
from ops.errors import OpsError
from runtime.settings import Settings
from tests.archiving import WbsArchive, number_all_events
from tests.conftest import execute
from tests.integration.db.conftest import accepted, charge, hold, split, transfer, waiting_for_locks, withdraw
from tests.integration.db.histories import USERS, History
from tests.integration.sequence import told
from tests.locks import in_an_hour, mature
from tests.polling import poll_until
from wallet.commands import LedgerCommand
from wallet.errors import ChargeNotFound, IdempotencyKeyArchived, IdempotencyKeyReused, TryLater
from wallet.follow_up_commands import CaptureHold, ReverseCharge, VoidHold
from wallet.outcomes import Declined, Paid, Returned
from wallet.positions import position_at

BooksHold = Callable[[], Awaitable[dict[str, int]]]


async def present(connection: asyncpg.Connection) -> datetime:
    """Return the database's present."""
    now: datetime = await connection.fetchval("select clock_timestamp()")
    return now


async def begun(ledger: Ledger, withdrawals: Withdrawals, amount: int) -> Attempt:
    """Have a withdrawal accepted and begun; return its first attempt."""
    attempt = await withdrawals.begin_attempt(await accepted(ledger, withdraw(amount)), "ann")
    assert attempt is not None
    return attempt


async def splits(reader: Reader, instants: list[datetime]) -> dict[tuple[str, datetime], Split | None]:
    """Return the split of each wallet at these instants."""
    return {
        (user, instant): await statements.split(reader, (user, "USD"), position_at(instant))
        for user in USERS
        for instant in instants
    }


@pytest.mark.parametrize("seed", range(3))
async def test_random_histories(
    ledger: Ledger,
    withdrawals: Withdrawals,
    reader: Reader,
    settings: Settings,
    connection: asyncpg.Connection,
    books_hold: BooksHold,
    wbs_archive: WbsArchive,
    seed: int,
) -> None:
    """Goal: while a history goes on, its beginning is archived, twice; balances, splits and books stay right."""
    releasing = await connect(settings.database)
    history = History(ledger, withdrawals, releasing, seed)
    rows_before: dict[str, asyncpg.Record] = {}
    gone: dict[str, dict[str, str]] = {}
    for _ in range(2):
        for _ in range(120):
            await history.step()
            await history.pause()
        before = await present(connection)
        for _ in range(30):
            await history.step()
            await history.pause()
        nows = [await statements.settled(reader, (user, "USD")) for user in USERS]
        instants = [before + (min(nows) - before) * part / 7 for part in range(8)]
        splits_before = await splits(reader, instants)
        rows_before |= {str(row["id"]): row for row in await connection.fetch("select * from transfers")}

        done = asyncio.Event()

        async def go_on(done: asyncio.Event = done) -> None:
            while not done.is_set():
                await history.step()
                await history.pause()

        going_on = asyncio.create_task(go_on())
        archived = await wbs_archive(before)
        done.set()
        await going_on

        gone |= {row["id"]: row for row in archived.rows("transfers")}
        assert archived.told["movements"] == len(archived.rows("transfers")) > 10
        assert await splits(reader, instants) == splits_before
        counts = await books_hold()
        assert counts["archived"] == len(gone)
        assert not archive_files.problems(archived.folder)
    here = {str(row["id"]) for row in await connection.fetch("select id from transfers")}
    assert not here & gone.keys()
    assert rows_before.keys() <= here | gone.keys()
    for id, row in gone.items():
        assert int(row["amount"]) == rows_before[id]["amount"]
        assert row["user_id"] == rows_before[id]["user_id"]
    await releasing.close(timeout=5)


async def test_what_stays(
    ledger: Ledger,
    withdrawals: Withdrawals,
    connection: asyncpg.Connection,
    books_hold: BooksHold,
    wbs_archive: WbsArchive,
) -> None:
    """Goal: nothing open, locked or younger goes, with all that belongs to it; of each wallet the newest row stays."""
    await ledger.submit(charge(1_000))
    gone = [await accepted(ledger, charge(10))]
    staying = [
        await accepted(ledger, charge(20, release_at=in_an_hour())),
        await accepted(ledger, transfer("ann", ("bob", 30), ("carl", 5), release_at=in_an_hour())),
        await accepted(ledger, hold(40)),
    ]
    gone.append(await accepted(ledger, transfer("ann", ("bob", 30), ("carl", 5))))
    ended, captured = [await accepted(ledger, hold(40)) for _ in range(2)]
    await ledger.follow_up(VoidHold(ended))
    await ledger.follow_up(CaptureHold("shop", "c", captured, (), "bob", None))
    gone += [ended, captured]
    for outcome, list_ in ((Paid("p"), gone), (Declined("no"), gone), (None, staying)):
        attempt = await begun(ledger, withdrawals, 7)
        if outcome is not None:
            await withdrawals.settle(attempt, outcome)
        list_.append(attempt.withdrawal_id)
    reversed_before, reversed_after = [await accepted(ledger, charge(9)) for _ in range(2)]
    await ledger.follow_up(ReverseCharge("shop", "r1", reversed_before, 4))
    gone.append(reversed_before)
    newest = {user: await accepted(ledger, charge(1, user=user)) for user in ("ann", "bob", "carl")}
    before = await present(connection)
    await ledger.follow_up(ReverseCharge("shop", "r2", reversed_after, 4))
    staying += [reversed_after, *newest.values()]

    trial = await wbs_archive(before, "--dry-run")
    archived = await wbs_archive(before)

    assert trial.told | {"dry_run": False, "folder": str(archived.folder)} == archived.told
    assert archived.told["movements"] == len(archived.rows("transfers"))
    here = {row["id"] for row in await connection.fetch("select id from transfers")}
    assert here >= set(staying)
    assert not here & set(gone)
    assert {row["id"] for row in archived.rows("transfers")} >= set(map(str, gone))
    counts = await books_hold()
    assert counts["archived"] == archived.told["movements"]
    for table in ("transfer_legs", "holds", "reversals", "charge_reversals", "withdrawal_history", "events"):
        assert archived.rows(table), table
    kept = await connection.fetch("select status, archived_at from withdrawals order by id")
    assert [(row["status"], row["archived_at"] is None) for row in kept] == [
        ("completed", False),
        ("failed", False),
        ("processing", True),
    ]


async def test_keys_of_what_is_archived(
    ledger: Ledger, connection: asyncpg.Connection, reader: Reader, wbs_archive: WbsArchive
) -> None:
    """Goal: a request that comes again after all that time moves nothing; another one under its key neither."""
    commands: list[LedgerCommand] = [charge(10), transfer("ann", ("bob", 3)), hold(2), withdraw(1)]
    ids = [await accepted(ledger, command) for command in commands]
    await ledger.follow_up(VoidHold(ids[2]))
    from_bob = await accepted(ledger, charge(5, user="bob"))
    await ledger.submit(charge(1))
    archived = await wbs_archive(await present(connection))
    assert archived.told["movements"] == 5  # the withdrawal is open, and the newest rows stay
    before = await split(reader), await split(reader, "bob")
    for command in commands[:3]:
        with pytest.raises(IdempotencyKeyArchived):
            await ledger.submit(command)
        with pytest.raises(IdempotencyKeyReused):
            await ledger.submit(charge(999, key=command.key))
    assert (await ledger.submit(commands[3])).replayed
    with pytest.raises(ChargeNotFound):
        await ledger.follow_up(ReverseCharge("shop", "r", ids[0], None))
    await ledger.follow_up(ReverseCharge("shop", "s", from_bob, 1))
    assert (await split(reader), await split(reader, "bob")) == (before[0], (before[1][0] - 1, 0, 0))


async def test_a_withdrawal_that_comes_back_afterwards(
    ledger: Ledger,
    withdrawals: Withdrawals,
    reader: Reader,
    settings: Settings,
    connection: asyncpg.Connection,
    books_hold: BooksHold,
    wbs_archive: WbsArchive,
) -> None:
    """Goal: the bank returns what was paid long ago: the money is there again, told, and the books are right."""
    await ledger.submit(charge(100))
    attempt = await begun(ledger, withdrawals, 30)
    id = attempt.withdrawal_id
    await withdrawals.settle(attempt, Paid("p"))
    await ledger.submit(charge(1))
    assert (await wbs_archive(await present(connection))).told["reserve"] == 1
    [found] = await reads.withdrawals(reader, [id])
    assert [move.status for move in found.history] == ["pending", "completed"]

    await withdrawals.settle(attempt, Returned("p", 30))

    assert await split(reader) == (101, 0, 0)
    [found] = await reads.withdrawals(reader, [id])
    assert [move.status for move in found.history] == ["pending", "completed", "returned"]
    await number_all_events(settings)
    assert (await told(reader))[-1].type == "withdrawal.returned"
    await books_hold()
    await ledger.submit(charge(1))
    await wbs_archive(await present(connection))
    assert await connection.fetchval("select count(*) from transfers where reference = $1", id) == 1
    await books_hold()


async def test_withdrawals_that_only_the_bank_knew(
    ledger: Ledger,
    withdrawals: Withdrawals,
    connection: asyncpg.Connection,
    books_hold: BooksHold,
    wbs_archive: WbsArchive,
) -> None:
    """Goal: what a look-up ended, whose attempts were lost with history, is archived, and the books are right."""
    await ledger.submit(charge(100))
    for outcome in (Paid("p"), Declined("no"), Returned("q", 20)):
        id = await accepted(ledger, withdraw(20))
        await withdrawals.learn(WithdrawalRow(id, "ann", "USD", 20, "pending", 0, None), outcome)
    await ledger.submit(charge(1))
    assert (await wbs_archive(await present(connection))).told["reserve"] == 2
    await books_hold()


async def test_a_reversal_at_the_same_time(
    ledger: Ledger,
    settings: Settings,
    connection: asyncpg.Connection,
    books_hold: BooksHold,
    wbs_archive: WbsArchive,
) -> None:
    """Goal: a charge that is being reversed does not leave meanwhile: the archive waits, and then keeps it."""
    id = await accepted(ledger, charge(10))
    await ledger.submit(charge(1))
    before = await present(connection)
    async with connection.transaction():
        await connection.execute("lock table wallets in exclusive mode")
        reversing = asyncio.ensure_future(ledger.follow_up(ReverseCharge("shop", "r", id, 4)))
        await poll_until(lambda: _waits(connection, 1))
        archiving = asyncio.ensure_future(wbs_archive(before))
        await poll_until(lambda: _waits(connection, 2))
    await asyncio.gather(reversing, archiving, return_exceptions=True)
    if isinstance(reversing.exception(), TryLater):  # the lock took too long on a slow machine
        await ledger.follow_up(ReverseCharge("shop", "r", id, 4))
    assert archiving.result().told["movements"] == 0
    assert (await books_hold())["archived"] == 0


async def test_a_release_at_the_same_time(
    ledger: Ledger,
    settings: Settings,
    connection: asyncpg.Connection,
    books_hold: BooksHold,
    wbs_archive: WbsArchive,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Goal: what is released while the archive looks at it stays with its release: neither goes without the other."""
    await ledger.submit(charge(100))
    locked = [
        await accepted(ledger, charge(20, release_at=in_an_hour())),
        await accepted(ledger, transfer("ann", ("bob", 30), release_at=in_an_hour())),
    ]
    for user in ("ann", "bob"):
        await ledger.submit(charge(1, user=user))
    before = await present(connection)
    await mature(connection)
    statements: list[str] = []
    releasing = await connect(settings.database)
    execute_in_archive = asyncpg.Connection.execute

    async def release_in_between(self: asyncpg.Connection, statement: str, *arguments: object) -> str:
        result: str = await execute_in_archive(self, statement, *arguments)
        if statement == archive._SQL["gather"]:
            statements.append(statement)
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(release_matured(releasing), loop))
        return result

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(asyncpg.Connection, "execute", release_in_between)
    archived = await wbs_archive(before)
    assert statements
    await books_hold()
    here = {row["id"] for row in await connection.fetch("select id from transfers")}
    assert here >= set(locked)
    assert archived.told["movements"] == 1
    await releasing.close(timeout=5)


async def _waits(connection: asyncpg.Connection, number: int) -> bool:
    return await waiting_for_locks(connection) >= number


async def test_nothing_else_can_be_deleted(ledger: Ledger, connection: asyncpg.Connection) -> None:
    """Goal: a movement leaves only while an archive is made, and only if it is older than that."""
    await ledger.submit(charge(10))
    boundary = await present(connection)
    await ledger.submit(charge(10))
    for begun in (False, True):
        if begun:
            await archive.begin(connection, boundary, "", "operator:x")
        with pytest.raises(asyncpg.RestrictViolationError):
            await connection.execute("delete from transfers")
    assert await connection.fetchval("select count(*) from transfers") == 2


@pytest.mark.parametrize("dies", ["in a transaction", "after it"])
async def test_a_run_that_dies(
    ledger: Ledger,
    settings: Settings,
    connection: asyncpg.Connection,
    books_hold: BooksHold,
    wbs_archive: WbsArchive,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dies: str,
) -> None:
    """Goal: the next run goes on; in the files is what left the books, each row once, and nothing else."""
    await asyncio.gather(*(ledger.submit(charge(1, user=f"u{n % 5}")) for n in range(100)))
    monkeypatch.setattr(archive, "CHUNK", 30)
    chunks = 0
    add = ArchiveFolder.add
    finish_chunk = archive.archive_chunk

    def add_and_die(self: ArchiveFolder, table: str, rows: bytes) -> int:
        length = add(self, table, rows)
        if dies == "in a transaction" and table == "transfers" and chunks == 2:
            raise OpsError("no space")
        return length

    async def count(*arguments: Any) -> UUID | None:
        nonlocal chunks
        chunks += 1
        last = await finish_chunk(*arguments)
        if dies == "after it" and chunks == 2:
            raise OpsError("no power")
        return last

    monkeypatch.setattr(ArchiveFolder, "add", add_and_die)
    monkeypatch.setattr(archive, "archive_chunk", count)
    before = await present(connection)
    died = await wbs_archive(before, code=1)
    assert "no space" in died.told["error"] or "no power" in died.told["error"]
    await books_hold()
    refused = await wbs_archive(before + timedelta(microseconds=1), code=1)
    assert "has not ended" in refused.told["error"]
    chunks = 10
    archived = await wbs_archive(before)
    ids = [row["id"] for row in archived.rows("transfers")]
    assert len(ids) == len(set(ids)) == 95 == (await books_hold())["archived"]
    assert len(archived.rows("events")) > 0
    assert not archive_files.problems(archived.folder)
    assert await asyncio.to_thread(main, ["archive", "--check", str(archived.folder)]) == 0
    (archived.folder / f"transfers{SUFFIX}").write_bytes(gzip.compress(b"id\n"))
    assert await asyncio.to_thread(main, ["archive", "--check", str(archived.folder)]) == 1


async def test_what_is_refused(
    ledger: Ledger,
    database_url: str,
    connection: asyncpg.Connection,
    wbs_archive: WbsArchive,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Goal: too young, not after the last one, wrong books, another run at work, a webhook that waits: each by name."""
    await ledger.submit(charge(10))
    await ledger.submit(charge(10))
    before = await present(connection)
    assert "name an instant before" in (await wbs_archive(before + timedelta(days=1), code=1)).told["error"]
    monkeypatch.setenv("WBS_REVERSIBLE_DAYS", "30")
    assert "30 days" in (await wbs_archive(before, code=1)).told["error"]
    monkeypatch.setenv("WBS_REVERSIBLE_DAYS", "0")
    other = await asyncpg.connect(database_url)
    await other.fetchval("select pg_try_advisory_lock(hashtext('wbs archive'))")
    assert "Another" in (await wbs_archive(before, code=1)).told["error"]
    await other.close()
    await execute(database_url, "update wallets set available = 21")
    assert "not right" in (await wbs_archive(before, code=1)).told["error"]
    await execute(
        database_url,
        "insert into audit_runs values (now(), now(), now(), 0, '', 'operator:x')",
    )
    dry = await wbs_archive(
        before, "--dry-run"
    )  # what was proved since is not looked at again, but this counts only
    assert dry.told["movements"] == 1
    await execute(database_url, "insert into audit_runs values (clock_timestamp(), now(), now(), 1, '', 'x')")
    assert "not right" in (await wbs_archive(before, code=1)).told["error"]
    await execute(database_url, "update wallets set available = 20", "delete from audit_runs")
    await execute(
        database_url,
        "insert into webhook_endpoints (id, url, secret, delivered_seq)"
        " values (gen_random_uuid(), 'https://example.com', 's', 1)",
    )
    assert "waits for event 2" in (await wbs_archive(before, code=1)).told["error"]
    await execute(
        database_url,
        "update webhook_endpoints set delivered_seq = 2",
        "insert into webhook_parked (endpoint_id, seq) select id, 1 from webhook_endpoints",
    )
    assert "waits for event 1" in (await wbs_archive(before, code=1)).told["error"]
    await execute(database_url, "delete from webhook_parked")
    assert (await wbs_archive(before)).told["movements"] == 1
    assert (await wbs_archive(before)).told["movements"] == 0
    earlier = await wbs_archive(before - timedelta(microseconds=1), code=1)
    assert "already" in earlier.told["error"]


PLANTED = {
    "balance": "update wallets set available = available + 1 where user_id = 'ann'",
    "archived sum": "update archived_balances set available = available + 1 where user_id = 'ann'",
    "archived transactions": "update archived_balances set transactions = transactions + 1 where user_id = 'ann'",
    "a key more": "insert into idempotency_keys (client, key, fingerprint, user_id, currency, movement_id)"
    " values ('shop', 'planted', '\\x00', 'ann', 'USD', '00000000-0000-7000-8000-000000000000')",
    "a key less": "delete from idempotency_keys where movement_id not in (select id from transfers)",
    "an archived withdrawal that is open": "alter table withdrawals disable trigger user;"
    " update withdrawals set status = 'processing', bank_reference = null where archived_at is not null",
    "a payout of an archived withdrawal": "delete from withdrawal_history where withdrawal_id in"
    " (select id from withdrawals where archived_at is not null)",
}


@pytest.mark.parametrize("what", PLANTED)
async def test_planted_errors(
    ledger: Ledger,
    withdrawals: Withdrawals,
    connection: asyncpg.Connection,
    books_hold: BooksHold,
    wbs_archive: WbsArchive,
    what: str,
) -> None:
    """Goal: what is wrong with the rest of the books, or with the sums of what left them, is found."""
    await ledger.submit(charge(10))
    await withdrawals.settle(await begun(ledger, withdrawals, 1), Paid("p"))
    await ledger.submit(charge(10))
    await wbs_archive(await present(connection))
    await books_hold()
    for statement in PLANTED[what].split(";"):
        await connection.execute(statement)
    with pytest.raises(AssertionError):
        await books_hold()


def test_files_that_are_cut(tmp_path: Path) -> None:
    """Goal: what a crash left behind the last committed part is cut; a file that lacks something is refused."""
    files = ArchiveFolder(tmp_path / "a", {})
    first = files.add("transfers", b"id\n1\n")
    files.add("transfers", b"2\n")
    files.add("events", b"seq\n1\n")
    again = ArchiveFolder(tmp_path / "a", {"transfers": first})
    assert again.has("transfers")
    assert not again.has("events")
    again.add("transfers", b"3\n")
    with gzip.open(again.path("transfers"), "rb") as file:
        assert io.BytesIO(file.read()).getvalue() == b"id\n1\n3\n"
    assert again.path("events").stat().st_size == 0
