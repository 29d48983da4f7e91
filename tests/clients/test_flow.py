"""When the client sends again, without any network: it is told what was answered, and says what it does next."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx
import msgspec
import pytest

from wbs_client import (
    ApiError,
    AsyncClient,
    Client,
    InsufficientFunds,
    InternalError,
    RateLimited,
    Unanswered,
    Unavailable,
    codes,
    reads,
    writes,
)
from wbs_client.call import Call
from wbs_client.flow import LONGEST_PAUSE_S, Pause, Said, answered, drive, retry_after_s

BALANCE = {"user_id": 1, "currency": "USD", "total": 3, "withdrawable": 3, "locked": 0, "held": 0}
URL = "http://wallets.example"


def problem(code: str, status: int, **more: Any) -> httpx.Response:
    """A problem of the service."""
    headers = {name: str(value) for name, value in more.pop("headers", {}).items()}
    content = msgspec.json.encode({"code": code, "status": status, "title": "T", "detail": "d", **more})
    return httpx.Response(status, content=content, headers=headers)


def good(**members: Any) -> httpx.Response:
    """A good answer."""
    return httpx.Response(200, content=msgspec.json.encode(members))


class Script:
    """Gives the answers in order; remembers what was sent, and how long nothing was."""

    def __init__(self, *answers: Said) -> None:
        self.answers = list(answers)
        self.sent: list[Call[Any]] = []
        self.pauses: list[float] = []

    def take(self, step: Call[Any] | Pause) -> Said:
        if isinstance(step, Pause):
            self.pauses.append(step.seconds)
            return None
        self.sent.append(step)
        return self.answers.pop(0)

    def play(self, call: Call[Any], patience_s: float = 60.0) -> Any:
        """Send a call; return its answer."""
        return drive(answered(call, patience_s), self.take)


def test_the_same_is_sent_again() -> None:
    """Goal: after whatever is no answer the same bytes are sent under the same key, with growing pauses."""
    troubles: Sequence[Said] = [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("late"),
        httpx.RemoteProtocolError("cut off"),
        *(problem("x", status) for status in (408, 429, 500, 502, 503, 504)),
        httpx.Response(200, content=b'{"id": 1'),
        httpx.Response(502, content=b"<html>"),
    ]
    script = Script(*troubles, httpx.Response(200, json=BALANCE))
    call = writes.charge(1, 5)
    assert script.play(replace(call, read=lambda answer: answer.json()))["total"] == 3
    assert len(script.sent) == len(troubles) + 1
    assert {one.body for one in script.sent} == {call.body}
    assert msgspec.json.decode(call.body or b"")["idempotency_key"] == call.key
    assert script.pauses == sorted(script.pauses) or max(script.pauses[:3]) < LONGEST_PAUSE_S
    assert max(script.pauses) <= LONGEST_PAUSE_S


def test_keys_are_new_unless_given() -> None:
    """Goal: two calls are two intentions unless their keys say otherwise."""
    keys = {writes.charge(1, 5).key, writes.charge(1, 5).key, writes.charge(1, 5, idempotency_key="k").key}
    assert len(keys) == 3
    assert "k" in keys


def test_a_refusal_is_final() -> None:
    """Goal: what was refused is not sent again, and is of its code's class, with figures and key."""
    refusal = problem("insufficient_funds", 422, amount=5, withdrawable=2, request_id="r")
    with pytest.raises(InsufficientFunds) as raised:
        Script(refusal).play(writes.withdraw(1, 5, idempotency_key="k"))
    error = raised.value
    assert (error.code, error.status, error.problem.withdrawable, error.idempotency_key) == (
        "insufficient_funds",
        422,
        2,
        "k",
    )
    assert not error.may_have_taken_effect
    assert error.problem.request_id == "r"


def test_retry_after_is_kept() -> None:
    """Goal: the service's own word on when to come back counts, if there is time."""
    script = Script(problem("rate_limited", 429, headers={"retry-after": 7}), good(**BALANCE))
    script.play(reads.balance(1))
    assert script.pauses == [7.0]
    with pytest.raises(RateLimited) as raised:
        Script(problem("rate_limited", 429, headers={"retry-after": 61})).play(reads.balance(1))
    assert raised.value.retry_after_s == 61


def test_retry_after_may_be_a_date() -> None:
    """Goal: a proxy's Retry-After is understood in both forms, and nonsense is none."""
    dated = {text: retry_after_s(httpx.Response(503, headers={"retry-after": text})) for text in DATES}
    assert dated == DATES
    assert retry_after_s(httpx.Response(503)) is None


