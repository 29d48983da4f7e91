"""Who may do what: every endpoint × every scope, × wallets and withdrawals of others; keys that come, expire and go."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import aiohttp
import asyncpg
import pytest

from db import api_keys
from gateway.key_directory import KeyDirectory
from runtime.settings import Settings
from runtime.tasks import SupervisedTasks
from tests.api_keys import create_key
from tests.integration.gateway.conftest import Api, Gateway, Reply, StartGateway, new_key, with_key
from tests.polling import poll_until
from wallet.scopes import GRANTABLE, Scope

TOKEN = "token-of-prometheus"
MINE, THEIRS = "acme-1", "other-1"


class Things(NamedTuple):
    """What a user has: identifiers of a withdrawal (and its key), a charge, a transfer, two holds and two webhooks."""

    withdrawal: str
    key: str
    charge: str
    transfer: str
    hold: str
    voidable: str
    webhook: str
    removable: str


class Call(NamedTuple):
    """An endpoint, the scope that it needs, and how it is called for a user with a withdrawal. None: nobody may ask."""

    method: str
    path: str
    scope: Scope | None
    body: Callable[[str], Any] | None = None
    foreign: int | None = None
    """What a key is answered that is bound to other users; None where there is no user."""

    def at(self, user: str, things: Things) -> str:
        return self.path.format(user=user, **things._asdict())


def order(user: str) -> dict[str, Any]:
    return {"user_id": user, "amount": 1, "idempotency_key": new_key()}


def to_acme(user: str) -> dict[str, Any]:
    return {"from_user_id": user, "to_user_id": "acme-2", "amount": 1, "idempotency_key": new_key()}


def capture(_: str) -> dict[str, Any]:
    return {"to_user_id": "acme-2", "idempotency_key": new_key()}


def reversal(_: str) -> dict[str, Any]:
    return {"amount": 1, "idempotency_key": new_key()}


def adjustment(user: str) -> dict[str, Any]:
    return {**order(user), "reason": "what the test wants"}


NO_ID = "00000000-0000-7000-8000-000000000000"
HOOK = {"url": "http://127.0.0.1:9/"}

CALLS = [
    Call("POST", "/transfers", Scope.TRANSFER, to_acme, 404),
    Call("GET", "/transfers/{transfer}", Scope.READ, None, 404),
    Call("POST", "/transfers/{transfer}/reverse", Scope.REVERSE, reversal, 404),
    Call("GET", "/charges/{charge}", Scope.READ, None, 404),
    Call("POST", "/charges/{charge}/reverse", Scope.REVERSE, reversal, 404),
    Call("POST", "/holds", Scope.HOLD, order, 404),
    Call("GET", "/holds/{hold}", Scope.READ, None, 404),
    Call("POST", "/holds/{hold}/capture", Scope.HOLD, capture, 404),
    Call("POST", "/holds/{voidable}/void", Scope.HOLD, None, 404),
    Call("POST", "/charge", Scope.CHARGE, order, 404),
    Call("POST", "/charges", Scope.CHARGE, lambda user: [order(user)], 200),  # 404 for the item, see below
    Call("POST", "/withdraw", Scope.WITHDRAW, order, 404),
    Call("POST", "/withdrawals/{withdrawal}/cancel", Scope.CANCEL, None, 404),
    Call("GET", "/withdrawals/{withdrawal}", Scope.READ, None, 404),
    Call("GET", "/withdrawals/{withdrawal}?wait=1", Scope.READ, None, 404),
    Call("GET", "/withdrawals?idempotency_key={key}", Scope.READ, None, 404),
    Call("GET", "/balance/{user}", Scope.READ, None, 404),
    Call("GET", "/balance?user_id={user}", Scope.READ, None, 404),
    Call("GET", "/balance/{user}?at=2026-01-01T00:00:00Z", Scope.READ, None, 404),
    Call("GET", "/balance/{user}?currency=all", Scope.READ, None, 404),
    Call("GET", "/wallets/{user}", Scope.READ, None, 404),
    Call("GET", "/wallets/{user}/entries", Scope.READ, None, 404),
    Call("GET", "/charges?user_id={user}", Scope.READ, None, 404),
    Call("GET", "/transfers?user_id={user}", Scope.READ, None, 404),
    Call("GET", "/holds?user_id={user}", Scope.READ, None, 404),
    Call("GET", "/withdrawals?user_id={user}", Scope.READ, None, 404),
    Call("GET", "/transactions/{user}", Scope.READ, None, 404),
    Call("GET", "/transactions?user_id={user}", Scope.READ, None, 404),
    Call("POST", "/webhooks", Scope.EVENTS, lambda _: HOOK),
    Call("GET", "/webhooks", Scope.EVENTS),
    Call("GET", "/webhooks/{webhook}", Scope.EVENTS, None, 404),
    Call("PATCH", "/webhooks/{webhook}", Scope.EVENTS, lambda _: {"description": "a shop"}, 404),
    Call("POST", "/webhooks/{webhook}/rotate", Scope.EVENTS, None, 404),
    Call("POST", "/webhooks/{webhook}/test", Scope.EVENTS, None, 404),
    Call("GET", "/webhooks/{webhook}/deliveries", Scope.EVENTS, None, 404),
    Call("POST", "/webhooks/{webhook}/redeliver", Scope.EVENTS, lambda _: {"after": 0}, 404),
    Call("DELETE", "/webhooks/{removable}", Scope.EVENTS, None, 404),
    Call("GET", "/currencies", Scope.READ),
    Call("GET", "/events", Scope.EVENTS),
    Call("GET", "/events/stream?after=999999999999", Scope.EVENTS),  # past the end: 410, and no stream
    Call("GET", "/metrics", Scope.METRICS),
    Call("GET", "/console", None),  # it holds nothing, and asks for a key itself
    Call("GET", "/console/bank", None),
    Call("GET", "/console/withdrawals/{withdrawal}", None),
    Call("GET", "/console/files/main.js", None),
    Call("POST", "/operator/adjustments", Scope.OPERATE, adjustment),
    Call("GET", "/operator/adjustments", Scope.OPERATE),
    Call("GET", f"/operator/adjustments/{NO_ID}", Scope.OPERATE),
    Call("POST", f"/operator/adjustments/{NO_ID}/confirm", Scope.OPERATE),
    Call("GET", "/operator/about", Scope.OPERATE),
    Call("GET", "/operator/overview", Scope.OPERATE),
    Call("GET", "/operator/withdrawals", Scope.OPERATE),
    Call("GET", "/operator/withdrawals/{withdrawal}", Scope.OPERATE),
    Call("GET", "/operator/dead-letters", Scope.OPERATE),
    Call("GET", "/operator/processes", Scope.OPERATE),
    Call("GET", "/operator/bank", Scope.OPERATE),
    Call("GET", "/operator/locks?user_id={user}&currency=USD", Scope.OPERATE),
    Call("POST", "/operator/replays", Scope.OPERATE, lambda _: {"ids": []}),
    Call("POST", "/operator/withdrawals/{withdrawal}/redrive", Scope.OPERATE),
    Call("POST", "/operator/withdrawals/{withdrawal}/settle", Scope.OPERATE, lambda _: {}),
    Call("POST", "/operator/withdrawals/{withdrawal}/settle/approve", Scope.OPERATE),
    Call("POST", "/operator/withdrawals/{withdrawal}/settle/withdraw", Scope.OPERATE),
    Call("POST", "/operator/payouts/pause", Scope.OPERATE, lambda _: {"reason": "test"}),
    Call("POST", "/operator/payouts/resume", Scope.OPERATE),
    Call("GET", "/operator/bank/faults", Scope.OPERATE),
    Call("PUT", "/operator/bank/faults", Scope.OPERATE, lambda _: {}),
    Call("DELETE", "/operator/bank/faults", Scope.OPERATE),
    Call("GET", "/health", None),
    Call("GET", "/health/live", None),
    Call("GET", "/health/ready", None),
    Call("GET", "/openapi.json", None),
    Call("GET", "/docs", None),
    Call("GET", "/docs/docs.js", None),
    Call("GET", "/problems/forbidden", None),
    Call("GET", "/", None),
    Call("POST", "/bank/callbacks", None, lambda _: {}),  # signed by the bank
]


@pytest.fixture(scope="module")
def shared_environment() -> dict[str, str]:
    return {"WBS_AUTH": "on", "WBS_METRICS_TOKEN": TOKEN, "WBS_WEBHOOKS_PRIVATE": "1"}


async def things_of(api: Api, user: str) -> Things:
    """Return a pending withdrawal of the user's, with its idempotency key, and one of everything else."""
    key = new_key()
    charge = await api.charge(user, 1000)
    taken = await api.withdraw(user, 1, idempotency_key=key)
    payee = {"to_user_id": "acme-3" if user.startswith("acme-") else "other-3"}
    transfer = await api.post("/transfers", {**to_acme(user), **payee})
    holds = [await api.post("/holds", order(user)) for _ in range(2)]
    hooks = [await api.post("/webhooks", HOOK) for _ in range(2)]
    made = (charge, taken, transfer, *holds, *hooks)
    assert [one.status for one in made] == [200, 202, 200, 200, 200, 201, 201]
    return Things(
        taken.json["withdrawal_id"],
        key,
        charge.json["id"],
        transfer.json["id"],
        *(one.json["id"] for one in (*holds, *hooks)),
    )


