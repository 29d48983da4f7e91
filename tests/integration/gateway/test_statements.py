"""GET /wallets/{user_id} and its entries, GET /balance at an instant or in all currencies."""

import csv
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from tests.integration.gateway.conftest import Api, Gateway, new_key
from tests.integration.gateway.test_lists import hold, someone, transfer
from tests.polling import poll_until
from tests.tcp import connected

SPLIT = ("total", "withdrawable", "locked", "held")
ZEROS = dict.fromkeys(SPLIT, 0)


def soon(seconds: float) -> str:
    """Return an instant of the near future."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def a_history(api: Api, user: str, other: str) -> dict[str, datetime]:
    """Do something of everything; return when a charge was released and a hold expired, which nobody writes."""
    charge = (await api.charge(user, 1000)).json
    release_at = soon(0.7)
    await api.charge(user, 300, release_at=release_at)
    await api.charge(user, 50, release_at=soon(3600))
    await transfer(api, user, (other, 120), (other, 5))
    await transfer(api, other, (user, 20))
    held = await hold(api, user, 100)
    body = {"to_user_id": other, "amount": 60, "idempotency_key": new_key()}
    assert (await api.post(f"/holds/{held['id']}/capture", body)).status == 200
    expires_at = soon(0.7)
    await hold(api, user, 7, expires_at=expires_at)
    withdrawal = (await api.withdraw(user, 30)).json
    assert (await api.call("POST", f"/withdrawals/{withdrawal['withdrawal_id']}/cancel")).status == 200
    undone = {"amount": 10, "idempotency_key": new_key(), "reason": "broken"}
    assert (await api.post(f"/charges/{charge['id']}/reverse", undone)).status == 200

    async def has_matured() -> bool:
        found = (await api.get(f"/balance/{user}")).json
        return bool((found["locked"], found["held"]) == (50, 0))

    await poll_until(has_matured)
    return {"release": datetime.fromisoformat(release_at), "void": datetime.fromisoformat(expires_at)}


async def pages(api: Api, user: str, **query: Any) -> list[Any]:
    """Return the pages of a statement."""
    found = []
    cursor: dict[str, str] = {}
    while True:
        reply = await api.get(f"/wallets/{user}/entries", **query, **cursor)
        assert reply.status == 200, reply
        found.append(reply.json)
        if reply.json["next_cursor"] is None:
            return found
        cursor = {"cursor": reply.json["next_cursor"]}


def check_sums(opening: dict[str, int], entries: list[Any], closing: dict[str, int]) -> None:
    """Check that each entry adds its effect to the split before, and that all of them lead to the closing one."""
    split = dict(opening)
    for entry in entries:
        for name, change in entry["effect"].items():
            split[name] += change
        split["total"] += entry["amount"]
        assert entry["balance_after"] == split
        assert split["total"] == split["withdrawable"] + split["locked"] + split["held"]
    assert split == closing


@pytest.fixture
def people() -> tuple[str, str]:
    return someone(), someone()


async def test_a_statement_adds_up(shared_api: Api, people: tuple[str, str]) -> None:
    """Goal: opening, entries and closing agree with each other and with the balance, in pages of any size."""
    user, other = people
    unwritten = await a_history(shared_api, *people)
    balance = (await shared_api.get(f"/balance/{user}")).json
    [whole] = await pages(shared_api, user, limit=100)
    check_sums(ZEROS, whole["entries"], whole["closing"])
    assert {name: balance[name] for name in SPLIT} == whole["closing"]
    assert (whole["user_id"], whole["currency"], whole["from"], whole["opening"]) == (
        user,
        "USD",
        None,
        ZEROS,
    )
    kinds = [entry["kind"] for entry in whole["entries"]]
    assert kinds[:3] == ["charge"] * 3
    assert sorted(kinds[3:]) == sorted(
        [
            "send",
            "receive",
            "hold",
            "capture",
            "void",
            "hold",
            "reserve",
            "refund",
            "reversal",
            "release",
            "void",
        ]
    )
    instants = [datetime.fromisoformat(entry["created_at"]) for entry in whole["entries"]]
    assert instants == sorted(instants)
    for kind, at in unwritten.items():
        assert (kind, at) in zip(kinds, instants, strict=True), (
            "where it counts, though nobody has written it"
        )
    by_kind = {entry["kind"]: entry for entry in whole["entries"]}
    assert (by_kind["receive"]["counterparty"], by_kind["receive"]["amount"]) == (other, 20)
    assert (by_kind["capture"]["counterparty"], by_kind["capture"]["amount"]) == (other, -60)
    assert by_kind["reserve"]["amount"] == 0
    assert by_kind["reserve"]["effect"] == {"withdrawable": -30, "locked": 0, "held": 30}
    for limit in (1, 4):
        found = await pages(shared_api, user, limit=limit, to=whole["to"])
        assert [entry for page in found for entry in page["entries"]] == whole["entries"]
        assert all((page["opening"], page["closing"]) == (ZEROS, whole["closing"]) for page in found)
    assert (await pages(shared_api, user, currency="EUR"))[0]["entries"] == []


async def test_a_part_of_the_time(shared_api: Api, people: tuple[str, str]) -> None:
    """Goal: `from` is part of the time and `to` is not; parts fit together, and agree with the balance `at`."""
    user, _ = people
    await a_history(shared_api, *people)
    [whole] = await pages(shared_api, user, limit=100)
    entries = whole["entries"]
    before = ZEROS
    for place in range(1, len(entries), 3):
        at = entries[place]["created_at"]
        [first] = await pages(shared_api, user, limit=100, to=at)
        [second] = await pages(shared_api, user, limit=100, to=whole["to"], **{"from": at})
        assert first["entries"] + second["entries"] == entries
        assert first["closing"] == second["opening"]
        check_sums(first["opening"], first["entries"], first["closing"])
        check_sums(second["opening"], second["entries"], second["closing"])
        assert second["entries"][0]["created_at"] == at
        just_before = (datetime.fromisoformat(at) - timedelta(microseconds=1)).isoformat()
        reply = await shared_api.get(f"/balance/{user}", at=just_before)
        assert {name: reply.json[name] for name in SPLIT} == first["closing"]
        by_query = await shared_api.get("/balance", user_id=user, at=at)
        after = [entry["balance_after"] for entry in entries if entry["created_at"] == at][-1]
        assert {name: by_query.json[name] for name in SPLIT} == after
        assert before != after
        before = after
    long_ago = (await shared_api.get(f"/balance/{user}", at="0001-01-01T00:00:00+14:00")).json
    assert {name: long_ago[name] for name in SPLIT} == ZEROS
    [early] = await pages(
        shared_api, user, to="1970-01-02T00:00:00Z", **{"from": "0001-01-01T00:00:00+14:00"}
    )
    assert (early["entries"], early["closing"]) == ([], ZEROS)


async def test_what_comes_later_changes_nothing(
    api: Api, people: tuple[str, str], connection: asyncpg.Connection
) -> None:
    """Goal: a statement stays the same, ids included, when releases and expiries are written and more moves."""
    from db.releases import release_matured

    user, other = people
    await a_history(api, *people)
    [before] = await pages(api, user, limit=100)
    first = (await api.get(f"/wallets/{user}/entries", limit=3)).json
    while await release_matured(connection):
        pass
    await transfer(api, user, (other, 9))
    assert await pages(api, user, limit=100, to=before["to"]) == [before]
    rest: list[Any] = []
    page = first
    while page["next_cursor"] is not None:
        page = (await api.get(f"/wallets/{user}/entries", limit=2, cursor=page["next_cursor"])).json
        assert (page["opening"], page["to"]) == (ZEROS, first["to"])
        rest += page["entries"]
    assert first["entries"] + rest == before["entries"]
    [after] = await pages(api, user, limit=100)
    assert after["entries"][:-1] == before["entries"]


async def test_a_file(shared_api: Api, people: tuple[str, str]) -> None:
    """Goal: the CSV file has all entries of the time, between the opening and the closing split."""
    user, other = people
    await a_history(shared_api, *people)
    [whole] = await pages(shared_api, user, limit=100)
    for name in (user, other):
        [whole] = await pages(shared_api, name, limit=100)
        reply = await shared_api.with_headers(accept="text/csv").get(
            f"/wallets/{name}/entries", to=whole["to"]
        )
        assert reply.headers["content-type"] == "text/csv; charset=utf-8"
        first, *lines, last = csv.DictReader(StringIO(reply.body.decode(), newline=""))
        assert (first["kind"], last["kind"]) == ("opening", "closing")
        assert {name: int(last[f"{name}_after"]) for name in SPLIT} == whole["closing"]
        for line, entry in zip(lines, whole["entries"], strict=True):
            assert [line["id"], line["kind"], int(line["amount"])] == [
                entry["id"],
                entry["kind"],
                entry["amount"],
            ]
            assert {name: int(line[name]) for name in SPLIT[1:]} == entry["effect"]
            assert {name: int(line[f"{name}_after"]) for name in SPLIT} == entry["balance_after"]
            assert line["counterparty"] == (entry["counterparty"] or "")
            assert line["created_at"] == entry["created_at"]
    nobody = await shared_api.with_headers(accept="text/csv").get(f"/wallets/{someone()}/entries")
    assert len(nobody.body.splitlines()) == 3
    head = await shared_api.with_headers(accept="text/csv").call("HEAD", f"/wallets/{user}/entries")
    assert (head.status, head.body) == (200, b"")
    cursor = (await shared_api.get(f"/wallets/{user}/entries", limit=1)).json["next_cursor"]
    refused = await shared_api.with_headers(accept="text/csv").get(f"/wallets/{user}/entries", cursor=cursor)
    assert refused.bad_fields == {"cursor"}


async def fill(connection: asyncpg.Connection, number: int) -> None:
    """Add many movements to a wallet of ann's, in the past."""
    await connection.execute(
        "insert into wallets (user_id, currency, available) values ('ann', 'USD', $1)", number
    )
    await connection.execute(
        "insert into transfers (id, user_id, currency, kind, debit_account, credit_account, amount, total_after,"
        " available_after, locked_after, held_after, reference, created_at)"
        " select id, 'ann', 'USD', 'adjustment', 'funding', 'available', 1, n, n, 0, 0, id, now() from ("
        " select (uuid7_start(now() - interval '1 day' + n * interval '1 ms') || '8000000000000000')::uuid as id, n"
        " from generate_series(1, $1) as n) as made",
        number,
        timeout=120,
    )


