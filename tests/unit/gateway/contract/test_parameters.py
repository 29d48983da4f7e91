"""The parameters in query strings and paths."""

from uuid import UUID

import pytest

from gateway.contract.cursors import cursor_of, read_cursor
from gateway.contract.list_parameters import TransactionsQuery
from gateway.contract.parameters import (
    BalanceQuery,
    ParameterReader,
    WithdrawalQuery,
    read_uuid,
)
from gateway.contract.user_ids import UserIds
from wallet.errors import ValidationFailed

BALANCE = ParameterReader(BalanceQuery, UserIds.AUTO)
TRANSACTIONS = ParameterReader(TransactionsQuery, UserIds.AUTO)
WAIT = ParameterReader(WithdrawalQuery, UserIds.AUTO)


def test_both_spellings_name_one_wallet() -> None:
    """Goal: the user in the path and in the query string are read alike, escapes and all."""
    in_path = BALANCE.read("currency=EUR", user_id="a%2Fb%25")
    assert in_path == BALANCE.read("user_id=a%2Fb%25&currency=EUR") == BalanceQuery("a/b%", "EUR")


def test_defaults() -> None:
    """Goal: an omitted parameter has its default."""
    assert TRANSACTIONS.read("", user_id="42") == TransactionsQuery(user_id="42", limit=20)


@pytest.mark.parametrize(
    ("query", "bad"),
    [
        ("limit=0", {"limit"}),
        ("limit=101", {"limit"}),
        ("limit=1e1", {"limit"}),
        ("limit=10.0", {"limit"}),
        ("limit=ten", {"limit"}),
        ("limit=", {"limit"}),
        ("limit=%2010", {"limit"}),
        ("limit=١", {"limit"}),
        ("limit=010", {"limit"}),
        ("limit=null", {"limit"}),
        ("page=null", {"page"}),
        ("page=0&limit=0", {"page", "limit"}),
        ("limit=5&limit=6", {"limit"}),
        ("limt=5", {"limt"}),
        ("currency=usd", {"currency"}),
        ("currency=", {"currency"}),
        ("user_id=43", {"user_id"}),
        ("limit=%ff", {"$"}),
        ("&".join(f"a{number}=1" for number in range(17)), {"$"}),
        ("cursor=" + "x" * 65, {"cursor"}),
        ("type=send", {"type"}),
        ("type=", {"type"}),
        ("status=done&type=charge", {"status"}),
        ("created_from=2026-11-22", {"created_from"}),
        ("created_from=2026-11-22T12:00:00", {"created_from"}),
        ("created_to=1764158400", {"created_to"}),
    ],
)
def test_bad_parameters_are_named(query: str, bad: set[str]) -> None:
    """Goal: each bad, doubled or unknown parameter is named; nothing is guessed."""
    with pytest.raises(ValidationFailed) as refused:
        TRANSACTIONS.read(query, user_id="42")
    assert {field for field, _ in refused.value.errors} == bad


@pytest.mark.parametrize("user_id", ["%ff", "a%20b", "", "%0A", "x" * 129, "%C3%A9"])
def test_bad_users_in_the_path(user_id: str) -> None:
    """Goal: a path names a user by the same rule as a body."""
    with pytest.raises(ValidationFailed):
        BALANCE.read("", user_id=user_id)


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("30", 30), ("1.5", 1.5)])
def test_wait(text: str, seconds: float) -> None:
    """Goal: whole and decimal seconds are taken."""
    assert WAIT.read(f"wait={text}").wait == seconds


@pytest.mark.parametrize("text", ["-1", "31", "nan", "inf", "Infinity", "1s", "", "true"])
def test_bad_wait(text: str) -> None:
    """Goal: nobody waits longer than the limit, or for ever."""
    with pytest.raises(ValidationFailed):
        WAIT.read(f"wait={text}")


def test_cursor_round_trip() -> None:
    """Goal: a cursor names the transaction that it was made of."""
    id = UUID("0199d3c0-8b2f-7d10-8000-5be1c0ffee01")
    assert read_cursor(cursor_of(id)) == id


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "AZnTwIsvfRCAAFvhwP_uAQ==", "AZnTwIsvfRCAAFvhwP/uAQ", "AZnTwIsvfRCAAFvhwP_uAR", "é" * 22],
)
def test_foreign_cursors(cursor: str) -> None:
    """Goal: what we never gave out is no cursor: each has one spelling."""
    with pytest.raises(ValidationFailed):
        read_cursor(cursor)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "0199d3c08b2f7d1080005be1c0ffee01",
        "{0199d3c0-8b2f-7d10-8000-5be1c0ffee01}",
        "urn:uuid:0199d3c0-8b2f-7d10-8000-5be1c0ffee01",
    ],
)
def test_other_spellings_of_identifiers(text: str) -> None:
    """Goal: a withdrawal has one name."""
    assert read_uuid(text) is None