def test_every_endpoint_is_in_the_table(shared_gateway: Gateway) -> None:
    """Goal: an endpoint that is added is added here, with the scope that it has."""
    from gateway.app import create_app
    from runtime.settings import Settings

    routes = create_app(Settings.from_env({})).router.routes
    served = {f"{route.path}".replace("<", "{").replace(":str>", "}").strip("/") for route in routes}
    listed = set()
    for call in CALLS:
        path = call.path.partition("?")[0].strip("/")
        path = path.replace("{voidable}", "{hold}").replace("{removable}", "{webhook}")
        path = path.replace(NO_ID, "{adjustment_id}")
        for name in ("withdrawal", "user", "charge", "transfer", "hold", "webhook"):
            path = path.replace(f"{{{name}}}", f"{{{name}_id}}")
        listed.add(path)
    named = {
        "console/bank": "console/{page}",
        "console/files/main.js": "console/files/{name}",
        "docs/docs.js": "docs/{name}",
        "problems/forbidden": "problems/{code}",
    }
    assert {named.get(path, path) for path in listed} == served


async def test_each_scope_opens_its_endpoints_and_no_other(
    shared_gateway: Gateway, shared_database_url: str, session: aiohttp.ClientSession
) -> None:
    """Goal: with no key 401, with a key of any other scope 403, with the right one neither; nothing moves without."""
    everything = await with_key(
        shared_gateway, session, await create_key(shared_database_url, f"all-{new_key()}")
    )
    apis = {
        scope: await with_key(
            shared_gateway, session, await create_key(shared_database_url, new_key(), scope)
        )
        for scope in GRANTABLE
    }
    nobody = Api(shared_gateway.url, session)
    user = f"user-{new_key()}"
    things = await things_of(everything, user)
    before = await everything.balance(user)

    async def ask(api: Api, call: Call) -> Reply:
        body = call.body(user) if call.body else None
        return await api.call(call.method, call.at(user, things), json=body)

    for call in CALLS:
        if call.scope is not None:
            assert (await ask(nobody, call)).status == 401, call
        for scope, api in apis.items():
            if (
                scope is call.scope
                or call.scope is None
                or (call.scope is Scope.METRICS and scope is Scope.OPERATE)
            ):
                continue
            reply = await ask(api, call)
            assert (reply.status, reply.code) == (403, "forbidden"), (call, scope)
    assert await everything.balance(user) == before
    for call in CALLS:
        opened = apis[Scope.OPERATE if call.scope is Scope.METRICS else call.scope or Scope.EVENTS]
        reply = await ask(opened, call)
        refused_by_us = reply.status in (401, 403) and "invalid_signature" not in reply.body.decode()
        assert not refused_by_us, (call, reply)


