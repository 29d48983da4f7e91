"""Hostile requests, as bytes, the same ones for the same seed.

A `Shot` lists the statuses that the service may answer. It must answer every complete request; it may close the
connection afterwards.
"""

import json
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

REFUSALS = frozenset(
    {400, 401, 403, 404, 405, 408, 409, 413, 414, 415, 417, 421, 422, 429, 431, 501, 503, 505}
)
"""Statuses of requests that are not carried out."""
STRANGERS = frozenset({401, 403, 404, 429, 503})
"""Statuses for a caller without the right."""
READS = REFUSALS | {200, 204}


class Target(NamedTuple):
    """The target of the attack: a gateway, and the user whose wallet the attacker wants."""

    host: str
    strong_key: str
    """A key that may do everything: the attacker got hold of it, to be as dangerous as can be to others' service."""
    partner_key: str
    """A key that is bound to users whose ids begin with `acme-`."""
    reader_key: str
    victim: str
    withdrawal: str


class Shot(NamedTuple):
    """One request. `may`: statuses that are right; `ends`: nothing follows it on the same connection."""

    raw: bytes
    may: frozenset[int]
    complete: bool = True
    """Whether an answer is due. Otherwise the connection may just end."""
    ends: bool = True


Maker = Callable[[Random, Target], Shot]


def request(
    target: Target,
    method: str = "POST",
    path: str = "/charge",
    body: bytes = b"",
    *,
    key: str | None = None,
    headers: tuple[bytes, ...] = (),
    content_type: bytes = b"application/json",
) -> bytes:
    """Return a request that is right in form."""
    lines = [f"{method} {path} HTTP/1.1".encode(), b"Host: " + target.host.encode()]
    if key is not None:
        lines.append(b"Authorization: Bearer " + key.encode())
    if body or method == "POST":
        lines += [b"Content-Type: " + content_type, b"Content-Length: %d" % len(body)]
    return b"\r\n".join([*lines, *headers, b"", b""]) + body


def garbage(random: Random, target: Target) -> Shot:
    """Return bytes that are no HTTP, or a request with some of its bytes changed."""
    if random.random() < 0.3:
        raw = random.randbytes(random.randint(1, 2_000))
        return Shot(raw, REFUSALS, complete=False)
    changed = bytearray(request(target, body=_order(random, target.victim), key=target.reader_key))
    for _ in range(random.randint(1, 8)):
        changed[random.randrange(len(changed))] = random.randrange(256)
    return Shot(bytes(changed), READS, complete=False)


def bodies(random: Random, target: Target) -> Shot:
    """Return a charge or a bulk whose JSON is hostile: deep, long, doubled, odd numbers, half a character."""
    order = {"user_id": target.victim, "amount": 1, "idempotency_key": f"attack-{random.getrandbits(64):x}"}
    name = random.choice(list(order))
    odd: list[Callable[[], bytes]] = [
        lambda: b"[" * random.randint(1, 20_000),
        lambda: b'{"a":' * random.randint(1, 5_000) + b"1" + b"}" * 5_000,
        lambda: json.dumps({**order, name: _odd_value(random)}).encode("utf-8", "surrogatepass"),
        lambda: json.dumps(
            {**order, "metadata": {str(n): n for n in range(random.randint(51, 400))}}
        ).encode(),
        lambda: json.dumps(order).encode()[:-1] + b',"amount":2}',
        lambda: json.dumps(order).encode()[: random.randint(0, 60)],
        lambda: b'{"user_id":"\xff\xfe","amount":1,"idempotency_key":"x"}',
        lambda: b'{"user_id":"\\ud800","amount":1,"idempotency_key":"x"}',
        lambda: b'{"user_id":"x","amount":1' + b"0" * random.randint(1, 50_000) + b',"idempotency_key":"x"}',
        lambda: b'{"user_id":"x","amount":1e' + b"9" * random.randint(1, 300) + b',"idempotency_key":"x"}',
    ]
    if random.random() < 0.15:
        item = random.choice([b"{}", b"1", b'{"amount":-1}', b'{"user_id":[],"x":{}}', b"[]"])
        body = b"[" + b",".join([item] * random.choice([1, 10, 999, 1_001, 5_000])) + b"]"
        return Shot(
            request(target, path="/charges", body=body, key=target.strong_key), REFUSALS | {200}, ends=False
        )
    # Some of the odd values are odd, and right all the same.
    return Shot(
        request(target, body=random.choice(odd)(), key=target.strong_key), REFUSALS | {200}, ends=False
    )