def resident_kb(gateway: Gateway) -> int:
    """Return the memory that a gateway occupies."""
    status = Path(f"/proc/{gateway.pid}/status").read_text(encoding="utf-8")
    return int(status.partition("VmRSS:")[2].split()[0])


async def test_a_long_file(
    api: Api, gateway: Gateway, connection: asyncpg.Connection, session: aiohttp.ClientSession
) -> None:
    """Goal: a hundred thousand entries come in bounded memory; a client that goes away ends it; others are served."""
    number = 100_000
    await fill(connection, number)
    before = resident_kb(gateway)
    lines = 0
    url = f"{gateway.url}/wallets/ann/entries"
    async with session.get(url, headers={"accept": "text/csv"}) as reply:
        assert reply.headers["transfer-encoding"] == "chunked"
        last = b""
        async for piece in reply.content.iter_any():
            lines += piece.count(b"\n")
            last = (last + piece)[-200:]
    assert lines == number + 3
    assert last.splitlines()[-1].startswith(b",closing,,,,,100000,100000,0,0,")
    assert resident_kb(gateway) - before < 30_000
    async with connected(gateway.port) as (reader, writer):
        writer.write(b"GET /wallets/ann/entries HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/csv\r\n\r\n")
        assert (await reader.read(1000)).startswith(b"HTTP/1.1 200")
        writer.transport.abort()
    assert (await api.balance("ann"))["total"] == number
    async with connected(gateway.port) as (reader, writer):
        writer.write(b"GET /wallets/ann/entries HTTP/1.0\r\nhost: 127.0.0.1\r\naccept: text/csv\r\n\r\n")
        whole = await reader.read()
    assert whole.count(b"\n") > number
    assert b"transfer-encoding" not in whole[:1000].lower()