async def test_a_bound_key_meets_nothing_of_others(
    shared_gateway: Gateway, shared_database_url: str, session: aiohttp.ClientSession
) -> None:
    """Goal: another's wallet, withdrawal or list is 404 to a partner, as what was never there; its own is not."""
    everything = await with_key(
        shared_gateway, session, await create_key(shared_database_url, f"all-{new_key()}")
    )
    space = f"acme-{new_key()}"
    secret = await create_key(shared_database_url, space, space=space, user_prefix="acme-")
    partner = await with_key(shared_gateway, session, secret)
    theirs = await things_of(everything, THEIRS)
    mine = await things_of(partner, MINE)
    before = await everything.balance(THEIRS)
    for call in (one for one in CALLS if one.foreign is not None):
        body = call.body(THEIRS) if call.body else None
        reply = await partner.call(call.method, call.at(THEIRS, theirs), json=body)
        assert reply.status == call.foreign, call
        if call.path == "/charges":
            assert [one["status"] for one in reply.json["results"]] == [404]
        body = call.body(MINE) if call.body else None
        own = await partner.call(call.method, call.at(MINE, mine), json=body)
        assert own.status in (200, 202, 204), (call, own)
    mixed = await partner.post("/charges", [order(MINE), order(THEIRS), order("acme"), order(MINE)])
    assert [one["status"] for one in mixed.json["results"]] == [200, 404, 404, 200]
    lines = b"\n".join(
        b'{"user_id":"%b","amount":1,"idempotency_key":"%b"}' % (user, new_key().encode())
        for user in (b"acme-1", b"other-1")
    )
    reply = await partner.call(
        "POST", "/charges", data=lines, headers={"content-type": "application/x-ndjson"}
    )
    assert [one["status"] for one in reply.json["results"]] == [200, 404]
    assert await everything.balance(THEIRS) == before
    never = await partner.get("/withdrawals/0199d3c0-8b2f-7d10-8000-5be1c0ffee01")
    foreign = await partner.get(f"/withdrawals/{theirs.withdrawal}")
    assert (never.status, never.code, never.json["detail"]) == (404, foreign.code, foreign.json["detail"])