def bulks(random: Random, target: Target) -> Shot:
    """Return a bulk that is as long as may be, or longer, and of which nothing can be booked."""
    size = random.choice([70_000, 200_000, 500_000, 1_000_000, 1_048_577])
    filling = [
        b" ",
        b"[",
        b'"',
        b"{},",
        b'{"a":[1,2,{"b":null}]},',
        b'{"user_id":"x","amount":0,"idempotency_key":"k"},',
    ]
    body = (b"[" + random.choice(filling) * (size // 3))[:size]
    return Shot(
        request(target, path="/charges", body=body, key=target.strong_key), REFUSALS | {200}, ends=False
    )


def headers(random: Random, target: Target) -> Shot:
    """Return a request whose head a proxy might read in another way, or that is far too long."""
    body = _order(random, target.victim)
    long = b"X-Long: " + b"a" * random.randint(1, 40_000)
    lines: list[tuple[bytes, ...]] = [
        (b"Content-Length: 3",),
        (b"Content-Length: +%d" % len(body),),
        (b"Transfer-Encoding: chunked",),
        (b"Transfer-Encoding: xchunked",),
        (b"Transfer-Encoding : chunked",),
        (b"Host: evil.example",),
        (b"Na\x00me: x",),
        (b"Name : x",),
        (b" folded: x",),
        (b"X: a\x0bb",),
        (long,),
        tuple(b"X-%d: y" % number for number in range(random.randint(100, 600))),
        (b"Origin: https://evil.example",),
        (b"Sec-Fetch-Site: cross-site",),
        (b"Expect: 200-fine",),
        (b"X-Request-Id: " + bytes(random.randrange(128, 256) for _ in range(20)),),
        (b"Authorization: Bearer " + b"a" * 5_000,),
    ]
    raw = request(target, body=body, key=None if random.random() < 0.5 else "x", headers=random.choice(lines))
    return Shot(raw, REFUSALS, complete=b"Transfer-Encoding: chunked" not in raw)


def chunks(random: Random, target: Target) -> Shot:
    """Return a chunked body with wrong, doubled or very many chunks."""
    head = (
        f"POST /charge HTTP/1.1\r\nHost: {target.host}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {target.strong_key}\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()
    many = b"1\r\n \r\n" * random.randint(1, 4_000)
    wrong = [
        b"zz\r\n",
        b"-1\r\n",
        b"0x5\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello",
        b"5;a=\nb\r\nhello\r\n0\r\n\r\n",
    ]
    part = many + b"0\r\n\r\n" if random.random() < 0.3 else random.choice(wrong)
    return Shot(head + part, REFUSALS, complete=False)


def targets(random: Random, target: Target) -> Shot:
    """Return a request for something that is no path of ours, or hardly one."""
    odd = [
        "/" + "a" * random.randint(1, 30_000),
        "/balance/" + "%ff" * random.randint(1, 500),
        "/balance/%00",
        "/balance/..%2f..%2fetc%2fpasswd",
        "/docs/../../pyproject.toml",
        "//evil.example/",
        "http:" + "//[::1",
        "http:" + "//evil.example:99999/",
        "*",
        "?" + "a=1&" * random.randint(1, 5_000),
        f"/transactions/{target.victim}?limit=1e9",
        f"/transactions/{target.victim}?cursor=" + "A" * random.randint(1, 5_000),
        f"/withdrawals/{'0' * random.randint(1, 5_000)}",
        "/problems/" + "%27%22%3cscript%3e" * 20,
    ]
    method = random.choice(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "CONNECT", "PROPFIND", "get"])
    return Shot(request(target, method, random.choice(odd), key=target.reader_key), READS)


def keys(random: Random, target: Target) -> Shot:
    """Return a request with another caller's identity: wrong keys, keys without the scope, wallets of others."""
    path, body = f"/balance/{target.victim}", b""
    method = "GET"
    key = random.choice(
        [None, "", "wbs_" + f"{random.getrandbits(160):x}", target.partner_key, target.reader_key]
    )
    if random.random() < 0.6 or key == target.reader_key:
        method, path = (
            "POST",
            random.choice(["/charge", "/withdraw", f"/withdrawals/{target.withdrawal}/cancel"]),
        )
        body = _order(random, target.victim) if path[-1] != "l" else b""
    elif random.random() < 0.5:
        path = random.choice([f"/withdrawals/{target.withdrawal}", f"/transactions/{target.victim}"])
    return Shot(request(target, method, path, body, key=key), STRANGERS, ends=False)


def callbacks(random: Random, target: Target) -> Shot:
    """Return a callback that the bank never signed."""
    body = json.dumps(
        {
            "type": random.choice(["payout.returned", "payout.paid", "x"]),
            "data": {"reference": target.withdrawal},
        }
    ).encode()
    signature = b"v1," + b"A" * random.choice([0, 1, 43, 44, 5_000])
    signed = (
        b"webhook-id: msg_%x" % random.getrandbits(64),
        b"webhook-timestamp: %d" % random.choice([0, 1_700_000_000, 10**12, -1]),
        b"webhook-signature: " + b" ".join([signature] * random.choice([1, 2, 200])),
    )
    return Shot(request(target, path="/bank/callbacks", body=body, headers=signed), REFUSALS, ends=False)


WAVES: dict[str, Maker] = {
    "garbage": garbage,
    "bodies": bodies,
    "bulks": bulks,
    "headers": headers,
    "chunks": chunks,
    "targets": targets,
    "keys": keys,
    "callbacks": callbacks,
}


def _order(random: Random, user: str) -> bytes:
    order = {"user_id": user, "amount": 1, "idempotency_key": f"attack-{random.getrandbits(96):x}"}
    return json.dumps(order).encode()


def _odd_value(random: Random) -> Any:
    return random.choice(
        [
            None, True, -1, 0, 1.5, 1e400, 2**63, 10**400, "", "a" * 60_000, [], {}, [[[]]], {"a": {"b": []}}, "\x00",
            "\ud800", "１", "1; drop table wallets", "<script>", "\u202e", " alice", "../../etc",
        ]
    )  # fmt: skip