async def a_file(api: Api, user: str, **query: Any) -> list[dict[str, str]]:
    """Return the lines of a statement's file."""
    reply = await api.with_headers(accept="text/csv").get(f"/wallets/{user}/entries", **query)
    assert reply.status == 200, reply
    return list(csv.DictReader(StringIO(reply.body.decode(), newline="")))


async def test_all_currencies(shared_api: Api) -> None:
    """Goal: all wallets of a user, by currency, now and at an instant, in both spellings."""
    user = someone()
    for path, query in ((f"/wallets/{user}", {}), (f"/balance/{user}", {"currency": "all"})):
        assert (await shared_api.get(path, **query)).json == {"user_id": user, "wallets": []}
    first = (await shared_api.charge(user, 5)).json
    await shared_api.charge(user, 7, currency="EUR")
    dollars = (await shared_api.get(f"/balance/{user}")).json
    euros = (await shared_api.get(f"/balance/{user}", currency="EUR")).json
    for path, query in ((f"/wallets/{user}", {}), ("/balance", {"currency": "all", "user_id": user})):
        assert (await shared_api.get(path, **query)).json == {"user_id": user, "wallets": [euros, dollars]}
        at = {"at": first["created_at"], **query}
        assert (await shared_api.get(path, **at)).json == {"user_id": user, "wallets": [dollars]}