async def test_a_bound_key_lists_its_own(
    shared_gateway: Gateway, shared_database_url: str, session: aiohttp.ClientSession
) -> None:
    """Goal: lists of all wallets are for keys that see all; a partner sees with whom its own wallets had to do."""
    everything = await with_key(
        shared_gateway, session, await create_key(shared_database_url, f"all-{new_key()}")
    )
    space = f"acme-{new_key()}"
    secret = await create_key(shared_database_url, space, space=space, user_prefix="acme-")
    partner = await with_key(shared_gateway, session, secret)
    key = new_key()
    charge = (await everything.charge(THEIRS, 100, idempotency_key=key)).json
    mine = f"acme-{new_key()}"
    paid = {"from_user_id": THEIRS, "to_user_id": mine, "amount": 7, "idempotency_key": new_key()}
    assert (await everything.post("/transfers", paid)).status == 200
    for path in ("/withdrawals", "/holds"):
        assert (await everything.get(path)).status == 200
        assert (await partner.get(path)).bad_fields == {"user_id"}
    for path, code in (("/charges", "charge"), ("/transfers", "transfer"), ("/holds", "hold")):
        assert (await partner.get(path, idempotency_key=key)).code == f"{code}_not_found"
    assert (await everything.get("/charges", idempotency_key=key)).json["id"] == charge["id"]
    [listed] = (await partner.get("/transfers", user_id=mine)).json["items"]
    assert (listed["from_user_id"], listed["amount"]) == (THEIRS, 7)
    [entry] = (await partner.get(f"/wallets/{mine}/entries")).json["entries"]
    assert (entry["kind"], entry["counterparty"], entry["amount"]) == ("receive", THEIRS, 7)
    as_file = partner.with_headers(accept="text/csv")
    assert (await as_file.get(f"/wallets/{THEIRS}/entries")).code == "wallet_not_found"


async def test_who_did_it_is_written_down(
    shared_gateway: Gateway, shared_database_url: str, session: aiohttp.ClientSession
) -> None:
    """Goal: each movement, each state of a withdrawal and its cancellation name the key."""
    name = f"shop-{new_key()}"
    shop = await with_key(shared_gateway, session, await create_key(shared_database_url, name))
    user = f"user-{new_key()}"
    things = await things_of(shop, user)
    cancelled = await shop.call("POST", f"/withdrawals/{things.withdrawal}/cancel")
    assert [entry["by"] for entry in cancelled.json["history"]] == [f"client:{name}"] * 2
    connection = await asyncpg.connect(shared_database_url, timeout=10)
    try:
        rows = await connection.fetch("select kind, made_by from transfers where user_id = $1", user)
    finally:
        await connection.close()
    assert {row["made_by"] for row in rows if row["kind"] != "refund"} == {name}


async def test_prometheus_has_a_token(shared_gateway: Gateway, session: aiohttp.ClientSession) -> None:
    """Goal: the token reads the metrics, and is a wrong key everywhere else."""
    await shared_gateway.ready(session)
    prometheus = Api(shared_gateway.url, session).with_headers(authorization=f"Bearer {TOKEN}")
    assert (await prometheus.get("/metrics")).status == 200
    for path in ("/balance/1", "/operator/overview"):
        assert (await prometheus.get(path)).status in (401, 429)  # 429: after many wrong keys


async def test_a_name_that_another_key_has(database_url: str, settings: Settings) -> None:
    """Goal: what a revoked key has begun, such as a stream, ends also if its name was given to another key at once."""
    first, second = "", ""
    directory = KeyDirectory(settings, SupervisedTasks())

    async def knows_the_second() -> bool:
        return directory.find(second) is not None

    connection = await asyncpg.connect(database_url, timeout=10)
    try:
        first = await create_key(database_url, "shop")
        await directory.start()
        began = directory.find(first)
        assert began is not None
        assert directory.is_known(began.secret_hash)
        await api_keys.revoke(connection, "shop", "operator:eve")
        second = await create_key(database_url, "shop", Scope.READ)
        await poll_until(knows_the_second, 5.0)
        assert not directory.is_known(began.secret_hash)
    finally:
        await directory.stop()
        await connection.close()


