"""`wbs rabbitmq-users` on a real node: the users and their rights, made as often as one likes."""

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import aiohttp
import pika
import pika.exceptions
import pytest

from ops.local.provision import PrivateServers, private_servers
from ops.local.rabbitmq_node import RabbitMQ
from ops.rabbitmq_users import ADMINISTRATOR, OPERATOR, USERS, password_variable
from tests.conftest import unavailable
from tests.integration.ops.wbs import is_one_sentence, run_wbs

ODD = "päss w/örd:@%?#"
"""A password of characters that mean something in a URL."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServers]:
    """A node of these tests alone: they change its users."""
    env = {"RABBITMQ_URL": "", "DATABASE_URL": "postgresql://127.0.0.1/unused"}
    with private_servers(tmp_path_factory.mktemp("rabbitmq"), env=env, delete=True) as servers:
        yield servers


@pytest.fixture
def node(servers: PrivateServers) -> RabbitMQ:
    """The node, whose administrator the tests leave as it is."""
    chosen = servers.stack.servers
    assert chosen is not None
    if chosen.rabbitmq is None:
        unavailable("no RabbitMQ here, and none can be installed")
    return chosen.rabbitmq


def settings(node: RabbitMQ, **passwords: str) -> dict[str, str]:
    """Return the environment of the command, as the node's administrator."""
    login = {"RABBITMQ_URL": node.url(ADMINISTRATOR), "WBS_RABBITMQ_MANAGEMENT_URL": node.management_url}
    return login | {password_variable(f"wbs_{kind}"): password for kind, password in passwords.items()}


def logs_in(node: RabbitMQ, user: str, password: str) -> bool:
    """Tell whether the node lets a user in."""
    url = f"amqp://{user}:{quote(password, safe='')}@127.0.0.1:{node.amqp_port}/%2F"
    try:
        pika.BlockingConnection(pika.URLParameters(url)).close()
    except pika.exceptions.AMQPConnectionError:
        return False
    return True


async def listed(node: RabbitMQ, what: str) -> list[dict[str, str]]:
    """Return users or permissions, as the management page has them."""
    login = aiohttp.encode_basic_auth(ADMINISTRATOR, node.passwords[ADMINISTRATOR])
    async with (
        aiohttp.ClientSession(headers={"authorization": login}) as session,
        session.get(f"{node.management_url}/api/{what}") as answer,
    ):
        found: list[dict[str, str]] = await answer.json()
    return found


async def test_users_are_made_and_made_anew(tmp_path: Path, node: RabbitMQ) -> None:
    """Goal: who has a password logs in with it and may do what the table says; a new password replaces the old one."""
    for password in ("first", ODD):
        code, out, err = await run_wbs(
            tmp_path, ["rabbitmq-users", "--apply"], **settings(node, relay=password, operator=password)
        )
        assert (code, err) == (0, "")
        assert out == "RabbitMQ has wbs_operator, wbs_relay.\n"
        assert await asyncio.to_thread(logs_in, node, "wbs_relay", password)
    assert not await asyncio.to_thread(logs_in, node, "wbs_relay", "first")
    assert await asyncio.to_thread(logs_in, node, "wbs_reconciler", node.passwords["wbs_reconciler"]), (
        "left alone"
    )
    tags = {user["name"]: user["tags"] for user in await listed(node, "users")}
    assert set(tags) == set(USERS), "and no guest"
    assert tags[OPERATOR] in ("monitoring", ["monitoring"])
    rights = {
        row["user"]: (row["configure"], row["write"], row["read"])
        for row in await listed(node, "permissions")
    }
    assert rights == {name: permissions[:3] for name, permissions in USERS.items()}


async def test_definitions_hold_no_password(tmp_path: Path, node: RabbitMQ) -> None:
    """Goal: what is printed can be read by others and imported by `rabbitmqctl import_definitions`."""
    code, out, err = await run_wbs(tmp_path, ["rabbitmq-users"], RABBITMQ_ACTORS_PASSWORD=ODD)
    assert (code, err) == (0, "")
    assert ODD not in json.loads(out)["users"][0].values()
    assert [user["name"] for user in json.loads(out)["users"]] == ["wbs_actors"]
    login = aiohttp.encode_basic_auth(ADMINISTRATOR, node.passwords[ADMINISTRATOR])
    headers = {"authorization": login, "content-type": "application/json"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{node.management_url}/api/definitions", data=out) as answer,
    ):
        assert answer.status == 204
    assert await asyncio.to_thread(logs_in, node, "wbs_actors", ODD)


async def test_refusals_and_absence(tmp_path: Path, node: RabbitMQ) -> None:
    """Goal: one sentence says why nothing was made: no login, no administrator, nobody there, nobody answering."""
    apply = ["rabbitmq-users", "--apply"]
    with socket.socket() as nobody, socket.socket() as silent:
        nobody.bind(("127.0.0.1", 0))
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        given = settings(node, relay="x")
        no_administrator = given["RABBITMQ_URL"].replace(
            f"{ADMINISTRATOR}:{node.passwords[ADMINISTRATOR]}",
            f"wbs_reconciler:{node.passwords['wbs_reconciler']}",
        )
        assert urlsplit(no_administrator).username == "wbs_reconciler"
        cases = {
            (1, "RABBITMQ_RELAY_PASSWORD"): settings(node),
            (1, "WBS_RABBITMQ_MANAGEMENT_URL"): given | {"WBS_RABBITMQ_MANAGEMENT_URL": ""},
            (1, "refuses the login"): given
            | {"RABBITMQ_URL": "amqp://wbs_administrator:wrong@127.0.0.1/%2F"},
            (1, "no administrator's"): given | {"RABBITMQ_URL": no_administrator},
            (1, "answers 405"): given | {"WBS_RABBITMQ_MANAGEMENT_URL": f"{node.management_url}/elsewhere"},
            (2, "refused"): given
            | {"WBS_RABBITMQ_MANAGEMENT_URL": f"http://127.0.0.1:{nobody.getsockname()[1]}"},
            (2, "timed out"): given
            | {"WBS_RABBITMQ_MANAGEMENT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}"},
        }
        ran = await asyncio.gather(*(run_wbs(tmp_path, apply, **case) for case in cases.values()))
    for (expected, why), (code, out, err) in zip(cases, ran, strict=True):
        assert (code, out) == (expected, ""), (why, err)
        assert is_one_sentence(err)
        assert why in err, err
