"""Three in the morning, with `wbs` alone: what is wrong, why, how much; heal, replay, see them completed."""

import asyncio
import json
import re
from typing import Any

import aiohttp
import pytest

from tests.integration.ops.wbs import every_command, tells_database
from tests.polling import poll_until
from tests.service import Service

CALLS_NO_DATABASE = {"logs", "ps", "rabbitmq-users", "restart", "scale"}
"""They speak to no database."""

LEFT_OUT = {"up", "down", "refresh-db", "reset", "roles", "restore", "bank", "attack", "bench", "chaos"}
"""Commands that change this stack for good, take long, or start one of their own: other tests run them."""

REQUIRED = {
    "adjust": ["--list"],
    "backup": ["FILE"],
    "dlq replay": ["--all", "--dry-run"],
    "dlq discard": ["--all", "--dry-run"],
    "keys create": ["shop", "--scopes", "read", "--dry-run"],
    "keys revoke": ["shop", "--dry-run"],
    "payouts pause": ["--reason", "test", "--dry-run"],
    "payouts resume": ["--dry-run"],
    "restart": ["relay", "--dry-run"],
    "scale": ["relay=2", "--dry-run"],
    "show": ["KEY"],
    "wallet": ["USER"],
}
"""How a command is called here, so that nothing is changed."""

GROUPS = {"config", "dlq", "keys", "payouts"}
"""Commands with actions of their own."""

ONLY_JSON = {"rabbitmq-users"}
"""It prints nothing else."""

MAY_SAY_NO = {"status", "dlq show", "keys revoke", "payouts status", "rabbitmq-users"}
"""Commands whose exit code may be 1: something is wrong, or is not there."""