async def test_a_key_that_ends(
    shared_gateway: Gateway, shared_database_url: str, session: aiohttp.ClientSession
) -> None:
    """Goal: a key that was revoked, or has expired, is refused within 5 s; its name is free again."""
    secret = await create_key(shared_database_url, "brief", expires_in=timedelta(minutes=1))
    brief = await with_key(shared_gateway, session, secret)
    connection = await asyncpg.connect(shared_database_url, timeout=10)

    async def is_refused() -> bool:
        return (await brief.get("/balance/1")).status in (401, 429)  # 429: after many wrong keys

    try:
        await connection.execute("update api_keys set expires_at = now() where name = 'brief'")
        await poll_until(is_refused, 5.0, what="the gateway refuses an expired key")
        await connection.execute("update api_keys set expires_at = null where name = 'brief'")
        await with_key(shared_gateway, session, secret)
        prefix = await api_keys.revoke(connection, "brief", "operator:eve")
        assert prefix is not None
        assert secret.startswith(prefix)
        await poll_until(is_refused, 5.0, what="the gateway refuses a revoked key")
        assert await api_keys.revoke(connection, "brief", "operator:eve") is None
    finally:
        await connection.close()
    await create_key(shared_database_url, "brief")


async def test_the_first_key_switches_logins_on(
    start_gateway: StartGateway, database_url: str, session: aiohttp.ClientSession
) -> None:
    """Goal: on loopback nobody needs a key until there is one; from then on everybody does, revoked or not."""
    gateway = await start_gateway(WBS_AUTH="auto")
    api = Api(gateway.url, session)
    assert (await api.charge(42, 1)).status == 200
    forwarded = api.with_headers(x_forwarded_for="10.1.2.3")
    assert ((await forwarded.charge(42, 1)).status, (await forwarded.get("/health")).status) == (403, 200)
    secret = await create_key(database_url, "first", Scope.READ)

    async def needs_one() -> bool:
        return (await api.get("/balance/42")).status == 401

    await poll_until(needs_one, 5.0, what="a request without a key is refused")
    shop = api.with_headers(authorization=f"Bearer {secret}", x_forwarded_for="10.1.2.3")
    assert (await shop.balance(42))["total"] == 1
    connection = await asyncpg.connect(database_url, timeout=10)
    try:
        await api_keys.revoke(connection, "first", "operator:eve")
    finally:
        await connection.close()

    async def is_refused() -> bool:
        return (await shop.get("/balance/42")).status == 401

    await poll_until(is_refused, 5.0, what="the revoked key is refused")
    assert await needs_one()


async def test_nobody_is_let_in_while_keys_are_unknown(
    start_gateway: StartGateway,
    database_url: str,
    session: aiohttp.ClientSession,
    connection: asyncpg.Connection,
) -> None:
    """Goal: a gateway that can't learn of revocations admits nobody, says why, and admits callers again once it can."""
    secret = await create_key(database_url, "shop")
    gateway = await start_gateway(WBS_AUTH="on")
    shop = await with_key(gateway, session, secret)
    await connection.execute("alter table api_keys_revision rename to hidden")

    async def is_closed() -> bool:
        reply = await shop.get("/balance/42")
        return reply.status == 503 and reply.code == "unavailable" and "retry-after" in reply.headers

    await poll_until(is_closed, what="requests are refused")
    assert (await Api(gateway.url, session).get("/health/live")).status == 200
    await connection.execute("alter table hidden rename to api_keys_revision")
    await poll_until(lambda: _answers(shop), what="the key is let in again")


async def _answers(api: Api) -> bool:
    return (await api.get("/balance/42")).status == 200


async def test_many_wrong_keys(
    start_gateway: StartGateway, database_url: str, session: aiohttp.ClientSession
) -> None:
    """Goal: a caller that guesses keys has to wait, is counted and logged; the right key next to it is admitted."""
    secret = await create_key(database_url, "shop")
    gateway = await start_gateway(WBS_AUTH="on")
    shop = await with_key(gateway, session, secret)
    guesser = Api(gateway.url, session)
    replies = await asyncio.gather(
        *(guesser.with_headers(authorization=f"Bearer guess-{n}").get("/balance/42") for n in range(30))
    )
    assert {reply.status for reply in replies} == {401, 429}
    assert all(int(reply.headers["retry-after"]) >= 1 for reply in replies if reply.status == 429)
    assert (await shop.get("/balance/42")).status == 200
    assert gateway.events("wrong_api_key")
    assert "guess-" not in gateway.log.read_text()
    assert "wbs_wrong_keys_total" in (await shop.get("/metrics")).body.decode()