DATES = {"Sun, 06 Nov 1994 08:49:37 GMT": 0.0, "3": 3.0, "soon": None, "-1": 0.0}


def test_it_gives_up() -> None:
    """Goal: at the end of its patience the caller learns that it may have taken effect, and under which key."""
    with pytest.raises(Unanswered) as raised:
        Script(httpx.ReadTimeout("late")).play(writes.charge(1, 5, idempotency_key="k"), 0)
    assert raised.value.idempotency_key == "k"
    assert raised.value.may_have_taken_effect
    for code, status, kind in (("unavailable", 503, Unavailable), ("internal_error", 500, InternalError)):
        with pytest.raises(kind) as refused:
            Script(problem(code, status)).play(writes.charge(1, 5), 0)
        assert refused.value.may_have_taken_effect


def test_what_must_not_be_repeated_is_not() -> None:
    """Goal: a call that is not safe to send twice is sent again only where it surely had no effect."""
    once = replace(reads.balance(1), repeatable=False)
    for trouble in (
        problem("unavailable", 503),
        httpx.ReadTimeout("late"),
        httpx.Response(200, content=b"{"),
    ):
        script = Script(trouble)
        with pytest.raises((ApiError, Unanswered)):
            script.play(once)
        assert len(script.sent) == 1
    script = Script(httpx.ConnectError("refused"), problem("rate_limited", 429), good(**BALANCE))
    assert script.play(once).total == 3


def test_codes_to_come_are_errors_too() -> None:
    """Goal: a code of a later version, or a proxy's page, is an ApiError that can be told by its status."""
    for answer, code in (
        (problem("too_new", 409, extra=[1]), "too_new"),
        (httpx.Response(403, content=b"<html>"), "http_403"),
        (httpx.Response(307, headers={"location": "/"}), "http_307"),
        (httpx.Response(400, content=b"[]"), "http_400"),
    ):
        with pytest.raises(ApiError) as raised:
            Script(answer).play(reads.balance(1))
        assert type(raised.value) is ApiError
        assert raised.value.code == code
    assert codes.error_of_problem(None).code == ""


def test_what_cannot_be_sent_is_no_matter_of_patience() -> None:
    """Goal: a wrong address or API key is told at once."""
    for address in ("localhost:8080", "", "ftp://wallets.example"):
        with pytest.raises(ValueError, match="http"):
            Client(address)
    with pytest.raises(ValueError, match="key"):
        Client(URL, "two\nlines")


def test_a_statement_that_was_cut_off_is_asked_for_again() -> None:
    """Goal: a CSV file without its last line is no statement."""
    whole = "id,kind,amount\r\n,opening,\r\n,closing,,\r\n"
    script = Script(httpx.Response(200, text=whole[:20]), httpx.Response(200, text=whole))
    assert script.play(reads.statement_csv(1)) == whole


async def test_both_clients_send_what_is_asked() -> None:
    """Goal: address, key, time limit and body arrive, and pages are walked to their end, with both clients."""
    seen: list[httpx.Request] = []
    hold = {
        **{"id": "0199d3c0-8b2f-7d10-8000-5be1c0ffee01", "user_id": 1, "currency": "USD", "amount": 1},
        **{"captured": 0, "transfer_id": None, "status": "frozen", "expires_at": None, "metadata": None},
        "created_at": "2026-11-28T00:00:00Z",
    }

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        last = request.url.params.get("cursor") == "c"
        return good(items=[] if last else [hold], next_cursor=None if last else "c")

    transport = httpx.MockTransport(answer)
    with Client(f"{URL}/", "secret", http=httpx.Client(transport=transport)) as client:
        found = list(client.holds(1, status="open"))
    async with AsyncClient(URL, "secret", http=httpx.AsyncClient(transport=transport)) as async_client:
        assert [one async for one in async_client.holds(1, status="open")] == found
    assert [one.status for one in found] == ["frozen"]
    assert [str(one.url) for one in seen[:2]] == [
        f"{URL}/holds?user_id=1&status=open&limit=100",
        f"{URL}/holds?user_id=1&status=open&limit=100&cursor=c",
    ]
    assert {one.headers["authorization"] for one in seen} == {"Bearer secret"}
    assert [str(one.url) for one in seen[2:]] == [str(one.url) for one in seen[:2]]