async def told(service: Service, *words: str, code: int = 0) -> Any:
    """Run a command with --json; return what it printed."""
    done = await service.wbs(*words, "--json")
    assert done.returncode == code, (words, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


async def test_the_drill_by_wbs_alone(service: Service) -> None:
    """Goal: an operator finds out which withdrawals are stuck, why and how much, heals the bank, replays them, sees
    them completed and each step in the logs; who did it is written down, and the books are right."""
    await service.charge(1_000)
    await service.faults(outage=True)
    ids = [await service.withdraw(amount) for amount in (100, 150, 250)]
    assert set(await service.all_end(ids)) == {"requires_attention"}

    status = await told(service, "status", code=1)
    assert any("require attention" in one for one in status["wrong"])
    assert status["held"]["USD"] >= 500
    assert sum(row["amount"] for row in status["attention"]) >= 500
    listed = await told(service, "withdrawals", "--status", "requires_attention", "--user", service.user)
    assert {row["id"] for row in listed["withdrawals"]} == set(ids)
    assert listed["totals"] == {"USD": 500}
    assert all(row["failure_code"] for row in listed["withdrawals"])
    assert not (await told(service, "withdrawals", "--user", service.user, "--older-than", "1h"))[
        "withdrawals"
    ]
    shown = (await told(service, "show", ids[0]))["withdrawal"]
    assert shown["failure_reason"]
    attempts = [entry for entry in shown["timeline"] if entry["what"] == "attempt"]
    assert attempts
    assert all(entry["took_ms"] >= 0 for entry in attempts)
    read = (await service.wbs("withdrawals", "--user", service.user)).stdout
    assert "5.00 USD" in read
    assert (await told(service, "wallet", service.user))["wallets"][0]["held"] == 500

    await service.faults()
    assert set((await told(service, "dlq", "replay", "--all", "--dry-run"))["would_replay"]) >= set(ids)
    replayed = await told(service, "dlq", "replay", "--all", "--as", "eve")
    assert set(replayed["replayed"]) >= set(ids)
    assert await service.all_end(ids) == ["completed"] * 3

    by_reference = (await told(service, "show", shown["reference"]))["withdrawal"]
    assert (by_reference["id"], by_reference["status"]) == (ids[0], "completed")
    assert any(entry.get("by") == "operator:eve" for entry in by_reference["timeline"])

    async def all_steps_are_logged() -> bool:
        done = await service.wbs("logs", "--since", "1h", "--grep", ids[0], "--json")
        events = [json.loads(line) for line in done.stdout.splitlines()]
        paid = [event for event in events if event["event"] == "paid"]
        names = {event["event"] for event in events}
        assert all(event["bank_ms"] >= 0 for event in paid)
        return {"accepted", "createWithdrawal", "attempt", "requires_attention", "paid", "completed"} <= names

    await poll_until(all_steps_are_logged, what="the withdrawal has left its lines")
    await service.audit()


async def test_every_command_has_json_and_says_its_database(
    service: Service, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Goal: whatever is asked, --json is JSON and nothing else, the database is named, and --help tells exit codes."""
    await service.charge(1_000)
    id_ = await service.withdraw(100, key=f"key-of-{service.user}")
    await service.ends(id_)
    places = {
        "USER": service.user,
        "KEY": f"key-of-{service.user}",
        "FILE": str(tmp_path_factory.mktemp("backup") / "books.dump"),
    }
    turn = asyncio.Semaphore(2)

    async def one(words: list[str]) -> None:
        name = " ".join(words[:2]) if words[0] in GROUPS else words[0]
        asked = [*name.split(), *REQUIRED[name]] if name in REQUIRED else words
        asked = [places.get(word, word) for word in asked]
        async with turn:
            done = await service.wbs(
                *asked, *([] if "--json" in asked or words[0] in ONLY_JSON else ["--json"])
            )
            helped = await service.wbs(*name.split(), "--help")
        codes = (0, 1) if name in MAY_SAY_NO else (0,)
        assert done.returncode in codes, (asked, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        if done.stdout:
            for document in done.stdout.splitlines() if name == "logs" else [done.stdout]:
                json.loads(document)
        assert tells_database(done.stderr) != (words[0] in CALLS_NO_DATABASE), (asked, done.stderr)
        assert helped.returncode == 0
        assert "xit code" in helped.stdout, (name, helped.stdout)

    commands = [words for words in every_command() if words[0] not in LEFT_OUT]
    await asyncio.gather(*(one(words) for words in commands))


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["show"],
        ["withdrawals", "--status", "lost"],
        ["withdrawals", "--older-than", "soon"],
        ["withdrawals", "--limit", "0"],
        ["logs", "nobody"],
        ["restart", "nobody"],
        ["scale", "gateway"],
        ["scale", "gateway=0"],
        ["scale", "bank_sim=2"],
        ["dlq", "replay"],
        ["dlq", "show", "no-id"],
    ],
    ids=" ".join,
)
async def test_what_makes_no_sense(service: Service, words: list[str]) -> None:
    """Goal: a clear sentence and exit code 2."""
    done = await service.wbs(*words)
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert re.search(r"wbs[a-z ]*: ", done.stderr)
    assert not done.stdout


async def test_scaling_and_restarting_turns_nobody_away(service: Service) -> None:
    """Goal: while gateways and actors come, go and restart, each charge is answered 200 at its first try or at its
    second on a new connection, none twice; the numbers of processes are those that were asked for."""
    stop = asyncio.Event()
    answered = 0

    async def client(number: int) -> None:
        nonlocal answered
        while not stop.is_set():
            order = service.order(1)
            for tries in range(2):
                try:
                    answer = await service.call("POST", "/charge", json=order)
                    break
                except aiohttp.ClientConnectionError:  # an idle connection of a gateway that has ended
                    assert tries == 0
            assert answer.status == 200, answer.body
            answered += 1

    clients = [asyncio.create_task(client(number)) for number in range(4)]
    try:
        started = await told(service, "scale", "gateway=3", "actors=2", "--as", "eve")
        assert [len(started[kind]["started"]) for kind in ("gateway", "actors")] == [1, 1]
        assert len(service.stack.pids("gateway")) == 3
        assert len(service.stack.pids("actors")) == 2
        before = service.stack.pids("gateway")
        await told(service, "restart", "gateway", "--as", "eve")
        after = service.stack.pids("gateway")
        assert len(after) == 3
        assert not set(before) & set(after)
        await told(service, "scale", "gateway=2", "actors=1")
        assert len(service.stack.pids("gateway")) == 2
        assert len(service.stack.pids("actors")) == 1
    finally:
        stop.set()
        await asyncio.gather(*clients)
    assert answered > 0
    assert (await service.split()).withdrawable == answered
    journal = (service.stack.state.log / "operators.log").read_text(encoding="utf-8")
    assert '"by": "operator:eve"' in journal