async def test_what_can_not_be_asked(shared_api: Api, people: tuple[str, str]) -> None:
    """Goal: no future, no time that ends before it begins, no cursor of another statement."""
    user, _ = people
    await a_history(shared_api, *people)
    future, past = "2999-01-01T00:00:00Z", "2026-01-01T00:00:00Z"
    for path in (f"/balance/{user}", f"/wallets/{user}", "/balance/nobody", "/wallets/nobody"):
        for at in (future, "9999-12-31T23:59:59.999999-14:00", "now", "2026-01-01"):
            assert (await shared_api.get(path, at=at)).bad_fields == {"at"}
    path = f"/wallets/{user}/entries"
    assert (await shared_api.get(path, to=future)).bad_fields == {"to"}
    assert (await shared_api.get(path, **{"from": future})).bad_fields == {"from"}
    assert (await shared_api.get(path, to=past, **{"from": past})).bad_fields == {"from"}
    assert (await shared_api.get(path, from_=past)).bad_fields == {"from_"}
    cursor = (await shared_api.get(path, limit=2)).json["next_cursor"]
    assert (await shared_api.get(path, cursor=cursor, to=past)).bad_fields == {"to"}
    page = (await shared_api.get(path, limit=100)).json
    late = {"from": page["entries"][-1]["created_at"]}
    assert (await shared_api.get(path, cursor=cursor, **late)).bad_fields == {"from"}
    for bad in ("x", cursor[:-1], "_" * 43, "A" * 22):
        assert (await shared_api.get(path, cursor=bad)).bad_fields == {"cursor"}
    assert (await shared_api.get(f"/balance/{user}", currency="ALL!")).bad_fields == {"currency"}


async def test_instants_that_utc_can_not_spell(shared_api: Api) -> None:
    """Goal: an offset may put an instant outside the calendar: it is before all there is, or after it."""
    user = someone()
    first, last = "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"
    await shared_api.charge(user, 5)
    for path, name in (
        (f"/wallets/{user}/entries", "from"),
        (f"/wallets/{user}/entries", "to"),
        (f"/balance/{user}", "at"),
        (f"/wallets/{user}", "at"),
    ):
        for instant in (first, last):
            status = 200 if instant == first and name != "to" else 422
            assert (await shared_api.get(path, **{name: instant})).status == status, (path, name, instant)
    for name in ("created_from", "created_to"):
        for instant in (first, last):
            found = (await shared_api.get("/charges", user_id=user, **{name: instant})).json["items"]
            assert len(found) == ((name, instant) in {("created_from", first), ("created_to", last)})
    lines = await a_file(shared_api, user, **{"from": first})
    assert [line["kind"] for line in lines] == ["opening", "charge", "closing"]


async def test_names_are_no_formulas(shared_api: Api) -> None:
    """Goal: a user's name that begins a formula is a text to a spreadsheet that opens the file, and itself in JSON."""
    user = someone()
    await shared_api.charge(user, 50)
    payees = [f"{sign}{user}" for sign in ("=", "+", "-", "@")]
    for payee in (*payees, f"a={user}"):
        await transfer(shared_api, user, (payee, 1))
    lines = await a_file(shared_api, user)
    shown = [line["counterparty"] for line in lines if line["counterparty"]]
    assert shown == [*(f"'{payee}" for payee in payees), f"a={user}"]
    [page] = await pages(shared_api, user)
    assert [entry["counterparty"] for entry in page["entries"]][1:] == [*payees, f"a={user}"]
