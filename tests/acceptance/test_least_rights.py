"""Least rights on a real stack: the whole flow works with them, and secrets are where they belong and nowhere else."""

import json
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import aiohttp
import pika
import pika.exceptions
import psutil
import pytest

from ops import processes
from ops.local import supervision
from ops.local.stack import Stack
from ops.rabbitmq_users import OPERATOR
from ops.state import read_json
from tests.conftest import denied
from tests.polling import poll_until
from tests.service import PACE, Service, Split, defaults

BACKGROUND = ("relay", "actors", "reconciler")
REFUSED = 403
"""RabbitMQ's code, ACCESS_REFUSED."""
PACE_HERE = {**PACE, "WBS_AUTH": "off", "WBS_RETRY_ROUNDS": "1"}


@pytest.fixture(scope="module", params=["rabbitmq", "in memory"])
def own(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose logins may be off although it has keys; with RabbitMQ, and without."""
    settings = PACE_HERE | ({"WBS_BROKER": "memory"} if request.param == "in memory" else {})
    stack = Stack(tmp_path_factory.mktemp("rights"), env=defaults(**settings))
    try:
        with stack:
            yield stack
            assert not denied(stack)
    finally:
        stack.state.delete()


def background(stack: Stack) -> list[str]:
    """Return the kinds of background processes that this stack has."""
    return [kind for kind in BACKGROUND if stack.pids(kind)]


async def done(service: Service, *words: str, code: int = 0) -> str:
    """Run a `wbs` command, which must end as told; return what it printed."""
    ran = await service.wbs(*words)
    assert ran.returncode == code, (words, ran.stdout, ran.stderr)
    return ran.stdout


async def test_money_moves_and_commands_work(own: Stack) -> None:
    """Goal: the whole flow, then every command of an operator; nothing is refused for lack of a right.

    One test, since their order counts: the payout that is adopted at the end tells the stack that its database may
    have lost history, and then no withdrawal can be cancelled before the bank was asked about it.
    """
    await money_moves(own)
    await commands_work(own)


async def money_moves(own: Stack) -> None:
    """Charge, release, withdraw, cancel, return, with each process as its own role."""
    async with Service.of(own) as service:
        await service.faults()
        release_at = datetime.now(UTC) + timedelta(seconds=2)
        await service.charge(500)
        await service.charge(400, release_at=release_at.isoformat())
        assert await service.split() == Split(500, locked=400)
        paid = await service.withdraw(100)
        assert await service.ends(paid) == "completed"
        await service.send_back(paid)

        async def is_back() -> bool:
            return await service.split() == Split(900)

        await poll_until(is_back, what="released, and returned", interval_s=0.1)
        stopped = background(own)
        await service.stop(*stopped)
        cancelled = await service.withdraw(100)
        answer = await service.call("POST", f"/withdrawals/{cancelled}/cancel")
        assert answer.status == 200, answer.body
        await service.start(*stopped)
        assert await service.split() == Split(900)
        declined = await service.withdraw(1, destination="test:decline:insufficient_details")
        assert await service.ends(declined) == "failed"
        await service.audit()


async def commands_work(own: Stack) -> None:
    """Run dead letters, payouts, keys, reconcile, adopt, audit and migrate with the stack's logins."""
    async with Service.of(own) as service:
        await service.charge(500)
        await service.faults(seed=1, error_rate=1)
        dead = await service.withdraw(10)
        assert await service.ends(dead) == "requires_attention"
        assert dead in await done(service, "dlq", "list")
        await done(service, "dlq", "replay", dead)
        await service.faults()
        while await service.ends(dead) != "completed":
            await service.wbs("dlq", "replay", dead)
        await done(service, "payouts", "pause", "--reason", "a test of rights")
        held = await service.withdraw(20)
        assert "paused" in await done(service, "payouts", "status", code=1)
        await done(service, "payouts", "resume")
        assert await service.ends(held) == "completed"
        created = json.loads(
            await done(service, "keys", "create", "somebody", "--scopes", "charge", "--json")
        )
        assert "somebody" in await done(service, "keys", "list")
        await done(service, "keys", "revoke", created["name"])
        await done(service, "reconcile")
        prefix = (await service.withdrawal(held))["reference"][:8]
        stray = {"reference": prefix + uuid4().hex[:24], "amount": 7, "currency": "USD"}
        headers = {"Idempotency-Key": stray["reference"]}
        base = own.urls["bank"]
        answer = await service.call("POST", "/payouts", base=base, json=stray, headers=headers)
        assert answer.status == 201, answer.body
        adopting = ("reconcile", "--adopt", stray["reference"], "--user", service.user, "--reason", "a test")
        await done(service, *adopting)
        # The reconciler may have seen the stray payout first: payouts are paused then, until an operator says more.
        await service.wbs("payouts", "resume")
        await done(service, "payouts", "status")
        await done(service, "migrate")
        await done(service, "audit")
        assert "7" in str(await service.paid_by_reference())


async def rabbitmq(service: Service, user: str, password: str, path: str) -> int:
    """Return the status of a call of RabbitMQ's management page."""
    headers = {"authorization": aiohttp.encode_basic_auth(user, password)}
    return (await service.call("GET", path, base=service.stack.urls["rabbitmq"], headers=headers)).status


async def test_users_of_rabbitmq(own: Stack) -> None:
    """Goal: each user reads and writes what the table says, only the operator sees the page, and guest is gone."""
    node = own.servers and own.servers.rabbitmq
    if not node:
        return
    async with Service.of(own) as service:
        assert await rabbitmq(service, "guest", "guest", "/api/whoami") == 401
        assert await rabbitmq(service, OPERATOR, node.passwords[OPERATOR], "/api/overview") == 200
        assert await rabbitmq(service, OPERATOR, node.passwords[OPERATOR], "/api/users") == 401
        for user in ("wbs_relay", "wbs_actors", "wbs_reconciler"):
            assert await rabbitmq(service, user, node.passwords[user], "/api/overview") == 401
    for user in node.passwords:
        administers = user == "wbs_administrator"
        assert may(node.url(user), "declare", "something else") == administers, user
        assert may(node.url(user), "write", "amq.direct") == administers, user
        assert may(node.url(user), "read", "withdrawals") or not administers, user
        reads_dead_letters = administers or user == OPERATOR
        assert may(node.url(user), "read", "withdrawals.XQ") == reads_dead_letters, user


def may(url: str, what: str, name: str) -> bool:
    """Tell whether RabbitMQ lets the user of the URL do it."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        channel = connection.channel()
        channel.confirm_delivery()
        if what == "declare":
            channel.queue_declare(name, exclusive=True)
        elif what == "read":
            method, *_ = channel.basic_get(name)
            if method:
                channel.basic_nack(method.delivery_tag)
        else:
            channel.basic_publish(name, "nowhere", b"")
    except pika.exceptions.ChannelClosedByBroker as refusal:
        if refusal.reply_code != REFUSED:
            raise
        return False
    finally:
        connection.close()
    return True


def test_servers_do_not_run_as_root(own: Stack) -> None:
    """Goal: whoever started the stack, no server is root, and the password between Erlang's nodes is random."""
    assert own.servers is not None
    for kind in ("postgres", "rabbitmq"):
        for pid in own.pids(kind):
            assert psutil.Process(pid).uids().effective != 0, kind
    if own.servers.rabbitmq:
        cookie = Path(own.servers.rabbitmq.environment["HOME"]) / ".erlang.cookie"
        assert stat.S_IMODE(cookie.stat().st_mode) == 0o400
        assert cookie.read_text(encoding="ascii") == own.state.secret("erlang_cookie")
        assert len(own.state.secret("erlang_cookie")) == 48


def everybody(stack: Stack) -> list[psutil.Process]:
    """Return every process of the stack, supervisor and sessions of servers included."""
    supervisord = processes.recorded(stack.state, supervision.NAME)
    assert supervisord is not None
    root = psutil.Process(supervisord.pid)
    return [root, *root.children(recursive=True)]


def secrets_of(stack: Stack) -> dict[str, str]:
    """Return the secrets of a stack by name."""
    found: dict[str, str] = dict(read_json(stack.state.private_file)["secrets"])
    found["the bank's webhook secret"] = stack.env["WBS_BANK_WEBHOOK_SECRET"]
    return found


def test_no_secret_on_a_command_line(own: Stack) -> None:
    """Goal: no process has a secret where every user of the machine can read it."""
    lines = []
    for process in everybody(own):
        try:
            lines.append((process.name(), Path(f"/proc/{process.pid}/cmdline").read_bytes()))
        except (OSError, psutil.Error):  # a session that has just ended
            continue
    assert len(lines) > 8
    for name, secret in secrets_of(own).items():
        assert not [command for command, line in lines if secret.encode() in line], name


def test_no_secret_in_a_log(own: Stack) -> None:
    """Goal: no log, whoever wrote it, holds a secret."""
    logs = {path: path.read_bytes() for path in own.state.log.rglob("*") if path.is_file()}
    assert len(logs) > 5
    for name, secret in secrets_of(own).items():
        assert not [str(path) for path, text in logs.items() if secret.encode() in text], name


def test_nobody_else_may_read(own: Stack) -> None:
    """Goal: below the state folder no other user can read a file or look into a folder; what is secret is mode 600."""
    open_to_others = []
    for path in (own.state.root, *own.state.root.rglob("*")):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            continue
        if stat.S_ISLNK(mode):
            continue
        # Of the state folder itself, root's PostgreSQL and RabbitMQ need the way through.
        allowed = 0o711 if path == own.state.root else 0o700
        if stat.S_IMODE(mode) & ~allowed:
            open_to_others.append(f"{stat.filemode(mode)} {path.relative_to(own.state.root)}")
    assert not open_to_others
    for path in (own.state.private_file, own.state.env_file, own.state.programs_file):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
